"""The exchange of advice with other gateways, where it is set up."""

import secrets
from collections.abc import Callable

from relaypost_server.assembly.chains import Chains
from relaypost_server.assembly.site import Site
from relaypost_server.core.advice import Advice
from relaypost_server.flow.advice import Advisory, Bus
from relaypost_server.flow.chain import nobody


class Advising:
    """Without the setting it is nothing at all."""

    def __init__(self, site: Site) -> None:
        self._site = site
        url = site.config.advice.url
        self._advisory = url and Advisory(
            _bus(url.get_secret_value(), site.config.advice.prefix),
            replica=secrets.token_hex(8),
            metrics=site.metrics,
            clock=site.clock,
        )

    @property
    def tell(self) -> Callable[[Advice], None]:
        return self._advisory.tell if self._advisory else nobody

    def begin(self, chains: Chains) -> None:
        """Once there is somebody to heed what is heard."""
        if self._advisory:
            self._advisory.advise([*chains.emails.links, *chains.texts.links])
            self._site.run(self._advisory)


def _bus(url: str, prefix: str) -> Bus:
    """The library takes 0.2 s to import, which only those pay who use it."""
    from relaypost_server.peers.redis import RedisBus

    return RedisBus(url, prefix=prefix)
