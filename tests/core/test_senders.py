"""Who a text message comes from."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.message import Sms
from relaypost_server.core.senders import is_sender_id, is_sender_number, sender_of
from tests import messages

ABROAD = {"to": "+4915112345678", "country": "DE"}
SENDERS = {"IN": "ACMEIN", "DE": "+4915100000000", "FR": "36179"}


def sms(**changes: Any) -> Sms:
    return messages.sms(**changes).content


@pytest.mark.parametrize("name", ["My Shop", "AT&T", "O2", "EE", "Acme_Co", "a", "A.B-C_D+E&F", "Zürich", "1st Bank"])
def test_sender_ids(name: str) -> None:
    assert is_sender_id(name)


@pytest.mark.parametrize("name", ["", " ", "12345", "+1", "a" * 12, "Joe's", "a\nb", "a\u202eb", "Ünï", "名前", "a@b"])
def test_texts_that_are_no_sender_id(name: str) -> None:
    assert not is_sender_id(name)


@pytest.mark.parametrize("number", ["+14155550100", "12345", "999", "12345678"])
def test_sender_numbers(number: str) -> None:
    assert is_sender_number(number)
    assert not is_sender_id(number)


@pytest.mark.parametrize("number", ["", "12", "123456789", "14155550100", "+0", "+1 415", "٣٤٥", "Acme"])
def test_texts_that_are_no_sender_number(number: str) -> None:
    assert not is_sender_number(number)


def test_the_callers_name_outweighs_the_accounts_number() -> None:
    sender = sender_of(sms(**ABROAD, sender_id="Acme"), {})
    assert (sender.name, sender.number, sender.adjustments) == ("Acme", "", ())


@pytest.mark.parametrize("country", ["US", "CA", "PR", "GU", "VI", "AS", "MP"])
def test_where_phones_show_no_names_the_accounts_number_sends_and_that_is_told(country: str) -> None:
    sender = sender_of(sms(country=country, sender_id="Acme"), {})
    assert (sender.name, sender.number) == ("", "")
    assert [(a.field, a.kind) for a in sender.adjustments] == [("sms.sender_id", AdjustmentKind.IGNORED)]


@pytest.mark.parametrize("country", ["JM", "BB", "TT", "DO", ""])
def test_the_rest_of_the_numbers_that_begin_with_1_may_have_names(country: str) -> None:
    sender = sender_of(sms(to="+18764123456", country=country, sender_id="Acme"), {})
    assert (sender.name, sender.adjustments) == ("Acme", ())


def test_the_callers_number_outweighs_everything() -> None:
    sender = sender_of(sms(**ABROAD, sender_number="12345"), SENDERS)
    assert (sender.name, sender.number, sender.adjustments) == ("", "12345", ())


@pytest.mark.parametrize(
    ("country", "name", "number"), [("IN", "ACMEIN", ""), ("DE", "", "+4915100000000"), ("FR", "", "36179")]
)
def test_the_countrys_sender_outweighs_the_callers_name_and_that_is_told(country: str, name: str, number: str) -> None:
    given = sender_of(sms(to="+910000000000", country=country), SENDERS)
    assert (given.name, given.number, given.adjustments) == (name, number, ())
    replaced = sender_of(sms(to="+910000000000", country=country, sender_id="Acme"), SENDERS)
    assert (replaced.name, replaced.number) == (name, number)
    assert [(a.field, a.kind) for a in replaced.adjustments] == [("sms.sender_id", AdjustmentKind.REPLACED)]


def test_the_same_sender_is_no_change() -> None:
    assert sender_of(sms(to="+919876543210", country="IN", sender_id="ACMEIN"), SENDERS).adjustments == ()


@given(
    st.sampled_from(["", "Acme"]),
    st.sampled_from(["", "12345"]),
    st.sampled_from([("+14155550123", "US"), ("+919876543210", "IN"), ("+4915112345678", "DE"), ("+88351001234", "")]),
    st.dictionaries(st.sampled_from(["US", "IN", "DE"]), st.sampled_from(["NAME", "12345"])),
)
def test_there_is_never_both_a_name_and_a_number(
    name: str, number: str, to: tuple[str, str], by_country: dict[str, str]
) -> None:
    sender = sender_of(sms(to=to[0], country=to[1], sender_id=name, sender_number=number), by_country)
    assert not (sender.name and sender.number)
