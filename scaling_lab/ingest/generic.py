"""Curves as plain tables: CSV, TSV, JSONL or Parquet, one run in a file or many under a run_id column."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import BadInput
from ..quantities import QUANTITIES, parse_number
from ..tables import Content, NoRows, Table, column_numbers, delimiter_of, read_content, read_table, table_of
from .log import Floats, Issue, Log, NotALog, Options, Reader, Reading

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Where a log has both, the validation loss is the loss, and the other one is kept as train_loss.
VALIDATION = (
    "val_loss",
    "valid_loss",
    "validation_loss",
    "eval_loss",
    "val/loss",
    "eval/loss",
    "validation_metrics/loss",
)
TRAINING = (
    "loss",
    "train_loss",
    "train/loss",
    "lm loss",
    "lm_loss",
    "train/CE loss",
    "train/CrossEntropyLoss",
    "loss_metrics/global_avg_loss",
)
# The name that a table knows its training loss by: `loss` itself may be the name of that column.
TRAINED = "training loss"
SAMPLES = ("samples", "consumed_samples", "consumed samples", "train/samples")
# Below zero is impossible for these; zero is not, as at the first step.
FROM_ZERO = ("step", "tokens", "samples", "flops", "epochs", "characters", "unique_tokens", "lr", "warmup_steps")
ANY_SIGN = ("seed",)


def _claims(path: Path) -> bool:
    return path.is_file() and path.name.lower().removesuffix(".gz").endswith(ENDINGS)


def _read(path: str, options: Options) -> Reading:
    """The runs of one table."""
    content = read_content(path)
    inputs = {content.name: content.sha256}
    content, cut = without_cut_line(content)
    issues, dropped = [], Counter[str]()
    if cut is not None:
        message = "the last line is cut short, as in a run that is still being written: left out"
        issues.append(Issue("", "cut-line", "info", message, f"{content.name}:{cut}"))
        dropped["line cut short"] += 1
    read = int(cut is not None)
    try:
        whole = table_of(content)
        read += whole.read
        table, train = _named(whole, options)
    except NoRows as fault:
        issues.append(Issue("", "no-rows", "warning", str(fault), content.name))
        if read > dropped.total():
            dropped["--where"] = read - dropped.total()
        return Reading((), tuple(issues), inputs, (), dict(dropped), read)
    values, out = _values(table, train, options.drop_bad)
    issues += _bad_rows(table, out)
    dropped.update([*out.values(), *(s.why for s in table.skipped)])
    ended = cut is not None or content.data.endswith((b"\n", b"\r")) or content.data[:4] == b"PAR1"
    logs = _logs(table, values, out)
    # What happened to the last line happened to the run that it belongs to.
    last = max(logs, key=lambda log: log.lines.max(initial=0), default=None)
    logs = [replace(log, cut=cut is not None, unended=not ended) if log is last else log for log in logs]
    return Reading(tuple(logs), tuple(issues), inputs, _notes(table, values, train), dict(dropped), read)


GENERIC = Reader("table", 1, _claims, _read)


# ------------------------------------------------------------------------------------------- a run still being written


def without_cut_line(content: Content) -> tuple[Content, int | None]:
    """The same file without a last line that was cut short, and that line's number (None where all lines are whole)."""
    data = content.data
    if data[:4] == b"PAR1":
        return content, None
    body = data.rstrip(b"\r\n")
    start = body.rfind(b"\n") + 1
    if body.count(b'"') % 2 and not body.lstrip().startswith(b"{"):
        # The last quote opens a cell that never closes: the row it is in is the one cut short.
        start = body.rfind(b"\n", 0, body.rfind(b'"')) + 1
    if start == 0 or not _is_cut(content.name, body[:start], body[start:], ended=len(body) < len(data)):
        return content, None
    return replace(content, data=data[:start]), data[:start].count(b"\n") + 1


def _is_cut(name: str, before: bytes, last: bytes, ended: bool) -> bool:
    try:
        line = last.decode()
        lines = before.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        return not ended and _decodes(before)
    head = next((text for text in lines if text.strip()), "")
    if head.lstrip().startswith("{"):
        return not ended and not _is_json(line)
    if not head or not line.strip():
        return False
    delimiter = delimiter_of(name, head)
    header, cells = _cells(head, delimiter), _cells(line, delimiter)
    if len(cells) != len(header) or ended:
        return len(cells) < len(header)
    above = next((_cells(text, delimiter) for text in reversed(lines[1:]) if text.strip()), None)
    return above is not None and _is_number(above[-1]) and bool(cells[-1].strip()) and not _is_number(cells[-1])


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_number(cell: str) -> bool:
    try:
        parse_number(cell)
    except ValueError:
        return _is_not_finite(cell)
    return True


def _is_not_finite(cell: str) -> bool:
    try:
        return not math.isfinite(float(cell))
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------------------------ columns


def _named(table: Table, options: Options) -> tuple[Table, str | None]:
    """The table under canonical names with the rows asked for, and its column of training loss (None without one)."""
    own, plain = list(table.frame.columns), read_table(table)
    mapping = dict(options.mapping)
    if "loss" not in mapping:
        measured = [column for column in VALIDATION if column in own and (plain.text(column) != "").any()]
        if measured and "loss" in own:
            mapping["loss"] = measured[0]
    samples = [column for column in SAMPLES if column in own]
    if samples and "samples" not in mapping:
        mapping["samples"] = samples[0]
    named = read_table(table, mapping=mapping, where=options.where)
    _check_is_log(named)
    train = next((column for column in TRAINING if column in own and column != named.columns.get("loss")), None)
    if train is None:
        return named, None
    return replace(named, columns={**named.columns, TRAINED: train}), train


def _check_is_log(table: Table) -> None:
    own = [str(column) for column in table.frame.columns]
    for wanted, name, part in (
        (("loss",), "losses", "loss"),
        (("step", "tokens", "samples"), "steps or tokens", "step"),
    ):
        if not any(map(table.has, wanted)):
            close = [column for column in own if part in column.lower()] or own
            shown = f"it has {', '.join(close[:12])}{', ...' if len(close) > 12 else ''}"
            raise NotALog(
                f"no column of {name}", file=table.name, fix=f"{shown}: name it with --map {wanted[0]}=COLUMN"
            )


def _taken(table: Table) -> list[str]:
    """The canonical and asked-for columns of numbers that the table has, and shares of a mixture (w_NAME)."""
    known = [name for name, quantity in QUANTITIES.items() if quantity.domain != "text" and table.has(name)]
    shares = [column for column in table.columns if column.startswith("w_")]
    asked = [name for name in table.notes if name not in QUANTITIES and table.has(name)]
    return list(dict.fromkeys([*known, *shares, *asked]))


def _notes(table: Table, values: Mapping[str, Floats], train: str | None) -> tuple[str, ...]:
    notes = [note for name, note in table.notes.items() if name in values or name in ("run_id", "schedule")]
    if train is not None:
        notes.append(f"train_loss is taken from column {train!r}")
    used = {table.columns.get(name, name) for name in [*values, "run_id", "schedule", "status"]} | {train}
    unused = [column for column in table.frame.columns if column not in used and not table.made]
    if unused:
        notes.append(f"columns not taken: {', '.join(unused[:12])}{', ...' if len(unused) > 12 else ''}")
    return tuple(notes)


# --------------------------------------------------------------------------------------------------------------- rows


def _values(table: Table, train: str | None, drop_bad: bool) -> tuple[dict[str, Floats], dict[int, str]]:
    """The columns of numbers (n,), and {row: why} of the rows that can't be used; raises BadInput without drop_bad."""
    columns = {name: name for name in _taken(table)} | ({"train_loss": TRAINED} if train else {})
    values: dict[str, Floats] = {}
    out: dict[int, str] = {}
    for name, column in columns.items():
        values[name], wrong = _column(table, name, column)
        if wrong and not drop_bad:
            row = min(wrong)
            raise BadInput(
                wrong[row] + (f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""),
                file=table.name,
                line=int(table.lines[row]),
                column=table.columns.get(column, column),
                fix="mend it, or leave such rows out, counted, with --drop-bad-rows",
            )
        for row in wrong:
            out.setdefault(row, f"{name} impossible")
    clock = "step" if "step" in values else "tokens" if "tokens" in values else "samples"
    for row in np.flatnonzero(np.isnan(values[clock])).tolist():
        out.setdefault(row, f"{clock} missing")
    return values, out


def _column(table: Table, name: str, column: str) -> tuple[Floats, dict[int, str]]:
    """A column's numbers (n,), NaN where empty and inf for a loss that is not finite, and {row: what is wrong}."""
    values, text = column_numbers(table, column)
    values = values.copy()
    if name in ("loss", "train_loss"):
        # A loss that is no longer finite is what happened to the run, not a slip of the table.
        diverged = [row for row, cell in text.items() if _is_not_finite(cell)]
        values[diverged] = np.inf
        text = {row: cell for row, cell in text.items() if np.isnan(values[row])}
    return values, {row: f"{cell!r} is not a finite number" for row, cell in text.items()} | _impossible(name, values)


def _impossible(name: str, values: Floats) -> dict[int, str]:
    if name in ANY_SIGN:
        return {}
    below = values < 0 if name in FROM_ZERO or name.startswith("w_") else values <= 0
    if name not in QUANTITIES and name not in ("train_loss", "samples"):
        return {}
    why = "below zero" if name in FROM_ZERO else "not above zero"
    return {int(row): f"{values[row]:g} is {why}" for row in np.flatnonzero(below)}


def _bad_rows(table: Table, out: Mapping[int, str]) -> list[Issue]:
    """One issue for each reason to leave rows out."""
    issues = []
    for why, count in Counter(out.values()).items():
        first = min(row for row, reason in out.items() if reason == why)
        rows = f"{count} row{'s' if count > 1 else ''} left out"
        severity = "info" if why.endswith("missing") else "warning"
        place = f"{table.name}:{table.lines[first]}"
        issues.append(Issue("", "bad-row", severity, f"{rows}: {why}", place))  # type: ignore[arg-type]
    return issues


# --------------------------------------------------------------------------------------------------------------- runs


def _logs(table: Table, values: Mapping[str, Floats], out: Iterable[int]) -> list[Log]:
    """The table's runs, in the order in which they begin."""
    import pandas as pd

    keep = np.setdiff1d(np.arange(len(table.frame)), np.array(list(out), dtype=int))
    ids = table.text("run_id") if table.has("run_id") else np.full(len(table.frame), "", dtype=object)
    ids = np.array([str(i).strip() for i in ids], dtype=object)
    if not ids.any():
        _check_one_run(table, values, keep)
    if not keep.size:
        return []
    codes, names = pd.factorize(ids[keep])
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    logs = []
    for name, rows in zip(names, np.split(keep[order], ends[:-1]), strict=True):
        texts = {column: _last_text(table, column, rows) for column in ("schedule", "status") if table.has(column)}
        logs.append(
            Log(
                run_id=name,
                sources=(table.name,),
                values={column: numbers[rows] for column, numbers in values.items()},
                files=np.zeros(len(rows), dtype=np.int64),
                lines=table.lines[rows],
                texts={column: text for column, text in texts.items() if text},
                named=bool(name),
            )
        )
    return logs


def _last_text(table: Table, column: str, rows: np.ndarray) -> str:
    cells = [cell for cell in table.text(column)[rows] if cell.strip()]
    return cells[-1].strip() if cells else ""


def _check_one_run(table: Table, values: Mapping[str, Floats], keep: np.ndarray) -> None:
    """Raises BadInput where a file without run_id holds several runs: steps go back where other columns change.

    Read as one run that was resumed, each would overwrite the one before.
    """
    clock = values["step"][keep] if "step" in values else values.get("tokens", values.get("samples", np.empty(0)))[keep]
    back = 1 + np.flatnonzero(np.diff(clock) < 0)
    resumed = back[clock[back] > 1]
    if not resumed.size:
        return
    moving = {table.columns.get(name) for name in ("step", "tokens", "samples", "loss", "lr")}
    telling = []
    for column in table.frame.columns:
        if column not in moving:
            text = table.text(column)[keep]
            changes = 1 + np.flatnonzero(text[1:] != text[:-1])
            if np.isin(changes, back).all() and np.isin(changes, resumed).any():
                telling.append(column)
    if telling:
        raise BadInput(
            f"steps go back to {clock[resumed[0]]:g} where {', '.join(telling)} change{'s' * (len(telling) == 1)}: "
            "the file holds several runs",
            file=table.name,
            line=int(table.lines[keep[resumed[0]]]),
            fix=f"say what names them: --map run_id={'+'.join(telling)}",
        )
