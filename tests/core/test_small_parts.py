"""Segments, ids, money, rolling counts, the retry budget, redaction."""

import time
import uuid
from datetime import date
from decimal import Decimal

import pytest
import smsutil
from hypothesis import given, strategies as st

from relaypost_server.core.adjustments import field_name
from relaypost_server.core.ids import HIGHEST, uuid7
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.redaction import mask, printable, safe_text
from relaypost_server.core.retry_budget import RetryBudget
from relaypost_server.core.rolling import RollingCounts, RollingMaximum
from relaypost_server.core.segments import Encoding, count_segments

GSM = st.sampled_from(sorted("@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./059:;<=>?¡AZÄÖÑÜ§¿azäöñüà\n\r^{}\\[~]|€"))


@given(st.text(GSM, min_size=1, max_size=700))
def test_gsm_segments_agree_with_an_independent_count(text: str) -> None:
    ours, theirs = count_segments(text), smsutil.split(text)
    assert ours.encoding is Encoding.GSM_7
    assert ours.count == len(theirs.parts)


@given(st.text(st.characters(codec="utf-16", exclude_categories=["Cs"]), min_size=1, max_size=400))
def test_any_segments_agree_with_an_independent_count(text: str) -> None:
    assert count_segments(text).count == len(smsutil.split(text).parts)


@pytest.mark.parametrize(
    ("text", "encoding", "count"),
    [
        ("a" * 160, Encoding.GSM_7, 1),
        ("a" * 161, Encoding.GSM_7, 2),
        ("a" * 306, Encoding.GSM_7, 2),
        ("a" * 307, Encoding.GSM_7, 3),
        ("€" * 80, Encoding.GSM_7, 1),
        ("€" * 81, Encoding.GSM_7, 2),
        ("a" * 152 + "€" + "a" * 152, Encoding.GSM_7, 3),
        ("ж" * 70, Encoding.UCS_2, 1),
        ("ж" * 71, Encoding.UCS_2, 2),
        ("😀" * 35, Encoding.UCS_2, 1),
        ("😀" * 36, Encoding.UCS_2, 2),
    ],
)
def test_the_edges_of_a_segment(text: str, encoding: Encoding, count: int) -> None:
    segments = count_segments(text)
    assert (segments.encoding, segments.count) == (encoding, count)


@given(st.integers(0, (1 << 48) - 1), st.integers(0, HIGHEST))
def test_ids_are_uuids_of_version_7(milliseconds: int, random: int) -> None:
    made = uuid.UUID(uuid7(milliseconds, random))
    assert str(made) == uuid7(milliseconds, random)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == milliseconds


def test_ids_sort_by_time() -> None:
    assert uuid7(1000, HIGHEST) < uuid7(1001, 0)


def test_prices_are_exact() -> None:
    assert Money.of(Decimal("0.00645")) == Money(micros=6450)
    assert Money(micros=6450) * 20_000 == Money.of(Decimal(129))
    assert Money(micros=1) + Money(micros=2) == Money(micros=3)


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="EUR"):
        Money(micros=1) + Money(micros=1, currency="EUR")


def test_a_country_without_a_price_has_the_default_or_none() -> None:
    listed = {"US": Money(micros=5)}
    as_of = date(2026, 1, 1)
    assert PriceList(as_of=as_of, by_country=listed).price("DE") is None
    assert PriceList(as_of=as_of, by_country=listed, default=Money(micros=9)).price("DE") == Money(micros=9)
    assert PriceList(as_of=as_of, by_country=listed, default=Money(micros=9)).price("US") == Money(micros=5)


def test_rolling_counts_forget() -> None:
    counts = RollingCounts(30.0)
    counts.add(1000.0, failed=True)
    counts.add(1015.0, failed=False)
    assert counts.totals(1015.0) == (2, 1)
    assert counts.totals(1032.0) == (1, 0)
    assert counts.totals(2000.0) == (0, 0)


def test_rolling_counts_forget_a_tenth_of_the_window_at_a_time() -> None:
    counts = RollingCounts(10.0)
    counts.add(0.95, failed=True)
    counts.add(1.0, failed=False)
    assert counts.totals(9.99) == (2, 1)
    assert counts.totals(10.0) == (1, 0)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60))
def test_rolling_counts_never_count_more_than_there_was(steps: list[tuple[float, bool]]) -> None:
    """Against a plain list: all of the last nine tenths of the window, nothing older than the window."""
    counts, seen, now = RollingCounts(30.0), list[tuple[float, bool]](), 0.0
    for pause, failed in steps:
        now += pause
        counts.add(now, failed=failed)
        seen.append((now, failed))
        calls, failures = counts.totals(now)
        surely = [f for t, f in seen if t > now - 27.0]
        maybe = [f for t, f in seen if t > now - 30.0 - 1e-6]
        assert len(surely) <= calls <= len(maybe)
        assert sum(surely) <= failures <= sum(maybe)


def test_a_rolling_maximum_forgets_a_tenth_of_the_window_at_a_time() -> None:
    highest = RollingMaximum(10.0)
    assert highest.highest(0.0) is None
    highest.add(0.95, 5.0)
    highest.add(0.96, 4.0)
    highest.add(1.0, 3.0)
    assert highest.highest(9.99) == 5.0
    assert highest.highest(10.0) == 3.0
    assert highest.highest(11.0) is None


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 9)), max_size=60))
def test_a_rolling_maximum_is_that_of_a_plain_list(steps: list[tuple[float, float]]) -> None:
    """All of the last nine tenths of the window count, nothing older than the window does."""
    rolling, seen, now = RollingMaximum(30.0), list[tuple[float, float]](), 0.0
    for pause, value in steps:
        now += pause
        rolling.add(now, value)
        seen.append((now, value))
        highest = rolling.highest(now)
        assert highest is not None
        assert max(v for t, v in seen if t > now - 27.0) <= highest
        assert highest <= max(v for t, v in seen if t > now - 30.0 - 1e-6)


def test_the_retry_budget_allows_a_tenth() -> None:
    budget, retries = RetryBudget(0.1), 0
    for _ in range(1000):
        budget.deposit()
        if budget.available:
            budget.withdraw()
            retries += 1
    assert 100 <= retries <= 101


def test_the_retry_budget_begins_with_one_try_and_earns_the_next_with_ten_messages() -> None:
    """Eleven, for ten tenths lack a little in floating point."""
    budget, seen = RetryBudget(), list[bool]()
    for withdraw, deposits in [(False, 0), (True, 0), (False, 9), (False, 2), (True, 0)]:
        if withdraw:
            budget.withdraw()
        for _ in range(deposits):
            budget.deposit()
        seen.append(budget.available)
    assert seen == [True, False, False, True, False]


def test_a_ratio_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(0.0)
    for _ in range(1000):
        budget.deposit()
    assert not budget.available


def test_savings_for_retries_are_bounded() -> None:
    budget, retries = RetryBudget(0.1), 0
    for _ in range(100_000):
        budget.deposit()
    while budget.available:
        budget.withdraw()
        retries += 1
    assert retries == 10


@pytest.mark.parametrize(
    ("address", "masked"),
    [("ada@example.com", "a***@example.com"), ("+14155550123", "+14***23"), ("12345", "***")],
)
def test_masked_addresses(address: str, masked: str) -> None:
    assert mask(address) == masked


def test_a_long_word_is_read_once() -> None:
    """Not again from each of its letters, which kept everything else waiting for half a second."""
    began = time.process_time()
    for word in ("x" * 2_000, "1" * 2_000, "x1" * 1_000, "+" * 2_000):
        for _ in range(50):
            safe_text(word, limit=200)
    assert time.process_time() - began < 5.0


@given(st.text(max_size=3000))
def test_shown_text_is_one_short_printable_line(text: str) -> None:
    for shown in (printable(text, limit=100), safe_text(text, limit=100)):
        assert len(shown) <= 100
        assert shown.isprintable()


@given(st.integers(1000, 10**10).map(str), st.sampled_from(["code: {}", "{}", "x{}y", "({})", "-{}-"]))
def test_no_code_survives_redaction(code: str, around: str) -> None:
    assert code not in safe_text(around.format(code), limit=200)


@pytest.mark.parametrize("code", ["٤٨٢٩١٥", "４８２９１５"])
def test_codes_in_other_digits_do_not_survive_either(code: str) -> None:
    assert code not in safe_text(f"code {code}", limit=200)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sms.text", "sms.text"),
        ("email.to[0].address", "email.to.address"),
        ('email.headers["X-Org"]', "email.headers"),
        ("email.tags (key 2 by name)", "email.tags"),
        ("email.attachments[3].content_type", "email.attachments.content_type"),
        ("email.headers.X-Secret 4829", "other"),
        ("", "other"),
    ],
)
def test_a_fields_name_has_no_index_and_no_key(path: str, name: str) -> None:
    assert field_name(path) == name
