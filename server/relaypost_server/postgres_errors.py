"""Tells a statement that PostgreSQL calls wrong from a server that cannot be reached or kept."""

import asyncpg

_WRONG = frozenset({"03", "0A", "20", "21", "22", "23", "2F", "38", "39", "42", "44", "P0"})
"""Classes of SQLSTATE that judge the statement itself (www.postgresql.org/docs/current/errcodes-appendix.html).

Every other class is about the connection, the session, the transaction or the server: a server that shuts down, has
no room, became read-only, or chose this transaction to end a deadlock.
"""
_NO_SCHEMA = frozenset({"3F000", "42P01", "42703", "42883"})
"""There is no such schema, table, column or function."""


def is_wrong_statement(error: BaseException) -> bool:
    """Whether the error is a bug of ours: another server, or another time, would not help."""
    if isinstance(error, asyncpg.PostgresError):
        # A plan that a migration outdated, and a role that lacks a right, are no fault of the statement.
        if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.InsufficientPrivilegeError):
            return False
        return (error.sqlstate or "")[:2] in _WRONG
    # asyncpg itself refuses arguments so, before it sends them.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def is_unavailable(error: BaseException) -> bool:
    """Whether the error says that the database cannot be used now."""
    known = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return isinstance(error, known) and not is_wrong_statement(error)


def lacks_schema(error: BaseException) -> bool:
    """Whether the error is what a database answers that has not been migrated."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _NO_SCHEMA
