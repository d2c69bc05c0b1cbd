"""One-time passwords in PostgreSQL, whose clock is the only one that counts."""

from collections.abc import Sequence

import orjson
from asyncpg.pool import PoolConnectionProxy

from relaypost_server.core.limits import Charge, LimitReachedError, Refusal
from relaypost_server.core.message import Address, Channel, Guarantee
from relaypost_server.core.otp import Conversion, Guess, Otp, OtpPolicy, OtpRequest, OtpSpent
from relaypost_server.core.otp_codes import StoredCode
from relaypost_server.store.database import Database
from relaypost_server.store.otp_guesses import Guesses
from relaypost_server.store.rows import Row, stored_code
from relaypost_server.store.sql import QUERIES


class PostgresOtps:
    """A `core.ports.OtpStore`."""

    def __init__(self, database: Database, policy: OtpPolicy, *, method: str) -> None:
        """`method`: under which the messages that carry codes are claimed."""
        self._database = database
        self._attempts = policy.attempts
        self._method = method
        self._guesses = Guesses(database, policy)

    async def create(
        self, otp_id: str, request: OtpRequest, code: StoredCode, *, charged: Sequence[Charge], policy: OtpPolicy
    ) -> Otp | None:
        async with self._database.transaction() as connection:
            # First of all: of several requests of one name, the others wait here and are charged nothing.
            row = await connection.fetchrow(QUERIES["create_otp"], *_columns(otp_id, request, code))
            if row is not None:
                await _check_conversion(connection, request.prefix, policy)
                await _charge(connection, charged)
                return _otp(row)
            row = await connection.fetchrow(QUERIES["otp_of_request"], request.caller, request.request_id)
            return _otp(row) if row is not None and row["fingerprint"] == request.fingerprint else None

    async def find(self, otp_id: str, caller: str, *, attempts: int) -> Otp | None:
        found = await self._database.fetch("find_otp", otp_id, caller, attempts)
        return _otp(found[0]) if found else None

    async def resend(
        self, otp: Otp, *, renewed: StoredCode | None, charged: Sequence[Charge], policy: OtpPolicy
    ) -> Otp | None:
        request = otp.request
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(QUERIES["lock_otp"], otp.id, request.caller, policy.attempts)
            if row is None:
                return None
            wait = policy.cool_down(row["sends"]) - row["since"]
            if wait > 0:
                raise LimitReachedError([Refusal(limit="resend", retry_after=wait)])
            await _check_conversion(connection, request.prefix, policy)
            await _charge(connection, charged)
            if renewed is None:
                (counted,) = await connection.fetch(QUERIES["count_resend"], otp.id)
            else:
                new = renewed.pepper, renewed.mark, renewed.seal, renewed.generation
                (counted,) = await connection.fetch(QUERIES["rotate_otp"], otp.id, *new)
            return _otp(counted)

    async def guess(self, otp_id: str, caller: str, length: int) -> Guess | Refusal | OtpSpent | None:
        return await self._guesses.guess(otp_id, caller, length)

    async def use(self, guess: Guess) -> bool:
        return await self._guesses.use(guess)

    async def cancel(self, otp_id: str, caller: str) -> None:
        await self._database.fetch("cancel_otp", otp_id, caller)

    async def sweep(self, *, retention: float) -> None:
        await self._database.background.fetch("empty_otps")
        await self._database.background.fetch("forget_otps", retention)
        await self._database.background.fetch("forget_limits")

    async def conversions(self, *, window: float) -> Sequence[Conversion]:
        return [
            Conversion(
                channel=Channel(row["channel"]),
                provider=row["provider"],
                country=row["country"],
                sent=row["sent"],
                verified=row["verified"],
            )
            for row in await self._database.background.fetch("otp_conversions", window, self._method)
        ]


async def _check_conversion(connection: PoolConnectionProxy, prefix: str, policy: OtpPolicy) -> None:
    """Raises LimitReachedError where nobody seems to wait for the codes."""
    if not prefix or not policy.block_over:
        return
    row = await connection.fetchrow(QUERIES["prefix_conversion"], prefix, policy.block_seconds, policy.block_over)
    if row is not None and policy.blocks(row["sent"], row["verified"]):
        raise LimitReachedError([Refusal(limit="conversion", retry_after=max(1.0, row["retry_after"]))])


async def _charge(connection: PoolConnectionProxy, charged: Sequence[Charge]) -> None:
    """Counts the event under every limit. Raises LimitReachedError; the transaction then takes all of it back."""
    asked = _arguments(charged)
    passed = {row["name"] for row in await connection.fetch(QUERIES["charge_limits"], *asked)}
    reached = [charge for charge in charged if charge.limit not in passed]
    if not reached:
        return
    rows = await connection.fetch(QUERIES["limits_reached"], *_arguments(reached))
    raise LimitReachedError([Refusal(limit=row["name"], retry_after=max(1.0, row["retry_after"])) for row in rows])


def _arguments(charged: Sequence[Charge]) -> tuple[list[str], list[str], list[int], list[float]]:
    """As the columns that the queries unnest."""
    return (
        [c.limit for c in charged],
        [c.key for c in charged],
        [c.rate.most for c in charged],
        [c.rate.seconds for c in charged],
    )


def _columns(otp_id: str, request: OtpRequest, code: StoredCode) -> tuple[object, ...]:
    """The arguments of `create_otp`."""
    return (
        otp_id,
        request.caller,
        request.request_id,
        request.fingerprint,
        request.channel,
        request.destination,
        request.country,
        request.prefix,
        request.purpose,
        request.template,
        request.locale,
        orjson.dumps(dict(request.variables)).decode(),
        request.guarantee,
        request.ttl,
        code.pepper,
        code.mark,
        code.seal,
        code.length,
        request.confirm_within,
        request.sender.email if request.sender else "",
        request.sender.name if request.sender else "",
        request.sender_id or "",
    )


def _otp(row: Row) -> Otp:
    return Otp(
        id=str(row["id"]),
        request=OtpRequest(
            caller=row["caller"],
            request_id=row["request_id"] or "",
            channel=Channel(row["channel"]),
            destination=row["destination"],
            country=row["country"],
            purpose=row["purpose"],
            template=row["template"],
            locale=row["locale"],
            variables=orjson.loads(row["variables"]),
            length=row["length"],
            ttl=row["ttl"],
            guarantee=Guarantee(row["guarantee"]),
            confirm_within=row["confirm_within"],
            sender=Address(email=row["sender_email"], name=row["sender_name"]) if row["sender_email"] else None,
            sender_id=row["sender_id"] or None,
        ),
        code=stored_code(row),
        sends=row["sends"],
        last_send_time=row["last_send_time"],
        expire_time=row["expire_time"],
        time_left=row["time_left"],
    )
