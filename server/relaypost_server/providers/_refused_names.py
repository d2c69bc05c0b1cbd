"""Names of senders that a provider does not take for a country, remembered for a while."""

import time
from collections.abc import Callable

REMEMBERED_SECONDS = 3600.0
"""A name may be registered meanwhile: then one message in so many seconds finds it out."""
MOST_REMEMBERED = 1000


class RefusedNames:
    """Saves each further message to the country a request that would be refused."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[tuple[str, str], float] = {}
        """By country and name, the oldest first."""

    def remember(self, country: str, name: str) -> None:
        self._until.pop((country, name), None)
        while len(self._until) >= MOST_REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[country, name] = self._monotonic() + REMEMBERED_SECONDS

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether the country and name were refused of late."""
        return bool(self._until) and self._until.get(key, 0.0) > self._monotonic()
