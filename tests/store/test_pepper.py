"""The pepper of a gateway that was given none."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from relaypost_server.store.pepper import FILE, own_pepper


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "data"
    pepper = own_pepper(home)
    assert len(pepper) >= 32
    assert own_pepper(home) == pepper
    assert stat.S_IMODE((home / FILE).stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [FILE]


def test_gateways_that_start_together_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: own_pepper(tmp_path), range(8)))) == 1
