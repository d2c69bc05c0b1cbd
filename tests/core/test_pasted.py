"""What pasting leaves in texts."""

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.pasted import Repaired, repair_line, repair_prose
from tests.faults import meaning


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("plain\r\ntext\there", Repaired("plain\r\ntext\there")),
        ("it\u0092s 5\u0080", Repaired("it’s 5€", replaced=2)),
        ("a\x0bb", Repaired("ab", dropped=1)),
        ("\x1b[2J\x7f\u0081", Repaired("[2J", dropped=3)),
        ("a\x00b", Repaired("a\x00b")),
    ],
)
def test_texts_of_several_lines_are_repaired(text: str, repaired: Repaired) -> None:
    assert repair_prose(text) == repaired


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("a\tb", Repaired("a b", replaced=1)),
        ("a\x0bb\x0cc", Repaired("a b c", replaced=2)),
        ("O\u0092Brien\x1f", Repaired("O’Brien", replaced=1, dropped=1)),
        ("a\r\nBcc: b", Repaired("a\r\nBcc: b")),
        ("a\u0085Bcc: b", Repaired("a…Bcc: b", replaced=1)),
        ("a\u2028b\x00", Repaired("a\u2028b\x00")),
    ],
)
def test_single_lines_are_repaired(text: str, repaired: Repaired) -> None:
    assert repair_line(text) == repaired


@given(st.text(st.characters(max_codepoint=0x2FF).filter(lambda c: c != "\0"), max_size=40))
def test_repairs_are_those_of_the_second_set_of_rules(text: str) -> None:
    assert repair_line(text).text == meaning.line(text)
    assert repair_prose(text).text == meaning.prose(text)
    for repair in (repair_line, repair_prose):
        repaired = repair(text)
        assert repair(repaired.text) == Repaired(repaired.text)
        assert len(text) - len(repaired.text) == repaired.dropped
