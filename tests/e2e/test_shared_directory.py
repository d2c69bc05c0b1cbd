"""Two gateways with one data directory."""

from pathlib import Path

from tests.databases import over_tcp
from tests.e2e.gateway import gateway
from tests.e2e.test_process import run
from tests.fakes.http import closed_port


async def test_a_gateway_with_another_database_is_refused(bundled_database: str, tmp_path: Path) -> None:
    elsewhere = over_tcp(bundled_database, closed_port())
    async with gateway(database=bundled_database, data_dir=tmp_path) as running:
        code, _, err = await run("serve", RELAYPOST_DATA_DIR=str(tmp_path), RELAYPOST_DATABASE_URL=elsewhere)
        assert code == 2
        assert "RELAYPOST_DATA_DIR: is shared with a running gateway that has another database" in err
        assert "RELAYPOST_SPOOL_DIR" in err
        assert (await running.get("/health/live"))[0] == 200
        async with gateway(database=bundled_database, data_dir=tmp_path) as second:
            assert (await second.get("/health/live"))[0] == 200
