"""What every reply of an SMTP server means, at every stage."""

import re

import pytest
from aiosmtplib import SMTPResponse
from hypothesis import given, strategies as st

from relaypost_server.core.outcome import POLICY, Kind, Next, Outcome
from relaypost_server.providers._smtp_meanings import all_refused, outcome_at, row_of
from relaypost_server.providers._smtp_rows import LATCH_SECONDS, ROWS, Stage
from tests.providers.smtp_cases import SAMPLES

K, S = Kind, Stage


def at(stage: Stage, reply: str) -> Outcome:
    code, _, text = reply.partition(" ")
    return outcome_at(stage, SMTPResponse(int(code), text))


EVERY = (S.MAIL, S.RCPT, S.DATA, S.DOT)
"""The stages of a message."""


@pytest.mark.parametrize(
    ("stages", "reply", "kind", "alert"),
    [
        ((S.RCPT,), "550 5.1.1 <a@b.org>: Recipient address rejected: User unknown", K.REJECTED, False),
        ((S.RCPT,), "553 5.1.2 We weren't able to find the recipient domain", K.REJECTED, False),
        ((S.RCPT,), "550 5.1.10 RESOLVER.ADR.RecipientNotFound", K.REJECTED, False),
        ((S.RCPT,), "550 5.2.1 The email account that you tried to reach is disabled", K.REJECTED, False),
        ((S.RCPT,), "550 #5.1.1 no such user", K.REJECTED, False),
        ((S.RCPT,), "550 5.2.1 The user is receiving mail at a rate that prevents it", K.DEFERRED, False),
        ((S.RCPT,), "550 5.1.0 Address rejected", K.UNSUPPORTED, False),
        ((S.RCPT,), "550 No such user here", K.UNSUPPORTED, False),
        ((S.DOT,), "550 5.1.10 RESOLVER.ADR.RecipientNotFound", K.UNSUPPORTED, False),
        ((S.DOT,), "550 5.2.1 mailbox disabled", K.UNSUPPORTED, False),
        ((S.MAIL,), "550 5.1.1 sender unknown", K.UNSUPPORTED, True),
        (EVERY, "553 5.1.8 <a@b.org>: Sender address rejected: Domain not found", K.UNSUPPORTED, True),
        (EVERY, "550 5.1.7 invalid address", K.UNSUPPORTED, True),
        (EVERY, "554 5.7.1 <a@b.org>: Relay access denied", K.UNSUPPORTED, True),
        (EVERY, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", K.UNSUPPORTED, True),
        ((S.RCPT,), "454 4.7.1 <a@b.org>: Relay access denied", K.DEFERRED, True),
        ((S.EHLO, *EVERY), "504 5.5.2 <vm>: Helo command rejected: need fully-qualified hostname", K.UNSUPPORTED, True),
        ((S.GREETING, *EVERY), "550 5.7.1 client [192.0.2.1] blocked using zen.example.org", K.UNSUPPORTED, True),
        (EVERY, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", K.UNSUPPORTED, True),
        (EVERY, "554 5.2.252 SendAsDenied", K.UNSUPPORTED, True),
        (EVERY, "554 Message rejected: Email address is not verified. The identities failed", K.UNSUPPORTED, True),
        (EVERY, "553 5.7.1 <a@b.org>: Sender address rejected: not owned by user c", K.UNSUPPORTED, True),
        ((S.RCPT,), "550 5.1.1 user unknown; see https://www.spamhaus.org/faq", K.REJECTED, False),
        ((S.RCPT,), "550 5.1.1 No such user here: unable to relay", K.REJECTED, False),
        ((S.RCPT,), "550 5.1.10 Recipient not found; it may be over quota", K.REJECTED, False),
        ((S.DOT,), "550 5.1.1 user unknown; see https://www.spamhaus.org/faq", K.UNSUPPORTED, False),
        (EVERY, "552 5.3.4 Message size exceeds fixed limit", K.UNSUPPORTED, False),
        ((S.MAIL, S.DATA, S.DOT), "552 too large", K.UNSUPPORTED, False),
        (EVERY, "554 5.3.0 refused", K.UNSUPPORTED, True),
        (EVERY, "501 5.5.4 Unsupported option", K.UNSUPPORTED, True),
        (EVERY, "554 5.6.0 bad content", K.UNSUPPORTED, False),
        (EVERY, "550 5.7.1 refused by policy", K.UNSUPPORTED, True),
        ((S.DATA, S.DOT), "554 refused", K.UNSUPPORTED, True),
        ((S.MAIL, S.RCPT), "450 4.1.2 Domain not found", K.DEFERRED, False),
        ((S.MAIL, S.RCPT), "450 4.1.8 <a@b.org>: Sender address rejected: Domain not found", K.DEFERRED, False),
        ((S.MAIL, S.RCPT), "451 greylisted", K.DEFERRED, False),
        (EVERY, "451 4.7.1 greylisting in action", K.DEFERRED, False),
        (EVERY, "552 5.2.2 <a@b.org> Quota exceeded (mailbox for user is full)", K.DEFERRED, False),
        (EVERY, "452 4.2.2 over quota", K.DEFERRED, False),
        (EVERY, "452 4.3.1 Insufficient system storage", K.FAULTED, False),
        ((S.DATA, S.DOT), "451 local error", K.FAULTED, False),
        ((S.DOT,), "421 4.3.2 closing", K.FAULTED, False),
        ((S.GREETING, S.EHLO, S.STARTTLS, S.MAIL, S.RCPT, S.DATA), "421 4.3.2 shutting down", K.UNREACHABLE, False),
        ((S.GREETING, S.EHLO, *EVERY), "421 4.7.0 Error: too many connections from 192.0.2.1", K.THROTTLED, False),
        (EVERY, "421 4.7.28 Our system has detected an unusual rate of mail: rate limit exceeded", K.THROTTLED, False),
        (EVERY, "421 4.7.0 Throttling failure: Maximum sending rate exceeded", K.THROTTLED, False),
        (EVERY, "421 4.7.1 Greylisting in action, please come back later", K.DEFERRED, False),
        ((S.RCPT,), "421 4.2.2 mailbox is full", K.DEFERRED, False),
        (EVERY, "421 4.7.1 Relay access denied", K.DEFERRED, True),
        ((S.GREETING, *EVERY), "421 4.7.1 client [192.0.2.1] blocked using zen.example.org", K.DEFERRED, True),
        ((S.GREETING,), "554 5.3.2 no service", K.UNREACHABLE, False),
        ((S.STARTTLS,), "454 4.7.0 TLS not available", K.UNREACHABLE, False),
        (EVERY, "450 4.7.1 Error: too much mail from 192.0.2.1", K.THROTTLED, False),
        (EVERY, "454 Throttling failure: Maximum sending rate exceeded.", K.THROTTLED, False),
        (EVERY, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", K.THROTTLED, False),
        ((S.AUTH,), "454 4.7.0 Temporary authentication failure", K.THROTTLED, False),
        ((S.AUTH,), "535 5.7.8 Username and Password not accepted", K.UNAUTHORIZED, True),
        ((S.AUTH,), "534 5.7.9 Application-specific password required", K.UNAUTHORIZED, True),
        ((S.AUTH,), "504 5.7.4 Unrecognized authentication type", K.UNAUTHORIZED, True),
        ((S.AUTH, *EVERY), "530 5.7.0 Authentication required", K.UNAUTHORIZED, True),
        (EVERY, "550 5.7.57 Client not authenticated to send mail", K.UNAUTHORIZED, True),
        ((S.DOT,), "354 go on", K.UNCONFIRMED, False),
    ],
)
def test_a_reply_means(stages: tuple[Stage, ...], reply: str, kind: Kind, alert: bool) -> None:
    for stage in stages:
        outcome = at(stage, reply)
        assert (outcome.kind, outcome.alert) == (kind, alert), (stage, outcome)


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.4.5 Daily user sending quota exceeded.",
        "550-5.4.5 Daily SMTP relay limit exceeded for customer.",
        "454 Throttling failure: Daily message quota exceeded.",
        "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
    ],
)
@pytest.mark.parametrize("stage", EVERY)
def test_a_quota_that_is_used_up_leaves_the_server_alone_for_a_while(stage: Stage, reply: str) -> None:
    outcome = at(stage, reply.replace("-", " ", 1) if reply.startswith("550-") else reply)
    assert (outcome.kind, outcome.retry_after) == (K.THROTTLED, LATCH_SECONDS)


@pytest.mark.parametrize("stage", [S.AUTH, *EVERY])
@pytest.mark.parametrize(
    "reply",
    [
        "550 5.7.30 Basic authentication is not supported for Client Submission.",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
    ],
)
def test_a_server_that_takes_no_passwords_any_more_says_what_to_do(stage: Stage, reply: str) -> None:
    outcome = at(stage, reply)
    assert (outcome.kind, outcome.alert) == (K.UNAUTHORIZED, True)
    assert "XOAUTH2" in outcome.detail
    assert "RELAYPOST_SMTP_OAUTH_TOKEN_URL" in outcome.detail


def test_a_refused_log_in_names_the_settings_and_the_other_way() -> None:
    for code in (530, 534, 535, 538):
        detail = at(S.AUTH, f"{code} no").detail
        assert "SMTP_PASSWORD" in detail
        assert "XOAUTH2" in detail


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        ("504 5.5.2 <vm>: Helo command rejected: need fully-qualified hostname", True),
        ("550 5.7.1 <vm>: Helo command rejected: Host not found", True),
        ("501 Syntactically invalid HELO argument(s)", True),
        ("501 5.5.4 HELO requires a valid name: invalid domain", True),
        ("550 EHLO name invalid", True),
        ("503 5.5.1 send HELO/EHLO first", False),
        ("503 5.5.1 HELO needed", False),
        ("503 5.5.1 Error: invalid sequence, EHLO rejected", False),
        ("550 5.7.1 see the help about HELO", False),
    ],
)
@pytest.mark.parametrize("stage", [S.EHLO, *EVERY])
def test_only_a_refusal_of_the_ehlo_name_says_to_change_it(stage: Stage, reply: str, refused: bool) -> None:
    outcome = at(stage, reply)
    assert outcome.kind is K.UNSUPPORTED
    assert ("RELAYPOST_SMTP_LOCAL_HOSTNAME" in outcome.detail) is refused


@pytest.mark.parametrize("reply", ["550 5.1.1 x", "550 5.1.0 x", "550 no such user", "551 x", "553 x"])
def test_a_refusal_of_the_recipient_that_is_not_final_still_blames_the_recipient(reply: str) -> None:
    stage = S.DOT if "5.1.1" in reply else S.RCPT
    outcome = at(stage, reply)
    assert (outcome.kind, outcome.blames_recipient) == (K.UNSUPPORTED, True)


def test_the_form_of_an_unusual_address_proves_nothing_about_its_mailbox() -> None:
    reply = SMTPResponse(553, "5.1.3 bad address syntax")
    assert row_of(S.RCPT, reply).gone
    unusual = row_of(S.RCPT, reply, unusual=True)
    assert (unusual.meaning.kind, unusual.gone) == (K.UNSUPPORTED, False)


@pytest.mark.parametrize(
    "reply", ["550 5.1.1 <relay-access-denied@x.org>: unknown", "550 5.1.1 no mailbox spamhaus@x.org"]
)
def test_words_in_an_address_are_not_the_servers(reply: str) -> None:
    assert at(S.RCPT, reply).kind is K.REJECTED


@pytest.mark.parametrize("reply", ["450 5.1.1 unknown", "550 4.1.1 unknown", "250 5.1.1 unknown"])
def test_an_enhanced_code_that_contradicts_the_reply_code_proves_nothing(reply: str) -> None:
    assert at(S.RCPT, reply).kind is not K.REJECTED


def test_of_several_refusals_one_that_may_be_overcome_elsewhere_counts() -> None:
    def refusals(*texts: str) -> Outcome:
        replies = [SMTPResponse(int(t[:3]), t[4:]) for t in texts]
        return all_refused([(row_of(S.RCPT, r), r) for r in replies])

    unknown, busy, relay, full = "550 5.1.1 a", "450 4.2.0 b", "554 5.7.1 Relay access denied", "452 4.3.1 c"
    assert refusals(unknown, unknown).kind is K.REJECTED
    assert refusals(unknown, busy).kind is K.DEFERRED
    assert refusals(unknown, full, busy).kind is K.FAULTED
    mixed = refusals(unknown, relay)
    assert (mixed.kind, mixed.alert, mixed.blames_recipient) == (K.UNSUPPORTED, True, True)
    assert refusals(busy, "530 5.7.0 log in").kind is K.UNAUTHORIZED


CODES = st.one_of(
    st.sampled_from([421, 450, 451, 452, 454, 500, 504, 530, 535, 550, 551, 552, 553, 554]), st.integers()
)
WORDS = st.sampled_from(
    [
        "",
        "relay access denied",
        "blocked using x",
        "daily sending quota exceeded",
        "send as this sender",
        "not owned by user",
        "address is not verified",
        "helo",
        "too many recipients",
        "user unknown",
        "throttled",
        "mailbox full",
    ]
)
STATUSES = st.one_of(st.just(""), st.from_regex(r"[245]\.\d{1,3}\.\d{1,3} ", fullmatch=True))
PROVE_THE_RECIPIENT = re.compile(r"5\.(1\.(1|2|3|6|10)|2\.1) ")


@given(st.sampled_from(Stage), CODES, STATUSES, WORDS, st.text(max_size=30), st.booleans())
def test_any_reply_at_any_stage_has_a_declared_meaning(
    stage: Stage, code: int, status: str, words: str, text: str, unusual: bool
) -> None:
    reply = SMTPResponse(code, status + words + text)
    row = row_of(stage, reply, unusual=unusual)
    outcome = row.outcome(reply)
    assert row in ROWS
    assert outcome.kind is row.meaning.kind
    assert outcome.kind not in (K.ACCEPTED, K.SKIPPED)
    if outcome.kind is K.REJECTED:
        assert stage is S.RCPT
        assert 500 <= code < 600 or str(code).startswith("5")
        assert PROVE_THE_RECIPIENT.match(status)
    else:
        assert not row.gone
        assert POLICY[outcome.kind].next_provider is not Next.NO


def test_a_long_reply_is_read_in_no_time() -> None:
    """Were each letter of a long word tried as the first of an address, this would take minutes."""
    assert at(S.RCPT, "550 5.1.1 " + "x" * 32_000 + " relay access denied").kind is K.REJECTED


def test_every_row_is_reached_at_each_of_its_stages_by_all_that_it_names() -> None:
    for row, stage, reply in SAMPLES:
        code, _, text = reply.partition(" ")
        found = row_of(stage, SMTPResponse(int(code), text), unusual=row.unusual)
        assert found is row, (stage, reply, found.meaning.why)
