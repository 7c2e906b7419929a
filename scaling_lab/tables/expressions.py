"""The arithmetic of --map, the conditions of --where: worked out over a table's columns, never run as code."""

from __future__ import annotations

import ast
import operator
import re
import warnings
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from ..errors import BadInput, UsageError, nearest
from ..quantities import parse_number
from .table import Floats, NoRows, Table, column_numbers, own_numbers, text_of

_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARISONS: dict[type, Any] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_TRUE, _FALSE = {"true", "yes", "1", "1.0"}, {"false", "no", "0", "0.0", ""}
# What Python does not read: `a column`, 7B, and & | ~ between conditions, which bind as and, or, not do in pandas.
_WRITTEN = re.compile(
    r"""(?P<text>'[^']*'|"[^"]*")|`(?P<column>[^`]*)`|(?<![\w.])(?P<number>\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?[kKmMbBgGtT])(?!\w)"""
    r"|(?P<sign>&&?|\|\|?|~)"
)
_WORDS = {"&": " and ", "|": " or ", "~": " not "}


@dataclass(frozen=True)
class _Expression:
    """The text of --map or --where over a table, worked out here: no code of the user's runs.

    `names` are the columns in backquotes. --map looks a name up among the table's own columns before the canonical
    ones, and `faults` fills with the cells met that are no finite numbers, by row; --where (`selects`) does neither.
    """

    table: Table
    option: str
    understood: str
    selects: bool
    names: dict[str, str] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)

    def parse(self, text: str) -> ast.expr:
        """The syntax tree; raises UsageError."""

        def rewrite(found: re.Match[str]) -> str:
            if found["text"] is not None:
                return found["text"]
            if found["number"] is not None:
                return repr(parse_number(found["number"]))
            if found["sign"] is not None:
                return _WORDS[found["sign"][0]]
            placeholder = f"_column_{len(self.names)}_"
            self.names[placeholder] = found["column"]
            return placeholder

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                return ast.parse(_WRITTEN.sub(rewrite, text).strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self.fault() from None

    def fault(self, why: str = "") -> UsageError:
        return UsageError(f"{self.option}: {why or self.understood}")

    def find(self, node: ast.Name) -> str:
        """The canonical or own name that the table knows the column by."""
        name = self.names.get(node.id, node.id)
        if not self.table.has(name):
            known = [*self.table.columns, *self.table.made]
            if name == "flops" and self.table.has("params") and self.table.has("tokens"):
                raise self.fault(f"no column 'flops' in {self.table.name}; write 6*params*tokens")
            raise self.fault(f"no column {name!r} in {self.table.name}; {nearest(name, known)}")
        return name

    def column(self, node: ast.Name) -> tuple[Floats, dict[int, str]]:
        """A named column as floats, and its cells that are no finite number."""
        name = self.find(node)
        return own_numbers(self.table, name) if self._is_own(name) else column_numbers(self.table, name)

    def named(self, node: ast.Name) -> Floats:
        """A named column as floats; for --where nan and inf are what they say, and other text raises BadInput."""
        values, faults = self.column(node)
        if not self.selects:
            self.faults.update(faults)
            return values
        values = values.copy()
        for row, cell in sorted(faults.items()):
            try:
                values[row] = float(cell)
            except ValueError:
                raise BadInput(
                    f"{self.option}: {cell!r} is not a number",
                    file=self.table.name,
                    line=int(self.table.lines[row]),
                    column=self.names.get(node.id, node.id),
                    fix="put text in quotes, or mend the cell",
                ) from None
        return values

    def text(self, node: ast.expr) -> Any:
        """A column as text (n,), or a text in quotes."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name):
            name = self.find(node)
            return text_of(self.table.frame[name]) if self._is_own(name) else self.table.text(name)
        raise self.fault("text is compared with a column or with other text")

    def _is_own(self, name: str) -> bool:
        return not self.selects and name in self.table.frame.columns

    def number(self, node: ast.expr) -> Any:
        """The value (n,) or () of arithmetic."""
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self.number(node.left), self.number(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self.number(node.operand))
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return np.float64(node.value)
        if isinstance(node, ast.Name):
            return self.named(node)
        raise self.fault()

    def mask(self, node: ast.expr) -> Any:
        """Whether a condition holds (n,)."""
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return reduce(join, [self.mask(part) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.mask(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return reduce(np.logical_and, [self.compare(op, left, right) for op, left, right in pairs])
        if isinstance(node, ast.Name):
            return self.truth(node)
        raise self.fault()

    def compare(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Any:
        """Whether one comparison holds (n,): of text where a side is in quotes, else of numbers."""
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self.member(left, right)
            return ~found if isinstance(op, ast.NotIn) else found
        if type(op) not in _COMPARISONS:
            raise self.fault()
        for side, other in ((left, right), (right, left)):
            if isinstance(side, ast.Constant) and isinstance(side.value, bool) and isinstance(other, ast.Name):
                return _COMPARISONS[type(op)](self.truth(other), side.value)
        if any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (left, right)):
            return _COMPARISONS[type(op)](self.text(left), self.text(right))
        if (
            isinstance(left, ast.Name)
            and isinstance(right, ast.Name)
            and (self.column(left)[1] or self.column(right)[1])
        ):
            return _COMPARISONS[type(op)](self.text(left), self.text(right))
        return _COMPARISONS[type(op)](self.number(left), self.number(right))

    def member(self, left: ast.expr, right: ast.expr) -> Any:
        """Whether a column's value is one of a list (n,), or its text holds another text (n,)."""
        if isinstance(right, (ast.List, ast.Tuple, ast.Set)) and right.elts:
            return reduce(np.logical_or, [self.compare(ast.Eq(), left, item) for item in right.elts])
        if isinstance(left, ast.Constant) and isinstance(left.value, str) and isinstance(right, ast.Name):
            part = left.value
            return np.array([part in cell for cell in self.text(right)], dtype=bool)
        raise self.fault()

    def truth(self, node: ast.Name) -> Any:
        """A column of true and false, or of 1 and 0, as a condition (n,)."""
        cells = [cell.strip().lower() for cell in self.text(node)]
        true, false = np.isin(cells, list(_TRUE)), np.isin(cells, list(_FALSE))
        if not (true | false).all():
            name = self.names.get(node.id, node.id)
            raise self.fault(f"{name} is not true or false in every row; compare it with something")
        return true


def compute_column(table: Table, name: str, expression: str, shown: str | None = None) -> tuple[Floats, dict[int, str]]:
    """The value (n,) of arithmetic over columns (+ - * / **, numbers, names), and what is wrong with it by row.

    A fault in the expression itself is told of the option as it was given, `shown`.
    """
    shown = shown or f"--map {name}={expression}"
    about = f"no such column; {nearest(expression, table.frame.columns)}"
    understood = (
        about if not re.search(r"[-+*/()`]", expression) else "only columns, numbers and + - * / ** are understood"
    )
    work = _Expression(table, shown, understood, selects=False)
    tree = work.parse(expression)
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(work.number(tree), dtype=float)
    except (RecursionError, OverflowError):
        raise work.fault("too long, or a number too large") from None
    values = np.broadcast_to(found, (len(table.frame),)).copy()
    used = [work.column(node)[0] for node in ast.walk(tree) if isinstance(node, ast.Name)]
    absent = np.isnan(np.array(used)).any(axis=0) if used else np.zeros(len(values), dtype=bool)
    faults = {int(row): f"{values[row]:g}" for row in np.flatnonzero(~np.isfinite(values) & ~absent)}
    values[list(faults)] = np.nan
    return values, faults | work.faults


def select_rows(table: Table, where: str) -> Table:
    """The rows for which the condition holds; it may name a column by its own or its canonical name."""
    understood = "not a condition, as in \"tokens > 1e9 and schedule == 'cosine'\""
    work = _Expression(table, f"--where {where!r}", understood, selects=True)
    tree = work.parse(where)
    try:
        with np.errstate(all="ignore"):
            keep = np.asarray(work.mask(tree), dtype=bool)
    except (RecursionError, OverflowError):
        raise work.fault("too long, or a number too large") from None
    if keep.shape != (len(table.frame),):
        raise work.fault("it names no column")
    if not keep.any():
        raise NoRows(f"--where {where!r} leaves no row of {len(keep)}", file=table.name, fix="widen the condition")
    return table.take(keep, "--where")
