"""A part of the sweep: each scenario and each mode appears. `make sweep` runs all of it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.peers import ROOT

LIMIT_SECONDS = 600.0


def test_no_fault_at_any_step_of_the_part_breaks_a_promise(outside: str, tmp_path: Path) -> None:
    """In a process of its own: it forks, which is not safe in one that uses gRPC."""
    found = tmp_path / "findings.json"
    command = [sys.executable, "-m", "tests.sweep", "--part", "--json", str(found)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    findings = json.loads(found.read_text()) if found.exists() else []
    broken = [f"{f['where']}: {f['violations']}" for f in findings if f["violations"]]
    assert (broken, ended.returncode) == ([], 0), f"{ended.stdout}\n{ended.stderr}"
