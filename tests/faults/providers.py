"""Fakes in the place of all five real providers, and what each of them took."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs

from tests.e2e.gateway import AWS_KEYS
from tests.fakes.http import FakeHttp, Request, answer, fake_http
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.faults.history import Submission
from tests.providers.configured import SECRETS, TWILIO

EMAIL_CHAIN = ("ses", "sendgrid", "smtp")
SMS_CHAIN = ("sns", "twilio")
OVER_HTTP = ("ses", "sendgrid", "sns", "twilio")
EVERY = (*EMAIL_CHAIN, *SMS_CHAIN)

_PUBLISHED = b"<PublishResponse><PublishResult><MessageId>id-1</MessageId></PublishResult></PublishResponse>"
TAKEN = {
    "ses": answer(200, b'{"MessageId":"id-1"}', Content_Type="application/json"),
    "sendgrid": answer(202, X_Message_Id="id-1"),
    "sns": answer(200, _PUBLISHED),
    "twilio": answer(201, b'{"sid":"id-1"}', Content_Type="application/json"),
}
"""How each provider over HTTP says that it took a message."""
FAULT = {
    "ses": answer(503, b"{}", x_amzn_errortype="ServiceUnavailableException"),
    "sendgrid": answer(503, b"{}"),
    "sns": answer(503, b"<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>"),
    "twilio": answer(503, b"{}"),
}
"""How each of them says that it failed."""
_TOKEN = re.compile(r"token=([0-9a-z.-]+)")


@dataclass
class Providers:
    """One fake for each provider."""

    ses: FakeHttp
    sendgrid: FakeHttp
    smtp: FakeSmtp
    sns: FakeHttp
    twilio: FakeHttp

    def over_http(self, name: str) -> FakeHttp:
        fake: FakeHttp = getattr(self, name)
        return fake

    def received(self, name: str) -> int:
        """How many messages the provider has got whole."""
        return len(getattr(self, name).received)

    @property
    def counts(self) -> dict[str, int]:
        """`received` of those providers that got any."""
        return {name: self.received(name) for name in EVERY if self.received(name)}

    def heal(self) -> None:
        """Every provider takes everything."""
        for name in OVER_HTTP:
            self.over_http(name).always(TAKEN[name])
        self.smtp.replies.clear()

    def environ(self) -> dict[str, str]:
        """The settings of a gateway that knows these providers."""
        return {
            **AWS_KEYS,
            **TWILIO,
            "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.smtp.port),
            "RELAYPOST_SMTP_TLS": "none",
            "RELAYPOST_SNS_OPT_OUTS_SECONDS": "0",  # A request that is no submission.
            "RELAYPOST_SES_ENDPOINT": self.ses.url,
            "RELAYPOST_SENDGRID_ENDPOINT": self.sendgrid.url,
            "RELAYPOST_SNS_ENDPOINT": self.sns.url,
            "RELAYPOST_TWILIO_ENDPOINT": self.twilio.url,
        }

    def submissions(self) -> list[Submission]:
        """Every message that any provider got whole, in the order of arrival at each."""
        found: list[Submission] = []
        for name in OVER_HTTP:
            fake = self.over_http(name)
            for request, reply in zip(fake.received, fake.replies, strict=True):
                if not request.line.startswith("POST "):  # A look-up of what became of a message.
                    continue
                message_id, text = _READERS[name](request)
                found.append(_submission(name, message_id, text, taken=not reply.refuses))
        for mail, verdict in zip(self.smtp.received, self.smtp.verdicts, strict=True):
            text = mail.decode("utf-8", "replace")
            (message_id,) = re.findall(r"(?mi)^x-relaypost-message-id: *(\S+)", text)
            found.append(_submission("smtp", message_id, text, taken=not verdict.startswith(("4", "5"))))
        return found


def _submission(provider: str, message_id: str, text: str, *, taken: bool) -> Submission:
    found = _TOKEN.search(text)
    return Submission(provider=provider, token=found.group(1) if found else "", message_id=message_id, taken=taken)


def _ses(request: Request) -> tuple[str, str]:
    body = json.loads(request.body)
    tags = {tag["Name"]: tag["Value"] for tag in body["EmailTags"]}
    return tags["relaypost_message_id"], body["Content"]["Simple"]["Subject"]["Data"]


def _sendgrid(request: Request) -> tuple[str, str]:
    body = json.loads(request.body)
    return body["custom_args"]["relaypost_message_id"], body["subject"]


def _sns(request: Request) -> tuple[str, str]:
    """No id of ours travels with a text message."""
    return "", parse_qs(request.body.decode())["Message"][0]


def _twilio(request: Request) -> tuple[str, str]:
    return "", parse_qs(request.body.decode())["Body"][0]


_READERS = {"ses": _ses, "sendgrid": _sendgrid, "sns": _sns, "twilio": _twilio}


@asynccontextmanager
async def providers() -> AsyncIterator[Providers]:
    """All five, each of which takes everything."""
    async with (
        fake_http(TAKEN["ses"]) as ses,
        fake_http(TAKEN["sendgrid"]) as sendgrid,
        fake_smtp() as smtp,
        fake_http(TAKEN["sns"]) as sns,
        fake_http(TAKEN["twilio"]) as twilio,
    ):
        yield Providers(ses, sendgrid, smtp, sns, twilio)
