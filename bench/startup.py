"""CPU time of start-ups: the command line, and a gateway until it serves.

    python -m bench.startup

Each is measured in turn, round after round, and set beside the import that it cannot do without. `make bench` calls it
as well.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from bench.databases import new_database, postgres
from bench.processes import cpu_until_serving

GRPC, CLIENT = "import grpc", "import relaypost"
VERSION, SEND = "relaypost --version", "relaypost send-sms, to no gateway"
SERVING = "relaypost serve, until it serves"
BUNDLED = f"{SERVING}, with its bundled PostgreSQL"
GOALS = {VERSION: (GRPC, 1.5), SEND: (CLIENT, 1.7)}
SERVING_GOAL = 1.2
"""Seconds."""
NOWHERE = ("--target", "127.0.0.1:9", "--timeout", "1")


def command(*words: str) -> Callable[[], float]:
    def measure() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], env=_environment(), capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measure


def serving(environ: Mapping[str, str]) -> Callable[[], float]:
    """Of the gateway's own process: without a bundled PostgreSQL's."""
    return lambda: cpu_until_serving({"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "0", **environ})


def measure(database: str, rounds: int) -> Mapping[str, float]:
    """The median of each, in seconds."""
    measured = {
        GRPC: command("-c", GRPC),
        CLIENT: command("-c", CLIENT),
        VERSION: command("-m", "relaypost_server", "--version"),
        SEND: command("-m", "relaypost_server", "send-sms", "--to", "+14155550123", "--text", "Hi", *NOWHERE),
        SERVING: serving({"RELAYPOST_DATABASE_URL": database}),
        BUNDLED: serving({}),
    }
    found = defaultdict(list)
    for _ in range(rounds):
        for name, once in measured.items():
            found[name].append(once())
    return {name: statistics.median(times) for name, times in found.items()}


def show(found: Mapping[str, float]) -> None:
    table = Table("", "", "", title="CPU time of start-ups", show_header=False)
    for name, seconds in found.items():
        base, goal = GOALS.get(name, ("", 0.0))
        told = f"{seconds / found[base]:.2f} x {base}, at most {goal}" if base else ""
        table.add_row(name, f"{seconds:.2f} s", f"at most {SERVING_GOAL} s" if name in (SERVING, BUNDLED) else told)
    Console(width=150).print(table)


def _environment() -> dict[str, str]:
    """Nothing that changes what is imported or written; the sources are where they are for this process."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.startup")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with postgres() as url:
        show(measure(new_database(url, "startup"), options.rounds))


if __name__ == "__main__":
    main()
