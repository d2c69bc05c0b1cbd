"""No method of the Python client drops a keyword argument that it does not know."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin, is_typeddict

import pytest
import relaypost
from relaypost import Address, AsyncClient, Client, bulk_email, bulk_sms

NOWHERE = "127.0.0.1:1"
"""Where no gateway answers: a call that gets as far as the network fails with another error."""
REQUIRED = {
    "to": "ada@example.com",
    "purpose": "sign_in",
    "request_id": "batch-1",
    "messages": [],
    "timeout": 0.1,
}
MISTAKES = ["bbc", "at_most_onc", "requestid", "Timeout", "text_"]


def open_methods(kind: type) -> list[str]:
    """The public methods that take `**fields`."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return [name for name, method in found if not name.startswith("_") and _fields(method) is not None]


def _fields(method: Callable[..., Any]) -> inspect.Parameter | None:
    kinds = inspect.signature(method).parameters.values()
    return next((p for p in kinds if p.kind is inspect.Parameter.VAR_KEYWORD), None)


def required_of(method: Callable[..., Any]) -> dict[str, Any]:
    fields = _fields(method)
    assert fields is not None
    (declared,) = get_args(fields.annotation)
    named = {p.name for p in inspect.signature(method).parameters.values() if p.default is inspect.Parameter.empty}
    return {name: REQUIRED[name] for name in REQUIRED if name in named | declared.__required_keys__}


OPEN = {"send_email", "send_sms", "enqueue_email", "enqueue_sms", "send_bulk", "send_otp", "list_messages"}
OPEN |= {"list_suppressions", "list_webhook_deliveries", "cost_report"}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_open_method_declares_its_keywords_for_type_checkers(kind: type) -> None:
    assert set(open_methods(kind)) == OPEN
    for method in [*(getattr(kind, name) for name in OPEN), bulk_email, bulk_sms]:
        fields = _fields(method)
        assert fields is not None
        assert str(get_origin(fields.annotation)) == "typing.Unpack", method
        assert is_typeddict(get_args(fields.annotation)[0]), method


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", sorted(OPEN))
def test_the_client_for_threads_refuses_unknown_keywords(name: str, mistake: str) -> None:
    with Client(NOWHERE) as client:
        method = getattr(client, name)
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{mistake}'"):
            method(**required_of(method), **{mistake: "x"})


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", sorted(OPEN))
async def test_the_client_for_asyncio_refuses_unknown_keywords(name: str, mistake: str) -> None:
    async with AsyncClient(NOWHERE) as client:
        method = getattr(client, name)

        async def call() -> None:
            made = method(**required_of(method), **{mistake: "x"})
            assert inspect.isawaitable(made), "a list method complains before anything is fetched"
            await made

        with pytest.raises(TypeError, match=f"unexpected keyword argument '{mistake}'"):
            await call()


@pytest.mark.parametrize("mistake", [*MISTAKES, "at_most_once", "request_id", "confirm_within"])
@pytest.mark.parametrize("make", [bulk_email, bulk_sms])
def test_messages_of_a_batch_refuse_unknown_keywords(make: Callable[..., Any], mistake: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{mistake}'"):
        make(to="ada@example.com", **{mistake: "x"})


def test_the_error_names_the_keyword_that_was_meant() -> None:
    with Client(NOWHERE) as client, pytest.raises(TypeError, match="'bbc'; did you mean 'bcc'"):
        client.send_email(to="ada@example.com", bbc="b@example.com")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["send_email", "send_sms", "enqueue_email", "enqueue_sms", "send_otp"])
def test_a_missing_keyword_is_named(name: str) -> None:
    with Client(NOWHERE) as client, pytest.raises(TypeError, match=r"missing required keyword argument '\w+'"):
        getattr(client, name)()


def test_the_other_methods_take_no_keyword_that_they_do_not_name() -> None:
    for kind in (Client, AsyncClient):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name not in OPEN:
                assert _fields(method) is None, name
    assert set(relaypost.__all__) >= {"Address", "Attachment", "bulk_email", "bulk_sms"}


@pytest.mark.parametrize(
    "fields",
    [
        {"attachments": [{"filename": "a.txt", "content": b"x", "contentid": "1"}]},
        {"attachments": [b"x"]},
        {"cc": {"email": "b@example.com"}},
        {"cc": {"b@example.com": "Bea"}},
        {"cc": [{"email": "b@example.com", "nam": "Bea"}]},
        {"sender": {"email": "b@example.com"}},
        {"reply_to": b"b@example.com"},
    ],
    ids=str,
)
def test_nested_values_of_another_type_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"relaypost\.(Attachment|Address)"):
        bulk_email(to="ada@example.com", **fields)


def test_addresses_and_attachments_refuse_unknown_keywords() -> None:
    with pytest.raises(TypeError, match="'nam'"):
        Address("ada@example.com", nam="Ada")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'contentid'"):
        relaypost.Attachment("a.txt", b"x", contentid="1")  # type: ignore[call-arg]


def test_an_iterator_of_addresses_is_still_taken() -> None:
    def people() -> Iterator[str | Address]:
        yield "ada@example.com"
        yield Address("grace@example.com", "Grace")

    assert [a.display_name for a in bulk_email(to=people(), subject="Hi").email.to] == ["", "Grace"]
