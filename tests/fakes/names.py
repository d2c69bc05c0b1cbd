"""A resolver that knows the names it is told, and to some questions says nothing at all."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

ADDRESS = "127.53.53.53"
"""Loopback, and nobody's: port 53 of it is free."""
SILENT = "silent.example"
"""Who asks for this name gets no answer."""
_QUESTION = 12
"""Bytes of a DNS header; the question follows."""
_ADDRESS = 1
"""The type of a question about an address of IPv4."""


class _Resolver(asyncio.DatagramProtocol):
    def __init__(self, known: Collection[str], silent: Collection[str]) -> None:
        self._known = known
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, end = _question(data)
        if name in self._silent:
            return
        question = data[_QUESTION:end]
        if name not in self._known:
            self._transport.sendto(data[:2] + b"\x81\x83\0\1" + bytes(6) + question, addr)
            return
        answers = [b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4\x7f\0\0\1"] if kind == _ADDRESS else []
        head = data[:2] + b"\x81\x80\0\1" + len(answers).to_bytes(2, "big") + bytes(4)
        self._transport.sendto(head + question + b"".join(answers), addr)


def _question(data: bytes) -> tuple[str, int, int]:
    """The name that is asked about, the type, and where the question ends."""
    labels, at = [], _QUESTION
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), int.from_bytes(data[at + 1 : at + 3], "big"), at + 5


def _unshare() -> str:
    found = shutil.which("unshare")
    if os.geteuid() != 0 or found is None or subprocess.run([found, "-m", "true"], check=False).returncode != 0:
        pytest.skip("only root may give a process a resolver of its own")
    return found


@asynccontextmanager
async def resolver(
    folder: Path, *, known: Collection[str] = (), silent: Collection[str] = (SILENT,)
) -> AsyncIterator[Sequence[str]]:
    """The command within which a program asks this resolver instead of the machine's; skips where it cannot.

    `known` names are those of 127.0.0.1. Nothing is said about `silent` ones. Both may be changed at any time.
    """
    unshare = _unshare()
    config = folder / "resolv.conf"
    config.write_text(f"nameserver {ADDRESS}\noptions timeout:5 attempts:2\n")
    script = f'mount --bind "{config}" /etc/resolv.conf && exec "$@"'
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Resolver(known, silent), local_addr=(ADDRESS, 53)
    )
    try:
        yield [unshare, "-m", "sh", "-c", script, "sh"]
    finally:
        transport.close()
