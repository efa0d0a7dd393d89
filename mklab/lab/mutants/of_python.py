"""Mutants of a function in Python, by its syntax tree."""

import ast
import copy
from collections.abc import Callable, Iterator
from typing import TypeVar

from mklab.lab.mutants import Mutant

__all__ = ["mutants"]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_Node = TypeVar("_Node", bound=ast.AST)


def mutants(source: str) -> Iterator[Mutant]:
    """Every change of one constant, operator, condition, statement, or order of two statements."""
    tree = ast.parse(source)
    same = ast.unparse(tree)
    words = _words_for_people(tree)
    for index, node in enumerate(ast.walk(tree)):
        if node in words:
            continue
        for what, change in _changes(node):
            other = copy.deepcopy(tree)
            twin = list(ast.walk(other))[index]
            change(twin)
            text = ast.unparse(ast.fix_missing_locations(other))
            if text != same:
                yield Mutant(f"line {getattr(node, 'lineno', 0)}: {what}", text + "\n")


def _words_for_people(tree: ast.Module) -> set[ast.AST]:
    """Texts that no program reads: docstrings, and what an exception says."""
    words: set[ast.AST] = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            words |= {one for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return words


_Change = tuple[str, Callable[[ast.AST], None]]


def _changes(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Constant():
            yield from _constants(node)
        case ast.Compare(ops=ops):
            for place, one in enumerate(ops):
                yield (
                    f"{type(one).__name__} becomes {_COMPARISONS[type(one)].__name__}",
                    lambda twin, place=place, one=one: twin.ops.__setitem__(place, _COMPARISONS[type(one)]()),  # type: ignore[misc]
                )
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _OPERATORS:
            yield f"{type(op).__name__} becomes {_OPERATORS[type(op)].__name__}", _set("op", _OPERATORS[type(op)]())
        case ast.BoolOp(op=op):
            yield (
                "and becomes or, or the other way round",
                _set("op", ast.Or() if isinstance(op, ast.And) else ast.And()),
            )
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield "the condition is turned round", _set("test", ast.UnaryOp(ast.Not(), test))
        case _:
            pass
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if isinstance(statements, list) and statements:
            yield from _blocks(name, statements)


def _constants(node: ast.Constant) -> Iterator[_Change]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} becomes {not value}", _set("value", not value)
    elif isinstance(value, int):
        for other in dict.fromkeys((value + 1, value - 1)):
            yield f"{value} becomes {other}", _set("value", other)
    elif isinstance(value, (str, bytes)) and value:
        yield f"{value!r} loses its end", _set("value", value[:-1])


def _blocks(name: str, statements: list[ast.stmt]) -> Iterator[_Change]:
    for place, one in enumerate(statements):
        if _is_docstring(one) or isinstance(one, (ast.Pass, ast.FunctionDef, ast.Import, ast.ImportFrom)):
            continue
        line = ast.unparse(one).splitlines()[0]
        yield f"{line!r} is dropped", lambda twin, place=place: _drop(getattr(twin, name), place)  # type: ignore[misc]
        if place + 1 < len(statements) and not isinstance(statements[place + 1], ast.FunctionDef):
            yield (
                f"{line!r} comes one later",
                lambda twin, place=place: _swap(getattr(twin, name), place),  # type: ignore[misc]
            )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _set(name: str, value: object) -> Callable[[ast.AST], None]:
    return lambda twin: setattr(twin, name, value)


def _drop(statements: list[ast.stmt], place: int) -> None:
    statements[place] = ast.Pass()


def _swap(statements: list[ast.stmt], place: int) -> None:
    statements[place], statements[place + 1] = statements[place + 1], statements[place]
