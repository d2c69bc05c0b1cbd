"""Packs what the core knows into the messages of the API."""

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import gateway_health_pb2, message_pb2, provider_health_pb2

from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.background import TaskHealth
from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.failover import Attempt
from relaypost_server.core.health import ChannelHealth, GatewayHealth, MessageLogHealth, ProviderHealth
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.record import MessageRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
"""Seconds."""
CHANNELS = {c: message_pb2.Channel.Value(f"CHANNEL_{c.name}") for c in Channel}
GUARANTEES = {g: message_pb2.DeliveryGuarantee.Value(f"DELIVERY_GUARANTEE_{g.name}") for g in Guarantee}
STATES = {s: message_pb2.MessageState.Value(f"MESSAGE_STATE_{s.name}") for s in MessageState}
_KINDS = {k: message_pb2.OutcomeKind.Value(f"OUTCOME_KIND_{k.name}") for k in Kind}
_EVENTS = {t: message_pb2.DeliveryEventType.Value(f"DELIVERY_EVENT_TYPE_{t.name}") for t in EventType}
_REJECT_REASONS = {r: message_pb2.RejectReason.Value(f"REJECT_REASON_{r.name}") for r in RejectReason} | {
    None: message_pb2.REJECT_REASON_UNSPECIFIED
}
_ADJUSTMENTS = {k: message_pb2.AdjustmentKind.Value(f"ADJUSTMENT_KIND_{k.name}") for k in AdjustmentKind}
_CIRCUITS = {c: message_pb2.CircuitState.Value(f"CIRCUIT_STATE_{c.name}") for c in CircuitState}
_REASONS = {r: provider_health_pb2.CircuitReason.Value(f"CIRCUIT_REASON_{r.name}") for r in OpenReason} | {
    None: provider_health_pb2.CIRCUIT_REASON_UNSPECIFIED
}


def fill_message(packed: message_pb2.Message, record: MessageRecord) -> None:
    """Fills an empty message where it stands: protobuf would copy one that is handed to it."""
    packed.message_id = record.id
    packed.channel = CHANNELS[record.channel]
    packed.state = STATES[record.state]
    packed.delivery_guarantee = GUARANTEES[record.guarantee]
    packed.sender = record.sender
    packed.recipients.extend(record.recipients)
    _fill_time(packed.create_time, record.create_time)
    _fill_time(packed.update_time, record.update_time)
    packed.provider = record.provider
    packed.provider_message_id = record.provider_message_id
    if record.possible_duplicate:
        packed.possible_duplicate = True
    for made in record.attempts:
        fill_attempt(packed.attempts.add(), made)
    if record.cost is not None:
        fill_money(packed.cost, record.cost)
    if record.tags:
        packed.tags.update(record.tags)
    if record.metadata:
        packed.metadata.update(record.metadata)
    for adjustment in record.adjustments:
        packed.adjustments.add(
            field=adjustment.field, kind=_ADJUSTMENTS[adjustment.kind], description=adjustment.description
        )
    for event in record.events:
        _fill_event(packed.events.add(), event)


def _fill_event(packed: message_pb2.DeliveryEvent, event: DeliveryEvent) -> None:
    _fill_time(packed.event_time, event.time)
    packed.type = _EVENTS[event.type]
    packed.provider = event.provider
    packed.provider_code = event.provider_code
    packed.detail = event.detail
    packed.reject_reason = _REJECT_REASONS[event.reject_reason]
    packed.permanent = event.permanent and event.type is EventType.BOUNCED
    packed.recipients.extend(event.recipients)


def fill_attempt(packed: message_pb2.Attempt, made: Attempt) -> None:
    """As `fill_message`."""
    outcome = made.outcome
    packed.provider = made.provider
    packed.kind = _KINDS[outcome.kind]
    if outcome.provider_code:
        packed.provider_code = outcome.provider_code
    if outcome.detail or outcome.provider_text:
        packed.detail = outcome.full_detail
    packed.provider_message_id = outcome.provider_message_id
    _fill_time(packed.start_time, made.start_time)
    duration = packed.duration
    duration.seconds, duration.nanos = _split(made.duration)
    packed.circuit_state = _CIRCUITS[made.circuit]
    if outcome.cost is not None:
        fill_money(packed.cost, outcome.cost)
    if outcome.billed is not None:
        fill_money(packed.billed_cost, outcome.billed)
    if outcome.segments:
        packed.segments = outcome.segments
    for refused in outcome.refused:
        packed.refused_recipients.add(
            address=refused.address, provider_code=refused.shown_code, temporary=refused.temporary
        )


def channel_health(health: ChannelHealth) -> provider_health_pb2.ChannelHealth:
    return provider_health_pb2.ChannelHealth(
        channel=CHANNELS[health.channel],
        serving=health.serving,
        providers=[_provider_health(p) for p in health.providers],
    )


def log_health(health: MessageLogHealth) -> provider_health_pb2.MessageLogHealth:
    return provider_health_pb2.MessageLogHealth(
        available=health.available,
        waiting=health.waiting,
        spool_bytes=health.spool_bytes,
        takes_request_ids=health.takes_request_ids,
    )


def gateway_state(health: GatewayHealth) -> "gateway_health_pb2.GatewayState.ValueType":
    return gateway_health_pb2.GATEWAY_STATE_DEGRADED if health.degraded else gateway_health_pb2.GATEWAY_STATE_READY


def background_task(health: TaskHealth) -> gateway_health_pb2.BackgroundTask:
    return gateway_health_pb2.BackgroundTask(
        name=health.name,
        failing=health.failing,
        consecutive_failures=health.failures,
        failing_since=time(health.failing_since),
        last_incident_id=health.incident_id,
    )


def _provider_health(health: ProviderHealth) -> provider_health_pb2.ProviderHealth:
    packed = provider_health_pb2.ProviderHealth(
        provider=health.provider,
        channel=CHANNELS[health.channel],
        priority=health.priority,
        available=health.available,
        circuit_state=_CIRCUITS[health.circuit_state],
        circuit_reason=_REASONS[health.circuit_reason],
        circuit_change_time=time(health.circuit_change_time),
        retry_time=time(health.retry_time),
        consecutive_failures=health.consecutive_failures,
        recent_calls=health.recent_calls,
        recent_failures=health.recent_failures,
        window=_duration(health.window),
        last_success_time=time(health.last_success_time),
        wary_until_time=time(health.wary_until_time),
        conversions=[
            provider_health_pb2.Conversion(
                country=c.country, sent=c.sent, verified=c.verified, window=_duration(c.window)
            )
            for c in health.conversions
        ],
        delivery_rates=[
            provider_health_pb2.DeliveryRate(
                country=r.country,
                delivered=r.delivered,
                undelivered=r.undelivered,
                not_its_fault=r.not_its_fault,
                unknown=r.unknown,
                window=_duration(r.window),
            )
            for r in health.delivery_rates
        ],
    )
    if health.last_failure:
        packed.last_failure_time.FromDatetime(health.last_failure.time)
        packed.last_failure_kind = _KINDS[health.last_failure.kind]
        packed.last_failure_code = health.last_failure.code
        packed.last_failure_detail = health.last_failure.detail
    return packed


def time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    packed = Timestamp()
    _fill_time(packed, moment)
    return packed


def _fill_time(packed: Timestamp, moment: datetime) -> None:
    """A sixth of what Timestamp.FromDatetime takes."""
    since = moment - _EPOCH
    packed.seconds = since.days * _DAY + since.seconds
    packed.nanos = since.microseconds * 1000


def _duration(seconds: float) -> Duration:
    whole, nanos = _split(seconds)
    return Duration(seconds=whole, nanos=nanos)


def _split(seconds: float) -> tuple[int, int]:
    """Whole seconds, and the nanoseconds beyond them."""
    whole = int(seconds)
    return whole, int((seconds - whole) * 1e9)


def fill_money(packed: message_pb2.Money, amount: Money) -> None:
    """As `fill_message`."""
    packed.currency_code = amount.currency
    packed.micros = amount.micros


def money(amount: Money | None) -> message_pb2.Money | None:
    return None if amount is None else message_pb2.Money(currency_code=amount.currency, micros=amount.micros)
