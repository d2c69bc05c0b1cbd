"""One connection of a gateway to the database, whose statements are steps."""

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import Awaitable
from typing import NoReturn, Protocol

from tests.sweep.clock import CLOCK
from tests.sweep.frames import (
    CANCEL_REQUEST,
    SSL_REQUEST,
    ClientStream,
    Group,
    cut,
    fatal,
    idle_limit,
    label_of,
    query,
    startup,
)
from tests.sweep.steps import Mode
from tests.sweep.trouble import Trouble

PEER = "db"
READ_ONLY = frozenset({Mode.READ_ONLY, Mode.STANDBY})
_COMMIT = "db COMMIT"
_READY = frozenset(b"Z")
_WRITABLE = query("SET default_transaction_read_only = off")
_IDLE = fatal("25P03", "terminating connection due to idle-in-transaction timeout")

Upstream = str | tuple[str, int]
"""A Unix socket, or a host and a port."""


class Server(Protocol):
    """The database as one gateway sees it."""

    seen: Counter[str]
    """How often each statement was made since this was emptied."""
    upstream: Upstream
    trouble: Trouble

    async def before(self) -> None:
        """To be awaited before each statement is passed on."""
        ...


class LostError(ConnectionError):
    """The connection is no more."""


class Link:
    """One connection of the gateway."""

    def __init__(self, proxy: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent = False
        """What the server says is not passed on."""
        self._proxy = proxy
        self._trouble = proxy.trouble
        self._reader = reader
        self._writer = writer
        self._server: asyncio.StreamWriter | None = None
        self._answer: asyncio.Future[bytes] | None = None
        """Of what was sent to the server last."""
        self._ends = _READY
        self._held = bytearray()
        self._kinds: set[int] = set()
        """Of the frames of the latest answer."""
        self._latest = ""
        """What was done in the transaction that is open."""
        self._fruitful = False
        self._read_only = False
        self._idle = False
        """The server is ready, and no transaction is open."""
        self._idle_limit = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    def abort(self, last_words: bytes = b"") -> None:
        if last_words and not self.silent:
            self._writer.write(last_words)
            self._writer.close()
        else:
            self._writer.transport.abort()
        self._drop_server()

    def _drop_server(self) -> None:
        self._answered(None)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        server, self._server = self._server, None  # What is asked from now on would never be answered.
        if server is not None:
            server.transport.abort()

    async def run(self) -> None:
        parameters = await self._first_message()
        if parameters is None:
            return
        await self._step("db connect", self._connect(parameters))
        stream = ClientStream()
        while data := await self._reader.read(65536):
            for group in stream.feed(data):
                if group.over:
                    return
                await self._pass(group)

    async def _first_message(self) -> bytes | None:
        """The parameters of a client that wants to talk; None for one that does not."""
        while True:
            length, code = struct.unpack(">II", await self._reader.readexactly(8))
            if code == SSL_REQUEST:
                self._writer.write(b"N")
                continue
            rest = await self._reader.readexactly(length - 8)
            if code != CANCEL_REQUEST:
                return rest
            if self._trouble.of(PEER) is None:
                await self._open()
                assert self._server is not None
                self._server.write(struct.pack(">II", length, code) + rest)
                await self._server.drain()
                self._server.close()
            return None

    async def _open(self) -> asyncio.StreamReader:
        upstream = self._proxy.upstream
        reader, self._server = await (
            asyncio.open_unix_connection(upstream) if isinstance(upstream, str) else asyncio.open_connection(*upstream)
        )
        return reader

    async def _connect(self, parameters: bytes) -> bytes:
        self._read_only = self._trouble.of(PEER) in READ_ONLY
        self._idle_limit = idle_limit(parameters)
        await self._proxy.before()
        reader = await self._open()
        task = asyncio.create_task(self._listen(reader))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await self._ask(startup(parameters, read_only=self._read_only))

    async def _pass(self, group: Group) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._read_only and self._idle and self._trouble.of(PEER) is None:
            await self._ask(_WRITABLE)  # Each time: a pool resets what its users have set.
        label = label_of(group.sql) if group.sql else ""
        if not label:
            await self._available()
            self._hand_on(await self._ask(group.data, ends=group.ends))
            return
        if label == _COMMIT:
            label, self._latest = f"{label} {self._latest}", ""
        else:
            self._latest = label.removeprefix("db ")
        self._proxy.seen[label] += 1
        await self._step(label, self._execute(group))

    async def _execute(self, group: Group) -> bytes:
        await self._proxy.before()
        return await self._ask(group.data)

    async def _available(self) -> None:
        """Waits while the server is silent. Raises LostError where it cannot be reached."""
        mode = self._trouble.of(PEER)
        if mode is Mode.GONE:
            raise LostError
        if mode is Mode.HANG:
            await self._dead_until_healed()

    async def _dead_until_healed(self) -> NoReturn:
        self.silent = True
        await self._trouble.healed()
        raise LostError

    async def _step(self, label: str, exchange: Awaitable[bytes]) -> None:
        """One exchange with the server, which may go wrong."""
        try:
            await self._available()
        except BaseException:
            exchange.close()  # type: ignore[attr-defined]
            raise
        ends_well = label.startswith(_COMMIT) and self._fruitful
        mode, victim = self._trouble.steps.touch(label, fruitful=ends_well), self._trouble.victim
        self._fruitful = False
        if mode in READ_ONLY and mode is not None:
            exchange.close()  # type: ignore[attr-defined]
            self._trouble.begin(PEER, mode)
            raise LostError
        if mode is Mode.KILL_BEFORE:
            victim.kill()
        if mode is Mode.LOST_BEFORE:
            exchange.close()  # type: ignore[attr-defined]
            raise LostError
        if mode is Mode.STOP:
            victim.stop()
        step = self._trouble.steps.latest()
        answer = await exchange
        if ord("D") in self._kinds and step is not None:
            self._fruitful = True
            self._trouble.steps.fruitful.add(step)
        await self._afterwards(mode)
        self._hand_on(answer)

    async def _afterwards(self, mode: Mode | None) -> None:
        """The server has done what it was asked."""
        match mode:
            case Mode.KILL_AFTER:
                self._trouble.victim.kill()
            case Mode.LOST_AFTER:
                raise LostError
            case Mode.GONE:
                self._trouble.begin(PEER, mode)
                raise LostError
            case Mode.HANG:
                self._trouble.begin(PEER, mode)
                await self._dead_until_healed()
            case Mode.CANCEL:
                self._trouble.victim.cancel()
                await asyncio.sleep(0)

    async def _ask(self, data: bytes, *, ends: frozenset[int] = _READY) -> bytes:
        """What the server says, up to a frame of one of these kinds."""
        if self._server is None:
            raise LostError
        CLOCK.busy += 1
        self._idle = False
        self._kinds.clear()
        self._answer, self._ends = asyncio.get_running_loop().create_future(), ends
        self._server.write(data)
        answer = await self._answer
        if not answer:
            raise LostError
        return answer

    def _hand_on(self, data: bytes) -> None:
        if not self.silent:
            self._writer.write(data)

    def _answered(self, answer: bytes | None) -> None:
        future, self._answer = self._answer, None
        if future is not None:
            CLOCK.busy -= 1
            if not future.done():
                future.set_result(answer or b"")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Gathers what the server says, up to each ReadyForQuery."""
        buffer = bytearray()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                buffer += data
                for kind, frame in cut(buffer):
                    self._held += frame
                    self._kinds.add(kind)
                    if kind == ord("Z"):
                        self._ready(frame[5:6])
                    if kind in self._ends:
                        answer = bytes(self._held)
                        self._held.clear()
                        self._answered(answer)
        # Whatever came before the end is the client's to hear.
        if self._held:
            self._hand_on(bytes(self._held))
        self._drop_server()
        if not self.silent:
            self._writer.close()

    def _ready(self, status: bytes) -> None:
        """Within a transaction the server waits only so long for the next statement."""
        self._idle_timer = None
        self._idle = status == b"I"
        if not self._idle and self._idle_limit:
            self._idle_timer = asyncio.get_running_loop().call_later(self._idle_limit, self._idle_too_long)

    def _idle_too_long(self) -> None:
        if self.silent:
            self._drop_server()
        else:
            self.abort(_IDLE)
