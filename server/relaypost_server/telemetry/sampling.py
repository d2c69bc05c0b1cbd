"""Leaves calls out of the traces before the SDK has begun a span for them.

The SDK asks its sampler halfway through `start_span`, which costs a call that
is left out as much as its walk costs. Where OTEL_TRACES_SAMPLER chooses by the
id of a trace, the id tells it at once.
"""

from collections.abc import Mapping
from typing import Self

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanContext

SAMPLER = "OTEL_TRACES_SAMPLER"
ARGUMENT = "OTEL_TRACES_SAMPLER_ARG"
_BY_ID = frozenset({"traceidratio", "parentbased_traceidratio"})


class Lottery(RandomIdGenerator):
    """Draws the ids of traces that begin here, and knows which are left out. For one thread."""

    def __init__(self, ratio: float) -> None:
        """`ratio` of the traces are recorded: 0 to 1."""
        self._bound = TraceIdRatioBased.get_bound_for_rate(ratio)
        self._winner: int | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self | None:
        """None where the ids do not decide, or where the SDK is to complain about the ratio."""
        if environ.get(SAMPLER, "").strip().lower() not in _BY_ID:
            return None
        try:
            ratio = float(environ.get(ARGUMENT) or 1.0)
        except ValueError:
            return None
        return cls(ratio) if 0.0 <= ratio <= 1.0 else None

    def draw(self) -> SpanContext | None:
        """What stands for the span of a call that is left out; None where the next span begins a recorded trace."""
        trace_id = super().generate_trace_id()
        if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound:
            self._winner = trace_id
            return None
        return SpanContext(trace_id, self.generate_span_id(), is_remote=False)

    def generate_trace_id(self) -> int:
        """The id that has just been drawn for it, or else a new one."""
        winner, self._winner = self._winner, None
        return super().generate_trace_id() if winner is None else winner
