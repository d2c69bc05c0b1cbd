"""Messages that are sent later."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import queue_service_pb2 as pb

from tests.sweep.checker import Told
from tests.sweep.clock import CLOCK
from tests.sweep.scenarios.base import AT_LEAST_ONCE, AT_MOST_ONCE, Scenario, email, hook, sms
from tests.sweep.world import Wanted, World


def _in(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(CLOCK.wall() + timedelta(seconds=seconds))
    return moment


def _enqueue(token: str, *, keyed: bool = True, after: float = 0.0, lives: float = 0.0, texts: bool = False) -> Wanted:
    schedule: dict[str, Any] = {}
    if after:
        schedule["send_at"] = _in(after)
    if lives:
        schedule["expire_time"] = _in(lives)
    common: dict[str, Any] = {
        "metadata": {"token": token},
        "request_id": token if keyed else "",
        "schedule": pb.Schedule(**schedule),
        "delivery_guarantee": AT_MOST_ONCE if texts else AT_LEAST_ONCE,
    }
    request = (
        pb.EnqueueSmsRequest(sms=sms(token), **common)
        if texts
        else pb.EnqueueEmailRequest(email=email(token), **common)
    )
    kind = "Sms" if texts else "Email"
    return Wanted(
        token=token,
        method=f"QueueService/Enqueue{kind}",
        request=request,
        answer=getattr(pb, f"Enqueue{kind}Response").FromString,
        keyed=keyed,
        at_most_once=texts,
    )


class Enqueue(Scenario):
    """Messages are queued; what then happens to them goes well."""

    name = "enqueue"

    async def act(self, world: World) -> None:
        await world.ask(_enqueue("e1"))
        await world.ask(_enqueue("e2", keyed=False, texts=True))

    def repeated(self, world: World) -> Sequence[Wanted]:
        return (_enqueue("e1"),)


class _Sent(Scenario):
    """A message that is on record already is sent by a worker. Its caller watches it and has a webhook."""

    after = 0.0
    texts = False
    rounds = 3

    async def act(self, world: World) -> None:
        world.steps.armed = False
        await hook(world)
        answer = await world.ask(_enqueue("w1", after=self.after, texts=self.texts))
        world.steps.armed = True
        world.watch(answer.message.message_id)
        for _ in range(self.rounds):
            await world.leap(2.5)


class Work(_Sent):
    """The first provider takes it."""

    name = "worker"


class Retry(_Sent):
    """No provider takes it at the first try."""

    name = "worker, second try"

    async def prepare(self, world: World) -> None:
        world.peers.faults.update(ses=1, sendgrid=1)


class Scheduled(_Sent):
    """It is due in five seconds, and must not be sent twice."""

    name = "scheduled"
    after = 5.0
    texts = True


class OtherEngine(_Sent):
    """The engine is not in the database."""

    name = "other engine"
    with_engine = True


class Bulk(Scenario):
    """Two messages in one stream."""

    name = "bulk"

    async def act(self, world: World) -> None:
        await self._stream(world)
        await world.leap(2.0)

    async def repeat(self, world: World) -> None:
        for _ in range(6):
            if world.notes.get("closed"):
                return
            await self._stream(world)
            await world.leap(6.0)

    async def _stream(self, world: World) -> None:
        parts = [
            pb.SendBulkRequest(header=pb.BulkHeader(request_id="news")),
            *(
                pb.SendBulkRequest(message=pb.BulkMessage(email=email(token), metadata={"token": token}))
                for token in ("b1", "b2")
            ),
        ]
        wanted = Wanted(token="", method="QueueService/SendBulk", request=parts, answer=pb.SendBulkResponse.FromString)
        answer = await world.ask(wanted)
        if answer is not None and answer.batch.closed:
            world.notes["closed"] = "yes"
            for token in ("b1", "b2"):
                world.told[token] = Told(token=token, answer="queued", keyed=True)


class Cancel(Scenario):
    """A message is taken back before it is due."""

    name = "cancel"

    async def prepare(self, world: World) -> None:
        await hook(world)
        answer = await world.ask(_enqueue("c1", after=20.0))
        world.notes["id"] = answer.message.message_id
        world.watch(world.notes["id"])

    async def act(self, world: World) -> None:
        await self._cancel(world)
        await world.leap(2.0)

    async def _cancel(self, world: World) -> None:
        wanted = Wanted(
            token="",
            method="QueueService/CancelMessage",
            request=pb.CancelMessageRequest(message_id=world.notes["id"]),
            answer=pb.CancelMessageResponse.FromString,
        )
        if await world.ask(wanted) is not None:
            world.notes["cancelled"] = "yes"
            world.told["c1"] = Told(token="c1", answer="cancelled", keyed=True, message_id=world.notes["id"])


class Requeue(Scenario):
    """A message that was given up gets another chance."""

    name = "requeue"

    async def prepare(self, world: World) -> None:
        await hook(world)
        world.peers.faults.update(ses=3, sendgrid=3)
        answer = await world.ask(_enqueue("d1", lives=3.0))
        world.notes["id"] = answer.message.message_id
        # Between its end and its requeueing no loop may be due at the same moment.
        for _ in range(4):
            await world.leap(2.3)
        world.peers.faults.clear()

    async def act(self, world: World) -> None:
        await self._requeue(world)
        await world.leap(2.0)

    async def repeat(self, world: World) -> None:
        if not world.notes.get("requeued"):
            await self._requeue(world)

    async def _requeue(self, world: World) -> None:
        wanted = Wanted(
            token="",
            method="QueueService/RequeueMessage",
            request=pb.RequeueMessageRequest(message_id=world.notes["id"]),
            answer=pb.RequeueMessageResponse.FromString,
        )
        if await world.ask(wanted) is not None:
            world.notes["requeued"] = "yes"
