"""Divides the file descriptors, so that incoming connections never take the last one."""

import resource
from dataclasses import dataclass

import structlog

MOST_WANTED = 65_536
RESERVE = 96
"""For the database, the spool, the queue, name look-ups, logs, and the gateway's own outgoing look-ups."""
FEWEST = 16
"""Connections that are let in on each side, however low the limit is."""

log = structlog.get_logger("relaypost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many connections may come in at once, and the descriptors that all together need."""

    grpc: int
    http: int
    needed: int


def share_out(*, grpc: int, http: int, pools: int) -> Shares:
    """Raises the soft limit of descriptors, and lowers the numbers of connections where it is too low all the same.

    `pools`: connections to providers.
    """
    limit = raise_limit()
    shares = shares_within(limit, grpc=grpc, http=http, pools=pools)
    if shares.needed > limit:
        log.warning(
            "few file descriptors: fewer connections are let in",
            limit=limit,
            needed=shares.needed,
            grpc_connections=shares.grpc,
            http_connections=shares.http,
            fix="raise the limit of open files, as by LimitNOFILE= or ulimit -n, or lower RELAYPOST_MAX_*_CONNECTIONS",
        )
    return shares


def shares_within(limit: int, *, grpc: int, http: int, pools: int) -> Shares:
    wanted = grpc + http
    needed = wanted + pools + RESERVE
    left = min(wanted, max(0, limit - pools - RESERVE))
    return Shares(
        grpc=min(grpc, max(FEWEST, grpc * left // wanted)),
        http=min(http, max(FEWEST, http * left // wanted)),
        needed=needed,
    )


def raise_limit() -> int:
    """The limit of descriptors, raised as far as the gateway may and needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_WANTED if hard == resource.RLIM_INFINITY else min(hard, MOST_WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_WANTED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
