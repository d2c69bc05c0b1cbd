"""Engines: each carries pointers to queued messages from those who accept to those who send."""

from urllib.parse import urlsplit

from relaypost_server.core.queue_ports import Queue


def open_queue(url: str) -> Queue:
    """The engine that the URL names, not started yet. Raises ValueError."""
    raise ValueError(f"{urlsplit(url).scheme} names no engine")
