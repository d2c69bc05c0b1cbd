"""Faults, when they happen, and how they are brought about."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from tests.fakes import smtp
from tests.fakes.http import HANG, RESET, FakeHttp, Reply, answer
from tests.fakes.proxy import Proxy
from tests.faults.callers import Callers
from tests.faults.database import Database
from tests.faults.providers import EVERY, FAULT, TAKEN, Providers
from tests.faults.replica import Replica

MEAN_GAP = 0.5
"""Seconds between two faults, on average."""
LONGEST = 3.0
"""Seconds that a fault lasts at most."""
LONGEST_LIFE = 2.0
"""Seconds for which a gateway that has been started again is safe, at most."""
MODES = ("hang", "reset", "503", "429", "401", "garbage", "drip", "slow")
KILL, ROLL, CUT, HOLD, STOP, COLLECTOR = (
    "kill -9",
    "SIGTERM",
    "database cut",
    "database held",
    "database stopped",
    ("collector hangs"),
)
_SMTP = {
    "hang": {".": smtp.HANG},
    "reset": {".": smtp.BREAK_OFF},
    "503": {".": "451 4.3.0 later"},
    "429": {"MAIL": "451 4.7.1 slow down"},
    "401": {"MAIL": "530 5.7.0 who are you"},
    "garbage": {".": "garbage"},
    "drip": {"DATA": smtp.HANG},
    "slow": {"RCPT": smtp.HANG},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong `at` seconds after the beginning, for some `seconds`."""

    at: float
    kind: str
    target: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.target} {self.kind}".strip()


def anything(draw: random.Random, seconds: float) -> list[Fault]:
    """Faults of every kind, for a run of some seconds."""
    faults, at = [], 1.0
    while (at := at + draw.expovariate(1 / MEAN_GAP)) < seconds:
        kind = draw.choices(("provider", KILL, ROLL, CUT, HOLD, COLLECTOR), (60, 9, 8, 8, 7, 8))[0]
        target = draw.choice(EVERY) if kind == "provider" else ""
        kind = draw.choice(MODES) if kind == "provider" else kind
        faults.append(Fault(at, kind, target, draw.uniform(0.3, LONGEST)))
    return faults


def kills(draw: random.Random, count: int) -> list[Fault]:
    """Nothing but so many kills, at random points."""
    at, faults = 1.0, []
    for _ in range(count):
        at += draw.uniform(0.1, 1.5)
        faults.append(Fault(at, KILL))
    return faults


def outage(seconds: float) -> list[Fault]:
    """PostgreSQL is stopped for so long, and starts again."""
    return [Fault(2.0, STOP, seconds=seconds)]


@dataclass
class Stage:
    """Everything that can be made to fail."""

    providers: Providers
    replicas: Sequence[Replica]
    database: Database
    proxy: Proxy
    collector: FakeHttp
    callers: Callers
    draw: random.Random
    excused_seconds: float
    """How much of a killed gateway's last answers the log may lack; 0 where it must have them all."""

    def __post_init__(self) -> None:
        self.injected: Counter[str] = Counter()
        self._latest: dict[str, Fault] = {}

    async def play(self, faults: Sequence[Fault]) -> None:
        """Brings about each fault in its time, and returns once all are over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as running:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
                running.create_task(self._bring_about(fault))

    async def _bring_about(self, fault: Fault) -> None:
        makers: dict[str, Callable[[Fault], Awaitable[None]]] = {
            KILL: self._kill,
            ROLL: self._roll,
            CUT: self._cut,
            HOLD: self._hold,
            STOP: self._stop,
            COLLECTOR: self._hang_collector,
        }
        await makers.get(fault.kind, self._spoil)(fault)

    async def _spoil(self, fault: Fault) -> None:
        """A provider fails; of several faults of one provider the latest counts."""
        self.injected[fault.name] += 1
        self._latest[fault.target] = fault
        self._set(fault.target, fault.kind)
        await asyncio.sleep(fault.seconds)
        if self._latest[fault.target] is fault:
            self._set(fault.target, "")

    def _set(self, provider: str, mode: str) -> None:
        if provider == "smtp":
            self.providers.smtp.replies = dict(_SMTP.get(mode, {}))
        else:
            self.providers.over_http(provider).always(_reply(provider, mode))

    async def _kill(self, fault: Fault) -> None:
        number, replica = await self._serving()
        async with replica.turning:
            self.injected[fault.name] += 1
            await replica.kill()
            if self.excused_seconds:
                self.callers.excuse(number, self.excused_seconds)
            await self._bring_back(replica)

    async def _roll(self, fault: Fault) -> None:
        _, replica = await self._serving()
        async with replica.turning:
            self.injected[fault.name] += 1
            await replica.stop()
            await self._bring_back(replica)

    async def _bring_back(self, replica: Replica) -> None:
        """Leaves it alone for a while, so that there is something to end the next time."""
        await replica.start()
        await asyncio.sleep(self.draw.uniform(0.1, LONGEST_LIFE))

    async def _serving(self) -> tuple[int, Replica]:
        """One of the gateways that nobody is about to end, once another one is left to serve."""
        while True:
            free = [(n, r) for n, r in enumerate(self.replicas) if not r.turning.locked()]
            if len(free) >= min(2, len(self.replicas)):
                return self.draw.choice(free)
            await asyncio.sleep(0.05)

    async def _cut(self, fault: Fault) -> None:
        self.injected[fault.name] += 1
        self.proxy.cut()
        await asyncio.sleep(fault.seconds)
        self.proxy.mend()

    async def _hold(self, fault: Fault) -> None:
        self.injected[fault.name] += 1
        self.proxy.hold()
        await asyncio.sleep(fault.seconds)
        self.proxy.release()

    async def _stop(self, fault: Fault) -> None:
        self.injected[fault.name] += 1
        await self.database.stop()
        await asyncio.sleep(fault.seconds)
        await self.database.start()
        self.proxy.path = self.database.socket

    async def _hang_collector(self, fault: Fault) -> None:
        self.injected[fault.name] += 1
        self.collector.always(HANG)
        await asyncio.sleep(fault.seconds)
        self.collector.always(answer(200))


def _reply(provider: str, mode: str) -> Reply:
    """What a provider over HTTP answers in this mode; well where there is none."""
    taken = TAKEN[provider]
    return {
        "hang": HANG,
        "reset": RESET,
        "503": FAULT[provider],
        "429": answer(429, b"{}", Retry_After="1"),
        "401": answer(401, b"{}"),
        "garbage": Reply(b"\x16\x03\x01 garbage", then="close"),
        "drip": replace(taken, pause=0.05),
        "slow": replace(taken, delay=0.3),
    }.get(mode, taken)
