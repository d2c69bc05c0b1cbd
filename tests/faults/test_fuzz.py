"""A short run of the fuzzer; `make fuzz` makes long ones."""

from pathlib import Path

from tests.faults.fuzz import fuzz, report
from tests.peers import open_up

SEED = 30
CALLS = 3_000


async def test_broken_requests_never_become_the_servers_fault(tmp_path: Path) -> None:
    result = await fuzz(SEED, CALLS, open_up(tmp_path))
    assert result.problems == [], report(result, SEED)
    assert sum(result.statuses.values()) == CALLS
    sent = {path.rpartition("/")[2]: count for (path, status), count in result.statuses.items() if status == "OK"}
    assert sent["SendEmail"] > 50
    assert sent["SendSms"] > 50
