"""A spool directory serves gateways of one database at a time."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relaypost_server.store.tenants import OtherDatabaseError, Tenancy, identity

ONE, OTHER = "postgresql://a:b@db/one", "postgresql://a:b@db/other"


def test_gateways_of_one_database_share_a_directory(tmp_path: Path) -> None:
    first, second = Tenancy(tmp_path / "spool", identity(ONE)), Tenancy(tmp_path / "spool", identity(ONE))
    first.close()
    with pytest.raises(OtherDatabaseError):
        Tenancy(tmp_path / "spool", identity(OTHER))
    second.close()
    Tenancy(tmp_path / "spool", identity(OTHER)).close()


def test_many_that_start_together_share_it_as_well(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda _: Tenancy(tmp_path, identity(ONE)), range(8)))
    for tenancy in held:
        tenancy.close()


def test_a_process_that_ends_holds_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=Tenancy, args=(tmp_path, identity(ONE)))
    process.start()
    process.join(60)
    Tenancy(tmp_path, identity(OTHER)).close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://a:b@db/x", "postgres://c:d@DB:5432/x?sslmode=require", True),
        ("postgresql://a@db1,db2/x", "postgresql://a@db2:5432,db1/x", True),
        ("postgresql:///x?host=%2Ftmp%2Fa&user=u", "postgresql:///x?user=v&host=%2Ftmp%2Fa", True),
        ("postgresql://db/x", "postgresql://db/y", False),
        ("postgresql://db/x", "postgresql://db:5433/x", False),
        ("postgresql://db/x", "postgresql://other/x", False),
        ("postgresql:///x?host=%2Ftmp%2Fa", "postgresql:///x?host=%2Ftmp%2Fb", False),
        ("postgresql://db/x", None, False),
    ],
)
def test_a_database_is_known_by_its_place_and_name(one: str, other: str | None, same: bool) -> None:
    assert (identity(one) == identity(other)) is same
