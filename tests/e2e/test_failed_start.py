"""A gateway that cannot start must not have begun to send."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from relaypost.v1 import message_pb2

from relaypost_server import app
from relaypost_server.api.server import GrpcServer
from relaypost_server.config import load
from tests.e2e.gateway import environment
from tests.e2e.test_queue import NO_WORKER
from tests.fakes.http import HANG
from tests.faults.world import until, world


async def test_a_gateway_whose_port_is_taken_has_taken_nothing_from_the_queue(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor starts it again and again: each start would cut off what it sends, and another one sends it anew."""
    async with world(bundled_database, NO_WORKER) as running:
        running.providers.ses.always(HANG)
        queued = await running.client.enqueue_email(to="ada@example.com", subject="Hi", text="Hi")

        async def refuse(*_: Any) -> int:
            """As a port that is taken, on a machine that is slow to say so."""
            with contextlib.suppress(TimeoutError):
                await until(lambda: running.providers.received("ses") > 0, 2.0)
            raise OSError("cannot listen")

        monkeypatch.setattr(GrpcServer, "start", refuse)
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        own = {
            "RELAYPOST_DATABASE_URL": bundled_database,
            "RELAYPOST_DATA_DIR": str(tmp_path),
            "RELAYPOST_QUEUE_WORK_IN_SERVE": "true",
        }
        with pytest.raises(OSError, match="cannot listen"):
            await app.Gateway(load(environment(running.environ, own))).start()
        assert running.providers.counts == {}
        found = await running.client.get_message(queued.message_id)
        assert (found.state, len(found.attempts)) == (message_pb2.MESSAGE_STATE_QUEUED, 0)
