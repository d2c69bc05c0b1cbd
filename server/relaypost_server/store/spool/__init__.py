"""The local spool: a bounded queue of records on disk."""

from relaypost_server.store.spool.segments import Batch
from relaypost_server.store.spool.spool import Spool

__all__ = ["Batch", "Spool"]
