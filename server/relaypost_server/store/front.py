"""Makes LogUnavailableError of every failure to reach or keep a server, and of nothing else."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import asyncpg
import structlog

from relaypost_server.cancellation import is_cancelled
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.postgres_errors import is_unavailable, lacks_schema

log = structlog.get_logger("relaypost.log")


class Terminable(Protocol):
    """A connection that can be thrown away."""

    def terminate(self) -> None: ...


@contextmanager
def reaching() -> Iterator[None]:
    """While a connection is opened or given back: every error means that there is no connection."""
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        if _is_ours(error):
            raise
        _report(error)
        raise LogUnavailableError from error


@contextmanager
def using(connection: Terminable, *, migrated: bool) -> Iterator[None]:
    """While statements run. An error about the statement itself is a bug, and raised unchanged.

    `migrated`: whether the schema is known to be in place; until then a missing table is no bug.
    """
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        if not _loses(error, migrated=migrated):
            raise
        # The server may have become read-only, or another one the primary: the next connection finds out.
        with suppress(asyncpg.InterfaceError):  # The pool may have dropped a lost connection by now.
            connection.terminate()
        _report(error)
        raise LogUnavailableError from error


def _loses(error: BaseException, *, migrated: bool) -> bool:
    if isinstance(error, asyncio.CancelledError):
        return not _is_ours(error)
    return is_unavailable(error) or (lacks_schema(error) and not migrated)


def _is_ours(error: BaseException) -> bool:
    """Whether the error is the cancellation of the current task."""
    return isinstance(error, asyncio.CancelledError) and is_cancelled()


def _report(error: BaseException) -> None:
    log.warning("database cannot be used", error=type(error).__name__)
