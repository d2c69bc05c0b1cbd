"""`relaypost send-sms` and both clients against a gateway over a real socket."""

import asyncio
from typing import Any

from click.testing import CliRunner
from relaypost import Address, AsyncClient, Client, IndiaDlt

from relaypost_server.cli import main
from relaypost_server.core.message import IndiaDlt as Ids
from tests.api.conftest import Serve, Served, serve

__all__ = ["serve"]
FIELDS: dict[str, Any] = {
    "to": "+91 98765\u201143210",
    "text": "It’s here",
    "sender_number": "12345",
    "gsm7": True,
    "india_dlt": IndiaDlt("1101", "1107"),
}


def check(served: Served) -> None:
    content: Any = served.texts.providers[0].received[-1].content
    assert (content.to, content.text, content.sender_number) == ("+919876543210", "It's here", "12345")
    assert content.india_dlt == Ids(entity_id="1101", template_id="1107")


async def test_send_sms_takes_every_sender_and_tells_what_was_changed(serve: Serve) -> None:
    served = await serve()
    command = ["send-sms", "--to", FIELDS["to"], "--text", FIELDS["text"], "--sender-number", "12345", "--gsm7"]
    command += ["--dlt-entity", "1101", "--dlt-template", "1107", "--target", served.target]
    done = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert done.exit_code == 0, done.output
    assert "sms.text" in done.stdout
    assert "1 character was replaced" in done.stdout
    check(served)


async def test_the_clients_have_keywords_for_senders(serve: Serve) -> None:
    served = await serve()

    def use() -> None:
        with Client(served.target) as client:
            client.send_sms(**FIELDS)
            client.send_sms(to="+4915112345678", text="Hi", sender_id="My Shop")

    await asyncio.to_thread(use)
    assert [m.content.sender_id for m in served.texts.providers[0].received] == ["", "My Shop"]
    async with AsyncClient(served.target) as client:
        await client.send_sms(**FIELDS)
    check(served)


def test_a_code_names_its_sender() -> None:
    from relaypost._requests import otp_request

    by_email = otp_request({"email": "ada@example.com", "purpose": "sign_in", "sender": Address("a@b.example", "Shop")})
    assert (by_email.sender.address, by_email.sender.display_name) == ("a@b.example", "Shop")
    by_sms = otp_request({"phone": "+14155550123", "purpose": "sign_in", "sender_id": "Shop"})
    assert (by_sms.sender_id, by_sms.HasField("sender")) == ("Shop", False)
