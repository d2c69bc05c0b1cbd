"""One HTTP/1.1 connection: writes a request, reads the answer to it."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import httptools
import orjson

from relaypost_server.core.value import value
from relaypost_server.time_limit import TimeLimit

LONGEST_ANSWER = 1024 * 1024
"""Bytes. No provider's answer is nearly as long; what is longer is no answer."""
LONGEST_HEAD = 64 * 1024
"""Bytes of an answer before its body: the status line and all headers, those of interim answers included."""
LONGEST_HEADER = 16 * 1024
"""Bytes of one header, its name included."""
MOST_HEADERS = 128
"""Headers of an answer, its trailers included."""
MOST_INTERIM_ANSWERS = 8
"""Answers of status 1xx before the one that counts."""
LONGEST_EXCHANGE = 2 * LONGEST_ANSWER
"""Bytes that are read for one answer, the framing of its chunks included."""


@value(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, or an empty one where it is none."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


class NoAnswerError(Exception):
    """What came back is not a whole answer; `status` is what it began with, or 0."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.status = status


class CutShortError(NoAnswerError):
    """The peer ended the connection in the middle of an answer."""


class TimeLimitError(TimeoutError):
    """The answer did not come within the seconds of `exchange`; the system's own time-outs are other errors."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Answer] | None = None
        self._limit = TimeLimit(lambda: self._fail(TimeLimitError()))
        self._reusable = True
        self._begin_exchange()

    @property
    def reusable(self) -> bool:
        """Whether another request may be written."""
        return self._reusable and self._answer is None and self._transport is not None

    def exchange(self, request: bytes, *, timeout: float) -> "asyncio.Future[Answer]":
        """Writes a request. The answer, to come within `timeout` seconds, raises NoAnswerError or OSError."""
        self._answer = answer = self._loop.create_future()
        self._limit.start(timeout)
        cast(asyncio.Transport, self._transport).write(request)
        return answer

    def abort(self) -> None:
        """Ends the connection at once."""
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # Nobody asked: what it is about cannot be known.
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(NoAnswerError("not HTTP", self._status))
        # What the parser holds back, as of a line that does not end, is bounded here.
        if self._received > (LONGEST_EXCHANGE if self._headers_complete else LONGEST_HEAD):
            self._fail_as_endless()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._limit.close()
        if self._answer is None:
            return
        if exc is not None:
            self._fail(exc)
        elif not self._headers_complete:
            self._fail(ConnectionResetError("closed before the answer"))
        elif self._ends_with_connection:
            self._succeed()
        else:
            self._fail(CutShortError("cut short", self._status))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value)
        self._header_count += 1
        self._header_size += size
        if size > LONGEST_HEADER or self._header_count > MOST_HEADERS or self._header_size > LONGEST_HEAD:
            self._fail_as_endless()
        else:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._answer is None:  # A second answer behind the first: nobody asked for it.
            self.abort()
        self._status = self._parser.get_status_code()
        self._headers_complete = True

    def on_body(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._body.append(chunk)
        if self._size > LONGEST_ANSWER:
            self._fail_as_endless()

    def on_message_complete(self) -> None:
        if self._status < 200:  # An interim answer: the real one follows.
            self._interim += 1
            if self._interim > MOST_INTERIM_ANSWERS:
                self._fail_as_endless()
            self._begin()
            return
        self._reusable = self._reusable and self._parser.should_keep_alive()
        self._succeed()

    @property
    def _ends_with_connection(self) -> bool:
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _begin_exchange(self) -> None:
        self._received = 0
        self._header_count = 0
        self._header_size = 0
        self._interim = 0
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._headers_complete = False
        self._body: list[bytes] = []
        self._size = 0

    def _succeed(self) -> None:
        answer = self._awaited()
        if answer is not None:
            answer.set_result(Answer(self._status, self._headers, b"".join(self._body)))
        self._begin_exchange()

    def _fail_as_endless(self) -> None:
        self._fail(NoAnswerError("does not end", self._status))

    def _fail(self, error: Exception) -> None:
        answer = self._awaited()
        if answer is not None:
            answer.set_exception(error)
        self.abort()

    def _awaited(self) -> "asyncio.Future[Answer] | None":
        """Ends the exchange; the answer that is still waited for, if it is."""
        answer, self._answer = self._answer, None
        self._limit.stop()
        return None if answer is None or answer.done() else answer
