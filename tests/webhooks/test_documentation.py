"""The examples of docs/webhooks.md do what they should."""

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

from relaypost_server.core.webhook import Event
from relaypost_server.core.webhook_signing import headers, shown
from tests.messages import NOW
from tests.peers import ROOT
from tests.test_docs import blocks

EVENT = Event(id="7d444840-9dc0-11d1-b245-5ffdce74fad2", type="message.sent", time=NOW, data={"message_id": "1"})


def test_the_documented_check_believes_what_is_signed_and_nothing_else() -> None:
    [code] = [c for c in blocks(ROOT / "docs" / "webhooks.md", "python") if "def verified" in c]
    names: dict[str, Any] = {}
    exec(code, names)
    verified, secret, now = names["verified"], shown(b"s" * 32), int(datetime.now(UTC).timestamp())
    signed = headers(EVENT.id, now, EVENT.body, [b"o" * 32, b"s" * 32])
    assert verified(secret, signed, EVENT.body) == json.loads(EVENT.body)
    assert verified(secret, signed, EVENT.body + b" ") is None
    assert verified(shown(b"x" * 32), signed, EVENT.body) is None
    assert verified(secret, signed | {"webhook-id": "other"}, EVENT.body) is None
    assert verified(secret, headers(EVENT.id, now - 400, EVENT.body, [b"s" * 32]), EVENT.body) is None


def test_the_documented_receiver_answers_as_it_should() -> None:
    [code] = [c for c in blocks(ROOT / "docs" / "webhooks.md", "python") if "def receive" in c]
    [documented] = set(re.findall(r"whsec_[\w+/=]+", code))
    names: dict[str, Any] = {}
    exec(code, names)
    secret = base64.b64decode(documented.removeprefix("whsec_"))
    signed = headers(EVENT.id, int(datetime.now(UTC).timestamp()), EVENT.body, [secret])
    assert names["receive"](signed, EVENT.body) == 204
    assert names["receive"](signed, EVENT.body + b" ") == 401
