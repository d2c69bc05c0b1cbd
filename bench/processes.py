"""Starts what is measured, reads its CPU time, and stops it by its id."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

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
    """`relaypost serve` with these settings and no others."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "relaypost_server", "serve", "--json"]
        process = subprocess.Popen(
            command, env=inherited | dict(environ), stdout=subprocess.DEVNULL, stderr=log, text=True
        )
        try:
            serving = _wait_for_serving(log, process)
            yield Server(process, int(serving["grpc"].rpartition(":")[2]), serving["http"])
        finally:
            process.terminate()
            process.wait()


def _wait_for_serving(log: TextIO, process: "subprocess.Popen[str]") -> dict[str, str]:
    """The event that tells where the gateway listens."""
    while process.poll() is None:
        log.seek(0)
        for line in log:
            if '"event": "serving"' in line:
                event: dict[str, str] = json.loads(line)
                return event
        time.sleep(0.05)
    log.seek(0)
    raise RuntimeError(f"the gateway did not start: {log.read()}")
