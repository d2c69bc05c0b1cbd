"""Values: frozen for the type checker and in Python's development mode."""

import subprocess
import sys

import pytest

from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.value import replace

CHANGE = "from relaypost_server.core.money import Money; Money(micros=1).micros = 2"


def test_values_are_equal_and_hash_by_what_they_hold() -> None:
    assert {Money(micros=1), Money(micros=1), Money(micros=2)} == {Money(micros=2), Money(micros=1)}


def test_a_value_takes_names_only_and_no_other_fields() -> None:
    with pytest.raises(TypeError):
        Money(1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        object.__setattr__(Money(micros=1), "cents", 1)


def test_a_copy_differs_in_what_was_asked_for_and_is_checked_as_if_it_were_new() -> None:
    outcome = Outcome(kind=Kind.REJECTED, provider_code="550", segments=2)
    assert replace(outcome, segments=1) == Outcome(kind=Kind.REJECTED, provider_code="550", segments=1)
    assert replace(outcome, detail="a\nb").detail == Outcome(kind=Kind.REJECTED, detail="a\nb").detail
    with pytest.raises(TypeError):
        replace(outcome, segmnts=1)  # type: ignore[call-arg]


def test_development_mode_lets_nobody_change_a_value() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", CHANGE], capture_output=True, text=True, check=False
    )
    assert "FrozenInstanceError" in ended.stderr
