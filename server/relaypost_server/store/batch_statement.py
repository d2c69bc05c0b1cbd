"""Hands documents to PostgreSQL in one statement, and finds those that it refuses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import asyncpg

from relaypost_server.store.rows import batch
from relaypost_server.store.sql import QUERIES

STATEMENT_SECONDS = 30.0
"""A statement that takes longer has lost its connection."""
_MAY_PASS = frozenset({"08", "25", "40", "53", "55", "57", "58"})
"""SQLSTATE classes of the server's condition: connections, read-only, conflicts, resources, locks, shutdown."""

Documents = Mapping[str, bytes]
"""By the ids of their messages: no statement holds two documents about one message."""


@dataclass(slots=True)
class Written:
    """The messages on which documents took effect, plain inserts aside, and why others were refused."""

    effective: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


def runs(documents: Iterable[tuple[str, bytes]]) -> Iterator[Documents]:
    """Cuts documents into statements, in order: one begins where a message comes a second time."""
    run: dict[str, bytes] = {}
    for message_id, document in documents:
        if message_id in run:
            yield run
            run = {}
        run[message_id] = document
    if run:
        yield run


async def write(connection: "asyncpg.Connection", documents: Documents) -> Written:
    """Writes the documents, except those that PostgreSQL refuses because of their content.

    Raises what the connection raised; then some may have been written.
    """
    written = Written()
    if documents:
        await _write(connection, list(documents), documents, written)
    return written


async def _write(connection: "asyncpg.Connection", ids: list[str], documents: Documents, written: Written) -> None:
    """Bisects a refused batch until each document at fault is alone."""
    try:
        written.effective |= await _execute(connection, {i: documents[i] for i in ids})
    except (asyncpg.PostgresError, ValueError, TypeError) as error:
        if not _is_refusal(error):
            raise
        if len(ids) == 1:
            await _execute(connection, {})  # Raises where the database takes no document at all.
            written.refused[ids[0]] = _name(error)
            return
        for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
            await _write(connection, half, documents, written)


async def _execute(connection: "asyncpg.Connection", documents: Documents) -> set[str]:
    rows = await connection.fetch(QUERIES["write_batch"], batch(documents.values()), timeout=STATEMENT_SECONDS)
    return {row["message_id"] for row in rows}


def _is_refusal(error: Exception) -> bool:
    """Whether PostgreSQL, or asyncpg itself, judged the statement and not the moment."""
    return not isinstance(error, asyncpg.PostgresError) or (error.sqlstate or "08")[:2] not in _MAY_PASS


def _name(error: Exception) -> str:
    """Without the text, which may show values of the document."""
    return type(error).__name__
