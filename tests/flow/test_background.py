"""Background tasks go on, whatever a round raises."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from relaypost_server.core.background import Task, backoff
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow.background import BackgroundTasks, RunningTask
from relaypost_server.telemetry.metrics import Metrics
from tests.peers import ROOT


class Scene:
    """A registry with a short backoff, and rounds that do as they are told."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.tasks = BackgroundTasks(on_failure=self.metrics.background_failure, shortest=0.001, longest=0.002)
        self.rounds = 0
        self.script: Iterator[BaseException | None] = iter(())

    async def round(self) -> None:
        self.rounds += 1
        error = next(self.script, None)
        if error is not None:
            raise error

    def run(self, *script: BaseException | None) -> RunningTask:
        self.script = iter(script)
        return self.tasks.start(Task(name="recovery", round=self.round, pause=0.001))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    for running in made.tasks._running.values():
        await running.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "error",
    [
        IndexError("list index out of range"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
        asyncio.CancelledError(),
        BaseException("raised by an extension module"),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_a_round_that_raises_is_logged_counted_shown_and_repeated(scene: Scene, error: BaseException) -> None:
    with capture_logs() as logged:
        scene.run(error, error, error, LogUnavailableError())
        await until(lambda: scene.tasks.health()[0].failing)
        [failing] = scene.tasks.health()
        await until(lambda: scene.rounds > 5)
    assert (failing.name, failing.failures) == ("recovery", 3)
    assert failing.failing_since is not None
    failed = [e for e in logged if e["event"] == "background task failed"]
    assert [e["consecutive_failures"] for e in failed] == [1, 2, 3]
    assert failed[-1]["incident_id"] == failing.incident_id
    assert len({e["incident_id"] for e in failed}) == 3
    [healthy] = scene.tasks.health()
    assert (healthy.failures, healthy.failing, healthy.failing_since) == (0, False, None)
    assert healthy.incident_id == failing.incident_id
    assert 'relaypost_background_failures_total{task="recovery"} 3.0' in scene.metrics.render().decode()


async def test_a_cancelled_future_within_a_round_is_a_failure_like_any_other(scene: Scene) -> None:
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    rounds = 0

    async def round_() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            await cancelled

    scene.tasks.start(Task(name="matching", round=round_, pause=0.001))
    await until(lambda: rounds > 3)


async def test_an_unavailable_log_is_expected_and_waited_for_at_the_usual_pace(scene: Scene) -> None:
    with capture_logs() as logged:
        scene.run(*[LogUnavailableError()] * 5)
        await until(lambda: scene.rounds > 5)
    assert logged == []
    assert scene.tasks.health()[0].failures == 0


async def test_a_round_that_listens_on_has_recovered(scene: Scene) -> None:
    """It may not return for days."""
    tries = 0

    async def listen() -> None:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise IndexError
        await asyncio.Event().wait()

    scene.tasks.start(Task(name="hints_listen", round=listen))
    await until(lambda: tries == 4 and not scene.tasks.health()[0].failures)


async def test_a_task_ends_when_it_is_stopped_and_at_no_other_time(scene: Scene) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.Event().wait()

    running = scene.tasks.start(Task(name="hanging", round=hang))
    await began.wait()
    async with asyncio.timeout(10):
        await running.stop()
    assert running._loop.done()


async def test_a_stop_lets_a_round_end_within_its_grace(scene: Scene) -> None:
    ended, release, began = False, asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        nonlocal ended
        began.set()
        await release.wait()
        ended = True

    running = scene.tasks.start(Task(name="slow", round=slow))
    await began.wait()
    stopping = asyncio.create_task(running.stop(grace=30.0))
    await asyncio.sleep(0)
    release.set()
    async with asyncio.timeout(10):
        await stopping
    assert ended


async def test_rounds_that_never_wait_do_not_stop_the_event_loop(scene: Scene) -> None:
    scene.tasks.start(Task(name="busy", round=scene.round))
    await until(lambda: scene.rounds > 100)


async def test_two_tasks_of_one_name_are_a_mistake(scene: Scene) -> None:
    scene.run()
    with pytest.raises(ValueError, match="recovery"):
        scene.run()


ON_DEMAND = {
    "api/server.py": "the shutdown's wait for calls in flight",
    "app.py": "the start, and the signals that end it",
    "assembly/shutdown.py": "one shutdown",
    "flow/background.py": "runs the background tasks",
    "flow/fresh.py": "one question",
    "flow/silence.py": "one second send",
    "flow/walks.py": "one send",
    "flow/webhooks.py": "one attempt",
    "flow/worker.py": "one message",
    "names.py": "one look-up",
    "providers/_aws.py": "one renewal",
    "providers/_connecting.py": "one look-up",
    "providers/_oauth_tokens.py": "one renewal, and tells those who wait what failed",
    "providers/_sns_certificates.py": "one fetch",
    "queues/_pg_lookout.py": "works while somebody waits, and tells them what failed",
    "queues/_rabbit_lane.py": "one pause",
    "queues/_rabbit_link.py": "one close",
    "queues/_sqs_gathered.py": "works while something waits, and tells those who wait what failed",
    "queues/sqs.py": "one call",
    "store/overflow.py": "one write",
    "store/questions.py": "works while something is asked, and tells those who ask what failed",
}
"""Files that start an asyncio task: each ends by itself. What goes on by itself is a `core.background.Task`."""


def test_nothing_else_goes_on_by_itself() -> None:
    server = ROOT / "server" / "relaypost_server"
    starts = re.compile(r"\b(create_task|ensure_future)\(")
    found = {str(p.relative_to(server)) for p in server.rglob("*.py") if starts.search(p.read_text())}
    assert found == set(ON_DEMAND)


def test_the_backoff_doubles_between_its_bounds() -> None:
    seconds = [backoff(failures, shortest=1.0, longest=60.0) for failures in (1, 2, 3, 6, 7, 8, 10**9)]
    assert seconds == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0, 60.0]
