"""Checks of codes, many in one statement."""

from collections.abc import Mapping, Sequence

from relaypost_server.core.limits import Refusal
from relaypost_server.core.message import Channel
from relaypost_server.core.otp import FAILURES, Guess, OtpPolicy, OtpSpent
from relaypost_server.store.database import Database
from relaypost_server.store.questions import Questions
from relaypost_server.store.rows import Row, stored_code

Answer = Guess | Refusal | OtpSpent | None
_Named = tuple[str, str, int]
"""The id of a code, who asks, and how many digits were typed."""
_Right = tuple[str, int]
"""The id of a code, and its generation."""


class Guesses:
    """Takes attempts from codes, and uses codes up."""

    def __init__(self, database: Database, policy: OtpPolicy) -> None:
        self._database = database
        self._policy = policy
        self._attempts: Questions[_Named, Answer] = Questions(
            self._take_attempts, final=lambda answer: not isinstance(answer, Guess)
        )
        self._right: Questions[_Right, bool] = Questions(self._use_up, final=lambda used: not used)

    async def guess(self, otp_id: str, caller: str, length: int) -> Answer:
        return await self._attempts.ask((otp_id, caller, length))

    async def use(self, guess: Guess) -> bool:
        return await self._right.ask((guess.id, guess.code.generation))

    async def _take_attempts(self, named: Sequence[_Named]) -> Mapping[_Named, Answer]:
        rate = self._policy.rates[FAILURES]
        once = _one_of_each_code(named)
        ids, callers, lengths = zip(*once, strict=True)
        found = await self._database.fetch(
            "guess_otps", ids, callers, lengths, self._policy.attempts, FAILURES, rate.most, rate.seconds
        )
        rows = {str(row["id"]): row for row in found}
        answers: dict[_Named, Answer] = {}
        for name in once:
            row = rows.get(name[0])
            if row is None or row["caller"] != name[1]:
                answers[name] = None
            elif not row["deferred"]:
                answers[name] = _answer(row)
        return answers

    async def _use_up(self, right: Sequence[_Right]) -> Mapping[_Right, bool]:
        ids, generations = zip(*right, strict=True)
        rows = await self._database.fetch("use_otps", ids, generations, FAILURES)
        used = {str(row["id"]) for row in rows}
        return {question: question[0] in used for question in right}


def _one_of_each_code(named: Sequence[_Named]) -> Sequence[_Named]:
    """Those that one statement can tell apart; the others are asked again."""
    return list({(otp_id, caller): (otp_id, caller, length) for otp_id, caller, length in reversed(named)}.values())


def _answer(row: Row) -> Answer:
    if row["taken"]:
        return _guess(row)
    if row["spent"]:
        return OtpSpent()
    return Refusal(limit=FAILURES, retry_after=max(1.0, row["retry_after"])) if row["limited"] else None


def _guess(row: Row) -> Guess:
    return Guess(
        id=str(row["id"]),
        purpose=row["purpose"],
        channel=Channel(row["channel"]),
        destination=row["destination"],
        country=row["country"],
        code=stored_code(row),
    )
