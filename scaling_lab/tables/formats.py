"""Tables out of bytes: CSV, TSV, JSONL or Parquet, plain or gzipped, with the line that each row stands on."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, nearest
from ..files import sha256_bytes
from .table import NoRows, Table

if TYPE_CHECKING:
    import pandas as pd


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


def table_of_frame(source: pd.DataFrame) -> Table:
    frame = _plain_columns(source, "DataFrame")
    if frame.empty:
        raise NoRows("the table has no rows", file="DataFrame", fix="give a table with a row for each run")
    content = frame.to_csv(index=False).encode(errors="surrogatepass")
    return Table(frame, "DataFrame", sha256_bytes(content), {}, np.arange(len(frame)), len(frame))


def _plain_columns(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with text for column names; an index that has a name is a column too, one that has none is dropped."""
    import pandas as pd

    named = [level for level in frame.index.names if level is not None and level not in frame.columns]
    frame = frame.reset_index(level=named) if named else frame
    frame = frame.reset_index(drop=True)
    # As objects: pandas' own texts can't hold half a surrogate pair.
    frame.columns = pd.Index([str(column).strip() for column in frame.columns], dtype=object)
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
    except (OverflowError, UnicodeEncodeError):
        # Integers beyond 1e308, and half of a surrogate pair: pandas may hold them only as they are.
        names = list(dict.fromkeys(key for record in records for key in record))
        cells = [[record.get(key) for key in names] for record in records]
        frame = pd.DataFrame(cells, columns=pd.Index(names, dtype=object), dtype=object)
    return _plain_columns(frame, name), np.array(lines)


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
