"""Fixtures that every test may use."""

import datetime
import ipaddress
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import settings

from tests.databases import (
    bundled,
    bundled_database,
    copy,
    copy_of_bundled,
    copy_of_outside,
    database,
    empty_bundled_database,
    empty_database,
    outside,
    server,
    server_url,
)
from tests.providers.configured import SECRETS

settings.register_profile("default", deadline=None)  # No test is timed: machines are noisy.
settings.load_profile("default")

LONG = ("tests/faults/", "tests/e2e/", "tests/queues/")
OWN_DIRECTORY = pytest.StashKey[str]()

__all__ = [
    "bundled",
    "bundled_database",
    "copy",
    "copy_of_bundled",
    "copy_of_outside",
    "database",
    "empty_bundled_database",
    "empty_database",
    "outside",
    "server",
    "server_url",
]


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: most tests wait for processes, time-outs and disks for more than half of their time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest tests and folders, lest one of them be what all other workers wait for at the end."""
    items.sort(key=lambda item: (item.get_closest_marker("long") is None, not item.nodeid.startswith(LONG)))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keeps the files of this run in a directory of its own.

    By default all runs of a user share one, which each closes when it begins, also to the servers that other runs
    have started as another user.
    """
    if config.option.basetemp is None:
        config.option.basetemp = config.stash[OWN_DIRECTORY] = tempfile.mkdtemp(prefix="relaypost-tests-")


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
    """Removes that directory, unless a test failed."""
    yield
    if exitstatus == 0 and (directory := session.config.stash.get(OWN_DIRECTORY, None)):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials in the environment, and nowhere else for botocore to look."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRETS[name])
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and provider.invalid that only its own file makes trusted, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.DNSName("localhost"), x509.DNSName("provider.invalid")]
    names = [*hosts, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
