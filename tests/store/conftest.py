"""Fixtures of the store."""

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a spool may be made."""
    return tmp_path / "spool"
