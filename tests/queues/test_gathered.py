"""Items that go in calls together."""

import asyncio
from collections.abc import Sequence

from relaypost_server.queues._sqs_gathered import Gathered


async def test_an_item_goes_though_its_sender_is_cancelled() -> None:
    sent: list[int] = []
    released = asyncio.Event()

    async def call(items: Sequence[int]) -> None:
        await released.wait()
        sent.extend(items)

    gathered = Gathered(call, most=10)
    tasks = [asyncio.create_task(gathered.add([n])) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    released.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5):
        while len(sent) < 3:
            await asyncio.sleep(0)
    assert sorted(sent) == [0, 1, 2]
