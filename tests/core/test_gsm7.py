"""Texts that are kept in GSM-7."""

import unicodedata

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.gsm7 import to_gsm7
from relaypost_server.core.segments import Encoding, count_segments, is_gsm7


@pytest.mark.parametrize(
    ("text", "made", "replaced"),
    [
        ("Its code: 1", "Its code: 1", 0),
        ("It’s", "It's", 1),
        ("“Hello” – it’s you…", '"Hello" - it\'s you...', 5),
        ("a\u00a0b\u2009c\td", "a b c d", 3),
        ("1\u2011800", "1-800", 1),
        ("e\u0301te\u0301", "été", 2),
        ("soft\u00adhyphen\u200b", "softhyphen", 2),
        ("\u202aleft to right\u202c", "left to right", 2),
        ("`x` × ½", "'x' x 1/2", 4),
        ("ＣＯＤＥ：４８", "CODE:48", 7),
        ("€ {ok}", "€ {ok}", 0),
    ],
)
def test_look_alikes_are_replaced_and_counted(text: str, made: str, replaced: int) -> None:
    assert to_gsm7(text) == (made, replaced)
    assert is_gsm7(made)


@pytest.mark.parametrize("text", ["Zażółć", "Привет", "你好", "🎉", "नमस्ते", "não"])
def test_no_letter_becomes_another_one(text: str) -> None:
    made, _ = to_gsm7(text)
    assert unicodedata.normalize("NFC", text) == made


def test_joiners_stay_in_a_text_that_needs_ucs_2() -> None:
    assert to_gsm7("نمی\u200cخواهم’") == ("نمی\u200cخواهم'", 1)


def test_a_text_with_one_curly_quote_stays_one_segment() -> None:
    text = "It’s " + "x" * 150
    assert (count_segments(text).encoding, count_segments(text).count) == (Encoding.UCS_2, 3)
    made = count_segments(to_gsm7(text)[0])
    assert (made.encoding, made.count) == (Encoding.GSM_7, 1)


@given(st.text(max_size=80))
def test_a_text_in_gsm_7_is_unchanged_and_conversion_is_idempotent(text: str) -> None:
    made, replaced = to_gsm7(text)
    assert to_gsm7(made) == (made, 0) or not is_gsm7(made)
    assert (made == text) is (replaced == 0) or not is_gsm7(made)
    if is_gsm7(text):
        assert (made, replaced) == (text, 0)
    assert count_segments(made).count <= 3 * count_segments(text).count or not made
