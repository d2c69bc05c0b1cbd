"""POST /callbacks/{provider}: where providers report what became of messages.

These routes are open to the world. An answer of 2xx means that everything the
callback reports is durable; whoever is refused learns no reason.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web

from relaypost_server.core.ports import (
    Callback,
    CallbackRefusedError,
    CallbackUnverifiedError,
    Disbelief,
    LogUnavailableError,
)
from relaypost_server.flow.callbacks import Callbacks
from relaypost_server.web.peers import Peers
from relaypost_server.web.rooms import NoRoomError, RoomLimits, Rooms

BODY_SECONDS = 10.0
"""How long a body may take to arrive."""
RETRY_SECONDS = 5
_ACCEPTED, _REFUSED, _LATER = "accepted", "refused", "try again later"


class CallbackRoutes:
    """Reads callbacks within bounds, and answers them."""

    def __init__(self, callbacks: Callbacks, *, peers: Peers | None = None, limits: RoomLimits | None = None) -> None:
        self._callbacks = callbacks
        self._peers = peers or Peers()
        self._rooms = Rooms(limits)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/callbacks/{provider}", self._receive)]

    async def _receive(self, request: web.Request) -> web.Response:
        provider = request.match_info["provider"]
        largest = self._callbacks.largest(provider)
        if largest is None:
            return _answer(404, _REFUSED)
        size = request.content_length
        if size is not None and size > largest:
            return _answer(413, _REFUSED)
        try:
            forwarded = request.headers.getall("X-Forwarded-For", ())
            head = _head(request, self._peers.behind(request.remote or "", forwarded))
            self._callbacks.check_head(provider, head)
            kind = self._callbacks.kind(provider, head)
            with self._rooms.entered(kind, head.peer, largest if size is None else size):
                return await self._read(request, provider, head, largest)
        except CallbackRefusedError as error:
            return _answer(400 if error.why is Disbelief.MALFORMED else 403, _REFUSED)
        except NoRoomError:
            self._callbacks.turned_away(provider)
            return _answer(503, _LATER)

    async def _read(self, request: web.Request, provider: str, head: Callback, largest: int) -> web.Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.clone(client_max_size=largest).read()
        except web.HTTPRequestEntityTooLarge:
            return _answer(413, _REFUSED)
        except TimeoutError:
            return _answer(408, _REFUSED)
        callback = replace(head, body=body, receive_time=datetime.now(UTC))
        try:
            replied = await self._callbacks.receive(provider, callback)
        except (CallbackUnverifiedError, LogUnavailableError):
            return _answer(503, _LATER)
        return _silence() if replied else _answer(200, _ACCEPTED)


def _head(request: web.Request, peer: str) -> Callback:
    """The callback without its body."""
    return Callback(
        path=request.raw_path,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
        receive_time=datetime.now(UTC),
        peer=peer,
    )


def _silence() -> web.Response:
    """To a person's message, in TwiML: nothing is written back."""
    return web.Response(text="<Response/>", content_type="text/xml", headers={"Cache-Control": "no-store"})


def _answer(status: int, word: str) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return web.json_response({"status": word}, status=status, headers=headers)
