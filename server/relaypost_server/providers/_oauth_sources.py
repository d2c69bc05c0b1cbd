"""Access tokens from a file, or by the client-credentials flow (RFC 6749, section 4.4)."""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from relaypost_server.core.outcome import Outcome
from relaypost_server.core.value import replace
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import HttpClient, header_lines
from relaypost_server.providers._oauth_tokens import LONGEST_TOKEN, Token, TokenError, read_token, token_of
from relaypost_server.providers._settings import ProxiedProviderSettings

ENDPOINT_SECONDS: Final = 10.0
_HEADERS: Final = header_lines({"Content-Type": "application/x-www-form-urlencoded"})
_REFUSALS: Final = {
    "invalid_client": "the token endpoint refuses the client id or its secret",
    "invalid_grant": "the token endpoint refuses the grant",
    "invalid_request": "the token endpoint does not understand the request",
    "invalid_scope": "the token endpoint refuses the scope",
    "unauthorized_client": "the token endpoint does not let the client use this flow",
    "unsupported_grant_type": "the token endpoint does not offer this flow",
}
"""RFC 6749, section 5.2."""


class TokenFile:
    """A file, read at each log-in, so that another program may replace it at any time."""

    way = "a token from a file"
    cure = "see RELAYPOST_SMTP_OAUTH_TOKEN_FILE"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> Token:
        try:
            text = await asyncio.to_thread(self._read)
        except OSError as error:
            raise TokenError(f"the file cannot be read ({type(error).__name__})") from None
        return replace(read_token(text), seconds=0.0)

    async def close(self) -> None:
        return None

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(LONGEST_TOKEN)


class ClientCredentials:
    """A token endpoint, asked with the id and secret of an application."""

    way = "client credentials"
    cure = "check the settings RELAYPOST_SMTP_OAUTH_CLIENT_ID, _CLIENT_SECRET, _SCOPE and _TOKEN_URL"

    def __init__(self, url: str, settings: ProxiedProviderSettings, *, client_id: str, secret: str, scope: str) -> None:
        self._http = HttpClient(url, settings)
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        self._body = urlencode(form | ({"scope": scope} if scope else {})).encode()

    async def fetch(self) -> Token:
        answer = await self._http.post(_HEADERS, self._body, AttemptTime(ENDPOINT_SECONDS))
        if isinstance(answer, Outcome):
            raise TokenError(f"the token endpoint: {answer.detail}", passing=True)
        if not answer.ok:
            raise _refusal(answer)
        return token_of(answer.json())

    async def close(self) -> None:
        await self._http.close()


def _refusal(answer: Answer) -> TokenError:
    why = _REFUSALS.get(str(answer.json().get("error")), f"the token endpoint answered HTTP {answer.status}")
    return TokenError(why, passing=answer.status >= 500 or answer.status == 429)
