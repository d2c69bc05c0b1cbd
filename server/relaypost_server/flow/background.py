"""Runs background tasks. Whatever a round raises, the task goes on until the gateway stops it."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from relaypost_server.cancellation import is_cancelled
from relaypost_server.core.background import Task, TaskHealth, backoff
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow.clock import Clock

SHORTEST_BACKOFF = 1.0
"""Seconds before a round that failed is repeated; doubled each time."""
LONGEST_BACKOFF = 60.0

log = structlog.get_logger("relaypost.background")


class RunningTask:
    """One supervised task, from its start to its stop."""

    def __init__(self, task: Task, registry: "BackgroundTasks") -> None:
        self.task = task
        self.health = TaskHealth(name=task.name)
        self._registry = registry
        self._stopping = asyncio.Event()
        self._loop = asyncio.create_task(self._run(), name=task.name)

    def finish(self) -> None:
        """Begins no other round; the present one goes on."""
        self._stopping.set()

    async def stop(self, *, grace: float = 0.0) -> None:
        """Begins no other round, and lets the present one run for at most `grace` seconds."""
        self.finish()
        if grace:
            await asyncio.wait([self._loop], timeout=grace)
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)

    async def _run(self) -> None:
        await self._wait(self.task.first)
        while not self._stopping.is_set():
            await self._wait(await self._round())

    async def _round(self) -> float:
        """Seconds until the next one."""
        timer = self._watch_for_recovery()
        try:
            pause = await self.task.round()
        except LogUnavailableError:  # Expected, and reported by the message log itself.
            return self.task.pause
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            # Something the round awaited may have been cancelled: that is a failure like any other. Only a
            # cancellation of this very task ends it.
            if isinstance(error, asyncio.CancelledError) and (self._stopping.is_set() or is_cancelled()):
                raise
            return self._failed(error)
        finally:
            if timer is not None:
                timer.cancel()
        self._recovered()
        return self.task.pause if pause is None else pause

    def _watch_for_recovery(self) -> asyncio.TimerHandle | None:
        """Some rounds listen for days: one that has gone on for longer than any backoff has not failed."""
        if not self.health.failures:
            return None
        return asyncio.get_running_loop().call_later(self._registry.longest, self._recovered)

    def _failed(self, error: BaseException) -> float:
        failures, incident_id = self.health.failures + 1, uuid.uuid4().hex
        self.health = replace(
            self.health,
            failures=failures,
            failing_since=self.health.failing_since or self._registry.clock.wall(),
            incident_id=incident_id,
        )
        log.error(
            "background task failed",
            task=self.task.name,
            incident_id=incident_id,
            consecutive_failures=failures,
            exc_info=error,
        )
        self._registry.on_failure(self.task.name)
        return backoff(failures, shortest=self._registry.shortest, longest=self._registry.longest)

    def _recovered(self) -> None:
        if not self.health.failures:
            return
        log.info("background task recovered", task=self.task.name, failures=self.health.failures)
        self.health = replace(self.health, failures=0, failing_since=None)

    async def _wait(self, seconds: float) -> None:
        """Ends early when the task is stopped."""
        if seconds <= 0:
            await asyncio.sleep(0)  # A round that never waits must not stop the event loop.
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


class BackgroundTasks:
    """Every background task of a gateway."""

    def __init__(
        self,
        *,
        on_failure: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
        shortest: float = SHORTEST_BACKOFF,
        longest: float = LONGEST_BACKOFF,
    ) -> None:
        """`on_failure` is called with the name of a task whose round failed. The backoff is in seconds."""
        self.on_failure = on_failure
        self.clock = clock or Clock()
        self.shortest = shortest
        self.longest = longest
        self._running: dict[str, RunningTask] = {}

    def start(self, task: Task) -> RunningTask:
        """Runs the task until it is stopped. Raises ValueError where another one has its name."""
        if task.name in self._running:
            raise ValueError(f"two background tasks are named {task.name}")
        self._running[task.name] = started = RunningTask(task, self)
        return started

    def health(self) -> tuple[TaskHealth, ...]:
        """In the order in which they were started."""
        return tuple(running.health for running in self._running.values())


class Background:
    """Base class of components that have background tasks."""

    running: Sequence[RunningTask] = ()

    def tasks(self) -> Sequence[Task]:
        """The tasks to run from start to stop."""
        raise NotImplementedError

    def start(self, registry: BackgroundTasks | None = None) -> None:
        """Starts the tasks in the gateway's registry; without one they are supervised all the same."""
        registry = registry or BackgroundTasks()
        self.running = [registry.start(task) for task in self.tasks()]

    async def stop(self) -> None:
        """Cancels the tasks."""
        await asyncio.gather(*(running.stop() for running in self.running))
