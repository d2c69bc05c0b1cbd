"""Reads the wish for a language."""

from relaypost_server.api.violations import Violations
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.templates.locales import read_preference


def note_unread(field: str, locale: str, bad: Violations) -> None:
    """Tells of parts of a locale that cannot be read: they are passed over."""
    if not locale:
        return
    preference = read_preference(locale)
    if preference.unread:
        parts = preference.read + preference.unread
        what = f"{preference.unread} of {parts} parts could not be read" if parts > 1 else "it could not be read"
        bad.adjusted(field, AdjustmentKind.IGNORED, f"{what}; without a readable wish the default serves")
