"""What it costs to check a one-time password, beside a call that does nothing; and whether refusals take alike."""

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from relaypost import AsyncClient
from relaypost.v1 import otp_service_pb2 as pb

from bench.load import request
from bench.processes import Server
from relaypost_server.core.message import Channel
from relaypost_server.core.otp import OtpPolicy, OtpRequest
from relaypost_server.core.otp_codes import Bound, Peppers
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.store.database import Database
from relaypost_server.store.otp import PostgresOtps
from relaypost_server.store.spool import Spool
from relaypost_server.telemetry.metrics import Metrics

PEPPER = "a-pepper-for-measurements-of-32-characters"
CODE, WRONG = "482915", "000000"
ARABIC = "\u0660" * 6
"""The wrong code in Arabic digits."""
IN_FLIGHT = 64
_CALLER = (("relaypost-caller", "stranger"),)


@dataclass(frozen=True)
class Costs:
    """Microseconds of the server's CPU time for each call at 64 in flight, medians."""

    echo: float
    verified: float
    refused: float
    of_the_echo: float
    """Right codes checked in a CPU-second, as a part of the echoes; median over the rounds."""


def measure(echo: Server, gateway: Server, database: str, calls: int, rounds: int) -> tuple[Costs, dict[str, float]]:
    """The costs, and the median milliseconds of a lone call for each kind of refusal."""
    return asyncio.run(_measure(echo, gateway, database, calls, rounds))


async def _measure(echo: Server, gateway: Server, url: str, calls: int, rounds: int) -> tuple[Costs, dict[str, float]]:
    found: list[tuple[float, float, float]] = []
    with TemporaryDirectory() as home:
        database = Database(
            url,
            Spool.open(Path(home), max_bytes=1 << 20),
            auto_migrate=True,
            metrics=Metrics(),
            tasks=BackgroundTasks(),
        )
        await database.start()
        store = PostgresOtps(database, OtpPolicy(), method="SendOtp")
        async with AsyncClient(f"127.0.0.1:{echo.port}") as bare, AsyncClient(f"127.0.0.1:{gateway.port}") as client:
            for _ in range(rounds):
                ids = await _codes(store, calls)
                # Wrong codes first, then right ones: each code has attempts for both.
                refused = await _busy(gateway, [_refused(client, otp_id, WRONG) for otp_id in ids])
                plain = await _busy(echo, [_echo(bare)] * calls)
                verified = await _busy(gateway, [_verify(client, otp_id) for otp_id in ids])
                found.append((plain, verified, refused))
            alike = await _refusals(client, database, store)
        await database.stop()
    plain, verified, refused = (statistics.median(column) for column in zip(*found, strict=True))
    of_the_echo = statistics.median(echoed / right for echoed, right, _ in found)
    return Costs(echo=plain, verified=verified, refused=refused, of_the_echo=of_the_echo), alike


async def _codes(store: PostgresOtps, count: int) -> Sequence[str]:
    """The ids of new codes, each to a destination of its own."""
    return await asyncio.gather(*(_code(store) for _ in range(count)))


async def _code(store: PostgresOtps, ttl: float = 3600.0) -> str:
    otp_id = str(uuid.uuid4())
    wanted = OtpRequest(
        caller="",
        channel=Channel.EMAIL,
        destination=f"{otp_id}@example.com",
        purpose="sign_in",
        template="otp",
        ttl=ttl,
    )
    bound = Bound(otp_id=otp_id, purpose=wanted.purpose, destination=wanted.destination)
    await store.create(otp_id, wanted, Peppers(PEPPER).store(CODE, bound), charged=(), policy=OtpPolicy(block_over=0))
    return otp_id


Call = Callable[[], Awaitable[object]]


def _echo(client: AsyncClient) -> Call:
    made = request()
    return lambda: client.stub.SendEmail(made, timeout=10.0)


def _verify(client: AsyncClient, otp_id: str) -> Call:
    """Raises unless the right code is taken."""
    made = pb.VerifyOtpRequest(otp_id=otp_id, code=CODE)
    return lambda: client.otp.VerifyOtp(made, timeout=10.0)


def _refused(client: AsyncClient, otp_id: str, code: str, metadata: tuple[tuple[str, str], ...] = ()) -> Call:
    """Raises unless the code is refused."""
    made = pb.VerifyOtpRequest(otp_id=otp_id, code=code)

    async def check() -> None:
        try:
            await client.otp.VerifyOtp(made, timeout=10.0, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return
            raise
        raise RuntimeError("a code was taken that should not have been")

    return check


async def _busy(server: Server, calls: Sequence[Call]) -> float:
    waiting = iter(calls)

    async def worker() -> None:
        for call in waiting:
            await call()

    before = server.cpu_seconds()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (server.cpu_seconds() - before) / len(calls) * 1e6


async def _refusals(client: AsyncClient, database: Database, store: PostgresOtps) -> dict[str, float]:
    """Round after round, each kind in turn."""
    expired, used = await _codes(store, 100), await _codes(store, 100)
    living = await _codes(store, 300)
    async with database.transaction() as connection:
        await connection.execute("UPDATE relaypost.otps SET expire_time = now() WHERE id = ANY($1::uuid[])", expired)
    await asyncio.gather(*(_verify(client, otp_id)() for otp_id in used))
    durations: dict[str, list[float]] = {}
    for n in range(100):
        kinds = {
            "unknown": _refused(client, str(uuid.uuid4()), CODE),
            "expired": _refused(client, expired[n], CODE),
            "used": _refused(client, used[n], CODE),
            "wrong": _refused(client, living[n], WRONG),
            "other digits": _refused(client, living[100 + n], ARABIC),
            "no code at all": _refused(client, living[100 + n], "x"),
            "another caller's": _refused(client, living[200 + n], CODE, _CALLER),
        }
        for kind, call in kinds.items():
            began = time.perf_counter()
            await call()
            durations.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
    return {kind: statistics.median(found) for kind, found in durations.items()}
