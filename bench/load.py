"""Calls SendEmail with h2load, which costs so little that the server is what saturates."""

import re
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from relaypost.v1 import messaging_service_pb2 as pb

from bench.processes import Server

METHOD = "/relaypost.v1.MessagingService/SendEmail"


@dataclass(frozen=True)
class Shape:
    """Calls in flight: `clients` connections with `streams` calls on each."""

    clients: int
    streams: int

    def __str__(self) -> str:
        return str(self.clients * self.streams)


def request() -> pb.SendEmailRequest:
    made = pb.SendEmailRequest()
    made.email.to.add(address="ada@example.com")
    made.email.subject = "Your code"
    made.email.text = "Your code is 482915. It is valid for five minutes."
    return made


def h2load() -> str:
    found = shutil.which("h2load")
    if found is None:
        sys.exit("make bench needs h2load: install Debian's nghttp2-client, or nghttp2 elsewhere")
    return found


def cpu_per_call(server: Server, calls: int, shape: Shape) -> float:
    """Microseconds of the server's CPU time for each call. Raises if any call failed."""
    before = server.cpu_seconds()
    answered = _load(server.port, calls, shape)
    cost = (server.cpu_seconds() - before) / calls * 1e6
    if answered < calls:
        raise RuntimeError(f"{calls - answered} of {calls} calls had no answer")
    return cost


def sent_so_far(server: Server) -> int:
    """Messages that the gateway says it has sent: h2load counts HTTP 200, whatever gRPC's status."""
    with urllib.request.urlopen(f"http://{server.http}/metrics") as answer:
        counts = re.findall(r'relaypost_messages_total\{[^}]*state="sent"\} ([\d.]+)', answer.read().decode())
    return int(sum(float(c) for c in counts))


def framed(folder: Path) -> Path:
    """A file with the request as h2load sends it."""
    body, frame = request().SerializeToString(), folder / "frame"
    frame.write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
    return frame


def _load(port: int, calls: int, shape: Shape) -> int:
    with tempfile.TemporaryDirectory() as folder:
        frame = framed(Path(folder))
        command = [h2load(), "-n", str(calls), "-c", str(shape.clients), "-m", str(shape.streams), "-d", str(frame)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}{METHOD}"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) succeeded", output)
    return int(found.group(1)) if found else 0
