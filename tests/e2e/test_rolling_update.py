"""Two gateways on one database, of which the second has other templates and another sender: a rolling update."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from relaypost import AsyncClient, RelaypostError, bulk_email

from tests.e2e.gateway import gateway
from tests.e2e.test_queue import NO_WORKER
from tests.faults.world import World, world

KEY = "sign-up-7"
WELCOME: dict[str, Any] = {"template": "welcome", "variables": {"name": "Ada"}}
Send = Callable[[AsyncClient], Awaitable[str]]
"""Sends the same request; something that is the same for every answer to it, and for no other."""


def release(folder: Path, text: str) -> dict[str, str]:
    """The settings and the templates of one release of an installation."""
    for name, words in {
        "welcome/template.toml": 'about = "Welcome"\n[variables.name]\nsample = "Ada"\n',
        "welcome/en/subject.txt": f"{text} {{{{ name }}}}",
        "welcome/en/email.txt": f"{text} {{{{ name }}}}",
        "welcome/en/sms.txt": f"{text} {{{{ name }}}}",
        "otp/en/sms.txt": f"{text} {{{{ code }}}}",
        "otp/en/email.txt": f"{text} {{{{ code }}}}",
    }.items():
        path = folder / text / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(words)
    return {"RELAYPOST_TEMPLATES_DIR": str(folder / text), "OTP_FROM_EMAIL": f"{text.lower()}@example.com"}


async def email_with_template(client: AsyncClient) -> str:
    return (await client.send_email(to="ada@example.com", request_id=KEY, **WELCOME)).message_id


async def email_without_sender(client: AsyncClient) -> str:
    sent = await client.send_email(to="ada@example.com", subject="Hi", text="Hi", request_id="no-sender")
    return sent.message_id


async def text_message(client: AsyncClient) -> str:
    return (await client.send_sms(to="+14155550123", request_id=KEY, **WELCOME)).message_id


async def code_by_sms(client: AsyncClient) -> str:
    return (await client.send_otp(phone="+14155550123", purpose="login", request_id="code-1")).otp_id


async def code_by_email(client: AsyncClient) -> str:
    return (await client.send_otp(email="ada@example.com", purpose="login", request_id="code-2")).otp_id


async def queued_email(client: AsyncClient) -> str:
    return (await client.enqueue_email(to="ada@example.com", request_id=KEY, **WELCOME)).message_id


async def queued_text_message(client: AsyncClient) -> str:
    return (await client.enqueue_sms(to="+14155550123", request_id=KEY, **WELCOME)).message_id


async def batch(client: AsyncClient) -> str:
    answer = await client.send_bulk("news", [bulk_email(to="ada@example.com", **WELCOME)])
    assert answer.batch.size == 1
    return answer.batch.batch_id


SENDS: list[Send] = [
    email_with_template,
    email_without_sender,
    text_message,
    code_by_sms,
    code_by_email,
    queued_email,
    queued_text_message,
    batch,
]


async def test_a_repeated_request_is_recognised_by_the_next_release(bundled_database: str, tmp_path: Path) -> None:
    async with world(bundled_database, NO_WORKER, release(tmp_path, "Hello")) as old:
        first = {send: await send(old.client) for send in SENDS}
        counts = dict(old.providers.counts)
        settings = old.environ | release(tmp_path, "Greetings")
        async with gateway(settings, database=bundled_database) as new, AsyncClient(new.grpc) as client:
            assert {send: await send(client) for send in SENDS} == first
            assert old.providers.counts == counts
            await others_are_refused(client)
        await new_words_are_sent(old)


async def others_are_refused(client: AsyncClient) -> None:
    """What the caller says still counts."""
    changes: list[dict[str, Any]] = [
        {"variables": {"name": "Grace"}},
        {"locale": "de"},
        {"sender": "shop@example.com"},
        {"to": "grace@example.com"},
    ]
    for change in changes:
        with pytest.raises(RelaypostError) as caught:
            await client.send_email(**{"to": "ada@example.com", "request_id": KEY, **WELCOME, **change})
        assert caught.value.reason == "REQUEST_ID_REUSED"


async def new_words_are_sent(old: World) -> None:
    """Another name is another request."""
    sent = await old.client.send_email(to="ada@example.com", request_id="sign-up-8", **WELCOME)
    assert sent.sender == "hello@example.com"
