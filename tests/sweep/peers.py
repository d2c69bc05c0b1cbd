"""Providers and a receiver of webhooks, over real sockets: each exchange is a step."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes.http import HANG, RESET, FakeHttp, Reply, Request, answer, fake_http
from tests.faults.providers import _READERS, _TOKEN, FAULT, OVER_HTTP, TAKEN, Providers
from tests.sweep.checker import Submission
from tests.sweep.steps import LASTING, Mode
from tests.sweep.trouble import Trouble

WEBHOOK = "webhook"
_SENDS = {"ses": "outbound-emails", "sendgrid": "/mail/send", "sns": "", "twilio": "Messages.json"}
"""What the path of a request holds that submits a message."""
_DATABASE = frozenset({Mode.READ_ONLY, Mode.STANDBY})


@dataclass
class Peers:
    """Everybody but the database, and what each of them got whole."""

    trouble: Trouble
    http: dict[str, FakeHttp]
    submissions: list[Submission] = field(default_factory=list)
    posted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """States that webhooks told of, by message."""
    faults: dict[str, int] = field(default_factory=dict)
    """How often a provider says that it failed, before it takes what it gets."""
    losses: dict[str, int] = field(default_factory=dict)
    """How often a provider's connection ends before it does anything."""
    bodies: list[str] = field(default_factory=list)
    """The text of each message that a provider got."""

    def url(self, name: str) -> str:
        return self.http[name].url

    def environ(self) -> dict[str, str]:
        """The settings of a gateway that knows these providers."""
        fakes = Providers(smtp=None, **{name: self.http[name] for name in OVER_HTTP})  # type: ignore[arg-type]
        fakes.smtp = _NoPort  # type: ignore[assignment]
        return {k: v for k, v in fakes.environ().items() if not k.startswith(("SMTP_", "RELAYPOST_SMTP"))}

    def _submitted(self, name: str, request: Request) -> Reply:
        if _SENDS[name] not in request.line or not request.line.startswith("POST"):
            return answer(200, b"{}", Content_Type="application/json")
        message_id, text = _READERS[name](request)
        found = _TOKEN.search(text)
        self.bodies.append(request.body.decode())
        fails, lost = _take(self.faults, name), _take(self.losses, name)

        def note(taken: bool) -> None:
            token = found.group(1) if found else message_id
            submission = Submission(
                provider=name, token=token, message_id=message_id, taken=taken and not (fails or lost)
            )
            self.submissions.append(submission)

        return self._exchange(name, note, RESET if lost else FAULT[name] if fails else TAKEN[name])

    def _told(self, request: Request) -> Reply:
        event = json.loads(request.body)

        def note(taken: bool) -> None:
            if taken:
                self.posted[event["data"]["message_id"]].append(event["data"]["state"])

        return self._exchange(WEBHOOK, note, answer(200))

    def _exchange(self, peer: str, note: Callable[[bool], None], usual: Reply) -> Reply:
        """What the peer answers; whether it does what it is asked is noted."""
        trouble, victim = self.trouble.of(peer), self.trouble.victim
        mode = trouble or self.trouble.steps.touch(f"{peer} exchange")
        if mode is Mode.KILL_BEFORE:
            note(False)
            victim.kill()
        if mode is Mode.LOST_BEFORE or trouble is Mode.GONE:
            note(False)
            return RESET
        note(True)
        if mode in LASTING and mode is not None and not trouble:
            self.trouble.begin("db" if mode in _DATABASE else peer, mode)
        match mode:
            case Mode.KILL_AFTER:
                victim.kill()
            case Mode.LOST_AFTER | Mode.GONE:
                return RESET
            case Mode.HANG:
                return HANG
            case Mode.CANCEL:
                victim.cancel()
            case Mode.STOP:
                victim.stop()
        return usual


def _take(counts: dict[str, int], name: str) -> bool:
    left = counts.get(name, 0)
    counts[name] = max(left - 1, 0)
    return left > 0


class _NoPort:
    port = 0


@asynccontextmanager
async def peers(trouble: Trouble) -> AsyncIterator[Peers]:
    async with fake_http() as ses, fake_http() as sendgrid, fake_http() as sns, fake_http() as twilio:
        http = {"ses": ses, "sendgrid": sendgrid, "sns": sns, "twilio": twilio}
        async with fake_http() as http[WEBHOOK]:
            made = Peers(trouble, http)
            for name in OVER_HTTP:
                http[name].reply = lambda request, name=name: made._submitted(name, request)  # type: ignore[misc]
            http[WEBHOOK].reply = made._told
            yield made
