"""Very many calls with one request_id at once: `python -m tests.faults.storm 10000`."""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from relaypost import AsyncClient, RelaypostError

from tests.faults.chaos import Plan, stage
from tests.faults.database import read_log
from tests.peers import open_up

REPLICAS = 3
IN_FLIGHT = 900
"""At one gateway, which takes up to 1,000 calls on one connection."""
IN_PROGRESS = "REQUEST_IN_PROGRESS"
SHED = "UNAVAILABLE"
"""gRPC's own answer, without a reason of ours: the gateway has too many calls, and took this one on in no way."""
TO_WAIT = (IN_PROGRESS, "IDEMPOTENCY_UNAVAILABLE", SHED)
"""What tells a caller to come again: the second where the database is too busy to answer in time."""


async def storm(calls: int, home: Path) -> Counter[str]:
    """How often each thing happened: "submissions", "messages" in the log, "ids" told, and each answer."""
    plan = Plan(seed=0, faults=(), seconds=0.0, replicas=REPLICAS)
    counts: Counter[str] = Counter()
    ids: set[str] = set()
    async with stage(plan, home) as playing, AsyncExitStack() as open_clients:
        clients = [await open_clients.enter_async_context(AsyncClient(r.target)) for r in playing.replicas]
        rooms = [asyncio.Semaphore(IN_FLIGHT) for _ in clients]

        async def call(number: int) -> str:
            """What the caller was told: an id, or the reason of a failure."""
            async with rooms[number % REPLICAS]:
                try:
                    message = await clients[number % REPLICAS].send_email(**_EMAIL)  # type: ignore[arg-type]
                except RelaypostError as error:
                    return error.reason or error.code.name
            ids.add(message.message_id)
            return "answered"

        counts.update(await asyncio.gather(*(call(number) for number in range(calls))))
        for number in range(REPLICAS):
            while await call(number) in TO_WAIT:
                await asyncio.sleep(0.1)
        counts["submissions"] = len(playing.providers.submissions())
        counts["messages"] = len(await read_log(playing.database.url))
    counts["ids"] = len(ids)
    return counts


_EMAIL = {
    "to": "ada@example.com",
    "subject": "Your order token=storm",
    "text": "Thank you",
    "metadata": {"token": "storm"},
    "request_id": "order-7",
    "timeout": 30.0,
}


def unique(counts: Counter[str], calls: int) -> bool:
    """Whether all calls together were one message, and each was answered with it or told to wait."""
    once = all(counts[name] == 1 for name in ("submissions", "messages", "ids"))
    return once and counts["answered"] + sum(counts[reason] for reason in TO_WAIT) == calls


def main(arguments: Sequence[str]) -> int:
    calls = int(arguments[0])
    with tempfile.TemporaryDirectory(prefix="relaypost-storm-") as folder:
        counts = asyncio.run(storm(calls, open_up(Path(folder))))
    for name, count in sorted(counts.items()):
        print(f"{name:<30}{count:>8}")
    return 0 if unique(counts, calls) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
