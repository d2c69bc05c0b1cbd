"""Starts what is measured, reads its CPU time, and stops it by its id."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

START_SECONDS = 60.0
TICK = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A process that serves on a port of this machine."""

    process: subprocess.Popen[str]
    port: int
    http: str = ""

    def cpu_seconds(self) -> float:
        """User and system time of all its threads since it began."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) * TICK


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[Server]:
    """`python -m name`, which prints its port."""
    process = subprocess.Popen([sys.executable, "-m", name, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def gateway(environ: Mapping[str, str]) -> Iterator[Server]:
    """`relaypost serve` with these settings and no others, on free ports."""
    with tempfile.TemporaryFile("w+") as log, _started(environ, log) as server:
        _wait_until_ready(server.http, server.process, log)
        yield server


def cpu_until_serving(environ: Mapping[str, str]) -> float:
    """CPU seconds of a gateway's own process, all its threads, when it logs that it serves."""
    with _started(environ, subprocess.PIPE) as server:
        told = []
        for line in server.process.stderr or ():
            told.append(line)
            if '"event": "serving"' in line:
                return server.cpu_seconds()
        raise RuntimeError(f"the gateway did not start: {''.join(told)}")


@contextlib.contextmanager
def _started(environ: Mapping[str, str], stderr: int | TextIO) -> Iterator[Server]:
    """Just started, in a directory of its own; ended afterwards."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    grpc, http = _free_port(), f"127.0.0.1:{_free_port()}"
    listen = {"RELAYPOST_GRPC_ADDRESS": f"127.0.0.1:{grpc}", "RELAYPOST_HTTP_ADDRESS": http}
    with tempfile.TemporaryDirectory(prefix="relaypost-bench-") as home:
        os.chmod(home, 0o755)  # noqa: PTH101 - PostgreSQL may run as nobody.
        process = subprocess.Popen(
            [sys.executable, "-m", "relaypost_server", "serve", "--json"],
            env=inherited | {"RELAYPOST_DATA_DIR": home} | dict(environ) | listen,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
        )
        try:
            yield Server(process, grpc, http)
        finally:
            process.terminate()
            process.communicate()


def _free_port() -> int:
    """Below those that the kernel hands out, for one of these may be taken again before it is listened on."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _wait_until_ready(http: str, process: "subprocess.Popen[str]", log: TextIO) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{http}/health/ready", timeout=1):
            return
        time.sleep(0.05)
    log.seek(0)
    raise RuntimeError(f"the gateway did not start: {log.read()}")
