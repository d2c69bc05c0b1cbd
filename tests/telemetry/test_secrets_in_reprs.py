"""No object of a running gateway shows a secret in its repr."""

import gc
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relaypost_server.app import Gateway
from relaypost_server.config import load
from relaypost_server.core.webhook import ClaimedDelivery, Endpoint, Event
from relaypost_server.providers._aws import Credentials, Signer
from relaypost_server.providers._oauth_tokens import Token
from tests.fakes.http import closed_port
from tests.messages import NOW
from tests.providers.configured import SECRETS, TWILIO

OTHERS = {
    "RELAYPOST_OTP_PEPPER": "a pepper for tests, of 32 characters or more",
    "RELAYPOST_OTP_PREVIOUS_PEPPERS": "an older pepper, which is of 32 characters or more as well",
}
PASSWORDS = ["password-of-the-database", "password-of-redis", "password-of-the-queue"]
_OPAQUE = (type, types.ModuleType, types.FunctionType, types.CodeType, types.FrameType, str, bytes, int, float)


def environment(database: str, home: Path) -> dict[str, str]:
    port = closed_port()
    return {
        **SECRETS,
        **TWILIO,
        **OTHERS,
        "AWS_REGION": "us-east-1",
        "OTP_FROM_EMAIL": "noreply@example.com",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_USER": "relay",
        "RELAYPOST_DATA_DIR": str(home),
        "RELAYPOST_GRPC_ADDRESS": "127.0.0.1:0",
        "RELAYPOST_HTTP_ADDRESS": "127.0.0.1:0",
        "RELAYPOST_DATABASE_URL": f"{database}&password={PASSWORDS[0]}",
        "RELAYPOST_REDIS_URL": f"redis://:{PASSWORDS[1]}@127.0.0.1:{port}/0",
        "RELAYPOST_QUEUE_URL": f"amqp://relay:{PASSWORDS[2]}@127.0.0.1:{port}/",
    }


def everything_below(root: object) -> Iterator[object]:
    """Each object that can be reached from the root, but for what functions and modules hold globally."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += _parts(found)


def our_objects(root: object) -> list[object]:
    """Those whose classes are the gateway's own."""
    return [o for o in everything_below(root) if str(type(o).__module__).startswith("relaypost")]


def _parts(found: Any) -> list[object]:
    if isinstance(found, types.FunctionType):
        return [cell.cell_contents for cell in found.__closure__ or () if _filled(cell)]
    return [] if isinstance(found, _OPAQUE) else gc.get_referents(found)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


@pytest.mark.usefixtures("aws_keys")
# The shutdown may end before the library of RabbitMQ has begun to close its connection.
@pytest.mark.filterwarnings("ignore:.*Connection.close:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .Connection.close. was never awaited:RuntimeWarning")
async def test_no_object_of_a_gateway_shows_a_secret(bundled_database: str, tmp_path: Path) -> None:
    gateway = Gateway(load(environment(bundled_database, tmp_path)))
    await gateway.start()
    try:
        ours = our_objects(gateway)
        for credentials in [o for o in ours if isinstance(o, Credentials)]:
            await credentials.keys()
        ours = our_objects(gateway)
        secrets = [*SECRETS.values(), *OTHERS.values(), *PASSWORDS]
        shown = {type(o).__name__: s for o in ours for s in secrets if s in repr(o)}
    finally:
        await gateway.stop(delay=0)
    assert shown == {}
    names = {type(o).__name__ for o in ours}
    assert {"Keys", "Server", "Peppers", "Database", "Config"} <= names


async def test_values_that_live_for_one_request_show_no_secret() -> None:
    signer = Signer(host="h", path="/", region="us-east-1", service="ses")
    event = Event(id="1", type="t", time=NOW, data={"to": "ada@example.com"})
    endpoint = Endpoint(id="1", caller="", url="https://example.com/?token=s3cret", create_time=NOW)
    claimed = ClaimedDelivery(
        id="1",
        claim=1,
        attempt=1,
        endpoint_id="1",
        url="https://example.com/?token=s3cret",
        failures=0,
        secrets=(b"s3cret",),
        event=event,
    )
    for shown in map(repr, (endpoint, claimed, Token(value="s3cret"), signer)):
        assert "s3cret" not in shown
        assert "ada@" not in shown
