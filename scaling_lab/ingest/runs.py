"""The runs and curves tables: what each run ended at, and every step that it logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import UsageError
from ..quantities import QUANTITIES
from .clean import Curve
from .log import Floats, Issue
from .tokens import tokens_of

if TYPE_CHECKING:
    import pandas as pd

# The order of the columns; those that no log has are left out.
FIRST = ("run_id", *(name for name in QUANTITIES if name.startswith("params")))
SHAPE = ("width", "depth", "heads", "vocab_size", "experts", "sparsity", "seq_len", "batch_sequences", "batch_tokens")
ENDED = ("tokens", "unique_tokens", "characters", "epochs", "flops", "loss", "step", "lr_max", "lr_over_max")
SETUP = ("warmup_steps", "schedule", "seed")
ABOUT = ("source", "status", "endpoint", "points", "tokens_from")
CLOCKED = ("run_id", "step", "tokens", "lr", "loss", "train_loss", "flops", "epochs", "characters", "unique_tokens")
# Not counts: these keep their point in a file even where every value happens to be whole.
REAL = ("loss", "train_loss", "lr", "lr_max", "lr_over_max", "flops")
# Up to here a float holds every whole number.
WHOLE = 2.0**53


@dataclass(frozen=True)
class Endpoint:
    """Which loss stands for a run: the last, the lowest, or the mean of the last `k`."""

    kind: Literal["last", "min", "mean-last"]
    k: int = 1

    def __str__(self) -> str:
        return f"mean-last-{self.k}" if self.kind == "mean-last" else self.kind


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint of `last`, `min` or `mean-last-K`; raises UsageError on another text."""
    if text == "last":
        return Endpoint("last")
    if text == "min":
        return Endpoint("min")
    found = re.fullmatch(r"mean-last-([1-9]\d*)", text)
    if not found:
        raise UsageError(
            f"--endpoint {text!r} is none of last, min and mean-last-K with a number for K, as mean-last-10"
        )
    return Endpoint("mean-last", int(found[1]))


@dataclass(frozen=True)
class Run:
    """One run's row of the runs table, its curve with tokens, and what is odd about it."""

    row: Mapping[str, Any]
    curve: Curve
    issues: tuple[Issue, ...]


def run_of(curve: Curve, endpoint: Endpoint, params: float | None, batch_tokens: float | None) -> Run:
    """The run that a curve records; raises BadInput or UsageError where its tokens or parameters can't be told."""
    tokens, origin, issues = tokens_of(curve, batch_tokens)
    curve = replace(curve, values={**curve.values, "tokens": tokens, **_params(curve, params)})
    if curve.log.unended:
        curve, tokens, cut = _without_cut_number(curve)
        issues += cut
    at, loss, status, odd = _end(curve, endpoint)
    values = {name: curve.constant(name) for name in curve.values if name not in (*CLOCKED, "samples")}
    values |= {name: _value_at(curve.values[name], at) for name in CLOCKED if name in curve.values}
    lr = curve.values.get("lr", np.empty(0))
    if "lr_max" not in values and np.nanmax(lr, initial=0.0) > 0:
        values["lr_max"] = float(np.nanmax(lr))
    if values.get("lr") is not None and values.get("lr_max"):
        values["lr_over_max"] = values["lr"] / values["lr_max"]  # type: ignore[operator]
    row = {
        **values,
        "run_id": curve.run_id,
        "loss": loss,
        "schedule": curve.log.texts.get("schedule"),
        "source": ";".join(dict.fromkeys(curve.log.sources)),
        "status": status,
        "endpoint": str(endpoint),
        "points": int(np.isfinite(curve.values["loss"]).sum()),
        "tokens_from": origin,
    }
    return Run(row, curve, (*issues, *odd))


def _params(curve: Curve, given: float | None) -> dict[str, Floats]:
    logged = curve.constant("params")
    if given is None or logged == given:
        return {}
    if logged is not None:
        raise UsageError(
            f"run {curve.run_id!r} logs params {logged:g}, --params says {given:g}; leave the option out, or overrule "
            f"the log with --map params={given:g}"
        )
    return {"params": np.full(len(curve.rows), given)}


def _without_cut_number(curve: Curve) -> tuple[Curve, Floats, list[Issue]]:
    """The same curve without a last row whose tokens were cut in the middle of their digits, so that they fall."""
    tokens = curve.values["tokens"]
    last = int(np.argmax(curve.rows))
    at_end = last == len(tokens) - 1 > 0 and curve.rows[last] == len(curve.log) - 1
    if not at_end or not tokens[last] < np.nanmax(tokens[:last], initial=-np.inf):
        return curve, tokens, []
    message = "the last line has no line break and its tokens fall: cut short, left out"
    issue = Issue(curve.run_id, "cut-line", "info", message, curve.place(last))
    values = {name: array[:last] for name, array in curve.values.items()}
    return replace(curve, values=values, rows=curve.rows[:last]), values["tokens"], [issue]


def _end(curve: Curve, endpoint: Endpoint) -> tuple[int, float, str, list[Issue]]:
    """The row that stands for the run, its loss (NaN for none), the run's status, and what is odd."""
    loss = curve.values["loss"]
    finite = np.flatnonzero(np.isfinite(loss))
    issues = _not_finite(curve)
    status = curve.log.texts.get("status") or ("running" if curve.log.cut else "unknown")
    last = len(loss) - 1
    if any(issue.code == "diverged" for issue in issues):
        return last, np.nan, "diverged", issues
    if not finite.size:
        issues.append(Issue(curve.run_id, "no-loss", "warning", "no finite loss was logged", curve.log.sources[0]))
        return last, np.nan, status, issues
    if endpoint.kind == "min":
        at = int(finite[np.argmin(loss[finite])])
        return at, float(loss[at]), status, issues
    if endpoint.kind == "mean-last" and finite.size < endpoint.k:
        message = f"{finite.size} losses are too few for {endpoint}: the run has no loss in the table"
        issues.append(Issue(curve.run_id, "few-points", "warning", message, curve.log.sources[0]))
        return int(finite[-1]), np.nan, status, issues
    return int(finite[-1]), float(loss[finite[-endpoint.k :]].mean()), status, issues


def _not_finite(curve: Curve) -> list[Issue]:
    """Issues for losses that are not finite; a run whose last loss is one has diverged."""
    issues = []
    for name in ("loss", "train_loss"):
        logged = np.flatnonzero(~np.isnan(curve.values.get(name, np.empty(0))))
        lost = [int(row) for row in logged if np.isinf(curve.values[name][row])]
        if not lost:
            continue
        ended = lost[-1] == logged[-1]
        message = f"{len(lost)} of {len(logged)} values of {name} are not finite"
        message += ": the run ends so and has no loss in the table" if ended else ""
        issues.append(
            Issue(curve.run_id, "diverged" if ended else "nonfinite-loss", "warning", message, curve.place(lost[0]))
        )
    return issues


def _value_at(values: Floats, at: int) -> float | None:
    """The last value that was logged up to a row."""
    logged = values[: at + 1][~np.isnan(values[: at + 1])]
    return float(logged[-1]) if logged.size and np.isfinite(logged[-1]) else None


# ------------------------------------------------------------------------------------------------------------- tables


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run, canonical columns first; columns that no run has are left out."""
    import pandas as pd

    names = dict.fromkeys(name for run in runs for name in run.row if name not in ("lr", "train_loss"))
    order = [*FIRST, *SHAPE, *ENDED, *SETUP]
    more = [name for name in names if name not in (*order, *ABOUT)]
    present = {name for run in runs for name, value in run.row.items() if value is not None and value == value}
    columns = [name for name in (*order, *more, *ABOUT) if name in present or name in ("tokens", "loss")]
    return _whole(pd.DataFrame([{name: run.row.get(name) for name in columns} for run in runs], columns=columns))


def curves_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each logged step of each run, a loss that is not finite left empty; canonical columns first."""
    import pandas as pd

    parts = []
    for run in runs:
        part = pd.DataFrame(dict(run.curve.values)).replace([np.inf], np.nan)
        part.insert(0, "run_id", run.curve.run_id)
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.drop(columns=[c for c in frame.columns if frame[c].isna().all() and c not in ("tokens", "loss")])
    order = [*CLOCKED, *FIRST[1:], *SHAPE, "lr_max", *SETUP]
    first = [name for name in order if name in frame.columns]
    return _whole(frame[[*first, *(name for name in frame.columns if name not in first)]])


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    """The same frame with counts as integers, so that they are written without a point."""
    for name in frame.columns:
        if (
            frame[name].dtype.kind == "O"
            and frame[name].notna().any()
            and not isinstance(frame[name].dropna().iloc[0], str)
        ):
            frame[name] = frame[name].astype(float)
        values = frame[name]
        if values.dtype.kind == "f" and name not in REAL:
            known = values.dropna()
            if len(known) and (known == np.rint(known)).all() and (known.abs() < WHOLE).all():
                frame[name] = values.astype("Int64" if len(known) < len(values) else "int64")
    return frame
