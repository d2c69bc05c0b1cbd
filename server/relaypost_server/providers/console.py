"""Prints messages on standard output instead of sending them. For development only."""

import re
import sys
from collections.abc import Sequence
from typing import TextIO

from relaypost_server.core.message import Channel, Email, Message, Sms
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Finding, Level
from relaypost_server.core.segments import count_segments
from relaypost_server.providers._console_settings import ConsoleSettings

_CODE = re.compile(r"\d{4,10}")


class _Console:
    """What both channels share."""

    name = "console"

    def __init__(self, settings: ConsoleSettings, out: TextIO | None = None) -> None:
        self._settings = settings
        self._out = out or sys.stdout

    async def check(self) -> Sequence[Finding]:
        detail = "prints messages and delivers none"
        return [Finding(subject="console", level=Level.WARNING, detail=detail, fix="Configure a real provider.")]

    async def close(self) -> None:
        self._out.flush()

    def _print(self, title: str, head: Sequence[str], text: str) -> None:
        lines = [*head, "", *self._shown(text).splitlines()]
        body = "\n".join(f"│ {_visible(line)}" for line in lines)
        print(f"┌ {title}\n{body}\n└", file=self._out, flush=True)

    def _shown(self, text: str) -> str:
        if self._settings.show_codes:
            return text
        return _CODE.sub(lambda code: "•" * len(code.group()), text)


class ConsoleEmail(_Console):
    """Prints emails."""

    channel = Channel.EMAIL

    async def send(self, message: Message[Email], *, timeout: float) -> Outcome:
        email = message.content
        head = [
            f"from:    {email.sender.email}",
            f"to:      {', '.join(email.recipients)}",
            *([f"bounces: {email.envelope_sender}"] if email.envelope_sender else []),
            f"subject: {self._shown(email.subject)}",
            *(f"file:    {a.filename}, {len(a.content)} bytes" for a in email.attachments),
        ]
        self._print(f"email {message.id}", head, email.text or email.html)
        return Outcome(kind=Kind.ACCEPTED, provider_message_id=f"console-{message.id}")


class ConsoleSms(_Console):
    """Prints text messages."""

    channel = Channel.SMS

    async def send(self, message: Message[Sms], *, timeout: float) -> Outcome:
        sms = message.content
        self._print(f"sms {message.id}", [f"to: {sms.to}"], sms.text)
        return Outcome(
            kind=Kind.ACCEPTED,
            provider_message_id=f"console-{message.id}",
            segments=count_segments(sms.text).count,
        )


def _visible(line: str) -> str:
    """No control character of a message reaches the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
