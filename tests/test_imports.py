"""What a process does not import: a library is loaded by what uses it, and by nothing else."""

import asyncio
import subprocess
import sys
import tempfile

from relaypost_server.providers import PROVIDERS
from tests.e2e.gateway import AWS_KEYS, environment

VENDORS = {"boto3", "botocore", "sendgrid", "twilio", "aiosmtplib"}
ENGINES = {"aio_pika", "aiormq", "redis"}
SERVERS = {"aiohttp", "asyncpg", "babel", "jinja2", "opentelemetry", "phonenumbers", "prometheus_client"}
SERVERS |= {"pydantic", "structlog", "uvloop"}
"""What a gateway uses, and no command that calls one."""
COMMAND = """
import sys
from relaypost_server.cli import main
main(sys.argv[1:], standalone_mode=False)
print(*{name.partition(".")[0] for name in sys.modules})
"""
SERVE = """
import os, signal, sys
from relaypost_server import app
from relaypost_server.cli import main
start = app.Gateway.start
async def tell(self):
    endpoints = await start(self)
    print(*{name.partition(".")[0] for name in sys.modules}, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    return endpoints
app.Gateway.start = tell
main(["serve", "--json"])
"""


def imported(*command: str, **environ: str) -> set[str]:
    """The packages and modules that a program has imported, by what it prints last."""
    with tempfile.TemporaryDirectory() as home:  # Of its own: gateways with other databases share none.
        done = subprocess.run(
            [sys.executable, "-c", *command],
            env=environment({"RELAYPOST_DATA_DIR": home}, environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_the_version_needs_the_command_line_alone() -> None:
    found = imported(COMMAND, "--version")
    assert found & (VENDORS | ENGINES | SERVERS | {"grpc", "google", "relaypost", "rich"}) == set()


def test_a_send_needs_the_client_alone() -> None:
    found = imported(COMMAND, "send-sms", "--help")
    assert "relaypost" in found
    assert found & (VENDORS | ENGINES | SERVERS) == set()


def test_a_gateway_hides_rich_from_structlog_which_would_load_it_for_nothing() -> None:
    found = imported(COMMAND, "serve", "--help")
    assert "structlog" in found
    assert found & {"rich", "pygments"} == set()


async def test_a_gateway_that_prints_loads_no_vendors_library_and_no_other_engine(bundled_database: str) -> None:
    found = await asyncio.to_thread(imported, SERVE, RELAYPOST_DATABASE_URL=bundled_database)
    assert found & (VENDORS | ENGINES) == set()
    assert found > SERVERS


async def test_a_gateway_loads_the_library_of_a_provider_that_takes_part_before_it_serves(
    bundled_database: str,
) -> None:
    where = {"RELAYPOST_DATABASE_URL": bundled_database, "RELAYPOST_SNS_ENABLED": "false"}
    found = await asyncio.to_thread(imported, SERVE, **AWS_KEYS, **where)
    assert found > {"boto3", "botocore"}
    assert found & (VENDORS - {"boto3", "botocore"}) == set()


def test_what_is_known_of_a_provider_before_it_is_loaded_is_true() -> None:
    for kind in PROVIDERS:
        loaded = kind.load()
        assert (loaded.name, loaded.channel) == (kind.name, kind.channel)
