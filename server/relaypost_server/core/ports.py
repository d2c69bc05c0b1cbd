"""What the core asks of the world."""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.idempotency import Begun, Claim, InProgress, KnownRequest, Replay, Reused, Started
from relaypost_server.core.limits import Charge, Refusal
from relaypost_server.core.message import Channel, Content, Message, MessageState
from relaypost_server.core.otp import Conversion, Guess, Otp, OtpPolicy, OtpRequest, OtpSpent
from relaypost_server.core.otp_codes import StoredCode
from relaypost_server.core.outcome import Outcome
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.rendering import RenderedEmail, RenderedSms


class Provider(Protocol[Content]):
    """One way to send messages of one channel."""

    name: str
    channel: Channel

    async def send(self, message: Message[Content], *, timeout: float) -> Outcome:
        """Hands the message over once, within `timeout` seconds.

        A refusal is returned, whatever form it took. Only bugs and cancellation raise.
        """
        ...

    async def check(self) -> Sequence["Finding"]:
        """Asks the provider, without sending anything, whether a send would work now."""
        ...

    async def close(self) -> None:
        """Gives back every connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A request that a provider made, or somebody who would like to be taken for one."""

    path: str
    """As it was asked for, with the query."""
    headers: Mapping[str, str] = field(repr=False)
    """By their names in lower case."""
    body: bytes = field(repr=False)
    receive_time: datetime
    peer: str = ""
    """The sender's address or network, by which limits count."""


class Disbelief(StrEnum):
    """Why a callback is not believed."""

    NOT_SET_UP = "not_set_up"
    """The setting that its signature is checked against is missing."""
    UNSIGNED = "unsigned"
    FORGED = "forged"
    """The signature is not the provider's."""
    STALE = "stale"
    """It was signed too long ago, or in the future."""
    FOREIGN = "foreign"
    """It is signed, but belongs to somebody else."""
    MALFORMED = "malformed"


class CallbackRefusedError(Exception):
    """The callback is not believed, or cannot be read."""

    def __init__(self, why: Disbelief) -> None:
        super().__init__(why.value)
        self.why = why


class CallbackUnverifiedError(Exception):
    """What is needed to check the callback is out of reach now; the provider is to repeat it."""


@runtime_checkable
class CallbackReader(Protocol):
    """The second talent of some providers: they report what became of a message."""

    name: str
    largest_callback: int
    """Bytes."""
    reports: bool
    """Whether what its receipts need is set."""

    def check_head(self, head: Callback) -> None:
        """Refuses a callback whose path and headers alone show that it cannot be verified. The body is empty.

        Raises CallbackRefusedError.
        """
        ...

    async def read_callback(self, callback: Callback) -> Sequence[DeliveryEvent]:
        """What a callback of the provider reports about messages of this gateway, each only if it bears an id of one.

        Raises CallbackRefusedError or CallbackUnverifiedError.
        """
        ...


class DeliveryLog(Protocol):
    """Where receipts are kept."""

    async def record(self, events: Sequence[DeliveryEvent]) -> int:
        """Keeps the events and what they say about their messages; the number of those that were new.

        An event whose message is not on record yet waits for it. Raises LogUnavailableError.
        """
        ...

    async def match(self) -> int:
        """Lets messages catch up with events that came before them; how many events were looked at.

        Raises LogUnavailableError.
        """
        ...


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be found out."""
    WARNING = "warning"
    """Sends work, with a limit that will hurt."""
    FAILURE = "failure"
    """Sends do not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a provider's check found out."""

    subject: str
    """What was looked at, for example "credentials"."""
    level: Level
    detail: str
    fix: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuery:
    """Which messages to list; empty filters let everything through."""

    page_size: int = 50
    before: str | None = None
    """Only messages older than this one."""
    states: tuple[MessageState, ...] = ()
    channel: Channel | None = None
    recipient: str = ""
    provider: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None
    request_id: str = ""
    """By any caller and method; of a batch: all of its messages."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Messages with all of these."""
    metadata: Mapping[str, str] = field(default_factory=dict)


class LogUnavailableError(Exception):
    """The message log cannot be read now."""


class ReportsBusyError(LogUnavailableError):
    """The limits of running and of waiting reports are reached."""


class ReportTooSlowError(LogUnavailableError):
    """A report or a listing took longer than the settings allow."""


class MessageLog(Protocol):
    """Where every message is kept."""

    def append(self, record: MessageRecord) -> Awaitable[bool]:
        """Keeps the record. True once it is durable, in the database or in the local spool.

        False where neither has taken it within some 0.65 s: it waits in memory
        then, or had no room there. Never raises, for the message has already been
        sent.
        """
        ...

    async def get(self, message_id: str) -> MessageRecord | None:
        """One message, or None. Raises LogUnavailableError."""
        ...

    async def find(self, provider: str, provider_message_id: str) -> MessageRecord | None:
        """The newest message that a provider gave this id; its final provider, or one that was asked before or after.

        None where there is none. Raises LogUnavailableError.
        """
        ...

    async def versions(self, message_ids: Collection[str]) -> Mapping[str, object]:
        """Something for each of the messages on record that changes whenever the message does.

        Raises LogUnavailableError.
        """
        ...

    async def list(self, query: MessageQuery) -> Sequence[MessageRecord]:
        """At most `page_size` messages, newest first. Raises LogUnavailableError."""
        ...

    async def resolve(self, message_id: str, *, sent: bool) -> MessageRecord | None:
        """Settles an UNCONFIRMED message by hand; None where there is no such message in that state.

        Raises LogUnavailableError.
        """
        ...


class RequestLog(Protocol):
    """Where requests are claimed, over all replicas, and where their attempts are put on record.

    A claim holds for a lease, which each further write renews.
    """

    async def begin(self, claim: Claim) -> Begun | Replay | InProgress | Reused:
        """Claims a request and puts its first attempt on record, in one commit. Raises LogUnavailableError."""
        ...

    async def starting(self, record: MessageRecord, started: Started, *, fence: int) -> bool:
        """Puts the attempts so far and the next one on record. False: the claim was lost.

        Raises LogUnavailableError.
        """
        ...

    async def finish(self, record: MessageRecord, *, fence: int, kept: bool) -> bool:
        """Puts the end on record and gives the claim back. As durable as `MessageLog.append`; never raises."""
        ...

    async def record_unproven(self, record: MessageRecord, *, kept: bool) -> bool:
        """Records a message that was sent although `begin` was not answered. The claim may or may not exist.

        As durable as `MessageLog.append`; never raises.
        """
        ...

    async def abandoned(self, limit: int) -> Sequence[KnownRequest]:
        """At most `limit` requests whose lease has ended. Raises LogUnavailableError."""
        ...

    async def settle(self, record: MessageRecord, *, fence: int, kept: bool, waiting: bool = False) -> bool:
        """Ends an abandoned request. False: it was not abandoned after all. Raises LogUnavailableError.

        `waiting`: a queued message, which goes back to the queue in the same transaction unless it is `kept`.
        """
        ...

    async def forget(self, *, older_than: float) -> None:
        """Forgets finished requests that were made longer ago than so many seconds. Raises LogUnavailableError."""
        ...


class Renderer(Protocol):
    """Fills templates in."""

    def variables(self, name: str) -> Collection[str]:
        """What a template takes; nothing where there is no such template."""
        ...

    def email(self, name: str, variables: Mapping[str, str], locale: str = "") -> RenderedEmail:
        """The email. Raises RenderError."""
        ...

    def sms(self, name: str, variables: Mapping[str, str], locale: str = "") -> RenderedSms:
        """The text message. Raises RenderError."""
        ...


class OtpStore(Protocol):
    """Where codes are kept and limits are counted, over all replicas, by the database's clock.

    Every method raises LogUnavailableError.
    """

    async def create(
        self, otp_id: str, request: OtpRequest, code: StoredCode, *, charged: Sequence[Charge], policy: OtpPolicy
    ) -> Otp | None:
        """Keeps a new code, or finds the one that an earlier request of the same name made.

        None where that request had other content. Raises LimitReachedError.
        """
        ...

    async def find(self, otp_id: str, caller: str, *, attempts: int) -> Otp | None:
        """A code that lives and still has attempts left, of so many."""
        ...

    async def resend(
        self, otp: Otp, *, renewed: StoredCode | None, charged: Sequence[Charge], policy: OtpPolicy
    ) -> Otp | None:
        """Counts one more message of a code that lives, with a new code where there is one.

        None where it lives no longer. Raises LimitReachedError.
        """
        ...

    async def guess(self, otp_id: str, caller: str, length: int) -> Guess | Refusal | OtpSpent | None:
        """Takes one attempt from a code of so many digits that lives, before anything is compared.

        None where there is no such code, and where it has another length: then no attempt is taken.
        A Refusal where the destination had too many wrong codes.
        """
        ...

    async def use(self, guess: Guess) -> bool:
        """Uses the code up. False: somebody else did."""
        ...

    async def cancel(self, otp_id: str, caller: str) -> None:
        """Ends a code's life, if there is such a code."""
        ...

    async def sweep(self, *, retention: float) -> None:
        """Empties codes whose life is over, and forgets those that were made longer ago than so many seconds."""
        ...

    async def conversions(self, *, window: float) -> Sequence[Conversion]:
        """What became of the codes that were made within so many seconds."""
        ...
