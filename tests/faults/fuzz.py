"""Broken requests against the real server process: `make fuzz SEED=1 CALLS=1000000`.

It ends with 1 where a call was answered with a status that blames the server,
where the server died, logged an error or a traceback, or where its memory,
threads or open files grew with the number of calls.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.gateway import START_SECONDS, environment
from tests.faults.mutations import Method, calls
from tests.peers import open_up

CONNECTIONS = 4
AT_ONCE = 32
LONGEST_CALL = 30.0
"""Seconds."""
WARM = 0.2
"""The part of the run after which memory may not grow any more."""
MOST_GROWTH = 1.2
SPARE = 6
"""Threads and files that come and go: connections to the database, encoding of large attachments."""
ALLOWED = frozenset(
    {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
    | {"ALREADY_EXISTS", "ABORTED"}  # A request_id that came about twice.
)
ALLOWED_OF_METHODS = frozenset(
    {
        ("NoSuchMethod", "UNIMPLEMENTED"),
    }
)
ALERTS = frozenset({"otp pumping suspected"})
"""Errors in the log that are news about the callers, not about the server."""
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds: bytes of memory, threads, open files."""

    memory: int
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> "Size":
        process = Path(f"/proc/{pid}")
        lines = (line.split() for line in (process / "status").read_text().splitlines())
        status = {words[0].rstrip(":"): words[1:] for words in lines}
        files = len(list((process / "fd").iterdir()))
        return cls(1024 * int(status["VmRSS"][0]), int(status["Threads"][0]), files)

    def __str__(self) -> str:
        return f"{self.memory / 2**20:.1f} MiB, {self.threads} threads, {self.files} files"


@dataclass(frozen=True, slots=True)
class End:
    """How a call ended."""

    status: str
    details: str = ""


@dataclass
class Result:
    """What a run found."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By method and status."""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    warm: Size | None = None
    end: Size | None = None

    def count(self, number: int, method: Method, data: bytes, end: "End") -> None:
        self.statuses[method.path, end.status] += 1
        allowed = end.status in ALLOWED or (method.path.rpartition("/")[2], end.status) in ALLOWED_OF_METHODS
        if not allowed:
            self.problems.append(f"call {number}, {method.path}: {end.status} ({end.details}) to {data[:200].hex()}")


@dataclass(frozen=True, slots=True)
class Server:
    """`relaypost serve` without any provider but the console, whose output goes nowhere."""

    process: asyncio.subprocess.Process
    target: str
    log: Path


@asynccontextmanager
async def server(home: Path) -> AsyncIterator[Server]:
    log = home / "log"
    # One allocator arena for all threads: what many of them keep would look like growth.
    # What webhooks are registered leads nowhere but to this machine.
    here = {"RELAYPOST_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    environ = environment({"RELAYPOST_DATA_DIR": str(home), "MALLOC_ARENA_MAX": "1"}, here)
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relaypost_server", "serve", "--json"),
            env=environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=written,
        )
    try:
        yield Server(process, await _target(process, log), log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def _target(process: asyncio.subprocess.Process, log: Path) -> str:
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            for line in log.read_text().splitlines():
                if '"serving"' in line:
                    return str(json.loads(line)["grpc"])
            await asyncio.sleep(0.05)
    raise RuntimeError("the gateway did not start:\n" + log.read_text())


async def fuzz(seed: int, count: int, home: Path) -> Result:
    """Makes the calls and judges what they did to the server."""
    result = Result()
    async with server(home) as running, AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(running.target, options=OPTIONS))
            for _ in range(CONNECTIONS)
        ]
        todo = enumerate(calls(seed, count))
        began = time.monotonic()
        for part in (round(WARM * count), count - round(WARM * count)):
            await _make(todo, part, channels, result)
            result.warm, result.end = result.warm or Size.of(running.process.pid), Size.of(running.process.pid)
            print(f"after {sum(result.statuses.values())} calls: {result.end}", flush=True)
        result.seconds = time.monotonic() - began
        await _judge(running, channels[0], result)
    return result


async def _make(
    todo: "Iterator[tuple[int, tuple[Method, bytes]]]", count: int, channels: list[grpc.aio.Channel], result: Result
) -> None:
    """Makes the next `count` calls, many at once."""
    left = count

    async def work(channel: grpc.aio.Channel) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            number, (method, data) = next(todo)
            result.count(number, method, data, await _end(channel, method, data))

    await asyncio.gather(*(work(channels[i % len(channels)]) for i in range(AT_ONCE)))


async def _end(channel: grpc.aio.Channel, method: Method, data: bytes) -> End:
    """How the call ended; a stream that answered and would go on is OK."""
    try:
        if not method.streams:
            unary: Any = channel.unary_unary(method.path)
            await unary(data, timeout=LONGEST_CALL)
            return End("OK")
        if method.streams == "requests":
            feed: Any = channel.stream_unary(method.path)
            await feed(iter([method.first, data]), timeout=LONGEST_CALL)
            return End("OK")
        stream = channel.unary_stream if method.streams == "answer" else channel.stream_stream
        open_stream: Any = stream(method.path)
        call = open_stream(data if method.streams == "answer" else iter([data]), timeout=LONGEST_CALL)
        await call.read()
        if not call.cancel():
            return End(str((await call.code()).name), str(await call.details()))
    except grpc.aio.AioRpcError as error:
        return End(str(error.code().name), f"{error.details()}, {error.debug_error_string()}")
    return End("OK")


async def _judge(running: Server, channel: grpc.aio.Channel, result: Result) -> None:
    assert result.warm
    assert result.end
    if result.end.memory > MOST_GROWTH * result.warm.memory:
        result.problems.append(f"memory grew from {result.warm} to {result.end}")
    if result.end.threads > result.warm.threads + SPARE or result.end.files > result.warm.files + SPARE:
        result.problems.append(f"threads or files grew from {result.warm} to {result.end}")
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=LONGEST_CALL)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        result.problems.append("the server does not serve any more")
    if running.process.returncode is not None:
        result.problems.append("the server died")
        return
    running.process.send_signal(signal.SIGTERM)
    if code := await asyncio.wait_for(running.process.wait(), 60):
        result.problems.append(f"the server ended with {code}")
    for line in running.log.read_text().splitlines():
        if _is_problem(line):
            result.problems.append(f"logged: {line[:600]}")


def _is_problem(line: str) -> bool:
    if "Traceback" in line or not line.startswith("{"):
        return True
    event = json.loads(line)
    return event["level"] in ("error", "critical") and event["event"] not in ALERTS


def report(result: Result, seed: int) -> str:
    """A table of how often each method ended with each status, and the sizes."""
    statuses = sorted({status for _, status in result.statuses})
    rows = ["", f"{'method':28}" + "".join(f"{s.lower().replace('_', ' '):>20}" for s in statuses)]
    for path in sorted({path for path, _ in result.statuses}):
        name = path.rpartition("/")[2]
        rows.append(f"{name:28}" + "".join(f"{result.statuses[path, s]:>20,}" for s in statuses))
    total = sum(result.statuses.values())
    rows += ["", f"{total:,} calls with seed {seed} in {result.seconds:.0f} s: {total / result.seconds:,.0f} a second"]
    rows += [f"warm: {result.warm}", f"end:  {result.end}"]
    rows += [f"PROBLEM: {problem}" for problem in result.problems[:MOST_SHOWN]]
    rows += [f"{len(result.problems)} problems"]
    return "\n".join(rows)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options.add_argument("--calls", type=int, default=20_000)
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # So that the server ends as well.
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(fuzz(chosen.seed, chosen.calls, open_up(Path(folder))))
    print(report(result, chosen.seed))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
