"""Real gateways under load while everything around them fails, at random but repeatably.

    python -m tests.faults.chaos --seed 7 --minutes 2
    python -m tests.faults.chaos --kills 200 --rate 300 --replicas 2
    python -m tests.faults.chaos --database-outage 60

Ends with 1 where a message was lost, duplicated against its guarantee, or left
out of the log. The same seed plans the same faults and the same messages.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from relaypost import AsyncClient, RelaypostError

from tests.fakes.http import answer, fake_http
from tests.fakes.proxy import proxy
from tests.faults import database, trouble
from tests.faults.callers import Callers
from tests.faults.history import History, Offence, Result, check
from tests.faults.providers import providers
from tests.faults.replica import Replica
from tests.faults.trouble import Fault, Stage
from tests.faults.world import KEYED_SENDS, LEASE_SECONDS, SHORT_LEASE, every
from tests.peers import open_up

SPOOLED = find_spec("relaypost_server.store.spool") is not None
"""Whether the log outlives a kill while the database is away."""
EXCUSED_SECONDS = 0.0 if SPOOLED else 15.0
SETTLE_SECONDS = 60.0
"""How long the log may take to become complete once everything works again."""
KINDS = ("lost", "duplicated", "unlogged", "phantom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    faults: Sequence[Fault]
    seconds: float
    rate: int = 200
    replicas: int = 2
    keyed: bool = KEYED_SENDS
    all_succeed: bool = False
    """Whether every single call has to be answered with a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it."""

    seed: int
    injected: Counter[str]
    answers: Counter[str]
    messages: int
    submissions: int
    excused: int
    offences: Sequence[Offence] = field(default_factory=tuple)
    bad_exits: Sequence[int] = ()
    not_answered: int = 0
    """Calls that failed or had no answer, where none should."""

    @property
    def good(self) -> bool:
        return not (self.offences or self.bad_exits or self.not_answered)

    def __str__(self) -> str:
        counts = Counter(offence.kind for offence in self.offences)
        sections = {
            "injected": dict(sorted(self.injected.items())),
            "answers": dict(sorted(self.answers.items())),
            "totals": {"messages": self.messages, "submissions": self.submissions, "excused": self.excused},
            "broken promises": {kind: counts[kind] for kind in KINDS},
        }
        lines = [f"seed {self.seed}: {'all promises kept' if self.good else 'PROMISES BROKEN'}"]
        for title, numbers in sections.items():
            lines += [f"  {title}", *(f"    {name:<44}{number:>8}" for name, number in numbers.items())]
        lines += [f"  {offence}" for offence in self.offences[:50]]
        if self.bad_exits:
            lines.append(f"  gateways that were asked to stop ended with {sorted(set(self.bad_exits))}")
        if self.not_answered:
            lines.append(f"  {self.not_answered} calls failed that should not")
        return "\n".join(lines)


async def run(plan: Plan, home: Path) -> Report:
    """Plays the plan on a database in `home`."""
    async with stage(plan, home) as playing:
        stop = asyncio.Event()
        sending = asyncio.create_task(playing.callers.send_until(stop))
        try:
            await asyncio.gather(playing.play(plan.faults), asyncio.sleep(plan.seconds))
        finally:
            stop.set()
        await sending
        await _settle(playing.replicas)
        for replica in playing.replicas:
            await replica.stop()
        history = History(
            calls=playing.callers.calls,
            submissions=playing.providers.submissions(),
            logged=await database.read_log(playing.database.url),
        )
        return _report(plan, playing, history)


def _report(plan: Plan, played: Stage, history: History) -> Report:
    failed = sum(call.result in (Result.FAILED, Result.UNKNOWN) for call in history.calls)
    logged = {entry.token for entry in history.logged}
    return Report(
        seed=plan.seed,
        injected=played.injected,
        answers=played.callers.answers,
        messages=len(history.calls),
        submissions=len(history.submissions),
        excused=sum(call.excused and bool(call.message_id) and call.token not in logged for call in history.calls),
        offences=check(history),
        bad_exits=[code for replica in played.replicas for code in replica.exit_codes if code != 0],
        not_answered=failed if plan.all_succeed else 0,
    )


@asynccontextmanager
async def stage(plan: Plan, home: Path) -> AsyncIterator[Stage]:
    """Everything that takes part, and the end of all of it whatever happens."""
    async with AsyncExitStack() as parts:
        store = await parts.enter_async_context(database.running(home))
        between = await parts.enter_async_context(proxy(store.socket))
        fakes = await parts.enter_async_context(providers())
        collector = await parts.enter_async_context(fake_http(answer(200)))
        environ = {
            **fakes.environ(),
            **every("TIMEOUT_SECONDS", "1"),
            **every("BREAKER_OPEN_SECONDS", "2"),
            "RELAYPOST_SHORTEST_ATTEMPT_SECONDS": "0.2",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.1",
        }
        replicas = []
        for number in range(plan.replicas):
            own = SHORT_LEASE | {"RELAYPOST_DATA_DIR": str(home / f"replica-{number}")}
            replicas.append(Replica(environ | own, store.through(between.port)))
            parts.push_async_callback(replicas[-1].close)
        for replica in replicas:
            await replica.start()
        callers = Callers([r.target for r in replicas], seed=plan.seed, rate=plan.rate, keyed=plan.keyed)
        parts.push_async_callback(callers.close)
        yield Stage(
            providers=fakes,
            replicas=replicas,
            database=store,
            proxy=between,
            collector=collector,
            callers=callers,
            draw=random.Random(plan.seed + 1),
            excused_seconds=EXCUSED_SECONDS,
        )


async def _settle(replicas: Sequence[Replica]) -> None:
    """Waits until no gateway has anything left to write, and no lease of a dead one runs any more."""
    async with asyncio.timeout(SETTLE_SECONDS):
        for replica in replicas:
            async with AsyncClient(replica.target) as client:
                while not await _written(client):
                    await asyncio.sleep(0.1)
    if KEYED_SENDS:
        await asyncio.sleep(2 * LEASE_SECONDS)


async def _written(client: AsyncClient) -> bool:
    with contextlib.suppress(RelaypostError):
        health = (await client.provider_health()).message_log
        return health.available and health.waiting == 0
    return False


def planned_from(arguments: Sequence[str]) -> Plan:
    """The run that the command line asks for."""
    options = _options(arguments)
    draw = random.Random(options.seed)
    seconds = 0.0
    if options.kills:
        faults = trouble.kills(draw, options.kills)
    elif options.database_outage:
        faults = trouble.outage(options.database_outage)
    else:
        seconds = options.minutes * 60
        faults = trouble.anything(draw, seconds)
    return Plan(
        seed=options.seed,
        faults=faults,
        seconds=seconds,
        rate=options.rate,
        replicas=options.replicas,
        keyed=KEYED_SENDS and not options.database_outage,
        all_succeed=bool(options.database_outage),
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats a run; default: another each time")
    parser.add_argument("--minutes", type=float, default=0.5, help="how long faults of all kinds happen; default 0.5")
    parser.add_argument("--rate", type=int, default=200, help="messages a second; default 200")
    parser.add_argument("--replicas", type=int, default=2, help="gateways on the one database; default 2")
    parser.add_argument("--kills", type=int, default=0, help="instead of all faults: so many kill -9")
    parser.add_argument(
        "--database-outage", type=float, default=0, help="instead: PostgreSQL stopped for so many seconds"
    )
    return parser.parse_args(arguments)


async def _main(plan: Plan) -> Report:
    """Ends all that it started on SIGTERM as on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="relaypost-chaos-") as folder:
        return await run(plan, open_up(Path(folder)))


def main(arguments: Sequence[str]) -> int:
    plan = planned_from(arguments)
    print(f"seed {plan.seed}, {len(plan.faults)} faults, {plan.rate} messages/s, {plan.replicas} gateways", flush=True)
    try:
        report = asyncio.run(_main(plan))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
