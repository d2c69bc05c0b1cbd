"""The language of templates: the part of Jinja that can neither escape nor run on.

A template is text with values, filters, conditions, loops and blocks. It can
call nothing but `range` and `super`, read no attribute but those of `loop`, and
calculate nothing, so that its work is bounded by the length of its text. All of
this is checked before a template is compiled; the sandbox is a second wall.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import FunctionLoader, StrictUndefined, TemplateRuntimeError, Undefined, nodes
from jinja2.sandbox import SandboxedEnvironment

from relaypost_server.templates.filters import FILTERS

LONGEST_RANGE = 1000
"""Rounds of a loop over range()."""
SHARED = "_"
"""Begins the names of files that other files extend or include."""

_KNOWN: tuple[type[nodes.Node], ...] = (
    nodes.And,
    nodes.Assign,
    nodes.Block,
    nodes.Call,
    nodes.Compare,
    nodes.CondExpr,
    nodes.Const,
    nodes.Extends,
    nodes.Filter,
    nodes.For,
    nodes.Getattr,
    nodes.If,
    nodes.Include,
    nodes.Keyword,
    nodes.List,
    nodes.Name,
    nodes.Not,
    nodes.Operand,
    nodes.Or,
    nodes.Output,
    nodes.Scope,
    nodes.Template,
    nodes.TemplateData,
    nodes.Test,
    nodes.Tuple,
)
CALLABLE = frozenset({"range", "super"})
_LOOP = frozenset({"index", "index0", "first", "last", "length"})
_TESTS = frozenset({"defined", "undefined", "none", "odd", "even", "eq", "ne", "in"})

Mistake = tuple[int, str]
"""A line, and what is wrong in it."""


class Sandbox(SandboxedEnvironment):
    """Compiles and runs the templates among `files`, texts by their paths."""

    def __init__(self, files: Mapping[str, str]) -> None:
        super().__init__(
            loader=FunctionLoader(lambda path: (files[path], path, None) if path in files else None),
            undefined=StrictUndefined,
            autoescape=lambda path: path is not None and path.endswith(".html"),
            finalize=_printable,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
            auto_reload=False,
        )
        self.files = files
        self.filters = dict(FILTERS)
        self.tests = {name: test for name, test in self.tests.items() if name in _TESTS}
        self.globals = {"range": _short_range}

    def join_path(self, template: str, parent: str) -> str:
        """The path of the file that `parent` calls `template`: beside its languages, or in the directory itself."""
        own = f"{parent.partition('/')[0]}/{template}"
        return own if own in self.files else template

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr in _LOOP and super().is_safe_attribute(obj, attr, value)


def references(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """The files that a template extends or includes, each with its line."""
    found: list[nodes.Extends | nodes.Include] = [*tree.find_all(nodes.Extends), *tree.find_all(nodes.Include)]
    for node in found:
        if isinstance(node.template, nodes.Const) and isinstance(node.template.value, str):
            yield node.lineno, node.template.value


def mistakes(tree: nodes.Template, path: str) -> list[Mistake]:
    """What the language does not have, or does not allow in this place."""
    return list(_mistakes(tree, path.rpartition(".")[2], in_loop=False))


def _mistakes(node: nodes.Node, suffix: str, *, in_loop: bool) -> Iterator[Mistake]:
    complaint = _complaint(node, suffix)
    if complaint:
        yield node.lineno, complaint
        return
    if in_loop and isinstance(node, (nodes.For, nodes.Include, nodes.Block)):
        yield node.lineno, "a loop must not hold another loop, an include or a block"
        return
    for child in node.iter_child_nodes():
        if isinstance(node, nodes.Call) and child is node.node:
            continue
        yield from _mistakes(child, suffix, in_loop=in_loop or isinstance(node, nodes.For))


def _complaint(node: nodes.Node, suffix: str) -> str:
    match node:
        case nodes.Name(name=name):
            return _bad_name(name)
        case nodes.Call(node=called):
            is_known = isinstance(called, nodes.Name) and called.name in CALLABLE
            return "" if is_known else "nothing can be called but range() and super()"
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr) if attr in _LOOP:
            return ""
        case nodes.Getattr() | nodes.Getitem():
            return "a value has no attributes or items"
        case nodes.List(items=items) | nodes.Tuple(items=items):
            return "" if all(isinstance(i, nodes.Const) for i in items) else "a list must hold constants only"
        case nodes.For(target=target) | nodes.Assign(target=target) if not isinstance(target, nodes.Name):
            return "one variable is set at a time"
        case nodes.Include(with_context=False):
            return "an include cannot be without context"
        case nodes.Extends(template=template) | nodes.Include(template=template):
            return _bad_reference(template, suffix)
    return "" if isinstance(node, _KNOWN) else f"{_called(node)} is not part of the language of templates"


def _bad_name(name: str) -> str:
    if name.startswith("_"):
        return "a name must not begin with _"
    return f"{name} is not a value, but called: {name}()" if name in CALLABLE else ""


def _bad_reference(template: nodes.Expr, suffix: str) -> str:
    if not isinstance(template, nodes.Const) or not isinstance(template.value, str):
        return "the name of a file must be a constant text"
    name = template.value
    if not name.rpartition("/")[2].startswith(SHARED):
        return f"a file that others use must have a name that begins with {SHARED}"
    # The included file decides on escaping: plain text would carry values into html as they are.
    return "" if name.endswith(f".{suffix}") else f"a .{suffix} file can use .{suffix} files only"


def _called(node: nodes.Node) -> str:
    return {nodes.ScopedEvalContextModifier: "autoescape", nodes.Concat: "~"}.get(
        type(node), type(node).__name__.lower()
    )


def _short_range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > LONGEST_RANGE:
        raise TemplateRuntimeError(f"a range must have at most {LONGEST_RANGE} steps")
    return found


def _printable(value: Any) -> Any:
    if not isinstance(value, str | int | Undefined):  # Which complains by itself.
        raise TemplateRuntimeError("only text and numbers can be written out")
    return value
