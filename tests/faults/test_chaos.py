"""Short runs of what `make faults` does at length: row 19 of the fault matrix, and the outage of row 17."""

import random
from pathlib import Path

import pytest

from tests.faults import trouble
from tests.faults.chaos import Plan, planned_from, run
from tests.peers import open_up


async def test_faults_of_every_kind_break_no_promise(tmp_path: Path) -> None:
    seconds = 12.0
    plan = Plan(seed=7, faults=trouble.anything(random.Random(7), seconds), seconds=seconds, rate=60)
    report = await run(plan, open_up(tmp_path))
    assert report.good, str(report)
    assert report.answers["sent"] > 100
    assert len(report.injected) > 5


async def test_kills_at_random_points_lose_nothing(tmp_path: Path) -> None:
    """Row 19, with 3 kills instead of 200: `python -m tests.faults.chaos --kills 200 --rate 300`."""
    plan = Plan(seed=19, faults=trouble.kills(random.Random(19), 3), seconds=3.0, rate=60)
    report = await run(plan, open_up(tmp_path))
    assert report.good, str(report)
    assert report.injected == {trouble.KILL: 3}


async def test_an_outage_of_the_database_fails_no_send_and_loses_no_row(tmp_path: Path) -> None:
    """Row 17, with 5 s instead of 60: `python -m tests.faults.chaos --database-outage 60`."""
    plan = Plan(seed=17, faults=trouble.outage(5.0), seconds=0.0, rate=60, replicas=1, keyed=False, all_succeed=True)
    report = await run(plan, open_up(tmp_path))
    assert report.good, str(report)
    assert report.answers["sent"] == report.messages > 200


def test_the_same_seed_plans_the_same_faults() -> None:
    assert planned_from(["--seed", "7"]) == planned_from(["--seed", "7"])
    assert planned_from(["--seed", "7"]) != planned_from(["--seed", "8"])


@pytest.mark.parametrize("option", ["--kills", "--minutes"])
def test_every_fault_has_its_time_and_its_bound(option: str) -> None:
    plan = planned_from(["--seed", "7", option, "5"])
    assert list(plan.faults) == sorted(plan.faults, key=lambda fault: fault.at)
    assert all(fault.seconds <= trouble.LONGEST for fault in plan.faults)
