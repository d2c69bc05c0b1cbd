"""Small mistakes, made one at a time in a module's syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import EnumMeta
from types import CodeType, ModuleType

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
NOT_RUN = {"annotation", "returns", "decorator_list", "bases"}
"""Fields that say something about the code and do nothing."""
LONGEST_NAME = 90
"""Characters of a statement that still serves as a name; of a longer one, the part that changes does."""

Slot = tuple[str, ast.AST, ast.AST, str, int | None]
"""The place's name, the statement around it, and the node, field and index that hold it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one mistake in it."""

    place: str
    """The module and the function, for example "breaker.Breaker.admit"."""
    line: int
    before: str
    after: str
    code: CodeType

    @property
    def name(self) -> str:
        return f"{self.place}: {self.before} -> {self.after}"


def mutants(module: ModuleType, source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    enums = {name: list(kind.__members__) for name, kind in vars(module).items() if isinstance(kind, EnumMeta)}
    short = module.__name__.rpartition(".")[2]
    for place, statement, holder, field, index in _slots(tree, short, tree):
        node = getattr(holder, field) if index is None else getattr(holder, field)[index]
        for replacement in _replacements(node, enums):
            before = _text(statement)
            _put(holder, field, index, replacement)
            code = compile(ast.fix_missing_locations(tree), str(module.__file__), "exec")
            after = _text(statement)
            _put(holder, field, index, node)
            if before == after or max(len(before), len(after)) > LONGEST_NAME:
                before, after = _text(node), _text(replacement)
            yield Mutant(place, node.lineno, before, after, code)


def _text(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0]


def _put(holder: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(holder, field, node)
    else:
        getattr(holder, field)[index] = node


def _slots(node: ast.AST, place: str, statement: ast.AST) -> Iterator[Slot]:
    """Every place in the tree that holds a statement or an expression which runs."""
    for field, value in ast.iter_fields(node):
        if field in NOT_RUN:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.stmt | ast.expr) and not _is_text(child):
                yield place, statement, node, field, index
            inner = f"{place}.{child.name}" if isinstance(child, ast.ClassDef | ast.FunctionDef) else place
            yield from _slots(child, inner, child if isinstance(child, ast.stmt) else statement)


def _is_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _replacements(node: ast.AST, enums: dict[str, list[str]]) -> Iterator[ast.AST]:
    yield from _operations(node)
    yield from _values(node, enums)
    yield from _statements(node)


def _operations(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=comparators):
            for other in COMPARISONS[type(op)]:
                yield ast.Compare(left=left, ops=[other()], comparators=comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(op=ast.Or() if isinstance(op, ast.And) else ast.And(), values=values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            yield ast.BinOp(left=left, op=OPERATORS[type(op)](), right=right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in TWINS:
            yield ast.Call(func=ast.Name(id=TWINS[name], ctx=ast.Load()), args=args, keywords=keywords)


def _values(node: ast.AST, enums: dict[str, list[str]]) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(value=not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value=value + 1)
        case ast.Attribute(value=ast.Name(id=name) as owner, attr=member) if member in enums.get(name, ()):
            members = enums[name]
            following = members[(members.index(member) + 1) % len(members)]
            yield ast.Attribute(value=owner, attr=following, ctx=ast.Load())


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.AugAssign(target=target, op=op, value=value):
            yield ast.AugAssign(target=target, op=OPERATORS[type(op)](), value=value)
            yield ast.Pass()
        case ast.If(test=test) | ast.IfExp(test=test):
            yield from _turned(node, test)
        case ast.Assign(targets=[ast.Attribute()]) | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(value=ast.Constant(value=None))


def _turned(node: ast.If | ast.IfExp, test: ast.expr) -> Iterator[ast.AST]:
    """The condition the other way round, where no comparison in it is turned anyway."""
    if isinstance(test, ast.Compare) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        return
    negated = ast.UnaryOp(op=ast.Not(), operand=test)
    if isinstance(node, ast.If):
        yield ast.If(test=negated, body=node.body, orelse=node.orelse)
    else:
        yield ast.IfExp(test=negated, body=node.body, orelse=node.orelse)
