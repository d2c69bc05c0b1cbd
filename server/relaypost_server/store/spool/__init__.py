"""The local spool: documents that wait on disk for the database, in SQLite files bounded in bytes."""

from relaypost_server.store.spool.errors import SpoolError
from relaypost_server.store.spool.file import Record
from relaypost_server.store.spool.spool import Batch, Spool

__all__ = ["Batch", "Record", "Spool", "SpoolError"]
