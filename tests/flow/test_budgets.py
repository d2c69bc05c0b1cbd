"""Sends within budgets, and past them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from relaypost_server.core.budgets import Budget, Budgets
from relaypost_server.core.failover import Ending, SkipReason
from relaypost_server.core.idempotency import RequestKey
from relaypost_server.core.message import Channel, Guarantee, MessageState, Sms
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow.budgets import BudgetKeeper
from relaypost_server.flow.send import Sent
from tests import messages
from tests.fakes.costs import FakeCosts, spending
from tests.fakes.providers import FakeClock, FakeProvider, Rig, failing

DOLLAR = Money(micros=1_000_000)
PAID = failing(Kind.ACCEPTED, provider_message_id="id-1", units=1, cost=DOLLAR)
SMS = messages.sms().content


def rig(*answers: Any, soft: int | None = None, hard: int | None = None, **callers: Budget) -> Rig:
    """Providers "a" and "b", each message for a dollar; the budget is that of "a"."""
    budget = Budget(soft=DOLLAR * soft if soft else None, hard=DOLLAR * hard if hard else None)
    providers = {"a": budget} if soft or hard else {}
    chain = [FakeProvider(name, [*answers, PAID], channel=Channel.SMS) for name in ("a", "b")]
    return Rig(
        chain, Channel.SMS, clock=FakeClock(), budgets=Budgets(providers=providers, callers=callers), costs=FakeCosts()
    )


def keeper(of: Rig) -> BudgetKeeper:
    assert of.keeper is not None
    return of.keeper


async def send(by: Rig, caller: str = "", content: Sms = SMS, **options: Any) -> Sent:
    return await by.sender.send(
        content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None, caller_name=caller, **options
    )


def asked(by: Rig) -> list[int]:
    return [len(p.received) for p in by.providers]


async def test_past_a_soft_limit_the_next_provider_is_preferred() -> None:
    made = rig(soft=2)
    for _ in range(4):
        await send(made)
    assert asked(made) == [2, 2]


async def test_past_a_soft_limit_a_provider_is_still_there_when_others_fail() -> None:
    made = rig(soft=1)
    await send(made)
    made.providers[1].answers = [failing(Kind.FAULTED)]
    sent = await send(made)
    assert [(a.provider, a.kind) for a in sent.record.attempts] == [("b", Kind.FAULTED), ("a", Kind.ACCEPTED)]


async def test_past_a_hard_limit_a_provider_is_passed_over_until_the_month_ends() -> None:
    made = rig(hard=2)
    for _ in range(3):
        sent = await send(made)
    assert asked(made) == [2, 1]
    passed_over, _ = sent.record.attempts
    assert (passed_over.kind, passed_over.skipped) == (Kind.SKIPPED, SkipReason.OVER_BUDGET)
    assert "budget" in passed_over.outcome.detail
    [a, _] = made.chain.health().providers
    assert (a.available, a.retry_time) == (False, datetime(2026, 8, 1, tzinfo=UTC))
    assert made.clock is not None
    made.clock.turn(31 * 86_400)
    await send(made)
    assert asked(made) == [3, 1]


async def test_when_every_provider_is_past_its_hard_limit_the_caller_learns_until_when() -> None:
    made = rig(hard=1)
    keeper(made).budgets = Budgets(providers={"a": Budget(hard=DOLLAR), "b": Budget(hard=DOLLAR)})
    for _ in range(2):
        await send(made)
    sent = await send(made)
    assert sent.verdict.ending is Ending.EXHAUSTED
    assert sent.verdict.retry_after == pytest.approx(30.5 * 86_400)


async def test_a_caller_past_its_hard_limit_is_refused_and_others_are_not() -> None:
    made = rig(noisy=Budget(hard=DOLLAR * 2))
    for _ in range(2):
        assert (await send(made, "noisy")).verdict.ending is Ending.SENT
    refused = await send(made, "noisy")
    assert (refused.verdict.ending, refused.record.state) == (Ending.OVER_BUDGET, MessageState.FAILED)
    assert [a.skipped for a in refused.record.attempts] == [SkipReason.CALLER_OVER_BUDGET]
    assert asked(made) == [2, 0]
    for other in ("quiet", ""):
        assert (await send(made, other)).verdict.ending is Ending.SENT


async def test_a_refused_request_may_be_made_again_and_an_answered_one_is_not_refused() -> None:
    made = rig(noisy=Budget(hard=DOLLAR))
    key = RequestKey(caller="noisy", method="SendSms", request_id="r-1")
    assert (await send(made, "noisy", key=key)).verdict.ending is Ending.SENT
    refused = await send(made, "noisy", key=RequestKey(caller="noisy", method="SendSms", request_id="r-2"))
    assert refused.verdict.ending is Ending.OVER_BUDGET
    kept = [kept for _, _, kept in made.requests.finished]
    assert kept == [True, False]
    assert [c.first_provider for c in made.requests.claims] == ["a", ""]
    assert asked(made) == [1, 0]


async def test_what_may_have_been_sent_is_spent() -> None:
    made = rig(hard=1)
    made.providers[0].answers = [failing(Kind.UNCONFIRMED, units=1, cost=DOLLAR)]
    await send(made)
    await send(made)
    assert asked(made) == [1, 2]


async def test_what_other_gateways_spent_is_learned() -> None:
    made = rig(hard=10, noisy=Budget(hard=DOLLAR))
    spent = spending(provider="a", caller="noisy", estimated=10_000_000)
    assert isinstance(made.costs, FakeCosts)
    made.costs.known.append(spent)
    await send(made)
    assert asked(made) == [1, 0]
    await keeper(made).refresh(settle_seconds=0)
    await send(made)
    assert asked(made) == [1, 1]
    assert (await send(made, "noisy")).verdict.ending is Ending.OVER_BUDGET


async def test_today_is_learned_each_time_and_the_days_before_it_now_and_then() -> None:
    made = rig(hard=10)
    assert isinstance(made.costs, FakeCosts)
    assert made.clock is not None
    made.clock.turn(9 * 86_400 + 11 * 3_600)
    learned = []
    for seconds in (0, 60, 3_600, 3_600):  # The last one is after midnight.
        made.clock.turn(seconds)
        await keeper(made).refresh(settle_seconds=0)
        learned.append([(first.day, last.day) for first, last in made.costs.asked])
        made.costs.asked.clear()
    assert learned == [[(10, 10), (1, 9)], [(10, 10)], [(11, 11), (1, 10)], [(11, 11), (1, 10)]]


async def test_what_was_sent_before_midnight_is_not_lost() -> None:
    made = rig(hard=10)
    assert isinstance(made.costs, FakeCosts)
    assert made.clock is not None
    made.clock.turn(12 * 3_600 - 1)
    await send(made)
    made.costs.known.append(spending(provider="a", estimated=1_000_000))  # So it is on record.
    made.clock.turn(2)
    await keeper(made).refresh(settle_seconds=0)
    assert 'relaypost_month_spend{kind="provider",name="a"} 1.0' in made.metrics.render().decode()


async def test_while_the_database_is_away_sends_go_on_and_are_counted() -> None:
    made = rig(hard=2)
    assert isinstance(made.costs, FakeCosts)
    made.costs.available = made.log.available = False
    for _ in range(3):
        with pytest.raises(LogUnavailableError):
            await keeper(made).refresh(settle_seconds=0)
        assert (await send(made)).verdict.ending is Ending.SENT
    assert asked(made) == [2, 1]
    # It is back, but what was sent still waits in the spool.
    made.costs.available = True
    await keeper(made).refresh(settle_seconds=0)
    await send(made)
    assert asked(made) == [2, 2]


async def test_an_alert_is_raised_once_a_month_for_each_limit() -> None:
    made = rig(soft=1, hard=2, noisy=Budget(soft=DOLLAR))
    made.providers[1].answers = [failing(Kind.FAULTED)]
    made.log.available = False  # So that each refresh looks at what was sent here.
    with capture_logs() as logged:
        for _ in range(4):
            await send(made, "noisy")
            await keeper(made).refresh(settle_seconds=0)
    told = [(e["kind"], e["name"], e["limit"]) for e in logged if e["event"] == "budget reached"]
    assert told == [("provider", "a", "soft"), ("caller", "noisy", "soft"), ("provider", "a", "hard")]
    exposed = made.metrics.render().decode()
    assert 'relaypost_budget_alerts_total{kind="provider",limit="hard",name="a"} 1.0' in exposed
    assert 'relaypost_month_budget{kind="caller",limit="soft",name="noisy"} 1.0' in exposed


async def test_without_budgets_nothing_is_counted_by_the_send() -> None:
    made = Rig([FakeProvider("a", [PAID], channel=Channel.SMS)], Channel.SMS, budgets=Budgets(), clock=FakeClock())
    await send(made)
    assert keeper(made)._ledger.provider("a") == 0


async def test_callers_without_a_budget_of_their_own_share_a_label_in_the_metrics() -> None:
    callers: dict[str, Any] = {"*": Budget(soft=DOLLAR), "shop": Budget(soft=DOLLAR)}
    made = rig(**callers)
    for name in ("one", "two", "shop"):
        await send(made, name)
    lines = made.metrics.render().decode().splitlines()
    counted = [line for line in lines if line.startswith("relaypost_budget_alerts_total")]
    assert sorted(counted) == [
        'relaypost_budget_alerts_total{kind="caller",limit="soft",name="*"} 2.0',
        'relaypost_budget_alerts_total{kind="caller",limit="soft",name="shop"} 1.0',
    ]
