"""Reads directories of templates into memory, once; afterwards no file is touched.

A file is known by its path from the directory that it is in, "otp/en/sms.txt".
Since templates find one another in what was read here, none can reach a file
that is elsewhere.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from relaypost_server.settings import Problem

LARGEST_FILE = 256 * 1024
"""Bytes."""
MOST_FILES = 5000
DEPTH = 3
"""Levels of a path: the template, the locale, the part."""

_IGNORED = re.compile(r"\..*|.*\.md")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class FileError(Exception):
    """Why a file cannot be used."""


def read_files(root: Path) -> tuple[dict[str, str], list[Problem]]:
    """The texts under a directory by their paths, and what could not be read.

    Names that begin with "." and Markdown are left out. A symlink is followed
    as long as it stays inside.
    """
    try:
        paths = list(islice(_walk(root, root, DEPTH), MOST_FILES + 1))
    except OSError as error:
        return {}, [problem(str(root), None, f"cannot be read: {error.strerror}")]
    if len(paths) > MOST_FILES:
        return {}, [problem(str(root), None, f"holds more than {MOST_FILES} files")]
    texts: dict[str, str] = {}
    problems = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            texts[name] = _read(path, root)
        except FileError as error:
            problems.append(problem(name, None, str(error)))
    return texts, problems


def problem(path: str, line: int | None, what: str, fix: str = "") -> Problem:
    """A mistake in a line of a template's file, or in the file as a whole."""
    where = path if line is None else f"{path}:{line}"
    return Problem(setting=where, what=what, fix=fix or "Correct the file; see docs/templates.md.")


def _walk(folder: Path, root: Path, levels: int) -> Iterator[Path]:
    """Files, and directories that cannot hold any: too deep, or elsewhere."""
    for path in sorted(folder.iterdir()):
        if _IGNORED.fullmatch(path.name):
            continue
        if levels > 1 and path.is_dir() and _is_inside(path, root):
            yield from _walk(path, root, levels - 1)
        else:
            yield path


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _read(path: Path, root: Path) -> str:
    if not _is_inside(path, root):
        raise FileError("is a symlink to somewhere outside of the directory")
    if path.is_dir():
        raise FileError(f"is a directory, {DEPTH} levels deep")
    if not path.is_file():
        raise FileError("is not a file")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise FileError(f"is larger than the {LARGEST_FILE} bytes that are allowed")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise FileError("is not UTF-8") from None
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    if text.startswith("\ufeff"):
        raise FileError("begins with a byte order mark")
    if found := _CONTROLS.search(text):
        raise FileError(f"holds a control character in line {text.count(chr(10), 0, found.start()) + 1}")
    return text
