"""AWS credentials and request signing."""

import asyncio
import hmac
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from relaypost_server.core.accounts import AccountError, AccountTrouble
from relaypost_server.core.outcome import CODE_LIMIT, Kind, Outcome
from relaypost_server.core.ports import Finding, Level
from relaypost_server.core.redaction import printable
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import HttpClient, header_lines
from relaypost_server.providers._settings import HttpsProviderSettings

FRESH_SECONDS = 60.0
"""Credentials this young are used without a look at the chain."""
SAFE_SECONDS = 540.0
"""botocore hands out credentials that live 10 minutes at least: until then old ones do."""
DAY = 86_400
"""Seconds."""

log = structlog.get_logger("relaypost.aws")


class Keys(NamedTuple):
    """What signs a request."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return "Keys(...)"  # A tuple's own repr would show the secret.


class Credentials:
    """botocore's chain: environment, profile, web identity, container and instance roles.

    It may read files and call the network, so it runs in a thread, and while
    the keys at hand are good no request waits for it.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._chain: Any = None
        self._keys: Keys | None = None
        self._loaded_at = 0.0
        self._renewal: asyncio.Task[None] | None = None

    def ready(self) -> Keys | None:
        """The keys at hand, if they are good for another request; looks for newer ones in passing."""
        age = self._monotonic() - self._loaded_at
        if self._keys is None or age >= SAFE_SECONDS:
            return None
        if age >= FRESH_SECONDS:
            self._renewing()
        return self._keys

    async def keys(self) -> Keys | None:
        """The keys to sign with; None where the chain holds none."""
        if self.ready() is None:
            await self.renew()
        return self._keys

    async def renew(self, rejected: Keys | None = None) -> None:
        """Asks the chain again, unless keys newer than the rejected ones are at hand already."""
        if rejected is not None and self._renewal is not None:
            await asyncio.shield(self._renewal)  # It began before AWS rejected them.
        if rejected is None or rejected == self._keys:
            await asyncio.shield(self._renewing(anew=rejected is not None))

    def _renewing(self, *, anew: bool = False) -> asyncio.Task[None]:
        """The renewal that runs, or a new one: a chain that hangs holds one thread, however many requests wait."""
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(anew))
            self._renewal.add_done_callback(self._renewed)
        return self._renewal

    async def _renew(self, anew: bool) -> None:
        if anew:
            self._chain = None  # It believes in keys that AWS does not.
        try:
            self._keys = await asyncio.to_thread(self._load)
        except (BotoCoreError, ClientError, OSError) as error:
            log.warning("AWS credentials cannot be renewed", error=type(error).__name__)
        self._loaded_at = self._monotonic()

    def _renewed(self, _task: asyncio.Task[None]) -> None:
        self._renewal = None

    def _load(self) -> Keys | None:
        if self._chain is None:
            self._chain = boto3.Session().get_credentials()
        if self._chain is None:
            return None
        frozen = self._chain.get_frozen_credentials()
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)


class _Frame(NamedTuple):
    """All of a signed request but what depends on its body: it holds for a second."""

    headers: str
    """The lines to send beside Host, up to the signature."""
    request: str
    """The canonical request, up to the body's hash."""
    to_sign: str
    """The string to sign, up to the request's hash."""

    def __repr__(self) -> str:
        return "_Frame(...)"  # The headers hold the session's token.


class Signer:
    """Signature Version 4 for POST requests to one service.

    The signing key holds for a day, so it is derived once a day and not once a
    request (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
    """

    def __init__(self, *, host: str, path: str, region: str, service: str) -> None:
        """`host` and `path` as they stand in the request."""
        self._host = host
        self._path = path
        self._region = region
        self._service = service
        self._frame = lru_cache(maxsize=1)(self._new_frame)
        self._key = lru_cache(maxsize=1)(self._new_key)

    def headers(self, keys: Keys, body: bytes, content_type: str, now: float) -> str:
        """The lines to send beside Host. `now` is in seconds since 1970."""
        second = int(now)
        frame = self._frame(keys, content_type, second)
        request = f"{frame.request}{sha256(body).hexdigest()}"
        seal = self._key(keys.secret_key, second // DAY).copy()
        seal.update(f"{frame.to_sign}{sha256(request.encode()).hexdigest()}".encode())
        return f"{frame.headers}{seal.hexdigest()}\r\n"

    def _new_frame(self, keys: Keys, content_type: str, second: int) -> _Frame:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        headers = {"content-type": content_type, "host": self._host, "x-amz-date": stamp}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        signed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        del headers["host"]
        credential = f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={signed}"
        return _Frame(
            headers=f"{header_lines(headers)}authorization: {credential}, Signature=",
            request=f"POST\n{self._path}\n\n{lines}\n{signed}\n",
            to_sign=f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n",
        )

    def _new_key(self, secret: str, day: int) -> hmac.HMAC:
        """What signs on a day since 1970, to be copied: a new one takes twice as long."""
        key = f"AWS4{secret}".encode()
        for part in (time.strftime("%Y%m%d", time.gmtime(day * DAY)), self._region, self._service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.new(key, digestmod="sha256")


class AwsClient:
    """Signed requests to one AWS service."""

    def __init__(
        self,
        settings: HttpsProviderSettings,
        *,
        url: str,
        region: str,
        service: str,
        content_type: str,
        classify: Callable[[Answer], Outcome],
    ) -> None:
        self._content_type = content_type
        self._classify = classify
        self._http = HttpClient(url, settings)
        self._credentials = Credentials()
        self._signer = Signer(host=self._http.authority, path=self._http.path, region=region, service=service)

    async def submit(self, body: bytes, attempt: AttemptTime) -> Outcome:
        """Posts once; a second time only where AWS refused expired keys, and so took nothing."""
        keys = self._credentials.ready() or await self._keys(attempt)
        if isinstance(keys, Outcome):
            return keys
        outcome = await self._post(keys, body, attempt)
        if not outcome.provider_code.startswith("ExpiredToken"):
            return outcome
        keys = await self._keys(attempt, rejected=keys)
        if isinstance(keys, Outcome):
            return keys
        return await self._post(keys, body, attempt)

    async def close(self) -> None:
        await self._http.close()

    async def _keys(self, attempt: AttemptTime, rejected: Keys | None = None) -> Keys | Outcome:
        """Keys that arrive in time to write the request."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(attempt.left_to_write):
                if rejected is not None:
                    await self._credentials.renew(rejected)
                keys = await self._credentials.keys()
        except TimeoutError:
            return attempt.over(Kind.UNREACHABLE, "AWS credentials did not arrive in time")
        attempt.waited(began)
        return keys or _NO_CREDENTIALS

    async def _post(self, keys: Keys, body: bytes, attempt: AttemptTime) -> Outcome:
        headers = self._signer.headers(keys, body, self._content_type, time.time())
        answer = await self._http.post(headers, body, attempt)
        return answer if isinstance(answer, Outcome) else self._classify(answer)


_NO_CREDENTIALS = Outcome(
    kind=Kind.UNAUTHORIZED,
    detail="no AWS credentials found in the environment, profile, container or instance",
    alert=True,
)


_PATIENCE = re.compile("Throttl|TooManyRequests|ServiceUnavailable")
"""Error codes of AWS that ask for a later try, whatever their HTTP status."""


def control_client(service: str, *, region: str, endpoint: str | None, timeout: float) -> Any:
    """A boto3 client for look-ups; blocking, so for use in a thread. It asks once."""
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=timeout, read_timeout=timeout
    )
    return boto3.Session().client(service, region_name=region, endpoint_url=endpoint, config=config)


@contextmanager
def asked(provider: str) -> Iterator[None]:
    """Makes an AccountError of whatever boto3 raises."""
    try:
        yield
    except NoCredentialsError:
        raise AccountError(AccountTrouble.REFUSED, provider=provider, detail=_NO_CREDENTIALS.detail) from None
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = printable(str(answer.get("Code", "")), limit=CODE_LIMIT)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        later = status >= 500 or status == 429 or _PATIENCE.search(code) is not None
        trouble = AccountTrouble.UNAVAILABLE if later else AccountTrouble.REFUSED
        raise AccountError(trouble, provider=provider, code=code, detail=f"AWS answered {code}") from None
    except (BotoCoreError, ResponseParserError) as error:
        detail = f"AWS gave no usable answer ({type(error).__name__})"
        raise AccountError(AccountTrouble.UNAVAILABLE, provider=provider, detail=detail) from None


def look_up(subject: str, call: Callable[[], Finding], *, fix: str) -> Finding:
    """What a look-up found, or why it could not be made."""
    try:
        return call()
    except NoCredentialsError:
        return Finding(subject=subject, level=Level.FAILURE, detail=_NO_CREDENTIALS.detail, fix=fix)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        refused = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403)
        level = Level.FAILURE if refused else Level.UNKNOWN
        return Finding(subject=subject, level=level, detail=printable(f"AWS answered {code}", limit=100), fix=fix)
    except (BotoCoreError, ResponseParserError) as error:
        reach = "Check the network, AWS_REGION, and the endpoint if one is set."
        return Finding(subject=subject, level=Level.UNKNOWN, detail=type(error).__name__, fix=reach)
