"""Neither a traceback in the log nor any object's repr shows a secret, a text or an address."""

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from relaypost_server.providers._http import HttpClient
from relaypost_server.telemetry import logs
from relaypost_server.telemetry.logs import LogFormat
from tests import messages
from tests.fakes.http import closed_port
from tests.providers.configured import OVER_HTTP, SECRETS, build, message_for

PRIVATE = [*SECRETS.values(), "ada@example.com", "4155550123", "482915"]


class Terminal(io.StringIO):
    """Standard error as a person sees it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[(LogFormat.JSON, False), (LogFormat.CONSOLE, False), (LogFormat.AUTO, True)], ids=str)
def output(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged in one format."""
    style, watched = request.param
    written = Terminal() if watched else io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    before = logging.root.handlers[:], logging.root.level
    logs.configure(level="DEBUG", style=style)
    yield written
    logging.root.handlers, logging.root.level = before
    structlog.reset_defaults()


async def fault_within(provider_name: str, monkeypatch: pytest.MonkeyPatch) -> Exception:
    """A bug below a provider that has a message and its secrets at hand."""

    async def buggy(_self: object, headers: str, body: bytes, *attempt: object, **times: object) -> None:
        shown = f"{len(headers)} {len(body)} {len(attempt) + len(times) > 0}"
        raise RuntimeError(shown)

    monkeypatch.setattr(HttpClient, "post", buggy)
    provider = build(provider_name, OVER_HTTP[provider_name](f"http://127.0.0.1:{closed_port()}"))
    secrets = dict(SECRETS)
    try:
        await provider.send(message_for(provider), timeout=5.0)
    except RuntimeError as error:
        assert secrets
        return error
    finally:
        await provider.close()
    raise AssertionError("the provider did not post")


@pytest.mark.usefixtures("aws_keys")
@pytest.mark.parametrize("name", OVER_HTTP)
async def test_tracebacks_show_no_local_variable(
    name: str, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = await fault_within(name, monkeypatch)
    structlog.get_logger("relaypost.test").error("internal error", exc_info=error)
    try:
        raise error
    except RuntimeError:
        structlog.get_logger("relaypost.test").exception("internal error")
        logging.getLogger("a.library").exception("internal error")
    written = output.getvalue()
    assert written.count("internal error") == 3
    assert written.count("in buggy") == 3
    assert [private for private in PRIVATE if private in written] == []


def test_a_chain_of_errors_and_a_group_show_none_either(output: io.StringIO) -> None:
    def fail(recipient: str, secret: str) -> None:
        raise ValueError(len(recipient) + len(secret))

    try:
        try:
            fail(messages.email().content.to[0].email, SECRETS["SMTP_PASSWORD"])
        except ValueError as error:
            raise ExceptionGroup("several", [error]) from error
    except ExceptionGroup:
        structlog.get_logger("relaypost.test").exception("internal error")
    assert "several" in output.getvalue()
    assert [private for private in PRIVATE if private in output.getvalue()] == []


def test_every_format_is_covered() -> None:
    covered: Any = {LogFormat.JSON, LogFormat.CONSOLE, LogFormat.AUTO}
    assert set(LogFormat) == covered
