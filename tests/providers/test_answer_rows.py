"""What providers' tables say of answers, row for row: as data, and on a chain of two over real sockets."""

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.breaker import BreakerPolicy, CircuitState, OpenReason, RefusalReason
from relaypost_server.core.failover import Ending
from relaypost_server.core.message import Address, Channel, Guarantee
from relaypost_server.core.outcome import POLICY, Effect, Kind, Next, Outcome
from relaypost_server.flow.chain import THROTTLE_SECONDS
from relaypost_server.providers import sendgrid_answers, ses_answers, sns_answers, twilio_answers
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._meanings import Meaning
from tests import messages
from tests.core.effort import EFFORT
from tests.fakes.http import Reply
from tests.fakes.providers import Rig
from tests.providers.cases import Case, Peer
from tests.providers.rows import CASES, PEERS, SECOND, TABLES

CLASSIFIERS: Any = {
    "ses": ses_answers.classify,
    "sendgrid": sendgrid_answers.classify,
    "sns": sns_answers.classify,
    "twilio": twilio_answers.classify,
}
WORDS = sorted({word for table in TABLES.values() for row in table.rows for word in row.words})
CODES = sorted({code for table in TABLES.values() for row in table.rows for code in row.codes})
FIELDS = sorted({field for table in TABLES.values() for row in table.rows for field in row.fields})


def as_answer(reply: Reply) -> Answer:
    """The answer that arrives where such a reply is written."""
    head, _, body = reply.data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def follows(outcome: Outcome, meaning: Meaning) -> bool:
    """Whether the outcome is the one that the row declares."""
    same = (outcome.kind, outcome.alert, outcome.blames_recipient, outcome.opted_out)
    declared = (meaning.kind, meaning.alert, meaning.blames_recipient, meaning.opted_out)
    return same == declared and (meaning.latch is None or outcome.retry_after == meaning.latch)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row_has_an_answer_that_no_earlier_row_takes(name: str) -> None:
    for case in CASES[name]:
        assert follows(CLASSIFIERS[name](as_answer(case.answer)), case.meaning), case


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_last_row_knows_nothing_and_goes_on_to_the_next_provider(name: str) -> None:
    last = TABLES[name].rows[-1]
    assert last.answer == "anything else"
    assert (last.meaning.kind, last.meaning.alert) == (Kind.UNSUPPORTED, True)


def test_only_words_about_the_recipient_or_the_content_end_the_chain() -> None:
    """A list to be read before it is lengthened: each of these keeps the message from every other provider."""
    found = {(name, row.answer) for name, table in TABLES.items() for row in table.rows if is_rejected(row.meaning)}
    assert found == {
        ("ses", '4xx `MessageRejected` that says "bad content" or "virus" or "malware"'),
        ("twilio", "4xx `21211`, `21214`, `21217`, `21265`, `21614`"),
        ("twilio", "4xx `21610`"),
        ("twilio", "4xx `21602`, `21617`, `21619`"),
    }


def is_rejected(meaning: Meaning) -> bool:
    return meaning.kind is Kind.REJECTED


TEXTS = st.text(max_size=30) | st.sampled_from(WORDS) | st.sampled_from(CODES)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def as_json(body: Any) -> bytes:
    return json.dumps(body).encode("utf-8", "replace")


NAMES = ("message", "Message", "code", "__type", "sid", "MessageId", "errors")
ERRORS = st.lists(
    st.fixed_dictionaries({}, optional={"message": VALUES, "field": VALUES | st.sampled_from(FIELDS), "help": VALUES})
    | VALUES,
    max_size=3,
)
BODIES = (
    st.binary(max_size=60)
    | st.fixed_dictionaries({}, optional={**dict.fromkeys(NAMES, VALUES), "errors": ERRORS | VALUES}).map(as_json)
    | st.tuples(TEXTS, TEXTS, TEXTS).map(
        lambda t: f"<R><Code>{t[0]}</Code><Message>{t[1]}</Message><Id>{t[2]}</Id></R>".encode("utf-8", "replace")
    )
)
HEADERS = st.dictionaries(
    st.sampled_from(["x-amzn-errortype", "x-message-id", "retry-after", "x-ratelimit-reset", "content-type"]),
    TEXTS | st.sampled_from(["nan", "inf", "-1", "1e400", "1" * 5000]),
)
STATUSES = st.sampled_from([200, 202, 204, 302, 400, 401, 403, 404, 408, 409, 413, 429, 500, 503]) | st.integers(
    200, 999
)


@EFFORT
@given(status=STATUSES, headers=HEADERS, body=BODIES)
def test_any_answer_ends_in_a_kind_that_a_row_declares(status: int, headers: dict[str, str], body: bytes) -> None:
    for name, table in TABLES.items():
        outcome = CLASSIFIERS[name](Answer(status, headers, body))
        assert any(follows(outcome, row.meaning) for row in table.rows), (name, outcome)
        if outcome.kind is Kind.REJECTED:
            assert 400 <= status < 500
        if not 200 <= status < 300:
            assert outcome.kind is not Kind.ACCEPTED


@pytest.fixture
async def stack() -> Any:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.mark.usefixtures("aws_keys")
@pytest.mark.parametrize("name", sorted(PEERS))
async def test_what_one_provider_does_not_take_arrives_by_the_second(name: str, stack: AsyncExitStack) -> None:
    """Each row once: one submission to each, no possible duplicate but where the row says so, circuits as it says."""
    first = await stack.enter_async_context(PEERS[name]())
    second = await stack.enter_async_context(PEERS[SECOND[name]]())
    second.accept()
    for case in CASES[name]:
        await check(case, first, second)


async def check(case: Case, first: Peer, second: Peer) -> None:
    kind, before = case.meaning.kind, (first.submissions, second.submissions)
    first.give(case.answer)
    rig = Rig(
        [first.provider, second.provider], first.provider.channel, policy=BreakerPolicy(jitter=0.0, failures_to_open=1)
    )
    is_email = first.provider.channel is Channel.EMAIL
    message = messages.email(to=(Address(email=case.to),)) if is_email else messages.sms()
    delivery = await rig.dispatcher.deliver(
        replace(message, guarantee=Guarantee.AT_LEAST_ONCE), caller=rig.caller(10.0)
    )
    stops = POLICY[kind].next_provider is Next.NO
    asked = (first.submissions - before[0], second.submissions - before[1])
    assert asked == (case.submissions, 0 if stops else 1), case
    assert [a.kind for a in delivery.attempts] == [kind, Kind.ACCEPTED][: len(delivery.attempts)], case
    assert delivery.attempts[0].outcome.alert == case.meaning.alert, case
    assert delivery.verdict.ending is (Ending.REJECTED if kind is Kind.REJECTED else Ending.SENT), case
    assert delivery.verdict.possible_duplicate == (kind is Kind.UNCONFIRMED), case
    check_circuit(case, rig, first.provider.name)


def check_circuit(case: Case, rig: Rig, provider: str) -> None:
    """Of a breaker that the first failure opens."""
    health = rig.chain[provider].health()
    reasons = {Effect.FAILURE: OpenReason.CONSECUTIVE_FAILURES, Effect.ACCOUNT_FAULT: OpenReason.ACCOUNT}
    reason = reasons.get(POLICY[case.meaning.kind].effect)
    assert health.circuit_reason is reason, case
    assert health.circuit_state is (CircuitState.OPEN if reason else CircuitState.CLOSED), case
    now = rig.chain[provider].now()
    refusal = rig.chain[provider].refusal(now)
    if case.meaning.kind is Kind.THROTTLED:
        assert refusal is not None
        assert refusal.reason is RefusalReason.COOLING, case
        wait = case.meaning.latch or THROTTLE_SECONDS
        assert 0 < refusal.retry_at - now <= wait, case
        assert case.meaning.latch is None or refusal.retry_at - now > wait - 30, case
    else:
        assert (refusal is None) == (reason is None), case
