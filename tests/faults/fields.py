"""Every field of a request, found in its descriptor: a new field is tested without a line here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

KEY = "X-Hostile"
"""A key that every map takes."""
STAND_IN = "~"
"""Stands, repeated, for bytes that protobuf's own library would refuse to write."""

_TEXTS = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One place that holds a value: a field, a map's keys, or a map's values."""

    steps: tuple[FieldDescriptor, ...]
    part: str = ""
    """"key" or "value" of a map; "" for a plain field."""

    @property
    def kind(self) -> int:
        """The field's type, as FieldDescriptor numbers them."""
        last = self.steps[-1]
        if self.part and last.message_type:
            return last.message_type.fields_by_name[self.part].type
        return last.type

    @property
    def is_text(self) -> bool:
        return self.kind in _TEXTS

    @property
    def path(self) -> str:
        """As a BadRequest writes it: `email.to[0].address`; a map's own path for its keys and values."""
        return ".".join(s.name if self.part and s is self.steps[-1] else _step(s) for s in self.steps)

    def is_named(self, field: str, value: Any) -> bool:
        """Whether a BadRequest that names this field means this place, which holds that value."""
        if self.part == "key":
            return field.startswith(f"{self.path} (key ") or field == f'{self.path}["{value}"]'
        holder = self.steps[-1].containing_type
        if holder is not None and holder.full_name == Duration.DESCRIPTOR.full_name:
            return field == self.path.rpartition(".")[0]  # To callers a duration is one value.
        return field == (f'{self.path}["{KEY}"]' if self.part else self.path)

    def put(self, request: Message, value: Any) -> None:
        """Puts the value there; a map holds it beside what it held."""
        owner: Any = request
        *ways, last = self.steps
        for way in ways:
            owner = getattr(owner, way.name)
            if way.is_repeated:
                owner = owner[0] if owner else owner.add()
        if self.kind == FieldDescriptor.TYPE_BYTES and isinstance(value, str):
            value = value.encode()
        if self.part:
            getattr(owner, last.name)[value if self.part == "key" else KEY] = value if self.part == "value" else "x"
        elif last.is_repeated:
            owner.ClearField(last.name)
            getattr(owner, last.name).append(value)
        else:
            setattr(owner, last.name, value)

    def bytes_with(self, request: Message, value: bytes) -> bytes:
        """The request's bytes with this value there, be it UTF-8 or not; at least ten bytes."""
        stand_in = STAND_IN * len(value)
        self.put(request, stand_in)
        written = request.SerializeToString()
        assert written.count(stand_in.encode()) == 1
        return written.replace(stand_in.encode(), value)


def leaves(message: Any, before: tuple[FieldDescriptor, ...] = ()) -> Iterator[Leaf]:
    """Every leaf below a message's descriptor, depth first."""
    for field in message.fields:
        steps = (*before, field)
        if field.message_type is None:
            yield Leaf(steps=steps)
        elif field.message_type.GetOptions().map_entry:
            yield Leaf(steps=steps, part="key")
            yield Leaf(steps=steps, part="value")
        else:
            yield from leaves(field.message_type, steps)


def _step(field: FieldDescriptor) -> str:
    return f"{field.name}[0]" if field.is_repeated else field.name
