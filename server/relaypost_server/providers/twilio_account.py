"""Twilio's SDK, for questions, and what it tells of the account.

An API key sees less of an account than the auth token: a Standard key not the account's status
(twilio.com/docs/iam/api-keys), a Restricted key what its permissions say.
"""

from collections.abc import Sequence
from typing import Any

from relaypost_server.core.ports import Finding, Level
from relaypost_server.providers._twilio_settings import TwilioSettings


def client(settings: TwilioSettings) -> Any:
    """The SDK's client; blocking. It asks once, and through the proxy of the environment."""
    # Imported here: the SDK takes a second to load, and only checks and look-ups use it.
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    user, secret = settings.credentials
    http = TwilioHttpClient(timeout=settings.connect_timeout_seconds, max_retries=0)
    made = Client(user, secret, settings.account_sid or "", http_client=http)
    made.api.base_url = settings.endpoint
    return made


def look_around(settings: TwilioSettings) -> Sequence[Finding]:
    """What `relaypost doctor` shows; blocking."""
    return [_account(settings), *_receipts(settings)]


def _account(settings: TwilioSettings) -> Finding:
    from requests.exceptions import RequestException
    from twilio.base.exceptions import TwilioException

    names = "TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET" if settings.by_api_key else "TWILIO_AUTH_TOKEN"
    try:
        account = client(settings).api.v2010.accounts(settings.account_sid or "")
        balance = account.balance.fetch()
        return _judge(None if settings.by_api_key else account.fetch(), balance)
    except TwilioException as error:
        status = getattr(error, "status", None)
        if settings.by_api_key and status == 403:
            detail = "the API key may not see the balance; whether it may send is not known"
            return Finding(subject="account", level=Level.UNKNOWN, detail=detail, fix="See the Twilio console.")
        level = Level.FAILURE if status in (401, 403, 404) else Level.UNKNOWN
        fix = f"Check TWILIO_ACCOUNT_SID, and {names}."
        return Finding(subject="account", level=level, detail=f"Twilio answered HTTP {status}", fix=fix)
    except RequestException as error:
        fix = "Check the network, and RELAYPOST_TWILIO_ENDPOINT."
        return Finding(subject="account", level=Level.UNKNOWN, detail=type(error).__name__, fix=fix)


def _judge(account: Any, balance: Any) -> Finding:
    """`account`: None where the credentials cannot see it."""
    money = f"balance {balance.balance} {balance.currency}"
    if account is None:
        return Finding(subject="account", level=Level.OK, detail=f"{money}; an API key sees no more of it")
    if account.status != "active":
        return Finding(
            subject="account", level=Level.FAILURE, detail=f"{account.status}, {money}", fix="See the Twilio console."
        )
    if account.type == "Trial":
        fix = "Upgrade the account in the Twilio console."
        return Finding(
            subject="account", level=Level.WARNING, detail=f"a trial: verified numbers only, {money}", fix=fix
        )
    return Finding(subject="account", level=Level.OK, detail=money)


def _receipts(settings: TwilioSettings) -> Sequence[Finding]:
    if settings.public_url is None or settings.auth_token is not None:
        return []
    fix = "Set TWILIO_AUTH_TOKEN as well: Twilio signs with it, whatever key the messages are sent with."
    detail = "none are asked for: without the auth token their signatures cannot be verified"
    return [Finding(subject="receipts", level=Level.WARNING, detail=detail, fix=fix)]
