"""Runs the sweep: `python -m tests.sweep [--only SCENARIO] [--mode MODE] [--step TEXT] [--show]`."""

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OTEL_TRACES_EXPORTER", "none")

from tests.sweep import choice
from tests.sweep.case import Case, Result
from tests.sweep.pool import Pool, pool
from tests.sweep.scenarios import SCENARIOS
from tests.sweep.steps import Mode, Step


def main() -> int:
    asked = _arguments()
    with pool(asked.processes) as made:
        sweep = Sweep(made)
        with suppress(KeyboardInterrupt):
            _go(sweep, asked)
    if asked.json:
        Path(asked.json).write_text(json.dumps(sweep.findings, indent=1))
    sweep.print(show=asked.show)
    return 1 if sweep.violations or sweep.errors else 0


def _go(sweep: "Sweep", asked: argparse.Namespace) -> None:
    if asked.part:
        sweep.part()
        return
    for name in asked.only or SCENARIOS:
        sweep.count(name)
        sweep.run(name, mode=asked.mode, step=asked.step, slices=asked.slice)


MOST_TRIES = 4
"""Of a case whose step is not taken."""
STREAM = os.environ.get("SWEEP_STREAM", "")


class Sweep:
    """All cases, and what came of them."""

    def __init__(self, made: Pool) -> None:
        self._pool = made
        self._dry: dict[str, Result] = {}
        self.counts: Counter[tuple[str, Mode]] = Counter()
        self.broken: Counter[tuple[str, Mode]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.findings: list[dict[str, object]] = []
        self.errors: list[str] = []
        self._untaken: list[Case] = []
        """Cases whose step was not taken, to be run again."""

    @property
    def violations(self) -> int:
        return sum(self.broken.values())

    def count(self, name: str) -> None:
        """Runs a scenario twice with nothing going wrong: both take the same steps, and break no promise."""
        found: list[Result] = []
        self._pool.run([Case(scenario=name)] * 2, lambda _, result, __: found.append(result))
        first, second = found
        self._know(name, first)
        # Which of several takes finds the message is PostgreSQL's choice, so the numbers may differ.
        if differing := _labels(name, first) ^ _labels(name, second):
            self.errors.append(f"{name}: the steps differ: {differing}")
        first.again = sorted(set(first.again) & set(second.again))

    def part(self) -> None:
        """One or two cases of each scenario; each mode has three."""
        for name in SCENARIOS:
            self._pool.run([Case(scenario=name)], lambda case, result, _: self._know(case.scenario, result))
        if self.errors:
            return
        modes = list(Mode)
        cases = []
        for place, (name, dry) in enumerate(sorted(self._dry.items())):
            steps = [Step(label, number) for label, number in _steps(name, dry)]
            for turn in range(2 if place % 2 else 1):
                step = steps[(3 * place + 5 * turn + 2) % len(steps)]
                mode = modes[(place + 5 * turn) % len(modes)]
                cases.append(Case(scenario=name, step=step, mode=mode, expected=frozenset(dry.again)))
        self._run(cases)

    def _know(self, name: str, first: Result) -> None:
        """What a run did in which nothing went wrong."""
        if first.violations:
            where = f"{name} / - / no fault"
            self.findings.append({"where": where, "violations": first.violations, "error": "", "log": first.log})
        if first.error:
            self.errors.append(f"{name}: {first.error}")
        self._dry[name] = first

    def cases(self, name: str, *, mode: str = "", step: str = "", slices: tuple[int, int] = (0, 1)) -> list[Case]:
        dry = self._dry[name]
        return [
            Case(scenario=name, step=Step(label, number), mode=each, expected=frozenset(dry.again))
            for place, (label, number) in enumerate(_steps(name, dry))
            for turn, each in enumerate(choice.modes_at(label))
            if (place + turn) % slices[1] == slices[0]
            if (not mode or each == mode) and re.search(step, f"{label} #{number}")
        ]

    def run(self, name: str, *, mode: str = "", step: str = "", slices: tuple[int, int] = (0, 1)) -> None:
        self._run(self.cases(name, mode=mode, step=step, slices=slices))

    def _run(self, cases: Sequence[Case]) -> None:
        """Which of several polls finds a message is PostgreSQL's choice: a case that misses its step has more tries."""
        for _ in range(MOST_TRIES - 1):
            self._pool.run(cases, self._taken)
            cases, self._untaken = self._untaken, []
        self._pool.run(cases, self._done)

    def _taken(self, case: Case, result: Result, seconds: float) -> None:
        if result.fired or result.error:
            self._done(case, result, seconds)
        else:
            self._untaken.append(case)

    def _done(self, case: Case, result: Result, seconds: float) -> None:
        assert case.mode is not None
        key = case.scenario, case.mode
        self.counts[key] += 1
        self.seconds[case.scenario] += seconds  # type: ignore[assignment]
        where = f"{case.scenario} / {case.step} / {case.mode}"
        if result.error or not result.fired:
            self.errors.append(f"{where}: {result.error or 'the step was not taken'}")
        if STREAM:
            Path(STREAM + ".count").write_text(
                f"{sum(self.counts.values())} {where} {seconds:.2f} {sum(self.seconds.values()):.0f}"
            )
        if STREAM and (result.violations or result.error or not result.fired):
            with Path(STREAM).open("a") as stream:
                stream.write(
                    json.dumps(
                        {
                            "where": where,
                            "fired": result.fired,
                            "violations": result.violations,
                            "error": result.error,
                            "log": result.log[-60:],
                        }
                    )
                    + "\n"
                )
        if result.violations or result.error:
            self.broken[key] += bool(result.violations)
            self.findings.append(
                {"where": where, "violations": result.violations, "error": result.error, "log": result.log[-60:]}
            )

    def print(self, *, show: bool) -> None:
        width = max(map(len, SCENARIOS))
        print(f"{'':{width}}  steps  " + "  ".join(f"{m.value}" for m in Mode) + "  CPU")
        for name, dry in self._dry.items():
            cells = [
                f"{self.counts[name, m] - self.broken[name, m]}/{self.counts[name, m]}".rjust(len(m.value))
                for m in Mode
            ]
            print(f"{name:{width}}  {len(_steps(name, dry)):5}  " + "  ".join(cells) + f"  {self.seconds[name]:.0f} s")
        total, seconds = sum(self.counts.values()), sum(self.seconds.values())
        print(f"{total} cases, {self.violations} with violations, {len(self.errors)} errors, {seconds:.0f} s CPU")
        for error in self.errors[:20]:
            print("error:", error, file=sys.stderr)
        if show:
            for finding in self.findings:
                print(finding["where"], *(f"\n    {p}: {w}" for p, w in finding["violations"]))  # type: ignore[attr-defined]


def _steps(name: str, dry: Result) -> list[tuple[str, int]]:
    return choice.chosen(name, dry.steps, loops=dry.seen, fruitful=dry.fruitful)


def _labels(name: str, dry: Result) -> set[str]:
    return {label for label, _ in _steps(name, dry)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.sweep", description="A fault at every step.")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario alone; may be repeated")
    parser.add_argument("--mode", default="", help="this mode alone")
    parser.add_argument("--step", default="", help="steps that match this regular expression")
    parser.add_argument("--part", action="store_true", help="a part in which each scenario and each mode appears")
    parser.add_argument("--show", action="store_true", help="each violation")
    parser.add_argument("--json", default="", help="a file for all findings")
    parser.add_argument(
        "--slice",
        type=lambda text: tuple(map(int, text.split("/"))),
        default=(0, 1),
        help="as in 0/3: a third of all cases, spread over all steps and modes",
    )
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
