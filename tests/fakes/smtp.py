"""An SMTP server that breaks off where it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes.server import listening

BREAK_OFF = ""
"""In place of a reply: close the connection."""
HANG = "hang"
"""In place of a reply: say nothing."""

_REPLIES = {
    "greeting": "220 fake ESMTP",
    "EHLO": "250-fake\r\n250-SIZE 1000000\r\n250 8BITMIME",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead",
    ".": "250 2.0.0 Ok: queued as 4F1A2B3C",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


@dataclass
class FakeSmtp:
    """One server; `replies` overrides what it says to a command, "." being the end of a message."""

    replies: dict[str, str] = field(default_factory=dict)
    received: list[bytes] = field(default_factory=list)
    """Messages whose final dot has arrived."""
    envelopes: list[list[str]] = field(default_factory=list)
    """The MAIL and RCPT commands that came before each message."""
    verdicts: list[str] = field(default_factory=list)
    """What each message was answered with."""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """Commands that are answered once their event is set."""
    once: dict[str, str] = field(default_factory=dict)
    """Replies that are given a single time, before those of `replies`."""
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    ended: int = 0
    """Connections that are over: everything that was sent on them has been read."""
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        envelope: list[str] = []
        try:
            await self._say("greeting", reader, writer)
            while line := (await reader.readline()).decode("latin-1").strip():
                verb = line.split()[0].upper()
                if verb in ("MAIL", "RCPT"):
                    envelope.append(line)
                await self._say(verb, reader, writer)
                if verb == "DATA" and self._reply("DATA").startswith("354"):
                    self.received.append(await reader.readuntil(b"\r\n.\r\n"))
                    self.envelopes.append(envelope)
                    envelope = []
                    self.verdicts.append(self._reply("."))
                    await self._say(".", reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()

    def _reply(self, verb: str) -> str:
        return self.replies.get(verb, _REPLIES.get(verb, "500 what"))

    async def _say(self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if verb in self.held:
            await self.held[verb].wait()
        self.commands.append(verb)
        reply = self.once.pop(verb, self._reply(verb))
        if reply == BREAK_OFF:
            raise ConnectionError
        if reply == HANG:
            await reader.read()
            raise ConnectionError
        writer.write(reply.encode() + b"\r\n")
        await writer.drain()


@asynccontextmanager
async def fake_smtp(**replies: str) -> AsyncIterator[FakeSmtp]:
    """`DOT` stands for the end of a message."""
    fake = FakeSmtp({"." if verb == "DOT" else verb: reply for verb, reply in replies.items()})
    async with listening(fake.handle, limit=1024 * 1024) as fake.port:
        yield fake
