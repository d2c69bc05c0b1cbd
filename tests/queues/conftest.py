"""Each engine in turn, on a peer that all tests share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests import peers
from tests.queues.engines import OPEN, Engine, rabbit_url


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """AWS's URL."""
    with peers.moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(scope="session")
def rabbit_server() -> str:
    return rabbit_url()


@pytest.fixture(params=OPEN)
def peer(request: pytest.FixtureRequest, aws_keys: None) -> tuple[str, str]:
    """An engine's name, and the URL of the server that it needs."""
    name: str = request.param
    url: str = request.getfixturevalue({"postgres": "bundled", "rabbitmq": "rabbit_server", "sqs": "moto"}[name])
    return name, url


@pytest.fixture
async def engine(peer: tuple[str, str]) -> AsyncIterator[Engine]:
    name, url = peer
    async with OPEN[name](url) as opened:
        yield opened
