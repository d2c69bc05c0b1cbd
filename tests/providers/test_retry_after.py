"""Retry-After, friendly and hostile (RFC 9110, section 10.2.3)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.retry_after import parse_retry_after
from relaypost_server.providers._http import LONGEST_RETRY_AFTER

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Wed, 01 Jul 2026 12:00:30 GMT", 30.0),
        ("Wed, 01 Jul 2026 11:00:00 GMT", None),
        ("-1", None),
        ("1000000000", 300.0),
        ("Wed, 01 Jul 2099 12:00:00 GMT", 300.0),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("9" * 5000, None),
    ],
)
def test_values(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW, longest=LONGEST_RETRY_AFTER) == seconds


@given(st.text(max_size=60))
def test_no_value_raises_or_benches_a_provider_for_long(value: str) -> None:
    seconds = parse_retry_after(value, NOW, longest=LONGEST_RETRY_AFTER)
    assert seconds is None or 0 <= seconds <= 300
