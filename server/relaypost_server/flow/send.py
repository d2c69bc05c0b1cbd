"""Sends one message: gives it an id, walks its chain, keeps the record."""

from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Generic

import structlog

from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.failover import Attempt, Delivery, Verdict, judge
from relaypost_server.core.idempotency import (
    Claim,
    Replay,
    RequestKey,
    fingerprint,
    fingerprint_of_0_1,
    is_kept,
    still_in_doubt,
    verdict_on,
)
from relaypost_server.core.message import Content, Guarantee, Message, MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError, MessageLog
from relaypost_server.core.record import MessageRecord, record_at_start, record_of
from relaypost_server.core.screening import Screening
from relaypost_server.core.silence import Confirm
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.core.value import value
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Caller, Dispatcher, Limits
from relaypost_server.flow.ids import new_id
from relaypost_server.flow.requests import ClaimedRequest, Journal, RequestInProgressError, Requests
from relaypost_server.flow.silence import Silences
from relaypost_server.flow.suppressions import NoScreen, Screen, heed_refusals
from relaypost_server.flow.walks import Walks
from relaypost_server.telemetry.metrics import Metrics

_Suppressed = Mapping[str, SuppressionReason]
"""Recipients that get nothing, and why."""

log = structlog.get_logger("relaypost.send")


@value(frozen=True, slots=True, kw_only=True)
class Sent:
    """The record of a message whose walk has ended, and the verdict on it."""

    record: MessageRecord
    verdict: Verdict
    replayed: bool = False
    """An earlier request with the same request_id was answered so."""
    confirm_until: datetime | None = None
    """A confirmation of the message is waited for until then."""


class Sender(Generic[Content]):
    """Sends the messages of one channel."""

    def __init__(
        self,
        dispatcher: Dispatcher[Content],
        message_log: MessageLog,
        requests: Requests,
        silences: Silences,
        *,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
        screen: Screen | None = None,
    ) -> None:
        """`screen`: knows who gets no messages; None: everybody gets them."""
        self._dispatcher: Dispatcher[Content] = dispatcher
        self._screen = screen or NoScreen()
        self._log = message_log
        self._requests = requests
        self._silences = silences
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._walks = Walks[Sent]()
        self._events = log.bind()  # The lazy one costs as much as a walk's decisions.

    @property
    def configured(self) -> bool:
        """Whether the channel has any provider."""
        return bool(self._dispatcher.chain.links)

    async def send(
        self,
        content: Content,
        *,
        guarantee: Guarantee,
        metadata: Mapping[str, str],
        time_left: float | None,
        caller_name: str = "",
        key: RequestKey | None = None,
        asked: str = "",
        confirm: Confirm | None = None,
        adjustments: tuple[Adjustment, ...] = (),
    ) -> Sent:
        """Sends the content within `time_left` seconds; None for the default.

        A caller who goes away stops the walk after the attempt that runs, but
        neither that attempt nor its record: a byte may have left already.

        `confirm`: once a provider took it, a confirmation is waited for, and
        without one a second copy goes out.

        With a `key`, raises RequestReusedError, RequestInProgressError or
        LogUnavailableError; then nothing was sent. `caller_name`: the service
        that asks; "" for one that does not say who it is. `asked`: the fingerprint of
        the request; default: that of the content, which is right where the
        gateway added nothing to it. `adjustments`: what was changed in the
        content when it was read.
        """
        began = self._clock.monotonic()
        create_time = self._clock.wall()
        message = Message(
            id=new_id(create_time),
            content=content,
            create_time=create_time,
            guarantee=guarantee,
            metadata=metadata,
            caller=caller_name,
            adjustments=adjustments,
        )
        caller = Caller(began=began, end=began + self._limits.budget(time_left))
        doing = self._send(message, caller) if key is None else self._send_once(message, caller, key, asked, confirm)
        if confirm is not None:
            doing = self._follow(doing, message, confirm)
        return await self._walks.run(doing, caller)

    def first_choice(self) -> str:
        """Who would be asked first now; "" where no circuit lets anything through."""
        return self._dispatcher.first_choice()

    async def drain(self) -> None:
        """Waits until every message in flight is finished and recorded."""
        await self._walks.drain()

    def cut_off(self) -> None:
        """Ends running attempts as unconfirmed and begins no other; each message is still recorded and answered."""
        self._walks.cut_off()

    async def _send_unproven(self, message: Message[Content], caller: Caller) -> Sent:
        """Sends although the log did not answer the claim. The record also ends the claim, if it was granted."""
        self._metrics.adjusted(message.adjustments)
        delivery = await self._deliver(message, caller, self._suppressed(message))
        sent = Sent(record=self._report(message, delivery, caller), verdict=delivery.verdict)
        await self._requests.record_unproven(sent.record, kept=is_kept(sent.record, cut_short=sent.verdict.cut_short))
        return sent

    async def _send(self, message: Message[Content], caller: Caller) -> Sent:
        """Sends first, and puts on record what came of it."""
        self._metrics.adjusted(message.adjustments)
        delivery = await self._deliver(message, caller, self._suppressed(message))
        record = self._report(message, delivery, caller)
        await self._log.append(record)
        return Sent(record=record, verdict=delivery.verdict)

    async def _follow(self, walk: Coroutine[Any, Any, Sent], message: Message[Content], confirm: Confirm) -> Sent:
        """Sends, then waits for a confirmation."""
        sent = await walk
        if sent.replayed:
            return sent
        followed = replace(message, id=sent.record.id)
        return replace(sent, confirm_until=self._silences.follow(followed, sent.record, confirm, self._dispatcher))

    async def _send_once(
        self, message: Message[Content], caller: Caller, key: RequestKey, asked: str, confirm: Confirm | None
    ) -> Sent:
        """Claims the request first, or answers as an earlier one was answered."""
        suppressed = self._suppressed(message)
        nobody_left = len(suppressed) == len(message.content.recipients)
        made = message.content, message.guarantee, message.metadata, confirm.within if confirm else None
        claim = Claim(
            key=key,
            fingerprint=asked or fingerprint(*made),
            fingerprint_of_0_1=partial(fingerprint_of_0_1, *made),
            record=record_at_start(message),
            first_provider="" if nobody_left else self._dispatcher.first_choice(message.caller),
            sent_anyway=self._requests.without_log,
        )
        found = await self._requests.replay(key, claim.fingerprint)
        if found is not None:
            return _replayed(found)
        with self._requests.running(key, claim.fingerprint):
            try:
                claimed = await self._requests.begin(claim)
            except LogUnavailableError:
                if not claim.sent_anyway:
                    raise
                return await self._send_unproven(message, caller)
            if isinstance(claimed, Replay):
                return _replayed(claimed)
            if claimed.record is claim.record:  # A new message; another walk of a known one was counted before.
                self._metrics.adjusted(message.adjustments)
            return await self._send_claimed(message, caller, claimed, suppressed)

    async def _send_claimed(
        self, message: Message[Content], caller: Caller, claimed: ClaimedRequest, suppressed: _Suppressed
    ) -> Sent:
        sent = await self._walk(message, caller, claimed, suppressed)
        await claimed.finish(sent.record, kept=is_kept(sent.record, cut_short=sent.verdict.cut_short))
        return sent

    async def walk(self, message: Message[Content], caller: Caller, claimed: ClaimedRequest) -> Sent:
        """Sends a message that is claimed; its end is left to be put on record.

        Raises RequestInProgressError where another gateway has taken it over.
        """
        return await self._walk(message, caller, claimed, self._suppressed(message))

    async def _walk(
        self, message: Message[Content], caller: Caller, claimed: ClaimedRequest, suppressed: _Suppressed
    ) -> Sent:
        before = claimed.record
        message = replace(message, id=before.id, create_time=before.create_time)
        delivery = await self._deliver(message, caller, suppressed, journal=claimed, in_doubt=still_in_doubt(before))
        if claimed.taken_over:
            raise RequestInProgressError
        record = self._report(message, delivery, caller, earlier=before.attempts)
        return Sent(record=record, verdict=delivery.verdict)

    def _suppressed(self, message: Message[Content]) -> _Suppressed:
        return self._screen.among(message.caller, message.content.recipients)

    def _deliver(
        self,
        message: Message[Content],
        caller: Caller,
        suppressed: _Suppressed,
        *,
        journal: Journal | None = None,
        in_doubt: tuple[Attempt, ...] = (),
    ) -> Awaitable[Delivery]:
        """Walks the chain for those who are not suppressed; where nobody is left, asks nobody."""
        if suppressed:
            return self._deliver_to_the_rest(message, caller, suppressed, journal, in_doubt)
        return self._dispatcher.deliver(message, caller=caller, journal=journal, in_doubt=in_doubt)

    async def _deliver_to_the_rest(
        self,
        message: Message[Content],
        caller: Caller,
        suppressed: _Suppressed,
        journal: Journal | None,
        in_doubt: tuple[Attempt, ...],
    ) -> Delivery:
        for reason in suppressed.values():
            self._metrics.suppressed(message.content.channel, reason)
        screening = Screening(message=message, suppressed=suppressed)
        rest = screening.rest
        if rest is None:
            refusal = screening.refusal(self._clock.wall())
            return Delivery(attempts=(refusal,), verdict=judge([*in_doubt, refusal]))
        walked = await self._dispatcher.deliver(rest, caller=caller, journal=journal, in_doubt=in_doubt)
        return screening.marked(walked)

    def _report(
        self, message: Message[Content], delivery: Delivery, caller: Caller, earlier: tuple[Attempt, ...] = ()
    ) -> MessageRecord:
        """The record of a walk that has ended, counted and told."""
        record = record_of(message, delivery, self._clock.wall(), earlier)
        self._metrics.message(record.channel, record.state, self._clock.monotonic() - caller.began)
        self._tell(record, delivery)
        heed_refusals(self._screen, message, delivery.attempts)
        return record

    def _tell(self, record: MessageRecord, delivery: Delivery) -> None:
        """A line in the log for each message; at DEBUG where all went as it should."""
        if record.state is MessageState.SENT and len(delivery.attempts) == 1:
            self._events.debug("message sent", message_id=record.id, provider=record.provider)
            return
        write = self._events.warning if record.state is MessageState.FAILED else self._events.info
        write(
            "message " + record.state.value,
            message_id=record.id,
            channel=record.channel.value,
            provider=record.provider,
            attempts=[f"{a.provider} {a.kind.value}" for a in delivery.attempts if a.kind is not Kind.SKIPPED],
            skipped=[a.provider for a in delivery.attempts if a.kind is Kind.SKIPPED],
            possible_duplicate=record.possible_duplicate,
        )


def _replayed(replay: Replay) -> Sent:
    return Sent(record=replay.record, verdict=verdict_on(replay.record), replayed=True)
