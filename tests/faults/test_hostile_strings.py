"""Every hostile string in every field: refused with the field named, or one clean message at every provider.

Four real gateways run, each with one provider for a channel, whose peers read
strictly what they received. A request is checked before any provider is chosen.
So:

- The first gateway gets each string in every field of one request, and names
  the fields that it refuses.
- A part of what was refused goes to every gateway once more, each string in its
  field by itself, and only that field may be named.
- What was not refused goes to all gateways, another string in each field of a
  message; every field must arrive as it was written, or as `meaning.py` says that
  it was meant, and nothing else with it. What a provider is known not to take goes
  there by itself, and must be passed over.
"""

import asyncio
import json
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from relaypost.v1 import email_pb2, failure_pb2, message_pb2, messaging_service_pb2 as pb, sms_pb2

from tests.api.status import Failure
from tests.e2e.gateway import AWS_KEYS, Gateway, gateway
from tests.faults import peers
from tests.faults.fields import Leaf, leaves
from tests.faults.hostile_strings import NOT_UTF_8, VICTIM, hostile_strings
from tests.faults.meaning import as_carried, is_repaired, lacking, line, meant, prose
from tests.faults.peers import Peer
from tests.faults.received import Mail
from tests.providers.configured import SECRETS, TWILIO

AT_ONCE = 24
PATIENT = {"RELAYPOST_SMTP_CONNECT_TIMEOUT_SECONDS": "20", "RELAYPOST_SMTP_TIMEOUT_SECONDS": "25"}
"""Ten connections serve all calls, on a machine that may be busy."""
SAMPLE = 8
"""One refusal in so many is asked for once more."""
ALONE = frozenset({"sms.region_code"})
"""Fields without which another cannot be judged."""
INSTEAD = ("template", "variables", "locale", "sender_number")
"""Fields that stand in place of another, and are refused beside it: tests/templates and tests/api fill them."""
NUMBERS = (-(2**63), -(2**31), -1, 0, 2**31 - 1, 2**63 - 1)
_INT32 = range(-(2**31), 2**31)
_REQUESTS: Mapping[str, tuple[type[Message], type[Message]]] = {
    "SendEmail": (pb.SendEmailRequest, pb.SendEmailResponse),
    "SendSms": (pb.SendSmsRequest, pb.SendSmsResponse),
}


def email_request() -> pb.SendEmailRequest:
    """An email with something in every field."""
    address = email_pb2.EmailAddress
    return pb.SendEmailRequest(
        email=email_pb2.Email(
            sender=address(address="noreply@example.com", display_name="Example"),
            to=[address(address="ada@example.com", display_name="Ada")],
            cc=[address(address="grace@example.com", display_name="Grace")],
            bcc=[address(address="alan@example.com", display_name="Alan")],
            reply_to=[address(address="help@example.com", display_name="Help")],
            subject="Hello",
            text="Hello",
            html="<p>Hello</p>",
            attachments=[email_pb2.Attachment(filename="a.txt", content_type="text/plain", content=b"a")],
            headers={"X-Campaign": "signup"},
            tags={"purpose": "signup"},
        ),
        metadata={"order": "7"},
    )


def sms_request() -> pb.SendSmsRequest:
    """A text message with something in every field."""
    price = message_pb2.Money(currency_code="USD", micros=1_000_000)
    dlt = sms_pb2.IndiaDlt(entity_id="1101234567890", template_id="1107654321")
    content = sms_pb2.Sms(
        to="+14155550123", region_code="US", text="Hello", sender_id="Example", max_price=price, india_dlt=dlt
    )
    return pb.SendSmsRequest(sms=content, metadata={"order": "7"})


_BASES = {"SendEmail": email_request().SerializeToString(), "SendSms": sms_request().SerializeToString()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request with hostile values, and where they are."""

    method: str
    values: tuple[tuple[Leaf, Any], ...]
    """One for each place; bytes in place of a text are not UTF-8, and stand alone."""

    def request(self) -> Any:
        """The request, of values that are texts and numbers."""
        return _REQUESTS[self.method][0].FromString(self.data())

    def data(self) -> bytes:
        request = _REQUESTS[self.method][0].FromString(_BASES[self.method])
        for leaf, value in self.values:
            if isinstance(value, bytes):
                return leaf.bytes_with(request, value)
            leaf.put(request, value)
        return request.SerializeToString()

    def __str__(self) -> str:
        places = [f"{leaf.path} {leaf.part}={ascii(value)[:100]}" for leaf, value in self.values]
        return f"{self.method} {', '.join(places)}"


def cases() -> list[Case]:
    """Each string in every place at once, and what cannot be judged beside others by itself."""
    found = []
    for method, (request, _) in _REQUESTS.items():
        places = [leaf for leaf in leaves(request.DESCRIPTOR) if not leaf.path.endswith(INSTEAD)]
        common = [leaf for leaf in places if leaf.is_text and leaf.path not in ALONE]
        found += [Case(method=method, values=tuple((leaf, text) for leaf in common)) for text in hostile_strings()]
        for leaf in places:
            found += [Case(method=method, values=((leaf, value),)) for value in _by_itself(leaf)]
    return found


def _by_itself(leaf: Leaf) -> Iterable[Any]:
    if leaf.is_text:
        return [*NOT_UTF_8, *(hostile_strings() if leaf.path in ALONE else ())]
    return [number for number in NUMBERS if leaf.kind == FieldDescriptor.TYPE_INT64 or number in _INT32]


def together(accepted: Iterable[Case]) -> list[Case]:
    """The values of these cases, one for every place in each message.

    Each place begins at another value, so that hardly an address stands in two.
    """
    columns: dict[tuple[str, str], list[tuple[Leaf, Any]]] = defaultdict(list)
    for case in accepted:
        ((leaf, value),) = case.values
        columns[case.method, leaf.path + leaf.part].append((leaf, value))
    found = []
    for method in _REQUESTS:
        ours = [column for (of, _), column in columns.items() if of == method]
        for row in range(max(map(len, ours), default=0)):
            values = tuple(column[(row + shift) % len(column)] for shift, column in enumerate(ours))
            found.append(Case(method=method, values=values))
    return found


@dataclass(frozen=True, slots=True)
class Judgement:
    """A case, and the positions of those of its values that were refused."""

    case: Case
    refused: frozenset[int]

    def values(self, *, refused: bool) -> Iterator[Case]:
        """The values that were refused, or that were not, each by itself."""
        for position, value in enumerate(self.case.values):
            if (position in self.refused) == refused:
                yield Case(method=self.case.method, values=(value,))


@dataclass
class Route:
    """A gateway with one provider for each channel, and the peers of those."""

    emails: str
    """The name of the provider of emails."""
    running: Gateway
    channel: grpc.aio.Channel
    peers: Mapping[str, Peer | None]
    """By the methods that are tried; None is the console."""
    accepted: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0
    message_ids: list[str] = field(default_factory=list)

    async def call(self, method: str, data: bytes) -> Any:
        package = pb.DESCRIPTOR.package
        ask: Any = self.channel.unary_unary(
            f"/{package}.MessagingService/{method}", response_deserializer=_REQUESTS[method][1].FromString
        )
        # Each call by a caller of its own, so that no request_id meets another request.
        caller = (("relaypost-caller", uuid.uuid4().hex),)
        try:
            answer = await ask(data, timeout=30, metadata=caller)
        except grpc.RpcError as error:
            return Failure(error)
        self.accepted[method] += 1
        return answer

    def lacks(self, mail: Mail | None) -> bool:
        """Whether the provider of emails is known not to take this one."""
        return mail is not None and lacking(self.emails, mail) != ""

    async def check(self, case: Case) -> Judgement:
        """What became of the case; raises AssertionError where it was neither refused well nor sent well."""
        data = case.data()
        answer = await self.call(case.method, data)
        if isinstance(answer, Failure) and answer.code is grpc.StatusCode.INVALID_ARGUMENT:
            return Judgement(case, refused_places(case, answer))
        request: Any = _REQUESTS[case.method][0].FromString(data)
        mail = mail_of(request)
        if self.lacks(mail):
            check_passed_over(answer)
            self.passed_over += 1
            return Judgement(case, frozenset())
        assert not isinstance(answer, Failure), unpacked(answer)
        self.message_ids.append(answer.message.message_id)
        check_answer(request, mail, answer.message)
        peer = self.peers[case.method]
        if peer is not None:
            arrived = peer.inbox.pop(answer.message.attempts[0].provider_message_id)
            check_arrival(self.emails, request, mail, answer.message, arrived)
        return Judgement(case, frozenset())


def mail_of(request: Any) -> Mail | None:
    """What an email of a request means; None for a text message."""
    return meant(request) if isinstance(request, pb.SendEmailRequest) else None


def refused_places(case: Case, failure: Failure) -> frozenset[int]:
    """The positions of the values that were refused, each by the name of its field and without being repeated."""
    assert failure.text.isprintable()
    if failure.reason == "MALFORMED_REQUEST":
        ((_, value),) = case.values
        assert isinstance(value, bytes)
        return frozenset([0])
    (bad,) = failure.details(error_details_pb2.BadRequest)
    return frozenset(_refused_place(case, violation) for violation in bad.field_violations)


def _refused_place(case: Case, violation: Any) -> int:
    meant = [place for place, (leaf, value) in enumerate(case.values) if leaf.is_named(violation.field, value)]
    assert len(meant) == 1, violation.field
    (position,) = meant
    value = case.values[position][1]
    shown = violation.field + violation.description
    assert shown.isprintable()
    assert VICTIM not in shown
    if isinstance(value, str) and len(value) > 3 and not re.fullmatch(r"[\w@.:/-]+", value):
        assert value not in shown
    return position


def check_answer(request: Any, mail: Mail | None, sent: message_pb2.Message) -> None:
    assert sent.state == message_pb2.MESSAGE_STATE_SENT
    assert len(sent.attempts) == 1
    metadata = {name: line(value) for name, value in request.metadata.items()}
    assert dict(sent.metadata) == metadata
    assert sent.adjustments or metadata == request.metadata, "what was changed was not told"
    if mail is not None:
        assert list(sent.recipients) == mail.recipients
        assert sent.sender == mail.sender[1]
        assert sent.adjustments or not is_repaired(request, mail), "what was changed was not told"
        assert dict(sent.tags) == dict(request.email.tags)
    else:
        assert sent.adjustments or prose(request.sms.text) == request.sms.text, "what was changed was not told"
        (recipient,) = sent.recipients
        assert re.fullmatch(r"\+[1-9][0-9]{6,14}", recipient)
        assert digits(recipient).endswith(digits(request.sms.to).lstrip("0"))


def unpacked(answer: Failure) -> str:
    return f"{answer.text} {answer.details(failure_pb2.SendFailure)}"


def check_passed_over(answer: Any) -> None:
    assert isinstance(answer, Failure)
    (failure,) = answer.details(failure_pb2.SendFailure)
    assert [a.kind for a in failure.attempts] == [message_pb2.OUTCOME_KIND_UNSUPPORTED]
    assert failure.attempts[0].detail


def check_arrival(provider: str, request: Any, mail: Mail | None, sent: message_pb2.Message, arrived: Any) -> None:
    assert not isinstance(arrived, Exception), f"not readable: {arrived!r}"
    if mail is not None:
        whole = replace(mail, message_id=sent.message_id)
        assert differences(arrived, as_carried(provider, whole, arrived)) == {}
    elif "Action" in arrived:
        assert arrived == sns_form(request.sms, sent.recipients[0])
    else:
        sender = shown_name(request.sms, sent.recipients[0]) or TWILIO["TWILIO_PHONE_NUMBER"]
        assert arrived == {"To": sent.recipients[0], "Body": prose(request.sms.text), "From": sender}


def digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def differences(arrived: Mail, meant: Mail) -> dict[str, tuple[str, str]]:
    """The fields in which two emails differ, the beginning of what each has there."""
    pairs = zip(astuple(in_mime_form(arrived)), astuple(in_mime_form(meant)), strict=True)
    found = zip(fields(Mail), pairs, strict=True)
    return {f.name: (ascii(a)[:200], ascii(b)[:200]) for f, (a, b) in found if a != b}


def in_mime_form(mail: Mail) -> Mail:
    """With line ends as MIME has them, and no space around a subject."""
    text, html = (re.sub("\r\n|\r", "\n", part).removesuffix("\n") for part in (mail.text, mail.html))
    return replace(mail, text=text, html=html, subject=mail.subject.strip(" "))


def shown_name(sms: sms_pb2.Sms, to: str) -> str:
    """The name that the phone shows: none in North America."""
    return "" if to.startswith("+1") else sms.sender_id


def sns_form(sms: sms_pb2.Sms, to: str) -> dict[str, str]:
    attributes = {
        "AWS.SNS.SMS.SMSType": "Promotional" if sms.message_type == 2 else "Transactional",
        "AWS.SNS.SMS.SenderID": shown_name(sms, to),
        "AWS.SNS.SMS.MaxPrice": f"{sms.max_price.micros // 10**6}.{sms.max_price.micros % 10**6:06d}",
        "AWS.MM.SMS.EntityId": sms.india_dlt.entity_id if to.startswith("+91") else "",
        "AWS.MM.SMS.TemplateId": sms.india_dlt.template_id if to.startswith("+91") else "",
    }
    form = {"Action": "Publish", "Version": "2010-03-31", "PhoneNumber": to, "Message": prose(sms.text)}
    for number, (name, value) in enumerate(((n, v) for n, v in attributes.items() if v), start=1):
        entry = f"MessageAttributes.entry.{number}"
        kind = "Number" if name.endswith("MaxPrice") else "String"
        form |= {f"{entry}.Name": name, f"{entry}.Value.DataType": kind, f"{entry}.Value.StringValue": value}
    return form


@asynccontextmanager
async def routes(database: str) -> AsyncIterator[list[Route]]:
    """SES and SNS, SendGrid and Twilio, SMTP, the console for both."""
    async with AsyncExitStack() as stack:
        (ses, ses_url), (sns, sns_url) = [await stack.enter_async_context(p()) for p in (peers.ses, peers.sns)]
        (grid, grid_url), (twilio, twilio_url) = [
            await stack.enter_async_context(p()) for p in (peers.sendgrid, peers.twilio)
        ]
        smtp, port = await stack.enter_async_context(peers.smtp())
        plans: list[tuple[str, dict[str, str], Mapping[str, Peer | None]]] = [
            (
                "ses",
                {**AWS_KEYS, "RELAYPOST_SES_ENDPOINT": ses_url, "RELAYPOST_SNS_ENDPOINT": sns_url},
                {"SendEmail": ses, "SendSms": sns},
            ),
            (
                "sendgrid",
                {
                    **TWILIO,
                    "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
                    "RELAYPOST_SENDGRID_ENDPOINT": grid_url,
                    "RELAYPOST_TWILIO_ENDPOINT": twilio_url,
                },
                {"SendEmail": grid, "SendSms": twilio},
            ),
            (
                "smtp",
                {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "RELAYPOST_SMTP_TLS": "none", **PATIENT},
                {"SendEmail": smtp},
            ),
            ("console", {}, {"SendEmail": None, "SendSms": None}),
        ]
        started = []
        for name, environ, of_methods in plans:
            running = await stack.enter_async_context(gateway(environ, database=database))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.grpc))
            started.append(Route(name, running, channel, of_methods))
        yield started


async def test_a_hostile_string_is_refused_by_name_or_one_clean_message(bundled_database: str) -> None:
    async with routes(bundled_database) as all_routes:
        judgements = await judged(all_routes[0], cases())
        refused = [case for judgement in judgements for case in judgement.values(refused=True)]
        accepted = [
            (case, mail_of(case.request())) for judgement in judgements for case in judgement.values(refused=False)
        ]
        assert len(refused) + len(accepted) > 200 * 30
        for number, route in enumerate(all_routes):
            sample = refused[number :: SAMPLE * len(all_routes)]
            assert [j.case for j in await judged(route, sample) if not j.refused] == []
            lacked = [case for case, mail in accepted if route.lacks(mail)]
            taken = [case for case, mail in accepted if case.method in route.peers and not route.lacks(mail)]
            assert [j.case for j in await judged(route, [*together(taken), *lacked]) if j.refused] == []
        for route in all_routes:
            for method, peer in route.peers.items():
                if peer is not None:
                    assert (peer.count, peer.inbox) == (route.accepted[method], {})
                assert route.passed_over == 0 or route.emails != "console"
            assert await route.running.stop() == 0
            check_log(route)
            check_console(route)
            assert min(route.accepted.values()) > 300


async def judged(route: Route, asked: Iterable[Case]) -> list[Judgement]:
    """The judgement of each case, in their order; fails where any of them was answered in a third way."""
    waiting = list(enumerate(asked))
    found: dict[int, Judgement] = {}
    problems: list[str] = []

    async def work() -> None:
        while waiting:
            number, case = waiting.pop()
            try:
                found[number] = await route.check(case)
            except AssertionError as problem:
                problems.append(f"{case}: {problem}")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert not problems, f"{len(problems)} failed\n" + "\n".join(problems[:40])
    return [found[number] for number in sorted(found)]


def check_log(route: Route) -> None:
    """Nothing of a message, and a warning for each that was passed over."""
    warnings = []
    for written in route.running.raw:
        assert written.strip().isprintable()
        assert VICTIM not in written
        assert "Traceback" not in written
        entry = json.loads(written)
        if entry["level"] not in ("info", "debug"):
            warnings.append(entry["event"])
    assert warnings == ["message failed"] * route.passed_over


_BLOCK = re.compile(r"┌ (?:email|sms) (\S+)\n((?:│ [^\n]*\n)*)└\n")


def check_console(route: Route) -> None:
    """The console printed each of its messages in a block of its own, and nothing that a terminal obeys."""
    printed = "".join(route.running.printed)
    assert printed.replace("\n", "").isprintable()
    blocks = _BLOCK.findall(printed)
    assert _BLOCK.sub("", printed) == ""
    if None in route.peers.values():
        assert len(blocks) == sum(route.accepted[m] for m, peer in route.peers.items() if peer is None)
        assert {message_id for message_id, _ in blocks} <= set(route.message_ids)
    else:
        assert blocks == []


@pytest.mark.parametrize("method", list(_REQUESTS))
def test_no_field_is_left_out(method: str) -> None:
    request = _REQUESTS[method][0]
    paths = {leaf.path + leaf.part for leaf in leaves(request.DESCRIPTOR)}
    assert {"metadatakey", "metadatavalue"} <= paths
    assert ("email.to[0].display_name" in paths) == (method == "SendEmail")


def test_there_are_enough_different_strings() -> None:
    assert len(list(hostile_strings())) > 200
