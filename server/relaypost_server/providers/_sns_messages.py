"""Messages of an Amazon SNS topic, as it posts them: checked, and subscriptions confirmed.

docs.aws.amazon.com/sns: "Verifying the signatures of Amazon SNS messages". The
certificate and the confirmation are fetched from SNS's own host in the region
of the pinned topic, and from nowhere else, whatever a message asks for.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief
from relaypost_server.providers._receipts import check_time, iso_time, json_of, mapping
from relaypost_server.providers._sns_certificates import Certificates, Fetcher

TOPIC_HEADER = "x-amz-sns-topic-arn"
"""SNS names the topic of each message in it."""
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{32}\.pem")
_SIGNATURE_BYTES = range(128, 1025)
"""Of RSA keys from 1024 to 8192 bits."""
_HASHES: Mapping[str, type[SHA1 | SHA256]] = {"1": SHA1, "2": SHA256}
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}


class SnsMessages:
    """The messages of one topic."""

    def __init__(self, topic: str, *, endpoint: str | None, window: float, fetcher: Fetcher) -> None:
        """`endpoint` takes the place of SNS's host in the topic's region; `window` is in seconds."""
        self._topic = topic
        self._base = endpoint or host_of(topic)
        self._window = window
        self._fetcher = fetcher
        self._certificates = Certificates(fetcher)

    def check_head(self, head: Callback) -> None:
        """Raises CallbackRefusedError where the headers name another topic, or none."""
        topic = head.headers.get(TOPIC_HEADER)
        if topic is None:
            raise CallbackRefusedError(Disbelief.UNSIGNED)
        if topic != self._topic:
            raise CallbackRefusedError(Disbelief.FOREIGN)

    async def read(self, callback: Callback) -> Mapping[str, Any] | None:
        """A notification that is the topic's own; None for a confirmation, which has been dealt with.

        Raises CallbackRefusedError or CallbackUnverifiedError.
        """
        message = mapping(json_of(callback.body))
        if not message.get("Signature"):
            raise CallbackRefusedError(Disbelief.UNSIGNED)
        if message.get("TopicArn") != self._topic:
            raise CallbackRefusedError(Disbelief.FOREIGN)
        await self._verify(message, callback)
        match message["Type"]:
            case "Notification":
                return message
            case "SubscriptionConfirmation":
                await self._fetcher.fetch(self._pinned(message["SubscribeURL"]))
        return None

    async def _verify(self, message: Mapping[str, Any], callback: Callback) -> None:
        """Checks all that needs no certificate first: to get one may cause a fetch."""
        now = callback.receive_time
        text, signature, algorithm = signed_text(message), _signature(message["Signature"]), _algorithm(message)
        url = self._pinned(message.get("SigningCertURL"), path=_CERTIFICATE_PATH)
        check_time(iso_time(message["Timestamp"]), now, self._window)
        certificate = await self._certificates.get(url, callback.peer)
        if not certificate.not_valid_before_utc <= now.astimezone(UTC) <= certificate.not_valid_after_utc:
            raise CallbackRefusedError(Disbelief.FORGED)
        key = certificate.public_key()
        try:
            if isinstance(key, RSAPublicKey):
                key.verify(signature, text.encode(), PKCS1v15(), algorithm)
                return
        except InvalidSignature:
            pass
        raise CallbackRefusedError(Disbelief.FORGED)

    def _pinned(self, url: object, *, path: re.Pattern[str] | None = None) -> str:
        """The URL, if it leads to the pinned host. Raises CallbackRefusedError."""
        if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise CallbackRefusedError(Disbelief.FORGED)
        try:
            parts, base = urlsplit(url), urlsplit(self._base)
        except ValueError:
            raise CallbackRefusedError(Disbelief.FORGED) from None
        at_home = (parts.scheme, parts.netloc) == (base.scheme, base.netloc) and not parts.fragment
        if not at_home or (path and (parts.query or not path.fullmatch(parts.path))):
            raise CallbackRefusedError(Disbelief.FORGED)
        return url


def host_of(topic: str) -> str:
    """SNS's URL in the region of a topic."""
    _, partition, _, region, *_ = topic.split(":")
    return f"https://sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"


def signed_text(message: Mapping[str, Any]) -> str:
    """What SNS signs of a message. Raises CallbackRefusedError where it lacks a part."""
    names = _SIGNED.get(str(message.get("Type")), ())
    values = [(name, message.get(name)) for name in names if name != "Subject" or message.get(name) is not None]
    if not values or not all(isinstance(value, str) for _, value in values):
        raise CallbackRefusedError(Disbelief.MALFORMED)
    return "".join(f"{name}\n{value}\n" for name, value in values)


def _algorithm(message: Mapping[str, Any]) -> SHA1 | SHA256:
    algorithm = _HASHES.get(str(message.get("SignatureVersion")))
    if algorithm is None:
        raise CallbackRefusedError(Disbelief.FORGED)
    return algorithm()


def _signature(text: object) -> bytes:
    try:
        found = b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError:
        raise CallbackRefusedError(Disbelief.FORGED) from None
    if len(found) not in _SIGNATURE_BYTES:
        raise CallbackRefusedError(Disbelief.FORGED)
    return found
