"""Packs what the core knows into the messages of the API."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import message_pb2, provider_health_pb2

from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.failover import Attempt
from relaypost_server.core.health import ChannelHealth, MessageLogHealth, ProviderHealth
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.record import MessageRecord

CHANNELS = {c: message_pb2.Channel.Value(f"CHANNEL_{c.name}") for c in Channel}
GUARANTEES = {g: message_pb2.DeliveryGuarantee.Value(f"DELIVERY_GUARANTEE_{g.name}") for g in Guarantee}
STATES = {s: message_pb2.MessageState.Value(f"MESSAGE_STATE_{s.name}") for s in MessageState}
_KINDS = {k: message_pb2.OutcomeKind.Value(f"OUTCOME_KIND_{k.name}") for k in Kind}
_EVENTS = {t: message_pb2.DeliveryEventType.Value(f"DELIVERY_EVENT_TYPE_{t.name}") for t in EventType}
_REJECT_REASONS = {r: message_pb2.RejectReason.Value(f"REJECT_REASON_{r.name}") for r in RejectReason} | {
    None: message_pb2.REJECT_REASON_UNSPECIFIED
}
_CIRCUITS = {c: message_pb2.CircuitState.Value(f"CIRCUIT_STATE_{c.name}") for c in CircuitState}
_REASONS = {r: provider_health_pb2.CircuitReason.Value(f"CIRCUIT_REASON_{r.name}") for r in OpenReason} | {
    None: provider_health_pb2.CIRCUIT_REASON_UNSPECIFIED
}


def message(record: MessageRecord) -> message_pb2.Message:
    return message_pb2.Message(
        message_id=record.id,
        channel=CHANNELS[record.channel],
        state=STATES[record.state],
        delivery_guarantee=GUARANTEES[record.guarantee],
        sender=record.sender,
        recipients=record.recipients,
        create_time=time(record.create_time),
        update_time=time(record.update_time),
        provider=record.provider,
        provider_message_id=record.provider_message_id,
        possible_duplicate=record.possible_duplicate,
        attempts=[attempt(a) for a in record.attempts],
        cost=_money(record.cost),
        tags=record.tags or None,
        metadata=record.metadata or None,
        events=[_event(e) for e in record.events],
    )


def _event(event: DeliveryEvent) -> message_pb2.DeliveryEvent:
    return message_pb2.DeliveryEvent(
        event_time=time(event.time),
        type=_EVENTS[event.type],
        provider=event.provider,
        provider_code=event.provider_code,
        detail=event.detail,
        reject_reason=_REJECT_REASONS[event.reject_reason],
        permanent=event.permanent and event.type is EventType.BOUNCED,
    )


def attempt(made: Attempt) -> message_pb2.Attempt:
    outcome = made.outcome
    return message_pb2.Attempt(
        provider=made.provider,
        kind=_KINDS[outcome.kind],
        provider_code=outcome.provider_code,
        detail=outcome.detail,
        provider_message_id=outcome.provider_message_id,
        start_time=time(made.start_time),
        duration=_duration(made.duration),
        circuit_state=_CIRCUITS[made.circuit],
        cost=_money(outcome.cost),
        segments=outcome.segments,
        refused_recipients=[
            message_pb2.RefusedRecipient(address=r.address, provider_code=r.provider_code, temporary=r.temporary)
            for r in outcome.refused
        ],
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
        conversions=[
            provider_health_pb2.Conversion(
                country=c.country, sent=c.sent, verified=c.verified, window=_duration(c.window)
            )
            for c in health.conversions
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
    # Four times as fast as Timestamp.FromDatetime; exact, for the float holds whole seconds.
    return Timestamp(seconds=int(moment.timestamp() // 1), nanos=moment.microsecond * 1000)


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def _money(money: Money | None) -> message_pb2.Money | None:
    return None if money is None else message_pb2.Money(currency_code=money.currency, micros=money.micros)
