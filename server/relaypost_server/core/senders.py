"""Who a text message comes from: a name or a number.

Facts: twilio.com/docs/glossary/what-alphanumeric-sender-id and
docs.aws.amazon.com/sns/latest/dg/channels-sms-originating-identities.html.
"""

import re
from collections.abc import Mapping

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.message import Sms
from relaypost_server.core.segments import is_gsm_letter
from relaypost_server.core.value import value

LONGEST_NAME = 11
"""Characters: what 3GPP TS 23.040 leaves for the originating address."""
_SIGNS = frozenset("0123456789 &.-_+")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}")
WITHOUT_NAMES = frozenset({"AS", "CA", "GU", "MP", "PR", "US", "VI"})
"""The United States with its territories, and Canada: their carriers take numbers alone.

The rest of the countries that share +1 have rules of their own: most of the Caribbean takes names. Sources:
docs.aws.amazon.com/end-user-messaging, "Supported countries", North America and Oceania ("SMS Sender IDs"), and
docs.aws.amazon.com/sns, "Supported regions and countries" (the territories need a number as the states do);
twilio.com/guidelines/us/sms.
"""
_NOT_SHOWN = Adjustment(
    field="sms.sender_id", kind=AdjustmentKind.IGNORED, description="the recipient's country shows numbers alone"
)
_OF_COUNTRY = Adjustment(
    field="sms.sender_id",
    kind=AdjustmentKind.REPLACED,
    description="the gateway's settings name another sender for the recipient's country",
)


@value(frozen=True, slots=True, kw_only=True)
class SmsSender:
    """A name or a number, never both. Neither: the account's own number, which the provider's settings name."""

    name: str = ""
    number: str = ""
    adjustments: tuple[Adjustment, ...] = ()
    """Told where the message was to come from another sender."""


_ACCOUNTS_OWN = SmsSender()


def sender_of(sms: Sms, by_country: Mapping[str, str]) -> SmsSender:
    """The sender of a message. `by_country`: settings, by ISO 3166-1 code.

    The caller's number outweighs everything. The country's sender outweighs the caller's name, for a country that
    demands a registered sender refuses all others. The caller's name outweighs the account's number.
    """
    if not (sms.sender_id or sms.sender_number or by_country):
        return _ACCOUNTS_OWN
    if sms.sender_number:
        return SmsSender(number=sms.sender_number)
    own = by_country.get(sms.country, "")
    if own:
        adjustments = (_OF_COUNTRY,) if sms.sender_id not in ("", own) else ()
        if is_sender_number(own):
            return SmsSender(number=own, adjustments=adjustments)
        return SmsSender(name=own, adjustments=adjustments)
    if sms.sender_id and sms.country in WITHOUT_NAMES:
        return SmsSender(adjustments=(_NOT_SHOWN,))
    return SmsSender(name=sms.sender_id)


def is_sender_id(text: str) -> bool:
    """Whether it is a name: 1 to 11 letters of GSM-7, digits, spaces and "&.-_+", at least one letter."""
    letters = [is_gsm_letter(c) for c in text]
    return (
        len(text) <= LONGEST_NAME
        and any(letters)
        and all(letter or c in _SIGNS for letter, c in zip(letters, text, strict=True))
    )


def is_sender_number(text: str) -> bool:
    """Whether it is a number in E.164, or a short code of 3 to 8 digits."""
    return _NUMBER.fullmatch(text) is not None
