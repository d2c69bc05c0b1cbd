"""An SMTP server that breaks off where it is told to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
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
class Dialogue:
    """One connection so far."""

    line: str = ""
    """The command that is to be answered, or "." for the end of a message."""
    began: int = 0
    """MAIL commands, the one that is to be answered included."""
    taken: int = 0
    """Recipients that were accepted since the last MAIL."""


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
    decide: Callable[[Dialogue], str | None] = lambda _: None
    """Replies that depend on more than the command; None: as `once` and `replies` say."""
    commands: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """The commands with their arguments."""
    connections: int = 0
    ended: int = 0
    """Connections that are over: everything that was sent on them has been read."""
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        envelope: list[str] = []
        dialogue = Dialogue()
        try:
            await self._say("greeting", dialogue, reader, writer)
            while read := await reader.readline():
                dialogue.line = line = read.decode("utf-8", "replace").strip()
                self.lines.append(line)
                verb = line.split()[0].upper() if line else ""
                if verb in ("MAIL", "RCPT"):
                    envelope.append(line)
                if verb == "MAIL":
                    dialogue.began, dialogue.taken = dialogue.began + 1, 0
                said = await self._say(verb, dialogue, reader, writer)
                if verb == "RCPT" and said.startswith("250"):
                    dialogue.taken += 1
                if verb == "DATA" and said.startswith("354"):
                    self.received.append(await reader.readuntil(b"\r\n.\r\n"))
                    self.envelopes.append(envelope)
                    envelope = []
                    dialogue.line = "."
                    self.verdicts.append(self._reply(".", dialogue))
                    await self._say(".", dialogue, reader, writer)
                if said.startswith("421"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()

    def _reply(self, verb: str, dialogue: Dialogue) -> str:
        decided = self.decide(dialogue)
        if decided is not None:
            return decided
        return self.once.get(verb, self.replies.get(verb, _REPLIES.get(verb, "500 what")))

    async def _say(
        self, verb: str, dialogue: Dialogue, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        if verb in self.held:
            await self.held[verb].wait()
        self.commands.append(verb)
        reply = self._reply(verb, dialogue)
        self.once.pop(verb, None)
        if reply == BREAK_OFF:
            raise ConnectionError
        if reply == HANG:
            await reader.read()
            raise ConnectionError
        writer.write(reply.encode() + b"\r\n")
        await writer.drain()
        return reply


@asynccontextmanager
async def fake_smtp(**replies: str) -> AsyncIterator[FakeSmtp]:
    """`DOT` stands for the end of a message."""
    fake = FakeSmtp({"." if verb == "DOT" else verb: reply for verb, reply in replies.items()})
    async with listening(fake.handle, limit=1024 * 1024) as fake.port:
        yield fake


@asynccontextmanager
async def fake_smtp_over_tls(tls: ssl.SSLContext, host: str = "127.0.0.1", **replies: str) -> AsyncIterator[FakeSmtp]:
    """With TLS from the first byte."""
    fake = FakeSmtp(replies)
    async with listening(fake.handle, limit=1024 * 1024, tls=tls, host=host) as fake.port:
        yield fake
