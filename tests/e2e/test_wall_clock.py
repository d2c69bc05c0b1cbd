"""Gateways and workers whose wall clock is an hour wrong: what is due and what has expired, the database decides."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_queue import EMAIL, NO_WORKER, state, working
from tests.faults.world import world

HOUR = 3600.0
WRONG_CLOCK = """
import datetime
import os

shift = float(os.environ["WALL_CLOCK_SHIFT"])
right = datetime.datetime


class AnyDatetime(type):
    def __instancecheck__(cls, value):
        return isinstance(value, right)


class Shifted(right, metaclass=AnyDatetime):
    def __new__(cls, *args, **named):
        return right(*args, **named)

    @classmethod
    def now(cls, tz=None):
        return right.now(tz) + datetime.timedelta(seconds=shift)


datetime.datetime = Shifted
"""


def wrong_by(seconds: float, folder: Path) -> dict[str, str]:
    """Settings of a process whose wall clock is so far ahead."""
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "WALL_CLOCK_SHIFT": str(seconds)}


def code(**changes: Any) -> dict[str, Any]:
    """A message that expires after five minutes."""
    return EMAIL | {"lane": "otp"} | changes


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
async def test_a_worker_whose_clock_is_wrong_sends_what_has_not_expired(
    ahead: float, bundled_database: str, tmp_path: Path
) -> None:
    async with world(bundled_database, NO_WORKER) as running:
        queued = await running.client.enqueue_email(**code())
        async with working(running, bundled_database, **wrong_by(ahead, tmp_path)):
            await state(running.client, queued.message_id, "SENT")


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
async def test_what_a_gateway_queues_whose_clock_is_wrong_is_due_at_once(
    ahead: float, bundled_database: str, tmp_path: Path
) -> None:
    async with world(bundled_database, NO_WORKER, wrong_by(ahead, tmp_path)) as running:
        queued = await running.client.enqueue_email(**code())
        async with working(running, bundled_database, WALL_CLOCK_SHIFT="0"):
            await state(running.client, queued.message_id, "SENT")
