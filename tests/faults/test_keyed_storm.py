"""One request_id, many callers: row 21 of the fault matrix."""

from pathlib import Path

import pytest

from tests.faults.storm import storm, unique
from tests.faults.world import KEYED_SENDS
from tests.peers import open_up

CALLS = 600


@pytest.mark.skipif(not KEYED_SENDS, reason="this version of the API has no request ids")
async def test_calls_with_one_id_over_three_gateways_are_one_message(tmp_path: Path) -> None:
    """With 600 calls instead of 10,000: `python -m tests.faults.storm 10000`."""
    counts = await storm(CALLS, open_up(tmp_path))
    assert unique(counts, CALLS), counts
