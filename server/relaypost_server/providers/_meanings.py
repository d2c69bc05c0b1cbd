"""What an answer of a provider means, declared as data: one row for each answer that is known."""

from dataclasses import dataclass

from relaypost_server.core.outcome import Kind, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A row of a provider's table."""

    kind: Kind
    why: str
    """In our own words, for people and for the documentation."""
    alert: bool = False
    """Our own set-up, account or reputation is at fault: an operator has something to mend."""
    blames_recipient: bool = False
    """The provider says that there is no such recipient."""
    opted_out: bool = False
    """The recipient has asked this provider for no more messages; only for REJECTED."""
    latch: float | None = None
    """Seconds to leave the provider alone; only for THROTTLED. None: as the answer says."""


def outcome_of(
    meaning: Meaning, *, detail: str, text: str = "", code: str = "", retry_after: float | None = None
) -> Outcome:
    """The outcome of an answer. `detail`: our words; `text` and `code`: the provider's."""
    throttled = meaning.kind is Kind.THROTTLED
    return Outcome(
        kind=meaning.kind,
        detail=detail,
        provider_text=text,
        provider_code=code,
        retry_after=(retry_after if meaning.latch is None else meaning.latch) if throttled else None,
        alert=meaning.alert,
        blames_recipient=meaning.blames_recipient,
        opted_out=meaning.opted_out,
    )
