"""Tables of runs, in and out: formats, column names, row selection, and an account of every row that isn't used."""

from __future__ import annotations

import ast
import gzip
import io
import json
import operator
import os
import re
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, UsageError, nearest
from .files import sha256_bytes
from .quantities import ALIASES, QUANTITIES, Quantity, parse_number

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


class NoRows(BadInput):
    """A table that is sound and has no row, or none that --where asks for."""


@dataclass(frozen=True)
class Skipped:
    """A row that is not used: the line it stands on (a row number for a DataFrame) and why."""

    line: int
    why: str


@dataclass(frozen=True)
class Table:
    """A table as read: `frame` under its own column names, `columns` from canonical names to those.

    `lines` is each row's place in the source (the header is line 1; for a DataFrame rows count from 0).
    `made` holds columns that --map computes, `made_faults` their rows without a finite value. `skipped` are rows that
    --where left out. `notes` says for a canonical column where it was taken from, if not from a column of that very
    name.
    """

    frame: pd.DataFrame
    name: str
    sha256: str
    columns: Mapping[str, str]
    lines: NDArray[np.int64]
    read: int
    skipped: tuple[Skipped, ...] = ()
    made: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    made_faults: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the canonical column is there, under any name."""
        return name in self.columns or name in self.made

    def text(self, name: str) -> NDArray[Any]:
        """A column as text (n,), an empty cell as ""."""
        return (
            self.made[name].astype(str).astype(object)
            if name in self.made
            else _text_of(self.frame[self.columns[name]])
        )


@dataclass(frozen=True)
class Rows:
    """Numbers ready for a law: `x` maps each input to (n,), `y` the target (n,), `group` the run of each row (n,).

    `flops` is the table's compute, or 6 * params * tokens, or None where neither is there. `dropped` counts rows left
    out by reason; `read` = used + dropped.
    """

    x: Mapping[str, Floats]
    y: Floats
    group: NDArray[Any]
    grouped: bool
    lines: NDArray[np.int64]
    flops: Floats | None
    inputs: Mapping[str, Mapping[str, Any]]
    read: int
    dropped: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    name: str
    sha256: str

    @property
    def runs(self) -> int:
        """The number of distinct runs."""
        return len(set(self.group.tolist()))

    @property
    def used(self) -> int:
        """The number of rows."""
        return len(self.y)

    def take(self, keep: NDArray[Any]) -> Rows:
        """The rows of a mask or an index, with nothing said of the others."""
        return replace(
            self,
            x={name: values[keep] for name, values in self.x.items()},
            y=self.y[keep],
            group=self.group[keep],
            lines=self.lines[keep],
            flops=None if self.flops is None else self.flops[keep],
        )


# ---------------------------------------------------------------------------------------------------------- reading


def read_table(
    source: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
) -> Table:
    """The table of a file, of stdin (`-`) or of a DataFrame, with columns known by their canonical names.

    CSV, TSV, JSONL or Parquet, plain or gzipped. `mapping` goes from canonical names to column names or to arithmetic
    over them; `params_column` names the count that a law's N is taken from. Raises BadInput with file, line, column.
    """
    import pandas as pd

    if isinstance(source, Table):
        table = source
    elif isinstance(source, pd.DataFrame):
        table = _table_of_frame(source)
    else:
        table = table_of(read_content(source))
    mapping = {ALIASES.get(name, name): column for name, column in (mapping or {}).items()}
    if params_column is not None:
        mapping["params"] = params_column
    table = _name_columns(table, mapping)
    return _select(table, where) if where else table


@dataclass(frozen=True)
class Content:
    """What a file holds, unzipped; the digest is that of the file as it lies there."""

    name: str
    data: bytes
    sha256: str


def read_content(source: str | os.PathLike[str]) -> Content:
    """What a file or stdin (`-`) holds. Raises BadInput where it can't be read or unzipped."""
    if str(source) == "-":
        return _content("stdin", sys.stdin.buffer.read())
    path = Path(source)
    try:
        return _content(str(source), path.read_bytes())
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, beside) if 0 < len(beside) <= 200 else "check the path"
        raise BadInput("no such file", file=str(source), fix=hint if "did you" in hint else "check the path") from None
    except IsADirectoryError:
        raise BadInput("is a folder", file=str(source), fix="name a file, or use scaling-lab ingest") from None
    except (OSError, ValueError) as fault:
        why = getattr(fault, "strerror", None) or fault
        raise BadInput(f"can't be read ({why})", file=str(source), fix="check the path") from None


def _content(name: str, packed: bytes) -> Content:
    data = packed
    if packed[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as fault:
            why = f"the gzip data is damaged or cut short ({fault})"
            raise BadInput(why, file=name, fix="copy the file again") from None
    return Content(name, data, sha256_bytes(packed))


def table_of(content: Content) -> Table:
    """The table that a CSV, TSV, JSONL or Parquet file holds, its columns not yet known by other names."""
    frame, lines = _parse(content.name, content.data)
    if frame.empty:
        raise NoRows(
            "the table has no rows", file=content.name, fix="give a table with a header and a row for each run"
        )
    return Table(frame, content.name, content.sha256, {}, lines, len(frame))


def _table_of_frame(source: pd.DataFrame) -> Table:
    frame = _plain_columns(source, "DataFrame")
    if frame.empty:
        raise NoRows("the table has no rows", file="DataFrame", fix="give a table with a row for each run")
    content = frame.to_csv(index=False).encode(errors="surrogatepass")
    return Table(frame, "DataFrame", sha256_bytes(content), {}, np.arange(len(frame)), len(frame))


def _plain_columns(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with text for column names; an index that has a name is a column too, one that has none is dropped."""
    named = [level for level in frame.index.names if level is not None and level not in frame.columns]
    frame = frame.reset_index(level=named) if named else frame
    frame = frame.reset_index(drop=True)
    frame.columns = [str(column).strip() for column in frame.columns]
    _refuse_repeated(frame.columns, name)
    return frame


def _refuse_repeated(header: Iterable[str], name: str, line: int | None = None) -> None:
    repeated = [column for column, count in Counter(header).items() if count > 1]
    if repeated:
        raise BadInput("the header has this column twice", file=name, line=line, column=repeated[0], fix="rename one")


def _parse(name: str, content: bytes) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The cells of a file and the line that each row stands on (for Parquet the number of the row, from 1)."""
    import pandas as pd

    if content[:4] == b"PAR1":
        try:
            frame = pd.read_parquet(io.BytesIO(content))
        except Exception as fault:
            raise BadInput(f"the Parquet file can't be read ({fault})", file=name, fix="write it again") from None
        return _plain_columns(frame, name), np.arange(1, len(frame) + 1)
    text = _decode(name, content)
    stem = re.sub(r"\.gz$", "", name.lower())
    if stem.endswith((".jsonl", ".ndjson", ".json")) or text.lstrip().startswith("{"):
        return _parse_jsonl(name, text)
    return _parse_delimited(name, text, delimiter_of(name, text))


def _decode(name: str, content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadInput("is UTF-16 text", file=name, fix="save the table as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise BadInput("is neither UTF-8 text nor Parquet", file=name, line=line, fix="save the table as CSV") from None
    if "\x00" in text:
        raise BadInput("is binary, not a table", file=name, fix="save the table as CSV, TSV, JSONL or Parquet")
    if not text.strip():
        raise NoRows("is empty", file=name, fix="give a table with a header and a row for each run")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def delimiter_of(name: str, text: str) -> str:
    """What stands between the cells of a CSV or TSV: a comma or a tab; raises BadInput for a table of semicolons."""
    head = next(line for line in text.split("\n") if line.strip())
    if re.sub(r"\.gz$", "", name.lower()).endswith(".tsv") or ("\t" in head and "," not in head):
        return "\t"
    if ";" in head and "," not in head:
        # Such tables often write 3,14 for 3.14, which a comma between thousands can't be told from.
        raise BadInput("the cells are separated by semicolons", file=name, line=1, fix="save the table with commas")
    return ","


def _parse_delimited(name: str, text: str, delimiter: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The cells as text; wholly empty rows and wholly empty columns without a name are left out."""
    frame, lines = (_read_quoted if '"' in text else _read_unquoted)(name, text, delimiter)
    empty = [c for c in frame.columns if c.startswith("Unnamed: ") and (frame[c] == "").all()]
    return frame.drop(columns=empty), lines


def _names_of(header: Iterable[str], name: str, line: int) -> list[str]:
    names = [cell.strip() or f"Unnamed: {place}" for place, cell in enumerate(header)]
    _refuse_repeated(names, name, line)
    return names


def _ragged(name: str, line: int, cells: int, wanted: int) -> BadInput:
    has = f"{cells} cell{'s' if cells != 1 else ''} where the header has {wanted}"
    return BadInput(has, file=name, line=line, fix="every row needs as many cells as the header")


def _read_unquoted(name: str, text: str, delimiter: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A table without quotes: a line is a row, so pandas' fast reader serves once every line is seen to be whole."""
    import csv

    import pandas as pd

    text = text.rstrip("\n")
    letters = np.frombuffer(text.encode(), dtype=np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
    cells = _per_line(letters, ends, delimiter) + 1
    blanks = sum(_per_line(letters, ends, blank) for blank in {" ", "\t", delimiter})
    full = np.diff(ends, prepend=-1) - 1 > blanks
    first = int(np.argmax(full))
    ragged = np.flatnonzero(full & (cells != cells[first]))
    if ragged.size:
        raise _ragged(name, int(ragged[0]) + 1, int(cells[ragged[0]]), int(cells[first]))
    header = text.split("\n", first + 1)[first].split(delimiter)
    rows = np.flatnonzero(full)[1:]
    names = _names_of(header, name, first + 1)
    if not rows.size:
        return pd.DataFrame(columns=names), rows
    frame = pd.read_csv(
        io.StringIO(text if full.all() else "\n".join(np.array(text.split("\n"), dtype=object)[full])),
        sep=delimiter,
        names=names,
        skiprows=1,
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        index_col=False,
        skipinitialspace=True,
    )
    return frame, rows + 1


def _per_line(letters: NDArray[np.uint8], ends: NDArray[np.int64], letter: str) -> NDArray[np.int64]:
    """How often the letter stands in each line (n,), the lines ending at `ends`."""
    return np.diff(np.searchsorted(np.flatnonzero(letters == ord(letter)), ends), prepend=0)


def _read_quoted(name: str, text: str, delimiter: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A table with quotes, whose cells may hold line breaks: a row's line is the one it starts on."""
    import csv

    import pandas as pd

    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, lines, at = [], [], 1
    try:
        for row in reader:
            if any(map(str.strip, row)):
                rows.append(row)
                lines.append(at)
                if len(row) != len(rows[0]):
                    raise _ragged(name, at, len(row), len(rows[0]))
            at = reader.line_num + 1
    except csv.Error as fault:
        why = "a quote is opened and not closed" if "unexpected end" in str(fault) else str(fault)
        raise BadInput(f"not a table ({why})", file=name, line=at, fix="mend the quotes") from None
    return pd.DataFrame(rows[1:], columns=_names_of(rows[0], name, lines[0]), dtype=str), np.array(lines[1:], dtype=int)


def _parse_jsonl(name: str, text: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    import pandas as pd

    records, lines = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            # NaN and Infinity, which JSON lacks and Python writes, stay text, as they are in a CSV.
            record = json.loads(line, parse_constant=str)
        except (ValueError, RecursionError) as fault:
            raise BadInput(f"not JSON ({fault})", file=name, line=number, fix="put one object on each line") from None
        if not isinstance(record, dict):
            raise BadInput("not a JSON object", file=name, line=number, fix="put one object on each line")
        records.append(_flatten(record))
        lines.append(number)
    try:
        frame = pd.DataFrame.from_records(records)
    except OverflowError:
        # An integer beyond 1e308 in a column of floats: some pandas can hold it only as it is.
        frame = pd.DataFrame(records, dtype=object)
    return _plain_columns(frame, name), np.array(lines)


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# ---------------------------------------------------------------------------------------------------- column names


def _name_columns(table: Table, mapping: Mapping[str, str]) -> Table:
    """The same table knowing its canonical columns: those mapped, then exact names, then aliases in their order."""
    own = list(table.frame.columns)
    folded = {c.lower(): c for c in reversed(own)}
    columns, notes = dict(table.columns), dict(table.notes)
    for name, quantity in QUANTITIES.items():
        if name in columns or name in mapping or name in table.made:
            continue
        found = [c for c in (name, *quantity.aliases) if c in own]
        found = found or [folded[a.lower()] for a in (name, *quantity.aliases) if len(a) > 1 and a.lower() in folded]
        if found:
            columns[name] = found[0]
            others = f" (not {', '.join(map(repr, found[1:]))}: choose with --map)" if len(found) > 1 else ""
            if found[0] != name or others:
                notes[name] = f"{name} is taken from column {found[0]!r}{others}"
    for column in own:
        if column not in table.made:
            columns.setdefault(column, column)
    named = replace(table, columns=columns, notes=notes)
    for name, expression in mapping.items():
        named = _map_column(named, name, expression)
    return named


def _map_column(table: Table, name: str, expression: str) -> Table:
    """The same table with one canonical column taken from a column, from arithmetic, or (text) from columns joined."""
    own = list(table.frame.columns)
    columns, made, faults = dict(table.columns), dict(table.made), dict(table.made_faults)
    made.pop(name, None)
    faults.pop(name, None)
    columns.pop(name, None)
    if expression in own:
        columns[name] = expression
    elif name in QUANTITIES and QUANTITIES[name].domain == "text":
        made[name] = _joined(table, name, expression)
    else:
        made[name], faults[name] = _arithmetic(table, name, expression)
    notes = {**table.notes, name: f"{name} is taken from {expression!r} as asked"}
    return replace(table, columns=columns, made=made, made_faults=faults, notes=notes)


def _joined(table: Table, name: str, expression: str) -> NDArray[Any]:
    """The texts (n,) of several columns, `model+schedule`, joined with a hyphen: together they may name a run."""
    parts = [part.strip().strip("`") for part in expression.split("+")]
    for part in parts:
        if part not in table.columns:
            raise UsageError(f"--map {name}={expression}: no column {part!r}; {nearest(part, table.frame.columns)}")
    out = table.text(parts[0])
    for part in parts[1:]:
        out = out + "-" + table.text(part)
    return out


# -------------------------------------------------------------------------------------- arithmetic and conditions


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
            raise self.fault(f"no column {name!r} in {self.table.name}; {nearest(name, known)}")
        return name

    def column(self, node: ast.Name) -> tuple[Floats, dict[int, str]]:
        """A named column as floats, and its cells that are no finite number."""
        name = self.find(node)
        return _numbers(self.table, name) if self._is_own(name) else column_numbers(self.table, name)

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
            return _text_of(self.table.frame[name]) if self._is_own(name) else self.table.text(name)
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
            return join.reduce([self.mask(part) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.mask(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return np.logical_and.reduce([self.compare(op, left, right) for op, left, right in pairs])
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
            return np.logical_or.reduce([self.compare(ast.Eq(), left, item) for item in right.elts])
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


def _arithmetic(table: Table, name: str, expression: str) -> tuple[Floats, dict[int, str]]:
    """The value (n,) of arithmetic over columns (+ - * / **, numbers, names), and what is wrong with it by row."""
    shown = f"--map {name}={expression}"
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


def _select(table: Table, where: str) -> Table:
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
    return _take(table, keep)


def _take(table: Table, keep: NDArray[np.bool_]) -> Table:
    place = np.cumsum(keep) - 1
    return replace(
        table,
        frame=table.frame[keep].reset_index(drop=True),
        lines=table.lines[keep],
        made={name: values[keep] for name, values in table.made.items()},
        made_faults={
            name: {int(place[row]): cell for row, cell in faults.items() if keep[row]}
            for name, faults in table.made_faults.items()
        },
        skipped=(*table.skipped, *(Skipped(int(line), "--where") for line in table.lines[~keep])),
    )


# ------------------------------------------------------------------------------------------------- cells as numbers


def _text_of(cells: pd.Series[Any]) -> NDArray[Any]:
    """A column's cells as text (n,), an empty one as ""."""
    return _written(cells.astype(object).where(cells.notna(), ""))


def _written(cells: pd.Series[Any]) -> NDArray[Any]:
    """Each cell as Python writes it (n,): pandas' own conversion fails on bytes."""
    return np.array([cell if isinstance(cell, str) else str(cell) for cell in cells], dtype=object)


def _numbers(table: Table, column: str) -> tuple[Floats, dict[int, str]]:
    """A column as floats, NaN where the cell is empty, and what stands in the cells that are no finite number."""
    import pandas as pd

    cells = table.frame[column]
    values = _floats(cells)
    odd = np.flatnonzero(~np.isfinite(values))
    odd = odd[~cells.iloc[odd].isna().to_numpy(dtype=bool)]
    if not odd.size:
        return values, {}
    # Each distinct text is read once: a column of a million empty cells, or of 7B and 13B, costs no loop over rows.
    place, distinct = pd.factorize(_written(cells.iloc[odd]))
    read = np.full(len(distinct), np.nan)
    fault = np.zeros(len(distinct), dtype=bool)
    for index, cell in enumerate(distinct):
        try:
            read[index] = parse_number(cell) if cell.strip() else np.nan
        except ValueError:
            fault[index] = True
    values[odd] = read[place]
    return values, {int(odd[i]): distinct[place[i]] for i in np.flatnonzero(fault[place])}


def _floats(cells: pd.Series[Any]) -> Floats:
    """The cells as floats (n,), NaN where they are empty or not plainly numbers."""
    import pandas as pd

    if isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(object)
    if cells.dtype.kind in "cmM":  # complex numbers, times and dates
        return np.full(len(cells), np.nan)
    try:
        found = pd.to_numeric(cells, errors="coerce")
    except (OverflowError, TypeError, ValueError):
        # Integers beyond 1e308, which only a Python object can hold.
        cells = cells.map(str)
        found = pd.to_numeric(cells, errors="coerce")
    values = found.to_numpy(dtype=float, na_value=np.nan).copy()
    if not pd.api.types.is_numeric_dtype(cells):
        # Some pandas read the last digit of a text one too high or low: Python's own float does not.
        plain = np.isfinite(values)
        values[plain] = cells.to_numpy(dtype=object)[plain].astype(float)
    return values


# -------------------------------------------------------------------------------------------------- rows for a law


def column_numbers(table: Table, name: str) -> tuple[Floats, dict[int, str]]:
    """A canonical column as floats (NaN where empty) and {row: what is wrong}; raises BadInput if it isn't there."""
    if name in table.made:
        return table.made[name], dict(table.made_faults.get(name, {}))
    if name not in table.columns:
        raise _missing_column(table, name)
    return _numbers(table, table.columns[name])


def _missing_column(table: Table, name: str) -> BadInput:
    own = [str(c) for c in table.frame.columns]
    quantity = QUANTITIES.get(name)
    counts = [c for c in own if c.startswith("params_")] if name == "params" else []
    if counts:
        fix = f"its counts are {', '.join(counts)}: say which with --params-column {counts[0]}"
    else:
        close = nearest(name, own)
        close = close if "did you" in close else f"it has {', '.join(own[:12])}{', ...' if len(own) > 12 else ''}"
        fix = f"{close}; name the column with --map {name}=COLUMN"
    meaning = f" ({quantity.meaning})" if quantity else ""
    return BadInput(f"no column {name!r}{meaning}", file=table.name, fix=fix)


def _faults(table: Table, name: str, values: Floats, text: Mapping[int, str], positive: bool) -> dict[int, str]:
    """{row: fault} of one column: what is not a number, not finite, or impossible for the quantity."""
    found = {row: f"{cell!r} is not a finite number" for row, cell in text.items()}
    domain = QUANTITIES.get(name, Quantity(name, "", "", domain="real")).domain
    if positive or domain == "positive":
        wrong, why = values <= 0, "not above zero"
    elif domain == "nonnegative":
        wrong, why = values < 0, "below zero"
    else:
        return found
    for row in np.flatnonzero(wrong):
        found[int(row)] = f"{values[row]:g} is {why}"
    return found


def rows_for(
    table: Table,
    inputs: Iterable[str],
    target: str = "loss",
    *,
    positive_target: bool = True,
    drop_bad: bool = False,
) -> Rows:
    """The numbers that a law needs, with an account of the rows that can't be used.

    An empty cell is a measurement that isn't there: its row is left out and counted. A cell with something impossible
    (text, nan, inf, not above zero) raises BadInput, unless `drop_bad` leaves such rows out too, counted by reason.
    """
    wanted = list(dict.fromkeys([*inputs, target]))
    derive_flops = "flops" in wanted and not table.has("flops")
    if derive_flops:
        wanted = [n for n in dict.fromkeys(["params", "tokens", *wanted]) if n != "flops"]
    notes = [table.notes[name] for name in (*wanted, "run_id") if name in table.notes]
    if derive_flops:
        notes.append("flops is not in the table: taken as 6 * params * tokens")
    numbers, out = _usable(table, wanted, () if positive_target else (target,), drop_bad)
    group, grouped = _groups(table)
    if grouped:
        _mark_duplicates(table, numbers, target, group, drop_bad, out)
    keep = np.ones(len(table.frame), dtype=bool)
    keep[list(out)] = False
    skipped = (*table.skipped, *(Skipped(int(table.lines[row]), why) for row, why in sorted(out.items())))
    numbers = {name: values[keep] for name, values in numbers.items()}
    flops = _flops(table, numbers, keep)
    if derive_flops and flops is not None:
        numbers["flops"] = flops
    if target not in QUANTITIES:
        notes.append(f"the target is column {target!r}")
    return Rows(
        x={name: numbers[name] for name in inputs},
        y=numbers[target],
        group=group[keep],
        grouped=grouped,
        lines=table.lines[keep],
        flops=flops,
        inputs={name: _describe(table, name, numbers[name], derive_flops) for name in inputs},
        read=table.read,
        dropped=dict(Counter(s.why for s in skipped)),
        skipped=skipped,
        notes=tuple(notes),
        name=table.name,
        sha256=table.sha256,
    )


def _usable(
    table: Table, wanted: Iterable[str], any_sign: Container[str], drop_bad: bool
) -> tuple[dict[str, Floats], dict[int, str]]:
    """The wanted columns as floats, and {row: why} of the rows that can't be used; raises BadInput, see rows_for."""
    numbers: dict[str, Floats] = {}
    out: dict[int, str] = {}
    for name in wanted:
        values, text = column_numbers(table, name)
        bad = _faults(table, name, values, text, name not in any_sign)
        if bad and not drop_bad:
            row = min(bad)
            more = f" ({len(bad)} such rows)" if len(bad) > 1 else ""
            raise BadInput(
                bad[row] + more,
                file=table.name,
                line=int(table.lines[row]),
                column=table.columns.get(name, name),
                fix="mend it, select rows with --where, or leave such rows out, counted, with --drop-bad-rows",
            )
        for row in bad:
            out.setdefault(row, f"{name} impossible")
        for row in np.flatnonzero(np.isnan(values)).tolist():
            out.setdefault(row, f"{name} missing")
        numbers[name] = values
    return numbers, out


def _groups(table: Table) -> tuple[NDArray[Any], bool]:
    """The run of each row: `run_id` where the table has it, else each row for itself."""
    import pandas as pd

    if not table.has("run_id"):
        return np.arange(len(table.frame)), False
    ids = table.text("run_id")
    # A row without an id is a run of its own, not one of a run called "".
    nameless = np.flatnonzero(pd.Series(ids).str.strip().to_numpy(dtype=object) == "")
    ids[nameless] = [f"row {row}" for row in nameless]
    return ids, True


def _mark_duplicates(
    table: Table, numbers: Mapping[str, Floats], target: str, group: NDArray[Any], drop_bad: bool, out: dict[int, str]
) -> None:
    """Marks rows that repeat a run's measurement; a repeat with another value raises BadInput, or marks all of them."""
    import pandas as pd

    keys = pd.DataFrame({name: values for name, values in numbers.items() if name != target} | {"run": group})
    keys = keys.drop(index=list(out))
    if not keys.duplicated().any():
        return
    at = keys.groupby(list(keys.columns), sort=False, dropna=False).ngroup()
    rows, codes = at.index.to_numpy(), at.to_numpy()
    y = numbers[target][rows]
    first = np.unique(codes, return_index=True)[1][codes]
    apart = y != y[first]
    if apart.any() and not drop_bad:
        row = int(np.argmax(apart))
        raise BadInput(
            f"run_id {group[rows[row]]!r} stands at line {table.lines[rows[first[row]]]} too, with another {target} "
            f"({y[first[row]]:g} there, {y[row]:g} here)",
            file=table.name,
            line=int(table.lines[rows[row]]),
            column=table.columns.get("run_id", "run_id"),
            fix="give each run an id of its own, or keep one of the two with --where",
        )
    torn = np.isin(codes, codes[apart])
    out |= dict.fromkeys(rows[torn].tolist(), f"{target} differs between rows of one run")
    out |= dict.fromkeys(rows[~torn & (first != np.arange(len(rows)))].tolist(), "duplicate row")


def _flops(table: Table, numbers: Mapping[str, Floats], keep: NDArray[np.bool_]) -> Floats | None:
    """Compute of the kept rows: the table's own where every row has it, else 6 * params * tokens, else None."""
    if "flops" in numbers:
        return numbers["flops"]
    if table.has("flops"):
        values, _ = column_numbers(table, "flops")
        if np.all(np.isfinite(values[keep]) & (values[keep] > 0)):
            return values[keep]
    if "params" in numbers and "tokens" in numbers:
        return 6.0 * numbers["params"] * numbers["tokens"]
    return None


def _describe(table: Table, name: str, values: Floats, derived: bool) -> dict[str, Any]:
    column = "6*params*tokens" if name == "flops" and derived else table.columns.get(name, name)
    known = next((q for q in QUANTITIES.values() if column in (q.name, *q.aliases)), None)
    about: dict[str, Any] = {"column": column, "unit": QUANTITIES[name].unit if name in QUANTITIES else ""}
    if name.startswith("params"):
        about["counts"] = known.counts if known and known.counts else f"as column {column} counts"
    if values.size:
        about |= {"min": float(values.min()), "max": float(values.max())}
    return about
