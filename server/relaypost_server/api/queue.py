"""QueueService: one message at a time."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from relaypost.v1 import queue_service_pb2 as pb, queue_service_pb2_grpc

from relaypost_server.api import errors, pack, queue_errors
from relaypost_server.api.bulk import BulkReader, fill_batch
from relaypost_server.api.edge import Context
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.errors import ApiError
from relaypost_server.api.pages import page_token, read_cursor, read_page_size
from relaypost_server.api.request_keys import (
    read_caller,
    read_guarantee,
    read_id,
    read_key,
    read_message_id,
    read_metadata,
)
from relaypost_server.api.requested import requested_email, requested_sms
from relaypost_server.api.schedules import LANES, read_schedule
from relaypost_server.api.texts import read_sms
from relaypost_server.api.violations import Violations
from relaypost_server.core.estimate import Estimator
from relaypost_server.core.idempotency import Requested, fingerprint
from relaypost_server.core.message import Channel, Email, Sms
from relaypost_server.core.ports import LogUnavailableError, Renderer
from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import EnqueueInDoubtError
from relaypost_server.flow.bulk import Batches, TooManyStreamsError
from relaypost_server.flow.queueing import Accepted, MessageStateError, Queueing, UnknownMessageError
from relaypost_server.flow.requests import RequestReusedError
from relaypost_server.flow.watch import TooManyWatchersError


class QueueServicer(queue_service_pb2_grpc.QueueServiceServicer):
    """Unpacks, calls the flow, packs."""

    def __init__(
        self,
        queueing: Queueing,
        batches: Batches,
        *,
        email_reader: EmailReader,
        templates: Renderer,
        channels: frozenset[Channel],
        estimator: Estimator,
    ) -> None:
        """`channels`: those that have a provider."""
        self._estimator = estimator
        self._queueing = queueing
        self._batches = batches
        self._email_reader = email_reader
        self._templates = templates
        self._channels = channels

    async def EnqueueEmail(self, request: pb.EnqueueEmailRequest, context: Context) -> pb.EnqueueEmailResponse:
        bad = Violations()
        if not request.HasField("email"):
            bad.add("email", "is required")
        else:
            email = self._email_reader.read(request.email, bad)
        accepted = await self._enqueue(
            request, "EnqueueEmail", context, bad, lambda: (email, requested_email(request.email, email))
        )
        response = pb.EnqueueEmailResponse(replayed=accepted.replayed)
        pack.fill_message(response.message, accepted.record)
        return response

    async def EnqueueSms(self, request: pb.EnqueueSmsRequest, context: Context) -> pb.EnqueueSmsResponse:
        bad = Violations()
        if not request.HasField("sms"):
            bad.add("sms", "is required")
        else:
            sms = read_sms(request.sms, self._templates, bad)
        accepted = await self._enqueue(
            request, "EnqueueSms", context, bad, lambda: (sms, requested_sms(request.sms, sms))
        )
        response = pb.EnqueueSmsResponse(replayed=accepted.replayed)
        pack.fill_message(response.message, accepted.record)
        return response

    async def CancelMessage(self, request: pb.CancelMessageRequest, context: Context) -> pb.CancelMessageResponse:
        message_id = _message_id(request.message_id)
        try:
            record = await self._queueing.cancel(message_id)
        except MessageStateError as error:
            raise ApiError(queue_errors.not_queued(error.state)) from None
        except UnknownMessageError:
            raise ApiError(errors.message_not_found()) from None
        response = pb.CancelMessageResponse()
        pack.fill_message(response.message, record)
        return response

    async def RequeueMessage(self, request: pb.RequeueMessageRequest, context: Context) -> pb.RequeueMessageResponse:
        message_id = _message_id(request.message_id)
        try:
            record = await self._queueing.requeue(message_id)
        except MessageStateError as error:
            raise ApiError(queue_errors.not_dead(error.state)) from None
        except UnknownMessageError:
            raise ApiError(errors.message_not_found()) from None
        response = pb.RequeueMessageResponse()
        pack.fill_message(response.message, record)
        return response

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        bad = Violations()
        size, before = read_page_size(request.page_size, bad), read_cursor(request.page_token, bad)
        bad.check()
        found = await self._queueing.dead_letters(before=before, limit=size)
        token = page_token(found[-1].record.id) if len(found) == size else ""
        response = pb.ListDeadLettersResponse(next_page_token=token)
        for letter in found:
            packed = response.dead_letters.add(lane=LANES[letter.lane], reason=letter.reason.value, tries=letter.tries)
            pack.fill_message(packed.message, letter.record)
        return response

    async def SendBulk(self, requests: AsyncIterator[pb.SendBulkRequest], context: Context) -> pb.SendBulkResponse:
        reader = BulkReader(
            self._batches,
            email_reader=self._email_reader,
            templates=self._templates,
            channels=self._channels,
            estimator=self._estimator,
        )
        try:
            with self._batches.stream():
                return await reader.read(requests, context)
        except RequestReusedError:
            raise ApiError(errors.request_reused()) from None
        except (LogUnavailableError, EnqueueInDoubtError):
            raise ApiError(queue_errors.batch_interrupted()) from None
        except TooManyStreamsError:
            raise ApiError(queue_errors.too_many_streams(self._batches.most_streams)) from None

    async def GetBatch(self, request: pb.GetBatchRequest, context: Context) -> pb.GetBatchResponse:
        bad = Violations()
        caller = read_caller(context, bad)
        if request.request_id and request.batch_id:
            bad.add("request_id", "must not be set beside batch_id")
        batch_id = "" if request.request_id else read_id("batch_id", request.batch_id, bad)
        bad.check()
        batch = await self._batches.get(caller, batch_id=batch_id, request_id=request.request_id)
        if batch is None:
            raise ApiError(queue_errors.batch_not_found())
        response = pb.GetBatchResponse()
        fill_batch(response.batch, batch)
        return response

    async def WatchBatch(self, request: pb.WatchBatchRequest, context: Context) -> AsyncIterator[pb.WatchBatchResponse]:
        bad = Violations()
        caller, batch_id = read_caller(context, bad), read_id("batch_id", request.batch_id, bad)
        bad.check()
        known = False
        try:
            async for batch in self._batches.watch(caller, batch_id):
                known = True
                response = pb.WatchBatchResponse()
                fill_batch(response.batch, batch)
                yield response
        except TooManyWatchersError:
            raise ApiError(errors.too_many_watchers()) from None
        if not known:
            raise ApiError(queue_errors.batch_not_found())

    async def _enqueue(
        self,
        request: pb.EnqueueEmailRequest | pb.EnqueueSmsRequest,
        method: str,
        context: Context,
        bad: Violations,
        read: Callable[[], tuple[Email | Sms, Email | Sms | Requested]],
    ) -> Accepted:
        """Reads what both requests have, and queues the content unless something is wrong with either.

        `read`: returns the content, and the content as the caller requested it.
        """
        now = datetime.now(UTC)
        schedule = read_schedule("schedule", request.schedule, Lane.TRANSACTIONAL, now, bad)
        guarantee = read_guarantee(request.delivery_guarantee, bad)
        metadata = read_metadata(request.metadata, bad)
        caller = read_caller(context, bad)
        key = read_key(method, request.request_id, caller, bad)
        bad.check()
        message, requested = read()
        if message.channel not in self._channels:
            raise ApiError(errors.not_configured(message.channel))
        try:
            return await self._queueing.enqueue(
                message,
                schedule=schedule,
                guarantee=guarantee,
                metadata=metadata,
                caller=caller,
                key=key,
                method=method,
                asked=fingerprint(requested, guarantee, metadata),
                adjustments=bad.adjustments,
            )
        except RequestReusedError:
            raise ApiError(errors.request_reused()) from None
        except LogUnavailableError:
            raise ApiError(queue_errors.queue_unavailable()) from None
        except EnqueueInDoubtError:
            raise ApiError(queue_errors.queue_in_doubt(keyed=key is not None)) from None


def _message_id(value: str) -> str:
    bad = Violations()
    message_id = read_message_id(value, bad)
    bad.check()
    return message_id
