"""Reads the stream of a batch."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from relaypost.v1 import queue_service_pb2 as pb

from relaypost_server.api import errors, pack
from relaypost_server.api.edge import MALFORMED, Context
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.errors import ApiError
from relaypost_server.api.request_keys import read_caller, read_guarantee, read_key, read_metadata
from relaypost_server.api.requested import requested_email, requested_sms
from relaypost_server.api.schedules import read_schedule
from relaypost_server.api.texts import read_sms
from relaypost_server.api.violations import InvalidRequestError, Violations
from relaypost_server.core.estimate import Estimator, units
from relaypost_server.core.idempotency import Requested, fingerprint
from relaypost_server.core.message import Channel, Email, Guarantee, Sms
from relaypost_server.core.money import Money
from relaypost_server.core.ports import Renderer
from relaypost_server.core.queue import BatchProgress, Lane, Schedule
from relaypost_server.flow.bulk import METHOD, Batches, Intake
from relaypost_server.flow.queueing import queued

MOST_REFUSALS = 100
"""Complaints in one answer."""
LAST_POSITION = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    caller: str
    request_id: str
    fingerprint: str
    schedule: Schedule
    guarantee: Guarantee
    validate_only: bool


@dataclass(slots=True)
class _Tally:
    """What a stream comes to."""

    valid: int = 0
    segments: int = 0
    refused: int = 0
    refusals: list[pb.BulkRefusal] = field(default_factory=list)
    cost: Money | None = None
    """In the currency of the first price."""

    def count(self, content: Email | Sms, cost: Money | None) -> None:
        self.valid += 1
        if isinstance(content, Sms):
            self.segments += units(content)
        if self.cost is None or (cost is not None and cost.currency == self.cost.currency):
            self.cost = cost if cost is None or self.cost is None else self.cost + cost

    def refuse(self, position: int, error: InvalidRequestError) -> None:
        self.refused += 1
        for name, complaint in error.violations[: MOST_REFUSALS - len(self.refusals)]:
            self.refusals.append(pb.BulkRefusal(position=position, field=name, description=complaint))


class BulkReader:
    """One stream: a header, then messages. What is not valid is left out and told."""

    def __init__(
        self,
        batches: Batches,
        *,
        email_reader: EmailReader,
        templates: Renderer,
        channels: frozenset[Channel],
        estimator: Estimator,
    ) -> None:
        """`channels`: those that have a provider."""
        self._batches = batches
        self._estimator = estimator
        self._email_reader = email_reader
        self._templates = templates
        self._channels = channels
        self._tally = _Tally()

    async def read(self, requests: AsyncIterator[pb.SendBulkRequest], context: Context) -> pb.SendBulkResponse:
        """Raises ApiError, InvalidRequestError, RequestReusedError, LogUnavailableError or EnqueueInDoubtError."""
        header = await _header(requests, context)
        if header.validate_only:
            await self._store(requests, header, None)
            return self._answer()
        intake = await self._batches.open(
            caller=header.caller,
            request_id=header.request_id,
            fingerprint=header.fingerprint,
            lane=header.schedule.lane,
        )
        await self._store(requests, header, intake)
        batch = await intake.close()
        response = self._answer()
        # Everything is stored: an answer without the counts is better than none.
        fill_batch(response.batch, await self._batches.count(batch) or BatchProgress(batch=batch, states={}))
        return response

    async def _store(self, requests: AsyncIterator[pb.SendBulkRequest], header: _Header, intake: Intake | None) -> None:
        position = 0
        async for request in requests:
            part = _message(request)
            position = part.position or position + 1
            bad = Violations()
            content, requested = self._content(part, bad)
            metadata = read_metadata(part.metadata, bad)
            if not 0 < position < LAST_POSITION:
                bad.add("position", f"must be from 1 to {LAST_POSITION - 1}, or 0 for the next one")
            try:
                bad.check()
            except InvalidRequestError as error:
                self._tally.refuse(position, error)
                if intake is not None:
                    intake.skip(position)
                continue
            self._tally.count(content, self._estimator.cost(content))
            if intake is not None:
                message = queued(
                    content,
                    schedule=header.schedule,
                    guarantee=header.guarantee,
                    metadata=metadata,
                    caller=header.caller,
                    method=METHOD,
                    request_id=intake.name(position),
                    batch_id=intake.batch.id,
                    now=datetime.now(UTC),
                    asked=fingerprint(requested, header.guarantee, metadata),
                    adjustments=bad.adjustments,
                )
                await intake.add(message, position)

    def _content(self, part: pb.BulkMessage, bad: Violations) -> tuple[Email | Sms, Email | Sms | Requested]:
        """The content, and the content as the caller requested it."""
        content: Email | Sms
        if part.WhichOneof("content") == "sms":
            content = sms = read_sms(part.sms, self._templates, bad)
            requested: Email | Sms | Requested = requested_sms(part.sms, sms)
        else:
            if not part.HasField("email"):
                bad.add("content", "is required: an email or an sms")
            content = email = self._email_reader.read(part.email, bad)
            requested = requested_email(part.email, email)
        if content.channel not in self._channels:
            raise ApiError(errors.not_configured(content.channel))
        return content, requested

    def _answer(self) -> pb.SendBulkResponse:
        tally = self._tally
        response = pb.SendBulkResponse(
            refused_count=tally.refused, refusals=tally.refusals, valid_count=tally.valid, segments=tally.segments
        )
        if tally.cost is not None:
            pack.fill_money(response.estimated_cost, tally.cost)
        return response


def fill_batch(packed: pb.Batch, progress: BatchProgress) -> None:
    """As `pack.fill_message`."""
    batch = progress.batch
    packed.batch_id = batch.id
    packed.create_time.FromDatetime(batch.create_time)
    packed.closed = batch.closed
    packed.stored = batch.stored
    packed.size = progress.size
    for state, count in sorted(progress.states.items()):
        packed.states.add(state=pack.STATES[state], count=count)
    if progress.cost is not None:
        pack.fill_money(packed.cost, progress.cost)


async def _header(requests: AsyncIterator[pb.SendBulkRequest], context: Context) -> _Header:
    first = await anext(aiter(requests), None)
    if first is MALFORMED:
        raise ApiError(errors.malformed())
    if first is None or not first.HasField("header"):
        raise InvalidRequestError([("header", "is required as the first request of the stream")])
    bad, header = Violations(), first.header
    caller = read_caller(context, bad)
    if read_key(METHOD, header.request_id, caller, bad) is None:
        bad.add("header.request_id", "is required")
    schedule = read_schedule("header.schedule", header.schedule, Lane.BULK, datetime.now(UTC), bad)
    guarantee = read_guarantee(header.delivery_guarantee, bad)
    bad.check()
    return _Header(
        caller=caller,
        request_id=header.request_id,
        fingerprint=_fingerprint(header, schedule.lane, guarantee),
        schedule=schedule,
        guarantee=guarantee,
        validate_only=header.validate_only,
    )


def _fingerprint(header: pb.BulkHeader, lane: Lane, guarantee: Guarantee) -> str:
    """Of what holds for all messages: a stream is repeated with the same header."""
    times = pb.Schedule(
        send_at=header.schedule.send_at if header.schedule.HasField("send_at") else None,
        expire_time=header.schedule.expire_time if header.schedule.HasField("expire_time") else None,
    )
    return sha256(f"{lane} {guarantee} ".encode() + times.SerializeToString(deterministic=True)).hexdigest()


def _message(request: pb.SendBulkRequest) -> pb.BulkMessage:
    if request is MALFORMED:
        raise ApiError(errors.malformed())
    if not request.HasField("message"):
        raise InvalidRequestError([("message", "is required in every request of the stream but the first")])
    return request.message
