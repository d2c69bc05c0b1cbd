"""One run of a scenario, in a process of its own."""

import asyncio
import json
import os
import random
import ssl
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import structlog

from relaypost_server import app
from relaypost_server.assembly import queueing
from relaypost_server.templates.check import open_templates
from tests.e2e.gateway import AWS_KEYS
from tests.sweep import calls, clock, database
from tests.sweep.checker import check
from tests.sweep.gateway import Running, clocked_site
from tests.sweep.scenarios import SCENARIOS
from tests.sweep.steps import LASTING, TROUBLE_SECONDS, Mode, Step, Steps
from tests.sweep.world import World

STOP_SECONDS = 31.0
"""A stop takes no longer, the delay for load balancers included."""
LEASE_LEAP = 65.0
"""Longer than any lease."""
ROUND = 5.6
"""A little longer than every loop pauses."""
_EXPECTED = frozenset({"message given up"})
TLS = ssl.create_default_context()
"""Reading every certificate authority takes longer than all else that a start does."""
TEMPLATES = open_templates(None, "en")


class _NoCollector:
    """A run is over before there is anything to collect."""

    @staticmethod
    def collect() -> None: ...

    freeze = collect


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be run."""

    scenario: str
    step: Step | None = None
    mode: Mode | None = None
    expected: frozenset[str] = frozenset()
    """Statements that a healthy gateway makes by itself."""


@dataclass(kw_only=True)
class Result:
    """What came of it."""

    violations: list[tuple[str, str]] = field(default_factory=list)
    steps: list[tuple[str, int]] = field(default_factory=list)
    fruitful: list[tuple[str, int]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """Statements of the first gateway after the world healed."""
    again: list[str] = field(default_factory=list)
    """Those that it made more than once: its loops'."""
    fired: bool = False
    error: str = ""
    """The harness itself failed."""
    log: list[str] = field(default_factory=list)


class Run:
    """The two parts of a run; the second one may be in another process than the first."""

    def __init__(self, case: Case, name: str, home: Path) -> None:
        self._case = case
        self._scenario = SCENARIOS[case.scenario]()
        settings = dict(self._scenario.settings)
        self.log: list[str] = []
        self.world = World(
            database=name,
            home=home / "1",
            steps=Steps(case.step, case.mode),
            dump=home / "dump.json",
            settings=settings,
            with_engine=self._scenario.with_engine,
            standby=case.mode is Mode.STANDBY,
        )

    def install(self) -> None:
        """Replaces what cannot run in virtual time; this process does nothing else."""
        clock.install()
        os.environ.update(AWS_KEYS)
        random.seed(0)
        parts: list[tuple[Any, str, Any]] = [
            (grpc.aio, "server", calls.FakeAioServer),
            (app, "Site", clocked_site),
            (app, "gateway_templates", lambda *_: TEMPLATES),
            (app, "gc", _NoCollector),
            (ssl, "create_default_context", lambda: TLS),
            (queueing, "open_queue", lambda *_, **__: self.world.engine()),
        ]
        for owner, name, replacement in parts:
            setattr(owner, name, replacement)
        structlog.configure(processors=[self._note], cache_logger_on_first_use=False)

    def _note(self, _logger: Any, method: str, event: Any) -> Any:
        text = " ".join([event.pop("event"), *(f"{k}={v}" for k, v in event.items() if k != "exc_info")])
        error = event.get("exc_info")
        if method == "exception" or error:
            raised = _raised(error)
            text = f"{text} ({raised})"
            self.world.incidents.append(text[:400])
        self.log.append(f"{clock.CLOCK.elapsed:8.3f} {method} {text}"[:300])
        raise structlog.DropEvent

    async def whole(self) -> Result:
        """All of it; does not return where the process is killed on its way."""
        world, scenario = self.world, self._scenario
        await world.open()
        await self._empty()
        if scenario.migrated:
            first = await world.start_gateway()
            await world.leap(1.0)
            first.note_lifelong()
        await scenario.prepare(world)
        world.steps.armed = True
        await scenario.act(world)
        world.steps.armed = False
        if world.steps.fired and self._case.mode in LASTING:
            await self._endure()
        return await self._aftermath()

    async def _endure(self) -> None:
        """The trouble goes on. What fails at once is tried again often: there each loop gets a turn in a leap."""
        if self._case.mode is Mode.HANG:
            await asyncio.sleep(TROUBLE_SECONDS)
            return
        for _ in range(round(TROUBLE_SECONDS / ROUND)):
            await self.world.leap(ROUND)

    async def after_kill(self) -> Result:
        """What follows where the first process was killed."""
        await self.world.open()
        await self.world.inherit()
        self.world.steps.fired = True
        return await self._aftermath()

    async def _empty(self) -> None:
        if self._scenario.migrated:
            await self.world.control.execute_script(database.EMPTY)
        else:
            await self.world.control.execute_script("DROP SCHEMA IF EXISTS relaypost CASCADE")
            await self.world.control.execute_script(database.RESET_CLOCK)

    async def _aftermath(self) -> Result:
        world, scenario = self.world, self._scenario
        world.trouble.heal()
        first = world.gateways[0] if world.gateways else None
        await world.leap(3.0)
        if first is not None and first.stopping is not None:
            await self._stopped(first)
        fresh = first is None or first.stopping is not None
        if first is not None:
            first.proxy.seen.clear()
        await world.start_gateway(home=world.home if fresh else world.home.parent / "2")
        for seconds in (ROUND, LEASE_LEAP, ROUND):
            await world.leap(seconds)
        await scenario.repeat(world)
        await world.until(lambda: scenario.over(world), rounds=12, seconds=ROUND)
        await world.leap(ROUND)
        return await self._judge(first)

    async def _stopped(self, first: Running) -> None:
        began = clock.CLOCK.elapsed
        assert first.stopping is not None
        await asyncio.wait([first.stopping], timeout=60.0)
        if not first.stopping.done():
            self.world.incidents.append("the stop does not end")
        elif clock.CLOCK.elapsed - began > STOP_SECONDS:
            self.world.incidents.append("the stop took too long")
        elif first.stopping.exception() is not None:
            self.world.incidents.append(f"the stop failed: {first.stopping.exception()!r}")

    def _expected(self) -> frozenset[str]:
        """Only a stream that goes on has the gateway look for changes."""
        return self._case.expected - (frozenset() if self.world.watching else {"db message_versions"})

    async def _judge(self, first: Running | None) -> Result:
        world = self.world
        facts = await world.facts()
        seen = sorted(first.proxy.seen) if first is not None else []
        again = sorted(label for label, count in first.proxy.seen.items() if count > 1) if first is not None else []
        if first is not None and first.stopping is None:
            facts.missing_tasks = [
                *first.missing(),
                *first.failing(),
                *(f"no more: {s}" for s in sorted(self._expected() - set(seen))),
            ]
        return Result(
            violations=[(v.promise, v.what) for v in check(facts)],
            steps=[(s.label, s.number) for s in world.steps.taken],
            fruitful=[(s.label, s.number) for s in sorted(world.steps.fruitful, key=str)],
            seen=seen,
            again=again,
            fired=world.steps.fired,
            log=self.log,
        )


def _raised(error: Any) -> str:
    if isinstance(error, BaseException):
        found: BaseException | None = error
    else:
        import sys

        found = sys.exc_info()[1]
    where = ""
    trace = found.__traceback__ if found else None
    while trace is not None:
        code = trace.tb_frame.f_code
        if "relaypost_server" in code.co_filename:
            where = f"{code.co_qualname}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(found).__name__}: {found} in {where}"


def run(case: Case, name: str, home: Path, *, after_kill: bool) -> None:
    """Runs it in this process, and leaves its result beside the dump."""
    this = Run(case, name, home)
    this.install()
    loop = clock.VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(this.after_kill() if after_kill else this.whole())
    except BaseException as error:
        import traceback

        result = Result(error="".join(traceback.format_exception(error))[-3000:], log=this.log)
        result.steps = [(s.label, s.number) for s in this.world.steps.taken]
    (home / "result.json").write_text(json.dumps(asdict(result)))
