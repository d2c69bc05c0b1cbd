"""Everything around the gateways of one run, and all that is known of it."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from relaypost.v1 import message_pb2, messaging_service_pb2

from relaypost_server.store.spool.file import SUFFIX
from tests.e2e.gateway import AWS_KEYS
from tests.sweep import spool
from tests.sweep.calls import CallFailedError
from tests.sweep.checker import Facts, Submission, Told
from tests.sweep.clock import CLOCK
from tests.sweep.database import Control, upstream
from tests.sweep.engine import FakeEngine
from tests.sweep.gateway import Running, number_tasks
from tests.sweep.peers import Peers, peers
from tests.sweep.proxy import pg_proxy
from tests.sweep.steps import Steps
from tests.sweep.trouble import Trouble

SETTLE_SECONDS = 0.15
"""After a leap, for what became due in it; longer than the queue's polls pause."""
KILLED = 9
"""The exit code of a process that was killed."""
_SETTINGS = {
    "RELAYPOST_AUTO_MIGRATE": "false",
    "RELAYPOST_TWILIO_LOOK_UPS": "false",
    "RELAYPOST_TWILIO_PRICES_A_MINUTE": "0",
    "RELAYPOST_WEBHOOK_ALLOW_HTTP": "true",
    "RELAYPOST_WEBHOOK_PORTS": "1-65535",
    "RELAYPOST_WEBHOOK_NETWORKS": "127.0.0.0/8",
    "RELAYPOST_WEBHOOK_RETRY_DELAYS": "5,5,5,30,30,60",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A call that a scenario makes about one message."""

    token: str
    method: str
    request: Any
    answer: Callable[[bytes], Any]
    keyed: bool = False
    """Repeated under its request_id until it is answered."""
    at_most_once: bool = False
    by_id: bool = False
    """The message bears no token: it goes by its id."""


@dataclass
class World:
    """One run."""

    database: str
    home: Path
    steps: Steps
    dump: Path
    """Where a process that is killed leaves what its peers know."""
    settings: Mapping[str, str]
    with_engine: bool = False
    standby: bool = False
    """The gateway's URL asks for a server that writes."""
    notes: dict[str, str] = field(default_factory=dict)
    """What scenarios remember; it outlives a process."""
    told: dict[str, Told] = field(default_factory=dict)
    watched: dict[str, list[str]] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    incidents: list[str] = field(default_factory=list)
    killed: bool = False
    hooked: bool = False
    gateways: list[Running] = field(default_factory=list)
    running: AsyncExitStack = field(default_factory=AsyncExitStack)
    _call: "asyncio.Task[Any] | None" = None
    _watches: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        number_tasks(loop)
        loop.set_exception_handler(self._unheard)
        self.trouble = Trouble(self.steps, self)
        self.control = await Control.open(self.database)
        self.running.callback(self.control.close)
        self.peers: Peers = await self.running.enter_async_context(peers(self.trouble))
        spool.install(self.trouble, loop)

    def engine(self) -> FakeEngine:
        return FakeEngine(self.control, self.trouble)

    @property
    def gateway(self) -> Running:
        """That callers talk to: the last one that was started."""
        return self.gateways[-1]

    async def start_gateway(self, *, home: Path | None = None) -> Running:
        proxy = await self.running.enter_async_context(pg_proxy(upstream(), self.trouble, self.control.tell_time))
        environ = AWS_KEYS | self.peers.environ() | _SETTINGS | dict(self.settings)
        if self.with_engine:
            environ["RELAYPOST_QUEUE_URL"] = "amqp://127.0.0.1/"
        made = Running(len(self.gateways) + 1, environ, proxy, self._database(), home or self.home)
        self.gateways.append(made)
        await made.start()
        return made

    def _database(self) -> str:
        return f"{self.database}?sslmode=disable" + ("&target_session_attrs=read-write" if self.standby else "")

    # What goes wrong.

    def cancel(self) -> None:
        if self._call is not None and not self._call.done():
            self._call.cancel()
        else:
            self.gateways[0].cancel_jobs()

    def stop(self) -> None:
        self.gateways[0].stop()

    def kill(self) -> None:
        known = {
            "elapsed": CLOCK.elapsed,
            "notes": self.notes,
            "told": [asdict(t) for t in self.told.values()],
            "submissions": [asdict(s) for s in self.peers.submissions],
            "posted": self.peers.posted,
            "bodies": self.peers.bodies,
            "faults": self.peers.faults,
            "watched": self.watched,
            "hooked": self.hooked,
            "incidents": self.incidents,
        }
        self.dump.write_text(json.dumps(known))
        os._exit(KILLED)

    async def inherit(self) -> None:
        """Takes over what a process that was killed left: its peers live on, at other ports."""
        known = json.loads(self.dump.read_text())
        CLOCK.elapsed = known["elapsed"]
        self.notes, self.watched, self.hooked = known["notes"], known["watched"], known["hooked"]
        self.told = {t["token"]: Told(**t) for t in known["told"]}
        self.peers.submissions += [Submission(**s) for s in known["submissions"]]
        self.peers.posted.update(known["posted"])
        self.peers.bodies += known["bodies"]
        self.peers.faults.update(known["faults"])
        self.incidents += known["incidents"]
        self.killed = True
        if self.hooked:
            await self.control.execute("UPDATE relaypost.webhook_endpoints SET url = $1", self.hook_url)
        await self.control.execute("UPDATE sweep.pointers SET taken = false")  # As a broker does for who is gone.

    @property
    def hook_url(self) -> str:
        """Where the caller wants to hear of its messages."""
        return f"{self.peers.url('webhook')}/hook"

    # What callers do.

    async def ask(self, wanted: Wanted) -> Any:
        """Makes the call; the answer, or None where it failed or did not come."""
        self._tell(wanted, answer="")
        try:
            answer = await self.call(wanted.method, wanted.request, wanted.answer)
        except CallFailedError as error:
            self._tell(wanted, answer="error", code=error.code, reason=error.reason)
            return None
        except asyncio.CancelledError:
            return None
        message = getattr(answer, "message", None)
        if message is not None:
            self._tell(
                wanted,
                answer=state_of(message),
                message_id=message.message_id,
                possible_duplicate=message.possible_duplicate,
            )
        return answer

    def _tell(self, wanted: Wanted, **heard: Any) -> None:
        if wanted.token:
            token = (wanted.by_id and heard.get("message_id")) or wanted.token
            self.told[wanted.token] = Told(token=token, keyed=wanted.keyed, at_most_once=wanted.at_most_once, **heard)

    async def call(self, method: str, request: Any, answer: Callable[[bytes], Any]) -> Any:
        """One call. Raises CallFailedError, or CancelledError where it was cancelled on its way."""
        self._call = self.gateway.begin(method, request, answer)
        return await self._call

    async def repeat(self, wanted: Wanted) -> Any:
        """Repeats a call as a client does whose request has a name, until it is answered."""
        answer = None
        for _ in range(6):
            answer = await self.ask(wanted)
            told = self.told.get(wanted.token)
            if answer is not None or told is None or told.code not in ("UNAVAILABLE", "ABORTED", ""):
                return answer
            await self.leap(6.0)
        return answer

    def watch(self, message_id: str) -> None:
        """Follows a message until its stream ends."""
        states = self.watched.setdefault(message_id, [])
        gateway = self.gateway

        async def follow() -> None:
            request = messaging_service_pb2.WatchMessageRequest(message_id=message_id)
            read = messaging_service_pb2.WatchMessageResponse.FromString
            try:
                async for response in gateway.server.watch("MessagingService/WatchMessage", request, read):
                    states.append(state_of(response.message))
            except CallFailedError:
                return
            if gateway.stopping is None:
                self.over.add(message_id)

        self._watches.append(gateway.run(follow()))

    @property
    def watching(self) -> bool:
        """Whether some stream goes on."""
        return not all(watch.done() for watch in self._watches)

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """A provider's callback; the status, 0 where no answer came."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30.0)) as session,
                session.post(f"http://{self.gateway.http}{path}", data=body, headers=headers) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    # How time passes.

    async def leap(self, seconds: float) -> None:
        """Lets time pass at once; everything that was due in it happens once."""
        CLOCK.leap = max(seconds - SETTLE_SECONDS, 0.0)
        await asyncio.sleep(seconds)

    async def until(self, condition: Callable[[], Awaitable[bool]], *, rounds: int, seconds: float) -> bool:
        """Lets time pass in leaps until the condition holds."""
        for _ in range(rounds):
            if await condition():
                return True
            await self.leap(seconds)
        return await condition()

    async def facts(self) -> Facts:
        """All that is known at the end."""
        return Facts(
            told=list(self.told.values()),
            submissions=self.peers.submissions,
            entries=await self.control.entries(),
            changes=await self.control.changes(),
            watched=self.watched,
            over=self.over,
            events=await self.control.events(),
            posted=self.peers.posted,
            hooked=self.hooked,
            killed=self.killed,
            left_over=await self._left_over(),
            incidents=self.incidents,
        )

    async def _left_over(self) -> Mapping[str, int]:
        found = dict(await self.control.left_over())
        for gateway in self.gateways:
            if gateway.stopping is None:
                health = await gateway.begin(
                    "MessagingService/GetProviderHealth",
                    messaging_service_pb2.GetProviderHealthRequest(),
                    messaging_service_pb2.GetProviderHealthResponse.FromString,
                )
                found[f"records that wait in gateway {gateway.number}"] = health.message_log.waiting
        living = {gateway.number for gateway in self.gateways if gateway.stopping is None}
        files = [f for f in self.home.parent.glob("*/spool/*") if f.suffix == SUFFIX]
        found["spool files"] = max(0, len(files) - len(living))  # Each gateway has one of its own.
        found["spool files set aside"] = len(list(self.home.parent.glob("*/spool/*.corrupt")))
        found["spool files with refused records"] = len(list(self.home.parent.glob("*/spool/*.refused")))
        return found

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        task: Any = context.get("future") or context.get("task")
        work: Any = task.get_coro() if isinstance(task, asyncio.Task) else task
        name = getattr(work, "__qualname__", type(work).__name__)
        self.incidents.append(f"{context['message']} ({name}): {type(error).__name__}: {error}"[:300])


def state_of(message: message_pb2.Message) -> str:
    return message_pb2.MessageState.Name(message.state).removeprefix("MESSAGE_STATE_").lower()
