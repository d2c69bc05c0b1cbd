"""What all scenarios have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from relaypost.v1 import email_pb2, message_pb2, messaging_service_pb2 as pb, sms_pb2, webhook_service_pb2

from tests.sweep.world import Wanted, World

AT_MOST_ONCE = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE
AT_LEAST_ONCE = message_pb2.DELIVERY_GUARANTEE_AT_LEAST_ONCE
UNANSWERED = frozenset({"UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", ""})
"""Codes after which a client repeats a request that has a name; empty: no answer came."""


class Scenario:
    """One story. Its methods run in turn; a process that is killed ends during `act`, and a new one goes on."""

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, str]] = {}
    with_engine: ClassVar[bool] = False
    """The pointers of the queue are in an engine of their own."""
    migrated: ClassVar[bool] = True
    """The database has its schema, and the gateway runs."""

    async def prepare(self, world: World) -> None:
        """What happens before anything can go wrong."""

    async def act(self, world: World) -> None:
        """What happens while something may go wrong at any step."""
        raise NotImplementedError

    def repeated(self, world: World) -> Sequence[Wanted]:
        """The calls that a client repeats once the world is healed, until they are answered."""
        return ()

    async def repeat(self, world: World) -> None:
        for wanted in self.repeated(world):
            told = world.told.get(wanted.token)
            if told is not None and (told.answer == "" or told.code in UNANSWERED - {""}):
                await world.repeat(wanted)

    async def over(self, world: World) -> bool:
        """Whether everything has come to its end."""
        return not any((await world.control.left_over()).values())


def email(token: str) -> email_pb2.Email:
    return email_pb2.Email(
        sender=email_pb2.EmailAddress(address="noreply@example.com"),
        to=[email_pb2.EmailAddress(address="ada@example.com")],
        subject=f"Your code token={token}",
        text="Your code is 482915",
    )


def sms(token: str) -> sms_pb2.Sms:
    return sms_pb2.Sms(to="+14155550123", text=f"Your code is 482915 token={token}")


def send_email(token: str, *, keyed: bool = False, at_most_once: bool = False, **more: Any) -> Wanted:
    request = pb.SendEmailRequest(
        email=email(token),
        metadata={"token": token},
        request_id=token if keyed else "",
        delivery_guarantee=AT_MOST_ONCE if at_most_once else AT_LEAST_ONCE,
        **more,
    )
    read = pb.SendEmailResponse.FromString
    return Wanted(
        token=token,
        method="MessagingService/SendEmail",
        request=request,
        answer=read,
        keyed=keyed,
        at_most_once=at_most_once,
    )


def send_sms(token: str, *, keyed: bool = False, at_most_once: bool = False, **more: Any) -> Wanted:
    request = pb.SendSmsRequest(
        sms=sms(token),
        metadata={"token": token},
        request_id=token if keyed else "",
        delivery_guarantee=AT_MOST_ONCE if at_most_once else AT_LEAST_ONCE,
        **more,
    )
    read = pb.SendSmsResponse.FromString
    return Wanted(
        token=token,
        method="MessagingService/SendSms",
        request=request,
        answer=read,
        keyed=keyed,
        at_most_once=at_most_once,
    )


async def hook(world: World) -> None:
    """The caller wants to hear of its messages by webhook."""
    request = webhook_service_pb2.CreateWebhookEndpointRequest(url=world.hook_url)
    read = webhook_service_pb2.CreateWebhookEndpointResponse.FromString
    await world.call("WebhookService/CreateWebhookEndpoint", request, read)
    world.hooked = True
