"""Callbacks as each vendor signs them, with keys of the test's own."""

import datetime
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID
from twilio.request_validator import RequestValidator

from relaypost_server.core.ports import Callback, CallbackUnverifiedError
from relaypost_server.providers._sns_messages import signed_text
from tests.messages import ID
from tests.providers.configured import SECRETS

TOPIC = "arn:aws:sns:us-east-1:123456789012:relaypost"
SNS = "https://sns.us-east-1.amazonaws.com"
PUBLIC_URL = "https://post.example.com"


TOPIC_HEADER = {"x-amz-sns-topic-arn": TOPIC}
"""SNS names the topic beside each message."""


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def stamp(moment: datetime.datetime) -> str:
    """As AWS writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def certificate_for(key: rsa.RSAPrivateKey, *, days: int = 30) -> bytes:
    """A self-signed certificate in PEM that ends in so many days."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - datetime.timedelta(days=60))
        .not_valid_after(utc_now() + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@dataclass
class SnsTopic:
    """A topic, and the fetcher that finds its certificate."""

    base: str = SNS
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    pages: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pages[self.certificate_url] = certificate_for(self.key)

    @property
    def certificate_url(self) -> str:
        return f"{self.base}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url not in self.pages:
            raise CallbackUnverifiedError("HTTP 404")
        return self.pages[url]

    def message(self, version: str = "2", *, key: rsa.RSAPrivateKey | None = None, **changes: Any) -> dict[str, Any]:
        """A signed message; a change to None leaves the part out."""
        parts = {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": "{}",
            "Timestamp": stamp(utc_now()),
            "SignatureVersion": version,
            "SigningCertURL": self.certificate_url,
        } | changes
        parts = {name: value for name, value in parts.items() if value is not None}
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = (key or self.key).sign(signed_text(parts).encode(), PKCS1v15(), algorithm)
        return {"Signature": b64encode(signature).decode(), **parts}

    def notification(self, event: Mapping[str, Any], **changes: Any) -> bytes:
        return json.dumps(self.message(Message=json.dumps(event), **changes)).encode()


@dataclass
class SendGridKey:
    """The key pair of an Event Webhook."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> str:
        encoded = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return b64encode(encoded).decode()

    def headers(self, body: bytes, *, at: float | None = None) -> dict[str, str]:
        timestamp = str(int(time.time() if at is None else at))
        signature = self.private.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": timestamp,
        }


def twilio_callback(form: Mapping[str, str], *, url: str = PUBLIC_URL, message_id: str = ID) -> Callback:
    path = f"/callbacks/twilio?message_id={message_id}"
    signature = RequestValidator(SECRETS["TWILIO_AUTH_TOKEN"]).compute_signature(url + path, form)
    return callback(urlencode(form).encode(), {"x-twilio-signature": signature}, path=path)


def callback(body: bytes, headers: Mapping[str, str] | None = None, *, path: str = "/callbacks/x") -> Callback:
    return Callback(path=path, headers=headers or {}, body=body, receive_time=utc_now())
