"""The providers' peers: each keeps what it fully received under the id that it answered with."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http import Reply, Request, answer, fake_http
from tests.fakes.server import listening
from tests.faults.received import ADDRESS, Mail, form, of_sendgrid, of_ses, of_smtp

_MAILBOX = f"<({ADDRESS})>"
_MAIL = re.compile(rf"MAIL FROM:{_MAILBOX} SIZE=\d+(?: SMTPUTF8| BODY=8BITMIME)*\r\n")
_RCPT = re.compile(rf"RCPT TO:{_MAILBOX}\r\n")


@dataclass
class Peer:
    """What arrived, by the id that its sender was told; `count` of it over all."""

    inbox: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def keep(self, item: Any) -> str:
        self.count += 1
        number = f"N{self.count:07d}"
        self.inbox[number] = item
        return number


@asynccontextmanager
async def _over_http(
    read: Callable[[bytes], Any],
    reply: Callable[[str], Reply],
    *,
    other: Callable[[bytes], Reply | None] = lambda _: None,
) -> AsyncIterator[tuple[Peer, str]]:
    """`other`: answers a request that sends no message."""
    peer = Peer()

    def receive(request: Request) -> Reply:
        fake.received.clear()
        return other(request.body) or reply(peer.keep(_readable(read, request.body)))

    async with fake_http() as fake:
        fake.reply = receive
        yield peer, fake.url


def _readable(read: Callable[[bytes], Any], body: bytes) -> Any:
    """What was read, or why it could not be: the test that sent it raises that."""
    try:
        return read(body)
    except Exception as error:
        return error


def ses() -> Any:
    return _over_http(of_ses, lambda number: answer(200, json.dumps({"MessageId": number}).encode()))


def sendgrid() -> Any:
    return _over_http(of_sendgrid, lambda number: answer(202, x_message_id=number))


def sns() -> Any:
    """Nobody has opted out: the gateway reads that list a minute after its start."""
    body = "<PublishResponse><PublishResult><MessageId>{}</MessageId></PublishResult></PublishResponse>"
    nobody = b"<ListPhoneNumbersOptedOutResponse><ListPhoneNumbersOptedOutResult><phoneNumbers/>"
    nobody += b"</ListPhoneNumbersOptedOutResult></ListPhoneNumbersOptedOutResponse>"

    def other(request: bytes) -> Reply | None:
        return answer(200, nobody) if b"Action=ListPhoneNumbersOptedOut&" in request else None

    return _over_http(form, lambda number: answer(200, body.format(number).encode()), other=other)


def twilio() -> Any:
    return _over_http(
        form, lambda number: answer(201, json.dumps({"sid": number, "status": "queued", "num_segments": "1"}).encode())
    )


@dataclass
class _StrictSmtp:
    """Takes commands in one form only, and only in their order; a smuggled one counts as a message of its own."""

    peer: Peer

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        say("220 strict ESMTP")
        sender, recipients = "", list[str]()
        try:
            while line := (await reader.readline()).decode("utf-8", "replace"):
                if line.startswith("EHLO "):
                    say("250-strict\r\n250-SIZE 100000000\r\n250-SMTPUTF8\r\n250 8BITMIME")
                elif line == "RSET\r\n":
                    sender, recipients = "", []
                    say("250 2.0.0 ok")
                elif found := _MAIL.fullmatch(line):
                    sender, recipients = found[1], []
                    say("250 2.0.0 ok")
                elif found := _RCPT.fullmatch(line):
                    recipients.append(found[1])
                    say("250 2.1.5 ok")
                elif line == "DATA\r\n":
                    say("354 go ahead")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    say(self._keep(sender, recipients, content))
                elif line == "QUIT\r\n":
                    say("221 2.0.0 bye")
                else:
                    self.peer.keep(AssertionError(f"no command of ours: {line!r}"))
                    say("500 what")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _keep(self, sender: str, recipients: list[str], content: bytes) -> str:
        def read(data: bytes) -> Mail:
            lines = data.removesuffix(b".\r\n").split(b"\r\n")
            assert not any(line.startswith(b".") and not line.startswith(b"..") for line in lines)
            return of_smtp(sender, recipients, b"\r\n".join(line[line.startswith(b".") :] for line in lines))

        return f"250 2.0.0 Ok: queued as {self.peer.keep(_readable(read, content))}"


@asynccontextmanager
async def smtp() -> AsyncIterator[tuple[Peer, int]]:
    peer = Peer()
    async with listening(_StrictSmtp(peer).handle, limit=64 * 1024 * 1024) as port:
        yield peer, port
