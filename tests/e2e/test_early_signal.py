"""A signal that comes while `relaypost` still imports what it needs."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.gateway import environment

SLOW_IMPORT = """
import signal, sys
print("importing", flush=True)
while True:
    signal.pause()
"""
"""In place of the event loop's library."""
PID_1 = """
import signal, sys, runpy
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.argv = ["relaypost", *sys.argv[1:]]
runpy.run_module("relaypost_server", run_name="__main__", alter_sys=False)
"""
"""As a process of the number 1, to which SIGTERM does nothing by default."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_start_ends_in_order_while_it_imports(number: signal.Signals, command: str, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text(SLOW_IMPORT)
    environ = environment()
    environ["PYTHONPATH"] = f"{tmp_path}:{environ.get('PYTHONPATH', '')}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PID_1,
        command,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"importing\n"
            process.send_signal(number)
            _, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, told) == (0, b"")
