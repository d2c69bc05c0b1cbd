"""`make mutants`: breaks the core on purpose, one mistake at a time, and runs the tests of the core on each.

A mutant that no test notices has to be explained in docs/testing.md, by its name; else the run fails.
Each mutant lives in a process of its own, forked before anything of the gateway is imported.
"""

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import inspect
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

os.environ["RELAYPOST_MODELS"] = "mutants"

import hypothesis.stateful  # noqa: F401  (imported here, once, for all the processes that are forked)
import pytest

from tests.mutants.mutate import Mutant, mutants

TARGETS = (
    "outcome",
    "rolling",
    "retry_budget",
    "timeouts",
    "breaker",
    "failover",
    "silence",
    "delivery_rates",
    "look_ups",
    "advice",
)
LIMIT = 90
"""Seconds of processor time; a mutant that takes more has been noticed, for it does not end."""
ROOT = Path(__file__).parents[2]
EXPLAINED = ROOT / "docs" / "testing.md"
TESTS = (
    "test_breaker.py",
    "test_breaker_wary.py",
    "test_timeouts.py",
    "test_failover.py",
    "test_outcome.py",
    "test_small_parts.py",
    "test_silence.py",
    "test_delivery_rates.py",
    "test_look_ups.py",
    "test_advice.py",
    "test_chain_model.py",
    "test_breaker_model.py",
)
"""The fast ones come first, for most mutants do not survive them."""
OPTIONS = ("-x", "-q", "--noconftest", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""The shared fixtures are not needed here, and take seconds to import."""


class Swap(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from other code than its file holds."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name = name
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def qualified(target: str) -> str:
    return f"relaypost_server.core.{target}"


def found() -> list[tuple[str, Mutant]]:
    """Every mutant of every target."""
    every = []
    for target in TARGETS:
        module = importlib.import_module(qualified(target))
        every += [(target, mutant) for mutant in mutants(module, inspect.getsource(module))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "relaypost_server"]:
        del sys.modules[name]
    return every


def survives(target: str, code: CodeType | None) -> bool:
    """Whether the tests of the core pass with this code; None leaves it as it is."""
    child = os.fork()
    if not child:
        result = 1
        try:
            result = _run(target, code)
        finally:
            os._exit(result)  # Whatever happens, a child must not go on in its parent's code.
    _, status = os.waitpid(child, 0)
    return status == 0


def _run(target: str, code: CodeType | None) -> int:
    """In the child: the exit code of pytest, without a word."""
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    if code is not None:
        sys.meta_path.insert(0, Swap(qualified(target), code))
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        return int(pytest.main([*OPTIONS, *(str(ROOT / "tests" / "core" / file) for file in TESTS)]))


def _judge(job: tuple[int, str]) -> bool:
    number, target = job
    return survives(target, EVERY[number][1].code)


EVERY: list[tuple[str, Mutant]] = []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="only so many mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TARGETS, help="only this module's mutants")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    EVERY.extend(entry for entry in found() if options.only in {None, entry[0]})
    if options.sample is not None:
        EVERY[:] = random.Random(options.seed).sample(EVERY, min(options.sample, len(EVERY)))
    if not survives(TARGETS[0], None):
        print("The tests of the core fail as they are.")
        return 2
    began = time.monotonic()
    jobs = [(number, target) for number, (target, _) in enumerate(EVERY)]
    explanations, alive, unexplained = EXPLAINED.read_text(), 0, 0
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        for (_, mutant), lives in zip(EVERY, pool.imap(_judge, jobs), strict=True):
            if lives:
                explained = f"`{mutant.name}`" in explanations
                alive, unexplained = alive + 1, unexplained + (not explained)
                print(
                    "explained  " if explained else "UNEXPLAINED", f"line {mutant.line:3} `{mutant.name}`", flush=True
                )
    noticed, seconds = len(EVERY) - alive, time.monotonic() - began
    print(f"{noticed} of {len(EVERY)} mutants noticed ({noticed / len(EVERY):.1%}) in {seconds:.0f} s;", end=" ")
    print(f"{alive - unexplained} survivors explained, {unexplained} not.")
    return bool(unexplained)


if __name__ == "__main__":
    sys.exit(main())
