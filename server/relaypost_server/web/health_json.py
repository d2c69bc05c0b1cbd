"""Health as JSON: the same names and forms as protobuf's JSON of GetProviderHealthResponse."""

from datetime import UTC, datetime
from typing import Any

from relaypost_server.core.health import ChannelHealth, GatewayHealth, Health, MessageLogHealth, ProviderHealth


def health_json(health: Health) -> dict[str, Any]:
    return {
        "channels": [_channel(c) for c in health.channels],
        "messageLog": _message_log(health.message_log),
    }


def readiness_json(health: GatewayHealth, *, ready: bool) -> dict[str, Any]:
    """`ready` is what load balancers go by: a gateway that is only degraded sends as well as any other."""
    return {
        "status": "ready" if ready else "not ready",
        "messageLog": "up" if health.message_log.available else "down",
        "degraded": health.degraded,
        "failingTasks": [task.name for task in health.tasks if task.failing],
    }


def _message_log(log: MessageLogHealth) -> dict[str, Any]:
    return {
        "available": log.available,
        "waiting": log.waiting,
        "spoolBytes": str(log.spool_bytes),  # Protobuf's JSON writes an int64 so.
        "takesRequestIds": log.takes_request_ids,
    }


def _channel(channel: ChannelHealth) -> dict[str, Any]:
    return {
        "channel": f"CHANNEL_{channel.channel.name}",
        "serving": channel.serving,
        "providers": [_provider(p) for p in channel.providers],
    }


def _provider(provider: ProviderHealth) -> dict[str, Any]:
    failure = provider.last_failure
    reason = provider.circuit_reason.name if provider.circuit_reason else "UNSPECIFIED"
    found = {
        "provider": provider.provider,
        "channel": f"CHANNEL_{provider.channel.name}",
        "priority": provider.priority,
        "available": provider.available,
        "circuitState": f"CIRCUIT_STATE_{provider.circuit_state.name}",
        "circuitReason": f"CIRCUIT_REASON_{reason}",
        "circuitChangeTime": _time(provider.circuit_change_time),
        "retryTime": _time(provider.retry_time),
        "consecutiveFailures": provider.consecutive_failures,
        "recentCalls": provider.recent_calls,
        "recentFailures": provider.recent_failures,
        "window": f"{provider.window:g}s",
        "lastSuccessTime": _time(provider.last_success_time),
        "lastFailureTime": _time(failure.time if failure else None),
        "lastFailureKind": f"OUTCOME_KIND_{failure.kind.name if failure else 'UNSPECIFIED'}",
        "lastFailureCode": failure.code if failure else "",
        "lastFailureDetail": failure.detail if failure else "",
        "conversions": [
            {"country": c.country, "sent": c.sent, "verified": c.verified, "window": f"{c.window:g}s"}
            for c in provider.conversions
        ],
        "deliveryRates": [
            {
                "country": r.country,
                "delivered": r.delivered,
                "undelivered": r.undelivered,
                "notItsFault": r.not_its_fault,
                "unknown": r.unknown,
                "window": f"{r.window:g}s",
            }
            for r in provider.delivery_rates
        ],
        "waryUntilTime": _time(provider.wary_until_time),
    }
    return {name: value for name, value in found.items() if value is not None}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
