"""The call that is being answered: what a line of the log, or an attempt, belongs to.

It stands apart from the spans for the sake of those who log and trace nothing:
the SDK takes a while to import.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext

if TYPE_CHECKING:
    from relaypost_server.telemetry.tracing import CallSpan

CALL: ContextVar["CallSpan | None"] = ContextVar("relaypost_call", default=None)


def current_ids() -> SpanContext | None:
    """The ids of the call, where there is one and it has any."""
    call = CALL.get()
    return None if call is None else call.context
