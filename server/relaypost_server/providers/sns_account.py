"""The account behind SNS, as its control plane shows it.

Requests and answers: botocore's `sns` model. Everything here blocks, so it is for use in a thread.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from relaypost_server.core.ports import Finding, Level
from relaypost_server.core.redaction import printable
from relaypost_server.core.suppression_ports import OptOutsUnreadableError
from relaypost_server.providers._aws import control_client, look_up


class SnsAccount:
    """Asks once, within `timeout` seconds."""

    def __init__(self, *, region: str, endpoint: str | None, timeout: float) -> None:
        self._client = partial(control_client, "sns", region=region, endpoint=endpoint, timeout=timeout)

    def look_around(self) -> Sequence[Finding]:
        """What stands in the way of sending."""
        client = self._client()
        return [
            look_up(
                "account",
                lambda: _sandbox(client.get_sms_sandbox_account_status()),
                fix="Allow sns:GetSMSSandboxAccountStatus, and set working credentials.",
            ),
            look_up(
                "spend limit",
                lambda: _spend_limit(client.get_sms_attributes(attributes=["MonthlySpendLimit"])),
                fix="Allow sns:GetSMSAttributes.",
            ),
        ]

    def opted_out(self) -> Collection[str]:
        """Every number that asked for no more messages of the account, page by page. Raises OptOutsUnreadableError."""
        try:
            pages = self._client().get_paginator("list_phone_numbers_opted_out").paginate()
            return {str(number) for page in pages for number in page.get("phoneNumbers", ())}
        except ClientError as error:
            code = printable(str(error.response.get("Error", {}).get("Code", "")), limit=100)
            raise OptOutsUnreadableError(f"AWS answered {code}. Allow sns:ListPhoneNumbersOptedOut.") from None
        except (BotoCoreError, ResponseParserError) as error:
            raise OptOutsUnreadableError(type(error).__name__) from None


def _sandbox(status: dict[str, Any]) -> Finding:
    if status.get("IsInSandbox"):
        fix = "Leave the sandbox in the SNS console, under Text messaging."
        return Finding(subject="account", level=Level.WARNING, detail="in the sandbox: verified numbers only", fix=fix)
    return Finding(subject="account", level=Level.OK, detail="out of the sandbox")


def _spend_limit(answer: dict[str, Any]) -> Finding:
    limit = answer.get("attributes", {}).get("MonthlySpendLimit")
    if limit is None:
        return Finding(
            subject="spend limit",
            level=Level.WARNING,
            detail="not set: a new account may spend 1 USD a month",
            fix="Ask AWS for a higher limit, then set MonthlySpendLimit.",
        )
    return Finding(subject="spend limit", level=Level.OK, detail=f"{limit} USD a month")
