"""`relaypost send-email` and `relaypost send-sms`."""

import mimetypes
from pathlib import Path
from typing import Any

import click
from relaypost import Attachment, IndiaDlt
from relaypost.v1 import message_pb2
from rich.console import Console

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import Pair, as_json, print_json, target_options
from relaypost_server.cli.message_view import print_result

_at_most_once = click.option("--at-most-once", is_flag=True, help="Rather no copy than two, if an answer is lost.")
_request_id = click.option("--request-id", default="", help="A name of yours, so that it may be repeated safely.")
_metadata = click.option("--metadata", type=Pair(), multiple=True, help="A note for the message log; repeatable.")


@click.command("send-email")
@click.option("--to", multiple=True, required=True, help="A recipient; repeatable.")
@click.option("--cc", multiple=True, help="A recipient of a copy; repeatable.")
@click.option("--bcc", multiple=True, help="A hidden recipient of a copy; repeatable.")
@click.option("--from", "sender", help="The sender. Default: the gateway's OTP_FROM_EMAIL.")
@click.option("--reply-to", multiple=True, help="Where answers go; repeatable.")
@click.option("--subject", required=True)
@click.option("--text", default="", help="The plain text.")
@click.option("--html", default="", help="The html.")
@click.option("--attach", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True)
@click.option("--header", type=Pair(), multiple=True, help="A further header; repeatable.")
@click.option("--tag", type=Pair(), multiple=True, help="A label for the provider's reports; repeatable.")
@click.option("--bounces-to", "envelope_sender", default="", help="Where bounces go. Default: to the sender.")
@click.option(
    "--track/--no-track",
    "tracking",
    default=None,
    help="Whether the provider may rewrite links and add a picture. Default: as its account is set.",
)
@_metadata
@_at_most_once
@_request_id
@target_options
@as_json
def send_email(
    target: str,
    timeout: float,
    as_json: bool,
    sender: str | None,
    attach: tuple[Path, ...],
    header: tuple[tuple[str, str], ...],
    tag: tuple[tuple[str, str], ...],
    metadata: tuple[tuple[str, str], ...],
    **plain: Any,
) -> None:
    """Send one email through the gateway."""
    email = {**plain, "headers": dict(header), "tags": dict(tag), "metadata": dict(metadata)}
    if sender:
        email["sender"] = sender
    email["attachments"] = [_read(path) for path in attach]
    with calling(target, as_json=as_json) as client:
        _show(client.send_email(timeout=timeout, **email), as_json=as_json)


@click.command("send-sms")
@click.option("--to", required=True, help="The phone number, for example +14155550123.")
@click.option("--region", "region_code", default="", help="The region of a national number, for example US.")
@click.option("--text", required=True)
@click.option("--sender-id", default="", help="The name to show, where the country allows it.")
@click.option("--sender-number", default="", help="A number or short code of yours to send from.")
@click.option("--gsm7", is_flag=True, help="Replace typographic quotes and the like, which would double the price.")
@click.option("--dlt-entity", default="", help="For India: the registered id of the sender.")
@click.option("--dlt-template", default="", help="For India: the registered id of the text's template.")
@click.option(
    "--confirm-within",
    type=click.FloatRange(5, 600),
    help="Seconds to wait for a receipt before the next provider sends it once more.",
)
@click.option("--promotional", is_flag=True, help="Marketing: cheaper, and less reliable.")
@_metadata
@_at_most_once
@_request_id
@target_options
@as_json
def send_sms(
    target: str,
    timeout: float,
    as_json: bool,
    metadata: tuple[tuple[str, str], ...],
    confirm_within: float | None,
    dlt_entity: str,
    dlt_template: str,
    **sms: Any,
) -> None:
    """Send one text message through the gateway."""
    if dlt_entity or dlt_template:
        sms["india_dlt"] = IndiaDlt(dlt_entity, dlt_template)
    if confirm_within is not None:
        sms["confirm_within"] = confirm_within
    with calling(target, as_json=as_json) as client:
        _show(client.send_sms(timeout=timeout, metadata=dict(metadata), **sms), as_json=as_json)


def _read(path: Path) -> Attachment:
    kind, _ = mimetypes.guess_type(path.name)
    return Attachment(path.name, path.read_bytes(), kind or "application/octet-stream")


def _show(message: message_pb2.Message, *, as_json: bool) -> None:
    if as_json:
        print_json(message)
    else:
        print_result(Console(), message)
