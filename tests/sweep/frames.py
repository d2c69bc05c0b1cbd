"""PostgreSQL's wire protocol, as far as a proxy needs it.

Contract: postgresql.org/docs/current/protocol-message-formats.html
"""

import re
import struct
from dataclasses import dataclass, field

from relaypost_server.queues.postgres import STATEMENTS
from relaypost_server.store.sql import QUERIES

SSL_REQUEST = 80877103
CANCEL_REQUEST = 80877102
_NAMES = {text: name for name, text in (*QUERIES.items(), *STATEMENTS.items())}
_WORDS = re.compile(r"[A-Za-z_.]+")
_WORDS_IN_A_LABEL = 5
_OF_THE_LIBRARY = ("typeinfo_tree", "current_setting('jit')", "pg_advisory_unlock_all()", "BEGIN")
"""What asyncpg says by itself, and what changes nothing: losing it is losing the step after it."""
_ENDS_A_GROUP = frozenset(b"QSXH")
_ENDS_A_DESCRIPTION = frozenset(b"TnE")
"""After a Flush, with which asyncpg asks what a statement takes and gives."""


@dataclass(slots=True)
class Group:
    """What a client sends before it waits for an answer."""

    data: bytes = b""
    sql: str = ""
    """What it executes; empty where it only prepares."""
    over: bool = False
    """The client goes."""
    ends: frozenset[int] = frozenset(b"Z")
    """The kinds of frames of which one ends the answer."""


@dataclass(slots=True)
class ClientStream:
    """Cuts what a client sends into groups."""

    _buffer: bytearray = field(default_factory=bytearray)
    _group: bytearray = field(default_factory=bytearray)
    _sql: str = ""
    _statements: dict[bytes, str] = field(default_factory=dict)
    _bound: str = ""

    def feed(self, data: bytes) -> list[Group]:
        """The groups that are complete now."""
        self._buffer += data
        groups = []
        for kind, frame in cut(self._buffer):
            self._group += frame
            self._read(kind, frame[5:])
            if kind in _ENDS_A_GROUP:
                ends = _ENDS_A_DESCRIPTION if kind == ord("H") else frozenset(b"Z")
                groups.append(Group(bytes(self._group), self._sql, over=kind == ord("X"), ends=ends))
                self._group.clear()
                self._sql = ""
        return groups

    def _read(self, kind: int, body: bytes) -> None:
        match chr(kind):
            case "P":
                name, sql = body.split(b"\0")[:2]
                self._statements[name] = sql.decode()
            case "B":
                self._bound = self._statements.get(body.split(b"\0")[1], "")
            case "E":
                self._sql = self._bound
            case "Q":
                self._sql = body.rstrip(b"\0").decode()


def cut(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Takes all whole frames from the buffer."""
    frames = []
    while len(buffer) >= 5:
        end = 1 + struct.unpack_from(">I", buffer, 1)[0]
        if len(buffer) < end:
            break
        frames.append((buffer[0], bytes(buffer[:end])))
        del buffer[:end]
    return frames


def query(sql: str) -> bytes:
    body = sql.encode() + b"\0"
    return b"Q" + struct.pack(">I", 4 + len(body)) + body


def fatal(code: str, text: str) -> bytes:
    """The server's last word on a connection."""
    body = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return b"E" + struct.pack(">I", 4 + len(body)) + body


def startup(parameters: bytes, *, read_only: bool) -> bytes:
    """A client's first message; `parameters` as it sent them."""
    if read_only:
        parameters = parameters.rstrip(b"\0") + b"\0default_transaction_read_only\0on\0\0"
    body = struct.pack(">I", 196608) + parameters
    return struct.pack(">I", 4 + len(body)) + body


def idle_limit(parameters: bytes) -> float:
    """Seconds for which a transaction may be idle; 0 for ever."""
    parts = parameters.split(b"\0")
    named = dict(zip(parts[::2], parts[1::2], strict=False))
    return int(named.get(b"idle_in_transaction_session_timeout", 0)) / 1000


def label_of(sql: str) -> str:
    """A name for what a statement does; empty for one that is no step."""
    if any(part in sql for part in _OF_THE_LIBRARY):
        return ""
    name = _NAMES.get(sql.strip())
    return f"db {name}" if name else "db " + " ".join(_WORDS.findall(sql)[:_WORDS_IN_A_LABEL])
