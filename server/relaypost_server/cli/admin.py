"""`relaypost admin`: what an operator may ask of the accounts at AWS."""

import sys

import click
from relaypost.v1 import message_pb2

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import FAILED, as_json, print_json, target_options
from relaypost_server.core.money import MICROS


@click.group()
def admin() -> None:
    """Ask the accounts behind SES and SNS, through the gateway."""


@admin.command("verify-sender")
@click.argument("email_address")
@target_options
@as_json
def verify_sender(target: str, timeout: float, as_json: bool, email_address: str) -> None:
    """Tell whether SES lets emails be sent from an address; if SES does not know it, have it send a link.

    Exits 1 while the address is not verified.
    """
    with calling(target, as_json=as_json) as client:
        found = client.verify_sender_email(email_address, timeout=timeout)
    if as_json:
        print_json(found)
    elif found.verified:
        click.echo(f"{found.email_address}  verified, as {found.identity}")
    elif found.verification_requested:
        click.echo(f"{found.email_address}  not verified yet: SES has sent it a link to follow")
    else:
        click.echo(f"{found.email_address}  not verified yet, as {found.identity}")
    if not found.verified:
        sys.exit(FAILED)


@admin.command()
@target_options
@as_json
def quota(target: str, timeout: float, as_json: bool) -> None:
    """Show how much email the SES account may send."""
    with calling(target, as_json=as_json) as client:
        found = client.sending_quota(timeout=timeout)
    if as_json:
        print_json(found)
        return
    most = "unlimited" if found.max_24_hour_send < 0 else f"{found.max_24_hour_send:,.0f}"
    click.echo(f"sent in 24 hours  {found.sent_last_24_hours:,.0f} of {most}")
    click.echo(f"rate              {found.max_send_rate:g} a second at most")
    click.echo(f"account           {_account(found.sending_enabled, found.production_access_enabled)}")
    told = (found.enforcement_status.lower(), found.pricing_plan.lower())
    click.echo(f"SES says          {', '.join(filter(None, told)) or '-'}")


@admin.command("sms-spend")
@target_options
@as_json
def sms_spend(target: str, timeout: float, as_json: bool) -> None:
    """Show what the SNS account has spent on text messages this month."""
    with calling(target, as_json=as_json) as client:
        found = client.sms_spend(timeout=timeout)
    if as_json:
        print_json(found)
        return
    spent = "unknown: CloudWatch has had no figure in 24 hours"
    if found.HasField("spent"):
        when = found.spent_time.ToDatetime().isoformat(sep=" ", timespec="minutes")
        spent = f"{dollars(found.spent)} ({when} UTC)"
    click.echo(f"spent  {spent}")
    click.echo(
        f"limit  {dollars(found.monthly_limit) if found.HasField('monthly_limit') else 'not set: as AWS granted'}"
    )


@admin.command("set-sms-limit")
@click.argument("usd", type=click.IntRange(1, 1_000_000))
@target_options
@as_json
def set_sms_limit(target: str, timeout: float, as_json: bool, usd: int) -> None:
    """Set how many US dollars the SNS account may spend on text messages in a month."""
    with calling(target, as_json=as_json) as client:
        found = client.set_monthly_spend_limit(usd, timeout=timeout)
    if as_json:
        print_json(found)
    else:
        click.echo(f"limit  {dollars(found.limit)}")


def dollars(money: message_pb2.Money) -> str:
    return f"{money.micros / MICROS:,.2f} {money.currency_code}"


def _account(sending: bool, production: bool) -> str:
    if not sending:
        return "sending is paused"
    return "in production" if production else "in the sandbox: verified recipients only"
