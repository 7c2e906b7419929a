"""The loss a run will end with, from the first part of its own curve and from the law, each by its own error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import BadInput, UsageError, nearest
from ..quantities import QUANTITIES, format_quantity
from ..tables import Rows, Table, column_numbers, read_table, rows_for
from .predict import Predictions, predict
from .result import Fit, Notice

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
# Two counts of one quantity agree within this share.
SAME = 0.01
# Before this share of its tokens a run is still near its warm-up, and its curve says little of its end.
LEAST_FRACTION = 0.02
# Fewer finished runs, or fewer distinct pairs of params and tokens among them, leave nothing to measure an error by.
LEAST_RUNS = 3
# Fewer than this many, and the error of the gap is itself hardly known (SL412).
FEW_RUNS = 6
# Of its two neighbours, the later measurement has seen at most this many times the tokens of the earlier: further apart
# a straight line in logarithms is off by more than the gap's own error.
SPARSE = 1.5
# Learning rates as shares of their peaks that differ by more than this are of different schedules.
OTHER_SHARE = 0.15
# Below this share of the peak, before the peak, a run is in its warm-up.
WARM = 0.99
# The curves' last losses and the fit's losses of the same runs differ in the median by less, or are different losses.
OTHER_LOSS = 0.005
# Training losses are noisy: a line through the last tenth of the tokens seen, which holds at least so many of them.
WINDOW, WINDOW_POINTS = 0.1, 5
TRAINING = tuple(name for name in QUANTITIES["loss"].aliases if "train" in name or name.startswith(("lm", "loss_")))
# How far the errors of law and curve go together, measured on held-out runs of public tables: docs/partial.md.
TOGETHER = 0.7
# The forms are weighed by the errors that say how good they are: the gap's error is that much larger, as in `auto`.
WIDER = 1.15
# Each coefficient of a form of the gap asks for this many runs.
RUNS_PER_COEFFICIENT = 3
# The terms that a form of the gap may have beside a constant; see docs/partial.md.
FORMS = ((), ("size",), ("ratio",), ("ratio", "size"), ("early", "ratio"), ("early", "ratio", "size"))


@dataclass(frozen=True)
class Curve:
    """One run: tokens seen (n,), rising, and log loss (n,); `share` (n,) is its learning rate over the peak, or NaN."""

    run_id: str
    params: float
    tokens: Floats
    log_loss: Floats
    share: Floats
    line: int
    schedule: str = ""

    @property
    def end(self) -> float:
        """The tokens seen at the last row."""
        return float(self.tokens[-1])

    def at(self, tokens: float, window: float) -> float:
        """The log loss after `tokens`; NaN where the measurements about it are too few or too far apart.

        Straight between two measurements in log tokens. With a window, the end of a straight line through those of the
        last share `window` of the tokens.
        """
        if window:
            inside = (self.tokens >= tokens * (1 - window)) & (self.tokens <= tokens * (1 + 1e-9))
            if inside.sum() < WINDOW_POINTS:
                return float("nan")
            x = np.log(self.tokens[inside] / tokens)
            return float(np.polynomial.polynomial.polyfit(x, self.log_loss[inside], 1)[0])
        after = int(np.searchsorted(self.tokens, tokens * (1 - 1e-9)))
        if after == len(self.tokens) or (after == 0 and self.tokens[0] > tokens * (1 + 1e-9)):
            return float("nan")
        before = max(after - 1, 0)
        if self.tokens[after] <= tokens * (1 + 1e-9):
            return float(self.log_loss[after])
        if self.tokens[after] > SPARSE * self.tokens[before]:
            return float("nan")
        return float(np.interp(np.log(tokens), np.log(self.tokens), self.log_loss))

    def share_at(self, tokens: float) -> float:
        """The learning rate after `tokens` as a share of the peak; NaN where it isn't known."""
        return float(np.interp(tokens, self.tokens, self.share))

    def warming(self, tokens: float) -> bool:
        """Whether the run was still in its warm-up after `tokens`, as far as its learning rate tells."""
        known = np.flatnonzero(np.isfinite(self.share))
        if not known.size:
            return False
        peak = self.tokens[known[np.argmax(self.share[known] >= WARM)]] if (self.share[known] >= WARM).any() else np.inf
        return bool(tokens < peak * (1 - 1e-9))


@dataclass(frozen=True)
class Form:
    """One way to predict the gap: its terms, its weight, its prediction for the target, and that one's standard error.

    `error` is the root mean square of what it misses on finished runs that were held out.
    """

    name: str
    weight: float
    gap: float
    sd: float
    error: float


@dataclass(frozen=True)
class Gap:
    """Log final loss less log loss at the fraction, for the target: value, standard error, degrees of freedom."""

    value: float
    sd: float
    freedom: int
    forms: tuple[Form, ...]

    def half_width(self, level: float) -> float:
        """Of its central interval."""
        return float(stdtrit(self.freedom, (1 + level) / 2)) * self.sd


@dataclass(frozen=True)
class Part:
    """One source of the prediction: value and interval in the target's unit, and its share in the combination."""

    value: float
    interval: tuple[float, float]
    weight: float


@dataclass(frozen=True)
class PartialPrediction:
    """A prediction that uses the target's own unfinished run; `combined` is it, `law` and `run` are its two parts.

    `fraction` is the share of the target's tokens that run_id has seen, `loss_seen` its loss there. `widened` is by
    what factor the interval was widened because the two parts disagree (1: they don't). `left_out` says why finished
    runs were not used.
    """

    combined: Predictions
    run_id: str
    fraction: float
    tokens_seen: float
    loss_seen: float
    law: Part
    run: Part
    gap: Gap
    widened: float
    finished: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What the reader must know."""
        return self.combined.warnings

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON of predict, whose one point has `partial` too."""
        found = self.combined.to_dict()
        parts = {
            name: {**asdict(p), "interval": list(p.interval)} for name, p in (("law", self.law), ("run", self.run))
        }
        found["points"][0]["partial"] = {
            "run_id": self.run_id,
            "fraction": self.fraction,
            "tokens_seen": self.tokens_seen,
            "loss_seen": self.loss_seen,
            **parts,
            "gap": asdict(self.gap) | {"forms": [asdict(form) for form in self.gap.forms]},
            "widened": self.widened,
            "finished": list(self.finished),
            "left_out": dict(self.left_out),
        }
        return found


def predict_partial(
    fit: Fit,
    at: Mapping[str, float],
    curves: str | os.PathLike[str] | pd.DataFrame | Table,
    level: float = 0.9,
    *,
    run: str | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
) -> PartialPrediction:
    """What the fit and the first part of the run itself expect at one point, with an interval at `level`.

    `curves` is a table of run_id, params, tokens and the target, with a row for each measurement of the unfinished run
    and of finished runs of the same recipe. The unfinished run is `run`, or the only one whose params agree with the
    point's and that has not seen its tokens. Raises BadInput or UsageError where the curves can't say anything.
    Method and its measured errors: docs/partial.md.
    """
    if "params" not in at or "tokens" not in at:
        raise UsageError("--partial needs a point with params and tokens, as in --at params=7B,tokens=1.4T")
    alone = predict(fit, at, level)
    found, name, window = read_curves(fit, curves, mapping=mapping, where=where)
    found = _with_params(fit, found, at, run, name)
    target = _target(fit, found, at, run, name)
    tokens = float(at["tokens"])
    fraction = target.end / tokens
    _check_fraction(target, fraction, tokens, name)
    others = [curve for curve in found if curve.run_id != target.run_id]
    _check_same_loss(fit, others, window, name)
    seen = target.at(target.end, window)
    if not np.isfinite(seen):
        raise BadInput(
            f"run {target.run_id!r} has fewer than {WINDOW_POINTS} training losses in the last tenth of its tokens",
            file=name,
            fix="log more often, or give validation losses",
        )
    finished, left_out = _comparable(fit, others, target, fraction, window)
    if len(finished) < LEAST_RUNS or len(_cells(finished)) < LEAST_RUNS:
        raise BadInput(_too_few(finished, left_out), file=name, fix="add finished runs of the same recipe")
    gap = predict_gap(fit, finished, replace(target, tokens=np.array([tokens])), fraction, window)
    combined, law, own, widened = _combine(alone, seen, gap)
    notices = _notices(fit, found, finished, left_out, target, tokens, window, widened)
    return PartialPrediction(
        combined=replace(combined, warnings=(*alone.warnings, *notices)),
        run_id=target.run_id,
        fraction=fraction,
        tokens_seen=target.end,
        loss_seen=float(np.exp(seen)),
        law=law,
        run=own,
        gap=gap,
        widened=widened,
        finished=tuple(curve.run_id for curve in finished),
        left_out=left_out,
    )


# ------------------------------------------------------------------------------------------------------ reading curves


def read_curves(
    fit: Fit,
    source: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
) -> tuple[list[Curve], str, float]:
    """The runs of a curves table, its name, and the window its losses need (0 for validation losses).

    Params are those that the fit counts: its own column where the table has it, NaN where it has none. Raises BadInput
    where units or splits are mixed, tokens go back, or params change within a run.
    """
    table = read_table(source, mapping=mapping, where=where)
    table = _with_counts(fit, table, mapping or {})
    for column in ("run_id", "tokens", fit.target):
        column_numbers(table, column)  # raises where it isn't there
    for column, what in (("unit", "units"), ("split", "evaluations")):
        _check_single(table, column, what)
    tokens, _ = column_numbers(table, "tokens")
    if (tokens == 0).any():
        # Before the first step a run has a loss and no tokens: no fraction of any run.
        table = read_table(table, where="tokens != 0")
    inputs = ["params", "tokens"] if table.has("params") else ["tokens"]
    rows = rows_for(table, inputs, fit.target)
    if not rows.used:
        raise BadInput(f"no row has {', '.join(inputs)} and {fit.target}", file=table.name, fix="see its columns")
    window = WINDOW if table.columns.get(fit.target) in TRAINING else 0.0
    schedules = table.text("schedule") if table.has("schedule") else np.full(len(table.lines), "")
    named = dict(zip(table.lines.tolist(), schedules.tolist(), strict=True))
    ids = dict.fromkeys(str(run) for run in rows.group)
    group = rows.group.astype(str)
    return [_curve(rows, run, group == run, table, named) for run in ids], table.name, window


def _with_counts(fit: Fit, table: Table, mapping: Mapping[str, str]) -> Table:
    """The table with params counted as the fit counts them; raises BadInput where the two are known to differ."""
    about = fit.inputs.get("params", {})
    column = about.get("column")
    if "params" not in mapping and column in table.columns:
        table = read_table(table, mapping={"params": str(column)})
    used = table.columns.get("params")
    known = next((q for q in QUANTITIES.values() if used in (q.name, *q.aliases)), None)
    if known and known.counts and about.get("counts") and known.counts != about["counts"]:
        raise BadInput(
            f"params count {known.counts} parameters here, and {about['counts']} in the fit",
            file=table.name,
            column=used,
            fix="name the column that counts as the fit does: --map params=COLUMN",
        )
    return table


def _check_single(table: Table, column: str, what: str) -> None:
    if not table.has(column):
        return
    text = table.text(column)
    kinds = [kind for kind in dict.fromkeys(text.tolist()) if kind]
    if len(kinds) > 1:
        row = int(np.argmax(text == kinds[1]))
        raise BadInput(
            f"the losses are of several {what}: {', '.join(kinds[:4])}",
            file=table.name,
            line=int(table.lines[row]),
            column=column,
            fix=f"keep one with --where \"{column} == '{kinds[0]}'\"",
        )


def _curve(rows: Rows, run: str, mine: NDArray[np.bool_], table: Table, schedules: Mapping[int, str]) -> Curve:
    tokens, lines = rows.x["tokens"][mine], rows.lines[mine]
    params = rows.x["params"][mine] if "params" in rows.x else np.full(len(tokens), np.nan)
    back = np.flatnonzero(np.diff(tokens) <= 0)
    if back.size:
        row = int(back[0]) + 1
        raise BadInput(
            f"tokens of run {run!r} go from {tokens[row - 1]:g} to {tokens[row]:g}",
            file=table.name,
            line=int(lines[row]),
            column=table.columns.get("tokens", "tokens"),
            fix="sort each run by tokens; where a run was resumed, keep the later rows, as scaling-lab ingest does",
        )
    other = np.flatnonzero(np.abs(params / params[0] - 1) > SAME)
    if other.size:
        raise BadInput(
            f"params of run {run!r} change from {params[0]:g} to {params[other[0]]:g}",
            file=table.name,
            line=int(lines[other[0]]),
            column=table.columns.get("params", "params"),
            fix="give each run an id of its own",
        )
    share = np.full(len(tokens), np.nan) if rows.annealing is None else rows.annealing[mine]
    schedule = schedules[int(lines[-1])]
    log_loss = np.log(rows.y[mine])
    return Curve(run, float(params[0]), tokens, log_loss, share, int(lines[-1]), schedule)


def _with_params(fit: Fit, found: Sequence[Curve], at: Mapping[str, float], run: str | None, name: str) -> list[Curve]:
    """The runs with their params: a curves table without them takes them from the fit's rows by run_id.

    The one run that the fit's rows don't have is then the unfinished one; raises BadInput where there are several.
    """
    if not any(np.isnan(curve.params) for curve in found):
        return list(found)
    known: dict[str, float] = {}
    if {"run_id", "params"} <= set(fit.points):
        known = dict(zip(map(str, fit.points["run_id"]), map(float, fit.points["params"]), strict=True))
    unknown = [curve.run_id for curve in found if curve.run_id not in known]
    mine = run if run is not None else unknown[0] if len(unknown) == 1 else None
    stray = [one for one in unknown if one != mine]
    if mine is None or stray:
        what = f"run {stray[0]!r} is not in the fit's rows" if stray else "every run is in the fit's rows"
        raise BadInput(f"no column 'params', and {what}", file=name, fix="name the column with --map params=COLUMN")
    named = {**known, mine: float(at["params"])}
    return [replace(curve, params=named[curve.run_id]) for curve in found]


# --------------------------------------------------------------------------------------------------- whose run is whose


def _agree(a: float, b: float) -> bool:
    return abs(a / b - 1) <= SAME


def _final(fit: Fit, curve: Curve) -> tuple[float, float] | None:
    """The tokens and the loss that the fit's own rows give for a curve's run; None where it isn't among them."""
    if not {"run_id", "params", "tokens"} <= set(fit.points):
        return None
    ids = np.asarray(fit.points["run_id"]).astype(str)
    params, tokens = np.asarray(fit.points["params"], dtype=float), np.asarray(fit.points["tokens"], dtype=float)
    mine = np.flatnonzero((ids == curve.run_id) & (np.abs(params / curve.params - 1) <= SAME))
    if not mine.size:
        return None
    last = mine[np.argmax(tokens[mine])]
    return float(tokens[last]), float(np.asarray(fit.points[fit.target], dtype=float)[last])


def _is_finished(fit: Fit, curve: Curve) -> bool:
    """Whether the fit's own rows say that the curve ends where its run ended."""
    final = _final(fit, curve)
    return final is not None and _agree(curve.end, final[0])


def _target(fit: Fit, found: Sequence[Curve], at: Mapping[str, float], run: str | None, name: str) -> Curve:
    """The unfinished run; raises BadInput where none or several could be it."""
    if run is not None:
        named = [curve for curve in found if curve.run_id == run]
        if not named:
            hint = nearest(run, [curve.run_id for curve in found])
            raise UsageError(f"--partial-run {run!r} is not in {name}; {hint}")
        if not _agree(named[0].params, float(at["params"])):
            raise UsageError(
                f"--partial-run {run!r} has {format_quantity(named[0].params)} parameters, and the point "
                f"{format_quantity(float(at['params']))}"
            )
        return named[0]
    size, tokens = float(at["params"]), float(at["tokens"])
    like = [curve for curve in found if _agree(curve.params, size) and curve.end < tokens * (1 - 1e-9)]
    open_ = [curve for curve in like if not _is_finished(fit, curve)]
    if len(open_) == 1:
        return open_[0]
    where = f"{format_quantity(size)} parameters and fewer than {format_quantity(tokens)} tokens"
    if open_:
        names = ", ".join(repr(curve.run_id) for curve in open_[:4])
        raise BadInput(
            f"{len(open_)} runs have {where}: {names}", file=name, fix="name the unfinished one with --partial-run"
        )
    raise BadInput(
        f"no unfinished run has {where}{' that the fit does not know as finished' if like else ''}",
        file=name,
        fix="see that params count as in the fit, or name the run with --partial-run",
    )


def _check_fraction(target: Curve, fraction: float, tokens: float, name: str) -> None:
    seen, asked = format_quantity(target.end), format_quantity(tokens)
    if fraction >= 1 - 1e-9:
        raise BadInput(
            f"run {target.run_id!r} has seen {seen} tokens, no fewer than the {asked} of the point",
            file=name,
            line=target.line,
            fix="it is finished: read its loss",
        )
    if fraction < LEAST_FRACTION:
        raise BadInput(
            f"run {target.run_id!r} has seen {seen} of {asked} tokens, less than {LEAST_FRACTION:.0%}",
            file=name,
            line=target.line,
            fix="let it train on",
        )
    if target.warming(target.end):
        raise BadInput(
            f"run {target.run_id!r} is still in its warm-up at {seen} tokens",
            file=name,
            line=target.line,
            fix="let it train on",
        )


def _check_same_loss(fit: Fit, others: Iterable[Curve], window: float, name: str) -> None:
    """Raises BadInput where the curves' ends show that they are of another loss than the fit's."""
    apart = [
        curve.at(curve.end, window) - np.log(final[1])
        for curve in others
        if (final := _final(fit, curve)) is not None and _agree(curve.end, final[0])
    ]
    # Two losses may cross: what lies above in one run lies below in another.
    off = float(np.nanmedian(np.abs(apart))) if np.isfinite(apart).any() else 0.0
    if off > OTHER_LOSS:
        raise BadInput(
            f"the curves' ends and the losses that the fit has for the same runs differ by {off:.1%}",
            file=name,
            fix=f"give curves of the fit's own {fit.target}: --map {fit.target}=COLUMN",
        )


def _comparable(
    fit: Fit, others: Iterable[Curve], target: Curve, fraction: float, window: float
) -> tuple[list[Curve], dict[str, str]]:
    """The finished runs whose gap says something of the target's, and {run_id: why not} of the others."""
    kept, left_out = [], {}
    share = target.share_at(target.end)
    for curve in others:
        tokens = fraction * curve.end
        final = _final(fit, curve)
        if final is not None and not _agree(curve.end, final[0]):
            left_out[curve.run_id] = f"its curve ends before its run did, at {format_quantity(curve.end)} tokens"
        elif curve.schedule != target.schedule:
            left_out[curve.run_id] = f"schedule {curve.schedule!r}, not {target.schedule!r}"
        elif curve.warming(tokens):
            left_out[curve.run_id] = "in its warm-up at that fraction"
        elif abs(curve.share_at(tokens) - share) > OTHER_SHARE:
            left_out[curve.run_id] = "another learning rate, as a share of its peak, at that fraction"
        elif not np.isfinite(curve.at(tokens, window)) or not np.isfinite(curve.at(curve.end, window)):
            left_out[curve.run_id] = "too few losses about that fraction"
        else:
            kept.append(curve)
    return kept, left_out


def _too_few(finished: Sequence[Curve], left_out: Mapping[str, str]) -> str:
    why = [f"{run!r}: {reason}" for run, reason in left_out.items()]
    tail = f" (left out: {'; '.join(why[:3])}{'; ...' if len(why) > 3 else ''})" if why else ""
    if len(finished) >= LEAST_RUNS:
        cells = len(_cells(finished))
        return f"the finished runs have {cells} pairs of params and tokens, and at least {LEAST_RUNS} are needed{tail}"
    return f"{len(finished)} finished runs can be compared with the target, and at least {LEAST_RUNS} are needed{tail}"


# -------------------------------------------------------------------------------------------------------------- the gap


def _cells(finished: Sequence[Curve]) -> list[NDArray[np.int64]]:
    """The places of runs of one size and length: a rerun must not stand in for a run that is held out."""
    keys: list[tuple[float, float]] = []
    places: list[list[int]] = []
    for i, curve in enumerate(finished):
        same = [k for k, (n, d) in enumerate(keys) if _agree(curve.params, n) and _agree(curve.end, d)]
        if same:
            places[same[0]].append(i)
        else:
            keys.append((curve.params, curve.end))
            places.append([i])
    return [np.array(place) for place in places]


def _terms(params: Floats, tokens: Floats, terms: Sequence[str]) -> Floats:
    """The design (n, 1 + len(terms)) of a form."""
    known = {"size": np.log(params), "ratio": np.log(tokens / params), "early": params / tokens}
    return np.stack([np.ones(len(params)), *(known[term] for term in terms)], axis=1)


def predict_gap(fit: Fit | None, finished: Sequence[Curve], target: Curve, fraction: float, window: float) -> Gap:
    """The target's gap from those of finished runs; target.tokens ends at the tokens it will see.

    Each form (FORMS, of the gap or of its logarithm, and the law's own gap with a shift) predicts it with the error
    that it makes on pairs of params and tokens held out, or on all runs at the edge beyond which the target lies. The
    answer is their mean, weighted by error to the power -4, and its variance holds both their errors and how far they
    lie apart. Without a fit there is no law's gap.
    """
    params, tokens = np.array([c.params for c in finished]), np.array([c.end for c in finished])
    gap = np.array([c.at(c.end, window) - c.at(fraction * c.end, window) for c in finished])
    cells = _cells(finished)
    most = max(1, len(cells) // RUNS_PER_COEFFICIENT)
    lone = np.array([target.params]), np.array([target.end])
    edges = _edges(params, tokens, target, cells)
    found: list[tuple[str, int, float, float, float]] = []
    for terms in FORMS:
        if len(terms) + 1 > most:
            continue
        design, here = _terms(params, tokens, terms), _terms(*lone, terms)
        name = " + ".join(("constant", *terms))
        found += _fitted(f"gap: {name}", design, here, gap, cells, edges, log=False)
        if (gap < 0).all():
            found += _fitted(f"log gap: {name}", design, here, gap, cells, edges, log=True)
    by_law = None if fit is None else _law_gap(fit, params, tokens, fraction)
    law_here = None if fit is None else _law_gap(fit, *lone, fraction)
    if by_law is not None and law_here is not None:
        shifted = _fitted(
            "law's gap + constant", np.ones((len(gap), 1)), np.ones((1, 1)), gap - by_law, cells, edges, log=False
        )
        found += [(name, free, at + float(law_here[0]), sd, error) for name, free, at, sd, error in shifted]
    sd = np.array([form[3] for form in found])
    # Runs that agree to the last digit are copies or too coarsely printed: no form has no error.
    if not (sd > 0).any():
        raise BadInput("the finished runs' gaps agree to the last digit", fix="give losses with more digits")
    weights = np.where(sd > 0, sd, sd[sd > 0].min()) ** -4.0
    weights /= weights.sum()
    values = np.array([form[2] for form in found])
    value = float(weights @ values)
    spread = float(np.sqrt(weights @ (sd**2 + (values - value) ** 2)))
    free = float(weights @ [form[1] for form in found])
    forms = [Form(n, float(w), at, s, e) for (n, _, at, s, e), w in zip(found, weights, strict=True)]
    forms.sort(key=lambda form: -form.weight)
    return Gap(value, WIDER * spread, max(1, int(len(cells) - free)), tuple(forms))


def _law_gap(fit: Fit, params: Floats, tokens: Floats, fraction: float) -> Floats | None:
    """What the law says of a run's fall from the fraction to its end, which leaves out the annealing; None for NaN."""
    if not set(fit.entry.inputs) <= {"params", "tokens"}:
        return None
    with np.errstate(all="ignore"):
        end, early = (fit.at({"params": params, "tokens": share * tokens}) for share in (1.0, fraction))
        gap = np.log(end / early)
    return gap if np.isfinite(gap).all() else None


def _edges(
    params: Floats, tokens: Floats, target: Curve, cells: Sequence[NDArray[np.int64]]
) -> list[tuple[NDArray[np.int64], float]]:
    """The outermost runs on each side on which the target lies outside, in size or in tokens per parameter.

    Each with how many times as far from the runs within them the target lies as they do, both in logarithms: what a
    form misses on them when it is told by the others says what it will miss beyond them.
    """
    first = np.array([cell[0] for cell in cells])
    found = []
    for place, here in ((np.log(params), np.log(target.params)), (np.log(tokens / params), _ratio(target))):
        for side in (1.0, -1.0):
            beyond = side * here - (side * place).max()
            if beyond <= SAME:
                continue
            levels = np.unique(np.round(side * place[first], 2))[::-1]
            for level in levels[:-1]:
                outer = side * place > level - SAME
                if np.sum(outer[first]) >= max(2, len(cells) // 4):
                    step = (side * place[outer]).min() - (side * place[~outer]).max()
                    found.append((np.flatnonzero(outer), max(1.0, float(beyond / step))))
                    break
    return found


def _ratio(run: Curve) -> float:
    return float(np.log(run.end / run.params))


def _fitted(
    name: str,
    design: Floats,
    here: Floats,
    gap: Floats,
    cells: Sequence[NDArray[np.int64]],
    edges: Sequence[tuple[NDArray[np.int64], float]],
    *,
    log: bool,
) -> list[tuple[str, int, float, float, float]]:
    """Name, coefficients, prediction, its standard error and held-out error of one form; empty where it can't be told.

    The held-out error grows to the target's by the leverage that its place has among the runs. Where the target lies
    outside them, it is at least what the form misses at their edge.
    """
    y = np.log(-gap) if log else gap
    errors, leverages = np.empty(len(gap)), np.empty(len(gap))
    for cell in cells:
        rest = np.setdiff1d(np.arange(len(gap)), cell)
        told = _solved(design[rest], y[rest], design[cell])
        if told is None:
            return []
        predicted, leverages[cell] = told
        errors[cell] = (-np.exp(predicted) if log else predicted) - gap[cell]
    told = _solved(design, y, here)
    if told is None:
        return []
    predicted, leverage = told
    value = float(-np.exp(predicted[0]) if log else predicted[0])
    # Reruns count as one run.
    error = float(np.sqrt(np.mean([np.mean(errors[cell] ** 2) for cell in cells])))
    grown = float(np.sqrt((1 + leverage[0]) / (1 + np.mean(leverages))))
    sd = error * max(1.0, grown)
    for outer, times in edges:
        inner = np.setdiff1d(np.arange(len(gap)), outer)
        told = _solved(design[inner], y[inner], design[outer]) if len(inner) > design.shape[1] else None
        if told is not None:
            missed = (-np.exp(told[0]) if log else told[0]) - gap[outer]
            sd = max(sd, times * float(np.sqrt(np.mean(missed**2))))
    return [(name, design.shape[1], value, sd, error)]


def _solved(design: Floats, y: Floats, here: Floats) -> tuple[Floats, Floats] | None:
    """Least squares' predictions (m,) at `here` (m, p) and their leverages; None where the runs can't tell."""
    if np.linalg.matrix_rank(design / np.abs(design).max(axis=0), tol=1e-6) < design.shape[1]:
        return None
    scale = np.abs(design).max(axis=0)
    inverse = np.linalg.pinv(design / scale)
    return (here / scale) @ (inverse @ y), np.sum(((here / scale) @ inverse) ** 2, axis=1)


# ---------------------------------------------------------------------------------------------------------- combination


def _combine(alone: Predictions, seen: float, gap: Gap) -> tuple[Predictions, Part, Part, float]:
    """Law and run by inverse variance, the two parts, and by what factor their disagreement widens the interval.

    Assumes: the errors of the two have the correlation TOGETHER, which only the width knows of. Where they lie further
    apart than both intervals allow, one of them is too narrow and nobody knows which: the interval grows by the square
    root of their chi-square (the scale factor of R. T. Birge, Phys. Rev. 40, 207, 1932).
    """
    value, low, high = float(alone.value[0]), float(alone.low[0]), float(alone.high[0])
    if not 0 < low <= value <= high < np.inf:
        raise BadInput(f"the law's interval, {low:g} to {high:g}, has no logarithm", fix="fit a law of a positive loss")
    law, own = np.log(value), seen + gap.value
    half = np.array([np.log(high / low) / 2, gap.half_width(alone.level)])
    # A law without doubt (every parameter held, no noise) would take all the weight.
    if not half[0] > 0:
        raise BadInput("the law's interval has no width", fix="fit with --bootstrap, to rows that differ from the law")
    weights = half**-2.0 / np.sum(half**-2.0)
    middle = float(weights @ [law, own])
    widened = max(1.0, float(abs(law - own) / np.sqrt(np.sum(half**2))))
    own_width = weights * half
    width = widened * float(np.sqrt(own_width @ own_width + 2 * TOGETHER * np.prod(own_width)))
    ends = lambda at, h: (float(np.exp(at - h)), float(np.exp(at + h)))  # noqa: E731
    parts = Part(value, (low, high), float(weights[0])), Part(float(np.exp(own)), ends(own, half[1]), float(weights[1]))
    low, high = ends(middle, width)
    combined = replace(alone, value=np.array([np.exp(middle)]), low=np.array([low]), high=np.array([high]))
    return combined, *parts, widened


def _notices(
    fit: Fit,
    found: Sequence[Curve],
    finished: Sequence[Curve],
    left_out: Mapping[str, str],
    target: Curve,
    tokens: float,
    window: float,
    widened: float,
) -> list[Notice]:
    out = []
    if _final(fit, target) is not None:
        message = f"run {target.run_id!r} is in the fit's own rows: law and curve are not independent"
        out.append(Notice("SL410", "warning", f"{message}, and the interval is too narrow"))
    if left_out:
        why = [f"{run!r}: {reason}" for run, reason in left_out.items()]
        more = f"; and {len(why) - 3} more" if len(why) > 3 else ""
        message = f"{len(left_out)} of {len(found) - 1} finished runs are not used ({'; '.join(why[:3])}{more})"
        out.append(Notice("SL411", "info", message))
    if len(_cells(finished)) < FEW_RUNS:
        message = f"the rest of the curve rests on {len(finished)} finished runs: its error is itself hardly known"
        out.append(Notice("SL412", "warning", message))
    if widened > 1:
        message = (
            f"law and curve lie further apart than their intervals allow: the interval is widened {widened:.3g} times"
        )
        out.append(Notice("SL413", "warning", message))
    outside = _outside(finished, target.params, tokens)
    if outside:
        message = f"the target lies outside the finished runs in {' and '.join(outside)}: its gap is extrapolated"
        out.append(Notice("SL414", "info", message))
    ends = [curve.share[-1] for curve in finished if np.isfinite(curve.share[-1])]
    if ends and max(ends) - min(ends) > OTHER_SHARE:
        message = (
            f"finished runs end between {min(ends):.2g} and {max(ends):.2g} of their peak learning rate: which of them "
            "the target will follow is not known"
        )
        out.append(Notice("SL415", "warning", message))
    if window:
        message = f"training losses: each is the end of a line through the last {window:.0%} of the tokens before it"
        out.append(Notice("SL416", "info", message))
    return out


def _outside(finished: Sequence[Curve], params: float, tokens: float) -> list[str]:
    """In what the target lies beyond every finished run, by more than a tenth."""
    n, d = np.array([c.params for c in finished]), np.array([c.end for c in finished])
    places = (("params", n, params), ("tokens per parameter", d / n, tokens / params))
    return [name for name, runs, here in places if not runs.min() / 1.1 < here < runs.max() * 1.1]
