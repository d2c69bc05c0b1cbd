"""A resolver that knows no name, and to some questions says nothing at all."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
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


class _Resolver(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if b"\x06silent\x07example" not in data:
            self._transport.sendto(data[:2] + b"\x81\x83\0\1" + bytes(6) + data[_QUESTION:], addr)


def _unshare() -> str:
    found = shutil.which("unshare")
    if os.geteuid() != 0 or found is None or subprocess.run([found, "-m", "true"], check=False).returncode != 0:
        pytest.skip("only root may give a process a resolver of its own")
    return found


@asynccontextmanager
async def resolver(folder: Path) -> AsyncIterator[Sequence[str]]:
    """The command within which a program asks this resolver instead of the machine's; skips where it cannot."""
    unshare = _unshare()
    config = folder / "resolv.conf"
    config.write_text(f"nameserver {ADDRESS}\noptions timeout:5 attempts:2\n")
    script = f'mount --bind "{config}" /etc/resolv.conf && exec "$@"'
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Resolver, local_addr=(ADDRESS, 53))
    try:
        yield [unshare, "-m", "sh", "-c", script, "sh"]
    finally:
        transport.close()
