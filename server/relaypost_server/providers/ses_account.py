"""The account behind SES, as its control plane shows it.

Requests and answers: botocore's `sesv2` model. Everything here blocks, so it is for use in a thread.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from relaypost_server.core.accounts import SenderIdentity, SendingQuota
from relaypost_server.core.ports import Finding, Level
from relaypost_server.providers._aws import asked, control_client, look_up


class SesAccount:
    """Asks once, within `timeout` seconds."""

    def __init__(self, *, region: str, endpoint: str | None, timeout: float) -> None:
        self._client = partial(control_client, "sesv2", region=region, endpoint=endpoint, timeout=timeout)

    def verify_sender(self, address: str) -> SenderIdentity:
        """Looks for the address, then for its domain; where SES knows neither, it is asked to send the address a link.

        Needs ses:CreateEmailIdentity.
        """
        with asked("ses"):
            client = self._client()
            known = _identity(client, address)
            if known is not None:
                return known
            try:
                made = client.create_email_identity(EmailIdentity=address)
            except client.exceptions.AlreadyExistsException:  # Another gateway was asked the same.
                made = client.get_email_identity(EmailIdentity=address)
            verified = bool(made.get("VerifiedForSendingStatus"))
            return SenderIdentity(identity=address, verified=verified, requested=not verified)

    def sending_quota(self) -> SendingQuota:
        """Needs ses:GetAccount."""
        with asked("ses"):
            account = self._client().get_account()
        quota = account.get("SendQuota", {})
        most = float(quota.get("Max24HourSend", 0))
        return SendingQuota(
            most_a_day=None if most < 0 else most,
            most_a_second=float(quota.get("MaxSendRate", 0)),
            sent_in_a_day=float(quota.get("SentLast24Hours", 0)),
            sending_enabled=bool(account.get("SendingEnabled")),
            production=bool(account.get("ProductionAccessEnabled")),
            enforcement=str(account.get("EnforcementStatus", "")),
            plan=str(account.get("PricingAttributes", {}).get("CurrentPlan", "")),
        )

    def look_around(self, sender: str | None) -> Sequence[Finding]:
        """What stands in the way of sending, and of sending from `sender`."""
        client = self._client()
        fix = "Allow ses:GetAccount, and set working credentials."
        account = look_up("account", lambda: _judged(client.get_account()), fix=fix)
        if not sender:
            return [account]
        return [account, look_up("sender", lambda: _sender(client, sender), fix="Allow ses:GetEmailIdentity.")]


def _judged(account: dict[str, Any]) -> Finding:
    quota = account.get("SendQuota", {})
    used, most, rate = (int(quota.get(k, 0)) for k in ("SentLast24Hours", "Max24HourSend", "MaxSendRate"))
    detail = f"{used} of {'unlimited' if most < 0 else most} sent in 24 hours, {rate} a second at most"
    if not account.get("SendingEnabled", False) or account.get("EnforcementStatus") == "SHUTDOWN":
        return _found("account", Level.FAILURE, "sending is paused", "See the SES console for the reason.")
    if 0 <= most <= used:
        return _found("account", Level.FAILURE, f"the quota is used up: {detail}", "Ask AWS for a higher quota.")
    if not account.get("ProductionAccessEnabled", False):
        fix = "Request production access in the SES console."
        return _found("account", Level.WARNING, f"in the sandbox, verified recipients only: {detail}", fix)
    if account.get("EnforcementStatus") == "PROBATION":
        return _found("account", Level.WARNING, f"under review: {detail}", "See the SES console for the reason.")
    return _found("account", Level.OK, detail)


def _identity(client: Any, sender: str) -> SenderIdentity | None:
    """What SES knows of the address, or else of its domain."""
    for identity in (sender, sender.rpartition("@")[2]):
        try:
            found = client.get_email_identity(EmailIdentity=identity)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NotFoundException":
                raise
            continue
        return SenderIdentity(identity=identity, verified=bool(found.get("VerifiedForSendingStatus")))
    return None


def _sender(client: Any, sender: str) -> Finding:
    known = _identity(client, sender)
    if known is None:
        fix = "Create an identity for OTP_FROM_EMAIL or its domain."
        return _found("sender", Level.FAILURE, "unknown to SES", fix)
    if known.verified:
        return _found("sender", Level.OK, "verified")
    return _found("sender", Level.FAILURE, "not verified yet", "Follow the link, or set the DNS records, of SES.")


def _found(subject: str, level: Level, detail: str, fix: str = "") -> Finding:
    return Finding(subject=subject, level=level, detail=detail, fix=fix)
