"""Amazon SQS as far as a queue needs it, at the same cost however much it holds: moto's grows with that.

Run as `python -m bench.sqs`; prints its port. Messages that are received stay
hidden until they are deleted or given back, for there is no crash here.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson
import uvloop
from aiohttp import web

Request = Mapping[str, Any]
Answer = Mapping[str, Any]


class Queue:
    """First in, first out."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._visible: deque[tuple[str, str]] = deque()
        self._hidden: dict[str, str] = {}
        self._filled = asyncio.Event()

    def send(self, request: Request) -> Answer:
        entries = request["Entries"]
        self._show((str(next(self._ids)), entry["MessageBody"]) for entry in entries)
        return {"Successful": [{"Id": e["Id"], "MessageId": e["Id"], "MD5OfMessageBody": ""} for e in entries]}

    async def receive(self, request: Request) -> Answer:
        if not self._visible and request["WaitTimeSeconds"]:
            self._filled.clear()
            try:
                async with asyncio.timeout(request["WaitTimeSeconds"]):
                    await self._filled.wait()
            except TimeoutError:
                return {}
        found = [self._visible.popleft() for _ in range(min(request["MaxNumberOfMessages"], len(self._visible)))]
        self._hidden.update(found)
        return {"Messages": [{"MessageId": handle, "ReceiptHandle": handle, "Body": body} for handle, body in found]}

    def delete(self, request: Request) -> Answer:
        for entry in request["Entries"]:
            self._hidden.pop(entry["ReceiptHandle"], None)
        return _done(request)

    def change_visibility(self, request: Request) -> Answer:
        shown = [entry["ReceiptHandle"] for entry in request["Entries"] if not entry["VisibilityTimeout"]]
        self._show((handle, self._hidden.pop(handle)) for handle in shown if handle in self._hidden)
        return _done(request)

    def _show(self, messages: Iterable[tuple[str, str]]) -> None:
        self._visible.extend(messages)
        self._filled.set()


_OPERATIONS: Mapping[str, Callable[[Queue, Request], Answer | Awaitable[Answer]]] = {
    "SendMessageBatch": Queue.send,
    "ReceiveMessage": Queue.receive,
    "DeleteMessageBatch": Queue.delete,
    "ChangeMessageVisibilityBatch": Queue.change_visibility,
}


def _done(request: Request) -> Answer:
    return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}


async def _serve() -> None:
    queues: dict[str, Queue] = {}

    async def answer(http: web.Request) -> web.Response:
        operation, request = http.headers["x-amz-target"].rpartition(".")[2], orjson.loads(await http.read())
        if operation == "GetQueueUrl":  # Every queue is there, so that nobody has to make it.
            url = f"http://{http.host}/{request['QueueName']}"
            queues.setdefault(url, Queue())
            return web.json_response({"QueueUrl": url})
        found = _OPERATIONS[operation](queues[request["QueueUrl"]], request)
        return web.json_response(await found if isinstance(found, Awaitable) else found)

    app = web.Application(client_max_size=2**20)
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
