"""Real peers: programs that are started for the tests, on ports of this machine."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORACLES = ROOT.parent / "shared" / "oracles"
READY_SECONDS = 30.0
FIRST_PORT = 10_240
_RANDOM = random.SystemRandom()  # Hypothesis seeds the other one, alike in all processes.


def free_port() -> int:
    """A port on which nothing listens, outside the range that the kernel assigns ports from.

    So no other test that runs at the same time is given it.
    """
    while True:
        port = _RANDOM.randrange(FIRST_PORT, _first_ephemeral())
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _first_ephemeral() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768


def oracle(name: str) -> Path:
    """A vendor's contract, which is not part of the project."""
    path = ORACLES / name
    if not path.exists():
        pytest.skip(f"the vendor's contract {name} is not on this machine")
    return path


def program(name: str, *places: Path) -> str:
    """A program of this machine, or a skip that says what is missing."""
    for place in places:
        if (place / name).exists():
            return str(place / name)
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/lib/postfix/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


@contextlib.contextmanager
def running(
    command: Sequence[str], *, port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The program, once it listens on `port`; it is ended by the id it was started with."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **(environ or {})}, start_new_session=True
        )
    try:
        wait_for_port(port, process, log)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """AWS: moto's server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    recording = {"MOTO_RECORDER_FILEPATH": str(folder / "moto-recording")}
    with running(command, port=port, log=folder / "moto.log", environ=recording):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def prism(contract: Path, folder: Path) -> Iterator[str]:
    """A vendor's OpenAPI contract, served by Prism, which refuses what the contract does not allow."""
    port = free_port()
    tool = program("prism", ROOT / "node_modules" / ".bin")
    command = [tool, "mock", "-h", "127.0.0.1", "-p", str(port), "--errors", str(contract)]
    with running(command, port=port, log=folder / f"prism-{contract.stem}.log"):
        yield f"http://127.0.0.1:{port}"


def open_up(folder: Path) -> Path:
    """Lets servers that run as somebody else through to a folder that pytest keeps to itself."""
    for part in (folder, *folder.parents):
        if part.stat().st_uid == os.geteuid() and not part.stat().st_mode & 0o001:
            part.chmod(part.stat().st_mode | 0o011)
    return folder


def http_post(url: str, body: bytes = b"") -> bytes:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "text/plain"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: bytes = answer.read()
        return content


def http_get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
