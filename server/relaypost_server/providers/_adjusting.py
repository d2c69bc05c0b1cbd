"""Tells what an adapter changed in a message."""

from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.outcome import Outcome
from relaypost_server.core.value import replace


def adjusted(outcome: Outcome, adjustments: tuple[Adjustment, ...]) -> Outcome:
    """The outcome with them, where there are any."""
    return replace(outcome, adjustments=adjustments) if adjustments else outcome
