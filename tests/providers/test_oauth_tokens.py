"""Access tokens: where they come from, how long they are kept, and who waits for them."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from relaypost_server.providers._oauth_sources import ClientCredentials, TokenFile
from relaypost_server.providers._oauth_tokens import TRIED_AGAIN_SECONDS, Token, TokenError, Tokens, read_token
from relaypost_server.providers._smtp_settings import SmtpSettings
from tests.fakes.http import HANG, Reply, answer, closed_port, fake_http
from tests.fakes.providers import FakeClock

SECRET = "the-applications-secret-of-40-characters"


@dataclass
class FakeSource:
    """Numbers its tokens; waits for `gate` and fails where it is told to."""

    seconds: float = 3600.0
    fetched: int = 0
    failing: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    way: str = "a fake"
    cure: str = "mend it"

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self) -> Token:
        self.fetched += 1
        number = self.fetched
        await self.gate.wait()
        if self.failing:
            raise TokenError("out of tokens")
        return Token(value=f"token-{number}", seconds=self.seconds)

    async def close(self) -> None: ...


def kept(source: FakeSource) -> tuple[Tokens, FakeClock]:
    clock = FakeClock()
    return Tokens(source, monotonic=lambda: clock.now), clock


async def test_everybody_who_waits_gets_the_token_of_one_fetch() -> None:
    source = FakeSource()
    source.gate.clear()
    tokens, _ = kept(source)
    waiting = [asyncio.create_task(tokens.get()) for _ in range(5)]
    await asyncio.sleep(0)
    source.gate.set()
    assert {value for value, _ in await asyncio.gather(*waiting)} == {"token-1"}
    assert await tokens.get() == ("token-1", True)
    assert source.fetched == 1


async def test_whoever_gives_up_waiting_does_not_end_the_fetch() -> None:
    source = FakeSource()
    source.gate.clear()
    tokens, _ = kept(source)
    impatient, patient = asyncio.create_task(tokens.get()), asyncio.create_task(tokens.get())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await patient == ("token-1", False)


async def test_a_token_is_renewed_before_its_end_while_the_old_one_is_used() -> None:
    tokens, clock = kept(FakeSource())
    await tokens.get()
    clock.turn(3600 - 301)
    assert await tokens.get() == ("token-1", True)
    clock.turn(2)
    assert await tokens.get() == ("token-1", True), "nobody waits for the next one"
    await asyncio.sleep(0)
    assert await tokens.get() == ("token-2", True)


async def test_a_renewal_ahead_of_time_that_fails_is_repeated_later_and_costs_nothing() -> None:
    source = FakeSource()
    tokens, clock = kept(source)
    await tokens.get()
    source.failing = True
    clock.turn(3400)
    for _ in range(5):
        assert await tokens.get() == ("token-1", True)
        await asyncio.sleep(0)
    assert source.fetched == 2
    source.failing = False
    clock.turn(TRIED_AGAIN_SECONDS)
    await tokens.get()
    await asyncio.sleep(0)
    assert await tokens.get() == ("token-3", True)


async def test_a_token_at_its_end_is_not_used() -> None:
    source = FakeSource()
    tokens, clock = kept(source)
    await tokens.get()
    clock.turn(3591)
    assert await tokens.get() == ("token-2", False)
    clock.turn(3600)
    source.failing = True
    with pytest.raises(TokenError):
        await tokens.get()


async def test_a_token_that_was_refused_is_forgotten_and_a_newer_one_is_not() -> None:
    tokens, _ = kept(FakeSource())
    await tokens.get()
    tokens.discard("token-1")
    assert await tokens.get() == ("token-2", False)
    tokens.discard("token-1")
    assert await tokens.get() == ("token-2", True)


async def test_a_fetch_that_runs_ends_with_the_gateway() -> None:
    source = FakeSource()
    source.gate.clear()
    tokens, _ = kept(source)
    waiting = asyncio.create_task(tokens.get())
    await asyncio.sleep(0)
    await tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    ("text", "value", "seconds"),
    [
        ("ya29.a0Af_B-c~d+e/f==\n", "ya29.a0Af_B-c~d+e/f==", 300.0),
        ('{"access_token": "abc", "expires_in": 3599, "token_type": "Bearer"}', "abc", 3599.0),
        ('{"access_token": "abc", "expires_in": "3599"}', "abc", 3599.0),
        ('{"access_token": "abc"}', "abc", 300.0),
    ],
)
def test_a_token_stands_alone_or_in_json(text: str, value: str, seconds: float) -> None:
    assert read_token(text.encode()) == Token(value=value, seconds=seconds)


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "{", '{"access_token": 1}', '{"error": "x"}', "tökén"])
def test_what_is_no_token_is_an_error_that_does_not_show_it(text: str) -> None:
    with pytest.raises(TokenError) as caught:
        read_token(text.encode())
    assert str(caught.value) == "what came is not an access token"


async def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = Tokens(TokenFile(file))
    with pytest.raises(TokenError, match="FileNotFoundError"):
        await tokens.get()
    file.write_text("one\n")
    assert await tokens.get() == ("one", False)
    file.write_text('{"access_token": "two", "expires_in": 3600}')
    assert await tokens.get() == ("two", False)


def flow(url: str, scope: str = "") -> ClientCredentials:
    settings = SmtpSettings.model_validate({})
    return ClientCredentials(url, settings, client_id="the id", secret=SECRET, scope=scope)


async def test_the_client_credentials_flow_posts_a_form() -> None:
    token = {"access_token": "abc", "expires_in": 3599, "token_type": "Bearer"}
    async with fake_http(answer(200, json.dumps(token).encode())) as endpoint:
        source = flow(f"{endpoint.url}/tenant/oauth2/v2.0/token", "https://outlook.office365.com/.default")
        assert await source.fetch() == Token(value="abc", seconds=3599.0)
        await source.close()
    [request] = endpoint.received
    assert request.line.startswith("POST /tenant/oauth2/v2.0/token ")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["the id"],
        "client_secret": [SECRET],
        "scope": ["https://outlook.office365.com/.default"],
    }


@pytest.mark.parametrize(
    ("reply", "why", "passing"),
    [
        (answer(401, b'{"error": "invalid_client", "error_description": "s3cret"}'), "refuses the client id", False),
        (answer(400, b'{"error": "invalid_scope"}'), "refuses the scope", False),
        (answer(404, b"<html>"), "answered HTTP 404", False),
        (answer(200, b"<html>"), "not an access token", False),
        (answer(503, b"s3cret"), "answered HTTP 503", True),
        (answer(429, b"{}"), "answered HTTP 429", True),
        (Reply(then="reset"), "the token endpoint: no answer", True),
    ],
)
async def test_a_token_endpoint_that_gives_none_says_why(reply: Reply, why: str, passing: bool) -> None:
    async with fake_http(reply) as endpoint:
        source = flow(endpoint.url)
        with pytest.raises(TokenError) as caught:
            await source.fetch()
        await source.close()
    assert why in str(caught.value)
    assert caught.value.passing is passing
    assert "s3cret" not in str(caught.value)
    assert SECRET not in repr(source) + repr(caught.value)


async def test_a_token_endpoint_out_of_reach_may_be_back_in_a_moment() -> None:
    with pytest.raises(TokenError) as caught:
        await flow(f"http://127.0.0.1:{closed_port()}").fetch()
    assert caught.value.passing


async def test_an_endpoint_that_hangs_holds_up_nobody_who_gives_up() -> None:
    async with fake_http(HANG) as endpoint:
        tokens = Tokens(flow(endpoint.url))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await tokens.get()
        await tokens.close()
