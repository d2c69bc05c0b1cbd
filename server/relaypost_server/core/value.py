"""Dataclasses that are frozen for the type checker, and cheap to make and to copy.

A frozen dataclass sets its fields through `object.__setattr__`, one call each,
and takes four times as long to make as an open one. Every message makes a
dozen. That nobody changes a field is checked by mypy, and, like whatever else
is too dear for every day, by Python in its development mode (`python -X dev`).
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as value, replace
else:
    from dataclasses import dataclass

    Class = TypeVar("Class")

    def value(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[type[Class]], type[Class]]:
        """As `dataclasses.dataclass`; `frozen` holds in development mode."""
        return dataclass(frozen=frozen and sys.flags.dev_mode, slots=slots, kw_only=kw_only, unsafe_hash=frozen)

    def replace(of: Any, /, **changes: object) -> Any:
        """As `dataclasses.replace`, at half its cost."""
        return type(of)(**{name: getattr(of, name) for name in of.__slots__} | changes)


__all__ = ["replace", "value"]
