"""What the stores are told when the database fails: that it is away, unless a statement of ours is wrong."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.store.database import Database
from relaypost_server.store.questions import Questions
from tests.messages import ID
from tests.store.databases import opened

AWAY = [
    asyncpg.TargetServerAttributeNotMatched("None of the hosts match"),
    asyncpg.InternalClientError("unexpected protocol state"),
    asyncpg.ProtocolError("unexpected message"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
    asyncpg.ConnectionFailureError("lost"),
    asyncpg.AdminShutdownError("terminating connection"),
    asyncpg.CrashShutdownError("another server process crashed"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.TooManyConnectionsError("too many clients already"),
    asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
    asyncpg.DiskFullError("no space left"),
    asyncpg.QueryCanceledError("statement time-out"),
    asyncpg.DeadlockDetectedError("deadlock detected"),
    asyncpg.SerializationError("could not serialize access"),
    asyncpg.InvalidPasswordError("password authentication failed"),
    asyncpg.InvalidCatalogNameError("database does not exist"),
    asyncpg.InsufficientPrivilegeError("permission denied"),
    asyncpg.InvalidCachedStatementError("cached statement plan is invalid"),
    socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution"),
    ssl.SSLCertVerificationError("certificate verify failed"),
    ConnectionRefusedError(),
    ConnectionResetError(),
    TimeoutError(),
    asyncio.CancelledError(),
]
WRONG = [
    asyncpg.PostgresSyntaxError("syntax error"),
    asyncpg.UndefinedColumnError("column does not exist"),
    asyncpg.DivisionByZeroError("division by zero"),
    asyncpg.CardinalityViolationError("cannot affect row a second time"),
    asyncpg.UniqueViolationError("duplicate key"),
    asyncpg.RaiseError("illegal transition"),
    asyncpg.DataError("invalid input for query argument"),
    asyncpg.exceptions._base.DataError("invalid input for query argument"),
    IndexError("a bug of ours"),
]

STATEMENTS = {
    "SELECT 1 / 0": asyncpg.DivisionByZeroError,
    "SELEKT": asyncpg.PostgresSyntaxError,
    "SELECT nothing FROM relaypost.messages": asyncpg.UndefinedColumnError,
    "SELECT pg_terminate_backend(pg_backend_pid())": LogUnavailableError,
    "SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)": LogUnavailableError,
    "SET TRANSACTION READ ONLY; DELETE FROM relaypost.messages": LogUnavailableError,
}


@pytest.fixture
async def log_of(bundled_database: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(bundled_database, tmp_path) as database:
        yield database


async def test_a_server_that_cannot_be_kept_is_away_and_its_connection_is_not_used_again(log_of: Database) -> None:
    pids: list[int] = []

    async def lose(error: BaseException) -> None:
        async with log_of.transaction() as connection:
            pids.append(await connection.fetchval("SELECT pg_backend_pid()"))
            raise error

    for error in AWAY:
        with pytest.raises(LogUnavailableError):
            await lose(error)
    assert len(set(pids)) == len(AWAY)


async def test_a_server_that_cannot_be_reached_is_away(log_of: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([*AWAY, RuntimeError("asyncpg has a bug")])

    class Unreachable:
        async def acquire(self, **_: object) -> None:
            raise next(errors)

    monkeypatch.setattr(log_of.requests, "_pool", Unreachable())
    for _ in range(len(AWAY) + 1):
        with pytest.raises(LogUnavailableError):
            await log_of.fetch("get_message", ID)


async def test_a_wrong_statement_is_a_bug(log_of: Database) -> None:
    async def raise_within(error: Exception) -> None:
        async with log_of.transaction():
            raise error

    for error in WRONG:
        with pytest.raises(type(error)):
            await raise_within(error)


async def test_postgresql_itself_says_which_is_which(log_of: Database) -> None:
    async def execute(statement: str) -> None:
        async with log_of.transaction() as connection:
            await connection.execute(statement)

    for statement, expected in STATEMENTS.items():
        with pytest.raises(expected):
            await execute(statement)
        assert await log_of.fetch("get_message", ID) == []


async def test_this_tasks_own_cancellation_passes(log_of: Database) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        async with log_of.transaction():
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_table_that_is_missing_before_the_migration_is_no_bug(
    empty_bundled_database: str, tmp_path: Path
) -> None:
    async with opened(empty_bundled_database, tmp_path, auto_migrate=False) as database:
        with pytest.raises(LogUnavailableError):
            await database.fetch("get_message", ID)


async def test_a_pool_finds_the_server_that_can_be_written(log_of: Database, bundled_database: str) -> None:
    """Its idle connections lead to one that was made read-only: each is used once at most."""
    name = urlsplit(bundled_database).path.removeprefix("/")

    async def works() -> bool:
        try:
            await log_of.fetch("forget_requests", 3600.0)
        except LogUnavailableError:
            return False
        return True

    assert await works()
    async with log_of.transaction() as connection:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    admin = await asyncpg.connect(bundled_database)
    try:
        await admin.execute("SELECT pg_terminate_backend($1)", pid)
        async with asyncio.timeout(20):
            while await works():
                await asyncio.sleep(0.01)
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        async with asyncio.timeout(20):
            while not await works():
                await asyncio.sleep(0.01)
    finally:
        await admin.close()


async def test_those_who_ask_together_are_answered_when_what_they_wait_for_is_cancelled() -> None:
    async def cancelled(_: object) -> dict[str, str]:
        raise asyncio.CancelledError

    questions: Questions[str, str] = Questions(cancelled, final=lambda _: True)
    async with asyncio.timeout(10):
        for _ in range(2):
            with pytest.raises(LogUnavailableError):
                await questions.ask("anything")
