"""What the documentation says, where a machine can tell whether it is true."""

import ast
import json
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from relaypost import Client
from relaypost._requests import EmailFields, SmsFields
from relaypost.v1 import failure_pb2, message_pb2, provider_health_pb2

from relaypost_server.cli import COMMANDS, main
from relaypost_server.config import FEATURES
from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.budgets import Budget
from relaypost_server.core.delivery import EventType
from relaypost_server.core.delivery_rates import DeliveryRate
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.otp import Conversion
from relaypost_server.core.outcome import POLICY, Effect, Kind, Next, Outcome
from relaypost_server.core.queue import Lane
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.gateway_settings import GatewaySettings
from relaypost_server.providers import PROVIDERS
from relaypost_server.settings import Settings, variables
from relaypost_server.telemetry.metrics import Metrics
from tests import answers_in_docs
from tests.messages import NOW
from tests.peers import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").rglob("README.md")])
DEPLOYED = sorted(p for p in (ROOT / "deploy").iterdir() if p.is_file())
TOLD = [*PAGES, *DEPLOYED]
MODELS: tuple[type[Settings], ...] = (
    GatewaySettings,
    *FEATURES,
    *(p.Settings for p in PROVIDERS),
)
SETTINGS = {name for model in MODELS for name in variables(model)}
REASONS = {name.removeprefix("ERROR_REASON_") for name in failure_pb2.ErrorReason.DESCRIPTOR.values_by_name}
CONSTANTS = re.compile(
    r"\b(?:MESSAGE_STATE|OUTCOME_KIND|CIRCUIT_STATE|CIRCUIT_REASON|CHANNEL|DELIVERY_GUARANTEE)_[A-Z_]+"
)
MISSPELT = {"RELAYPOST_GRPC_ADRESS"}
"""The example of a typing error."""

_OF_THE_README = 'What the README says under "What it promises":'
_OF_RELIABILITY = "What [reliability.md](reliability.md) says, heading by heading:"
_OF_OTHER_PAGES = "What other pages and the [decisions](decisions/README.md) say:"

of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
of_each_file = pytest.mark.parametrize("file", TOLD, ids=lambda p: str(p.relative_to(ROOT)))


def metric_names() -> set[str]:
    """As they are scraped: counters end in _total."""
    return {f"{m.name}_total" if m.type == "counter" else m.name for m in Metrics().collect()}


def mentioned_metrics(text: str) -> set[str]:
    found = re.findall(r"\brelaypost_(?!server\b|message_id\b)[a-z_]+\b", text)
    return {re.sub("_(bucket|count|sum)$", "", name) for name in found}


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def table_after(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, its head left out."""
    _, _, rest = f"\n{page.read_text()}".partition(f"\n{heading}\n")
    table = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert table is not None, heading
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


@of_each_file
def test_every_setting_that_is_mentioned_exists(file: Path) -> None:
    text = file.read_text()
    mentioned = set(re.findall(r"\b(?:RELAYPOST|OTP|SMTP|SENDGRID|TWILIO)_[A-Z_]*[A-Z]\b", text))
    assert mentioned <= SETTINGS | REASONS | MISSPELT


@of_each_file
def test_every_metric_that_is_mentioned_exists(file: Path) -> None:
    assert mentioned_metrics(file.read_text()) <= metric_names()


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    rows = {row[0]: row[1:3] for row in table_after(ROOT / "docs" / "operations.md", "## Metrics")}
    families = {f"{m.name}_total" if m.type == "counter" else m.name: m for m in _counted().collect()}
    assert set(rows) == set(families)
    for name, family in families.items():
        labels = sorted({label for s in family.samples for label in s.labels} - {"le"})
        kind, told = rows[name]
        assert (kind, sorted(filter(None, told.split(", ")))) == (family.type, labels), name


def _counted() -> Metrics:
    """Metrics in which every family has a sample."""
    metrics = Metrics()
    changed = Adjustment(field="sms.text", kind=AdjustmentKind.REPLACED, description="2 characters were replaced")
    outcome = Outcome(kind=Kind.ACCEPTED, alert=True, cost=Money(micros=1), adjustments=(changed,))
    attempt = Attempt(provider="ses", outcome=outcome, circuit=CircuitState.CLOSED, start_time=NOW)
    metrics.attempt(Channel.EMAIL, attempt)
    metrics.message(Channel.EMAIL, MessageState.SENT, 0.1)
    metrics.transition(Channel.EMAIL, "ses", CircuitState.OPEN, OpenReason.ACCOUNT)
    metrics.call("method", "OK")
    metrics.watch_circuit(Channel.EMAIL, "ses", lambda: CircuitState.CLOSED)
    metrics.request("begun")
    metrics.receipts("ses", EventType.DELIVERED, 1)
    metrics.callback_refused("ses", "forged")
    metrics.http_connection_closed("idle")
    metrics.otp("sent", "sms")
    metrics.suppressed(Channel.SMS, SuppressionReason.BOUNCED)
    metrics.enqueued(Lane.BULK, 1)
    metrics.worked(Lane.BULK, "done")
    metrics.background_failure("recovery")
    metrics.advice_told("published", 1)
    metrics.advice_heard("heeded")
    metrics.look_up("twilio", "settled")
    metrics.silence(Channel.SMS, "twilio", "sent")
    rate = DeliveryRate(
        channel=Channel.SMS,
        provider="twilio",
        country="US",
        delivered=1,
        undelivered=0,
        not_its_fault=0,
        unknown=0,
        window=60.0,
    )
    metrics.watch_delivery_rates(lambda: [rate])
    metrics.priced("twilio", 1)
    metrics.budget_alert("provider", "ses", "soft")
    metrics.watch_spend(lambda: [("provider", "ses", 1, Budget(soft=Money(micros=1)))])
    metrics.webhook("delivered", 0.1)
    conversion = Conversion(channel=Channel.SMS, provider="sns", country="US", sent=2, verified=1)
    metrics.watch_conversions(lambda: [conversion])
    return metrics


@of_each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@of_each_page
def test_every_constant_of_the_api_that_is_mentioned_exists(page: Path) -> None:
    modules: tuple[Any, ...] = (message_pb2, provider_health_pb2)
    known = {v for m in modules for e in m.DESCRIPTOR.enum_types_by_name.values() for v in e.values_by_name}
    assert set(CONSTANTS.findall(page.read_text())) <= known | {"CHANNEL_NOT_CONFIGURED"}


def test_every_reason_is_documented() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in failure_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    page = ROOT / "docs" / "errors.md"
    headings = set(re.findall(r"^## ([A-Z_]+)$", page.read_text(), re.MULTILINE))
    listed = set(re.findall(r"^\| \[([A-Z_]+)\]", page.read_text(), re.MULTILINE))
    assert headings == listed == reasons


def test_the_policy_is_documented_as_it_is() -> None:
    """In docs/architecture.md, word for word."""
    next_provider = {Next.YES: "yes", Next.NO: "no", Next.IF_AT_LEAST_ONCE: "if AT_LEAST_ONCE"}
    told = table_after(ROOT / "docs" / "architecture.md", "## The policy table")
    assert {row[0]: (row[1], row[3]) for row in told} == {
        kind.value: (next_provider[p.next_provider], "yes" if p.caller_may_retry else "no")
        for kind, p in POLICY.items()
    }
    effects = {Effect.ACCOUNT_FAULT: "account fault", Effect.NEUTRAL: "neutral"}
    for kind, policy in POLICY.items():
        circuit = next(row[2] for row in told if row[0] == kind.value)
        assert circuit.startswith(effects.get(policy.effect, policy.effect.value)), kind


def test_what_answers_mean_is_documented_as_the_tables_have_it() -> None:
    """Written by `make docs`."""
    text = answers_in_docs.PAGE.read_text()
    assert text == answers_in_docs.written(text)


def test_every_provider_is_documented_with_its_priority() -> None:
    told = {(row[0], row[2]) for row in table_after(ROOT / "docs" / "providers.md", "# Providers")}
    assert told == {(p.name, str(p.Settings.model_fields["priority"].default)) for p in PROVIDERS}


@of_each_page
def test_python_examples_use_the_client_as_it_is(page: Path) -> None:
    fields = {"send_email": EmailFields, "send_sms": SmsFields}
    for code in blocks(page, "python"):
        for call in _client_calls(ast.parse(code)):
            name, given = call.func.attr, {k.arg for k in call.keywords}
            assert hasattr(Client, name), name
            if name in fields:
                assert given <= {*typing.get_type_hints(fields[name]), "timeout"}, code


def _client_calls(tree: ast.AST) -> Iterable[Any]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="relaypost"))):
                yield node


def test_the_aws_policy_allows_what_doctor_and_operators_ask_for() -> None:
    [policy] = [json.loads(block) for block in blocks(ROOT / "docs" / "setup.md", "json")]
    allowed = {action for statement in policy["Statement"] for action in _listed(statement["Action"])}
    sources = (ROOT / "server" / "relaypost_server" / "providers").glob("*.py")
    asked_for = {action for file in sources for action in re.findall(r"(?:Allow|Needs) (\w+:\w+)", file.read_text())}
    assert allowed == asked_for | {"ses:SendEmail", "sns:Publish"}


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def test_every_command_is_known_to_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in COMMANDS if f"`{name}`" not in changelog] == []


@of_each_page
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    commands = set(re.findall(r"`relaypost ([a-z][a-z-]+)", page.read_text()))
    assert commands <= set(COMMANDS)
    for command in commands:
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_every_promise_names_tests_that_exist() -> None:
    promises = re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "README.md").read_text(), re.MULTILINE)
    page = ROOT / "docs" / "testing.md"
    assert [row[0] for row in table_after(page, _OF_THE_README)] == promises
    tables = (_OF_THE_README, _OF_RELIABILITY, _OF_OTHER_PAGES)
    for _, tests in (row for table in tables for row in table_after(page, table)):
        assert tests
        for file, name in (test.strip(" `").split("::") for test in tests.split(",")):
            assert re.search(rf"def {name}\b", (ROOT / "tests" / file).read_text()), f"{file}::{name}"


@of_each_page
def test_every_target_of_make_that_is_mentioned_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", page.read_text())) <= targets


@pytest.mark.parametrize("file", [p for p in DEPLOYED if p.suffix == ".yaml"], ids=lambda p: p.name)
def test_what_is_deployed_is_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_every_part_of_the_collector_is_defined_and_used() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "otel-collector.yaml").read_text())
    pipeline = config["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == set(config[kind])
    assert set(config["service"]["extensions"]) == set(config["extensions"])


def test_every_alert_has_an_expression_a_severity_and_a_summary() -> None:
    [group] = yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert mentioned_metrics(rule["expr"]), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_the_image_copies_only_what_there_is() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    sources = [s for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for s in line.split()]
    assert "requirements/runtime.lock" in sources
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text()
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}\n" in ignored
