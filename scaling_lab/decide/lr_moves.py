"""A learning rate carried to another number of tokens or batch, and the optima that such a rule is fitted to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.fit import fit
from ..engine.predict import no_draws
from ..engine.result import Fit, Notice, stamp
from ..errors import BadInput, NotEnoughData, UsageError
from ..laws.hyper import BJORCK_HORIZON
from ..quantities import format_quantity, parse_number
from ..tables import Rows, Table, read_table, rows_for
from .hparams import Beyond, beyond, times

if TYPE_CHECKING:
    import os

    import pandas as pd

Floats = NDArray[np.float64]
HORIZON_SCHEMA, BATCH_SCHEMA, OPTIMA_SCHEMA = (
    "scaling-lab/lr-horizon/1",
    "scaling-lab/lr-batch/1",
    "scaling-lab/lr-optima/1",
)
# Learning rates on either side of the best one that a parabola goes through.
BESIDE = 2
# Learning rates nearer than this are one that was written with fewer digits.
SAME_RATE = 1.02


# ------------------------------------------------------------------------------------------------------ another horizon


@dataclass(frozen=True)
class HorizonMove:
    """A peak learning rate at other tokens, size and batch held; `ci` is empty for the published exponent."""

    lr: float
    from_tokens: float
    to_tokens: float
    value: float
    ci: tuple[float, ...]
    exponent: float
    source: str
    fitted: str
    outside: tuple[Beyond, ...]
    level: float
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of the move."""
        own = {name: value for name, value in vars(self).items() if name not in ("outside", "warnings", "ci")}
        return {
            "schema": HORIZON_SCHEMA,
            **own,
            "factor": self.value / self.lr,
            "interval": list(self.ci) or None,
            "outside": {each.name: each.factor for each in self.outside},
            "warnings": [vars(notice) for notice in self.warnings],
        }


def horizon(
    lr: float,
    from_tokens: float,
    to_tokens: float,
    *,
    params: float | None = None,
    batch_tokens: float | None = None,
    own: Fit | None = None,
    level: float = 0.9,
) -> HorizonMove:
    """lr * (from_tokens / to_tokens)**0.32 at fixed size and batch (Bjorck et al. 2024), or by a fit of `hp:bjorck`.

    `params` and `batch_tokens` only tell whether the rule was fitted there. Raises UsageError where a number is none.
    """
    _above_zero({"--lr": lr, "--from-tokens": from_tokens, "--to-tokens": to_tokens})
    _above_zero({"--params": params, "--batch-tokens": batch_tokens})
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    if own is not None and batch_tokens is not None:
        raise UsageError("a fit's rule is at the batch of its own sweep; leave --batch-tokens out")
    if own is not None:
        return _by_fit(lr, from_tokens, to_tokens, params, own, level)
    rule = BJORCK_HORIZON
    ranges = {"params": rule.params, "from_tokens": rule.tokens, "to_tokens": rule.tokens}
    outside = _outside({"params": params, "from_tokens": from_tokens, "to_tokens": to_tokens}, ranges)
    return HorizonMove(
        lr=lr,
        from_tokens=from_tokens,
        to_tokens=to_tokens,
        value=lr * (from_tokens / to_tokens) ** rule.exponent,
        ci=(),
        exponent=rule.exponent,
        source=rule.source,
        fitted=rule.fitted,
        outside=outside,
        level=level,
        warnings=_off_range(outside, batch_tokens),
    )


def _by_fit(lr: float, start: float, end: float, params: float | None, own: Fit, level: float) -> HorizonMove:
    """The move by a fit of one's own, the interval from its draws of the exponent."""
    if own.law != "hp:bjorck":
        raise UsageError(f"the fit is of {own.law}; a horizon rule is one of hp:bjorck (--lr-sweep makes it)")
    seen = {name: (float(own.inputs[name]["min"]), float(own.inputs[name]["max"])) for name in ("params", "tokens")}
    ranges = {"params": seen["params"], "from_tokens": seen["tokens"], "to_tokens": seen["tokens"]}
    outside = _outside({"params": params, "from_tokens": start, "to_tokens": end}, ranges)
    exponents = own.draws[:, own.entry.names.index("beta")]
    moved = lr * (end / start) ** exponents
    ends = np.quantile(moved, [(1 - level) / 2, (1 + level) / 2]) if len(exponents) > 1 else ()
    return HorizonMove(
        lr=lr,
        from_tokens=start,
        to_tokens=end,
        value=lr * (end / start) ** own.values["beta"],
        ci=tuple(float(e) for e in ends),
        exponent=-own.values["beta"],
        source="your fit of hp:bjorck",
        fitted=f"{own.rows['used']} optima of {format_quantity(seen['tokens'][0])} to "
        f"{format_quantity(seen['tokens'][1])} tokens",
        outside=outside,
        level=level,
        warnings=(*no_draws(own), *_off_range(outside, None)),
    )


def _above_zero(given: Mapping[str, float | None]) -> None:
    for option, value in given.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{option} {value:g} is not a number above zero")


def _outside(values: Mapping[str, float | None], ranges: Mapping[str, tuple[float, float]]) -> tuple[Beyond, ...]:
    """Which values lie beyond their range, and by what factor."""
    return tuple(
        each for name, value in values.items() if value is not None for each in beyond(name, value, *ranges[name])
    )


def _off_range(outside: tuple[Beyond, ...], batch: float | None) -> tuple[Notice, ...]:
    """What lies beyond the range of a horizon rule; a batch other than its one is told too."""
    parts = [
        f"{b.name.replace('_', ' ')} {times(b.factor)} {'above' if b.above else 'below'} {format_quantity(b.edge)}"
        for b in outside
    ]
    measured = BJORCK_HORIZON.batch_tokens
    if batch is not None and not math.isclose(batch, measured, rel_tol=0.1):
        parts.append(f"a batch of {format_quantity(batch)} tokens, where {format_quantity(measured)} was measured")
    if not parts:
        return ()
    return (Notice("SL459", "warning", f"outside what the horizon rule was fitted on: {', '.join(parts)}"),)


# -------------------------------------------------------------------------------------------------------- another batch


@dataclass(frozen=True)
class BatchMove:
    """A learning rate at another batch: in proportion (SGD), by the root (Adam), and by the noise scale where known.

    `by_noise` is lr * (1 + B_noise/B_1) / (1 + B_noise/B_2), None without a noise scale.
    """

    lr: float
    from_batch: float
    to_batch: float
    unit: str
    linear: float
    root: float
    noise_scale: float | None
    by_noise: float | None
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of the move; what is known of Adam's rate beyond the root is not verified and has no number."""
        own = {name: value for name, value in vars(self).items() if name != "warnings"}
        return {
            "schema": BATCH_SCHEMA,
            **own,
            "ratio": self.to_batch / self.from_batch,
            "warnings": [vars(notice) for notice in self.warnings],
        }


_BATCH = re.compile(r"\s*(.*?[\d.kKmMbBgGtT])\s*(seq|seqs|sequence|sequences|tok|tokens?)?\s*")


def read_batch(text: str, option: str) -> tuple[float, str]:
    """The number and unit (tokens, sequences, or none said) of 512, 4M, 512seq, 4Mtokens."""
    match = _BATCH.fullmatch(text)
    try:
        value = parse_number(match[1] if match else text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no batch; write it as 4M, 512seq or 4Mtokens") from None
    said = (match[2] or "") if match else ""
    return value, {"s": "sequences", "t": "tokens"}.get(said[:1], "")


def rescale(
    lr: float, from_batch: float | str, to_batch: float | str, *, noise_scale: float | str | None = None
) -> BatchMove:
    """The learning rate at another batch by the linear and the square-root rule, and by the noise scale.

    Batches and the noise scale are numbers of one unit, or texts that say it. Raises UsageError where units are mixed
    or a number is none.
    """
    read = {"--from-batch": _unit_of(from_batch, "--from-batch"), "--to-batch": _unit_of(to_batch, "--to-batch")}
    if noise_scale is not None:
        read["--noise-scale"] = _unit_of(noise_scale, "--noise-scale")
    _above_zero({"--lr": lr, **{option: value for option, (value, _) in read.items()}})
    units = {unit for _, unit in read.values()}
    if len(units) > 1:
        said = ", ".join(f"{option} in {unit or 'no unit said'}" for option, (_, unit) in read.items())
        raise UsageError(f"the batches are in different units ({said}): give them all in tokens or all in sequences")
    start, end = read["--from-batch"][0], read["--to-batch"][0]
    noise = read["--noise-scale"][0] if noise_scale is not None else None
    return BatchMove(
        lr=lr,
        from_batch=start,
        to_batch=end,
        unit=units.pop(),
        linear=lr * end / start,
        root=lr * math.sqrt(end / start),
        noise_scale=noise,
        by_noise=None if noise is None else lr * (1 + noise / start) / (1 + noise / end),
        warnings=_near_noise(start, end, noise),
    )


def _unit_of(batch: float | str, option: str) -> tuple[float, str]:
    return read_batch(batch, option) if isinstance(batch, str) else (float(batch), "")


def _near_noise(start: float, end: float, noise: float | None) -> tuple[Notice, ...]:
    """A warning where both simple rules promise more than there is: a batch near or above the noise scale."""
    if noise is None or max(start, end) < noise:
        return ()
    message = (
        f"a batch of {max(start, end):,.0f} is no smaller than the noise scale of "
        f"{noise:,.0f}: the linear and the square-root rule are for batches far below it, and a larger "
        "batch gains little there"
    )
    return (Notice("SL460", "warning", message),)


# ------------------------------------------------------------------------------- the optima of a learning-rate sweep


@dataclass(frozen=True)
class LrOptimum:
    """The vertex of a parabola of loss in ln lr at one size and tokens; `rates` is through how many learning rates."""

    params: float
    tokens: float
    lr_max: float
    loss: float
    best_tried: float
    rates: int


@dataclass(frozen=True)
class LrSweep:
    """The optima of a learning-rate sweep at one batch, those left out with why, and the fit of `hp:bjorck` to them."""

    optima: tuple[LrOptimum, ...]
    left_out: tuple[Mapping[str, Any], ...]
    fit: Fit
    batch: float | None
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        return {
            "schema": OPTIMA_SCHEMA,
            "optima": [vars(each) for each in self.optima],
            "left_out": [dict(each) for each in self.left_out],
            "batch": self.batch,
            "fit": self.fit.to_dict(),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def lr_sweep(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    draws: int = 1000,
    seed: int = 0,
) -> LrSweep:
    """The best learning rate at each size and tokens of a sweep at one batch, and `hp:bjorck` fitted to them.

    At each (params, tokens) a parabola of loss in ln lr through the best rate and up to two on either side (the vertex
    is the optimum); then least squares of ln lr on ln params and ln tokens (Bjorck et al. 2024, arXiv:2409.19913),
    with intervals of the fit's covariance by Student's t, which hold for as few optima as a sweep has.
    Raises BadInput where the rows are of several batches, NotEnoughData where too few places have an optimum.
    """
    import pandas as pd

    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    batches = [name for name in ("batch_tokens", "batch_sequences") if read.has(name)]
    rows = rows_for(read, ("params", "tokens", "lr_max", *batches[:1]), "loss", drop_bad=drop_bad)
    batch = _one_batch(rows, batches[0]) if batches else None
    optima, left_out = _optima(rows)
    if len(optima) < 4:
        why = "; ".join(sorted({str(each["why"]) for each in left_out}))
        detail = f" (an optimum for each size and tokens; {len(left_out)} left out: {why})" if left_out else ""
        raise NotEnoughData(len(optima), 4, "hp:bjorck", detail)
    places = pd.DataFrame([{n: getattr(e, n) for n in ("params", "tokens", "lr_max")} for e in optima])
    found = fit("hp:bjorck", places, objective="l2", bootstrap=draws, intervals="covariance", seed=seed)
    counted = rows.inputs["params"]
    inputs = {**found.inputs, "params": {**found.inputs["params"], **{k: counted[k] for k in ("column", "counts")}}}
    notes = (*found.notes, *rows.notes, *([] if batch is None else [f"all at one batch, {batches[0]} = {batch:,.0f}"]))
    return LrSweep(
        optima,
        left_out,
        replace(found, inputs=inputs, notes=notes, made_by=stamp(rows.name, rows.sha256, found.entry)),
        batch,
        (*_left(left_out), *_no_batch(batch), *found.warnings),
    )


def _one_batch(rows: Rows, name: str) -> float:
    """The batch of all rows; raises BadInput where there are several."""
    values = np.unique(rows.x[name])
    if values[-1] > values[0] * 1.01:
        shown = ", ".join(format_quantity(v) for v in values[:4])
        raise BadInput(
            f"the rows are of {len(values)} batches ({shown}{', ...' if len(values) > 4 else ''})",
            file=rows.name,
            column=name,
            fix=f'the rule is at one batch: choose it with --where "{name} == {values[0]:.0f}"',
        )
    return float(values[0])


def _optima(rows: Rows) -> tuple[tuple[LrOptimum, ...], tuple[Mapping[str, Any], ...]]:
    """The optimum of each (params, tokens), in their order, and the places that have none, with why."""
    optima, left_out = [], []
    for place in sorted(set(zip(rows.x["params"].tolist(), rows.x["tokens"].tolist(), strict=True))):
        at = (rows.x["params"] == place[0]) & (rows.x["tokens"] == place[1])
        found = vertex(rows.x["lr_max"][at], rows.y[at])
        if isinstance(found, str):
            left_out.append({"params": place[0], "tokens": place[1], "why": found})
        else:
            optima.append(LrOptimum(place[0], place[1], *found))
    return tuple(optima), tuple(left_out)


def vertex(lr: Floats, loss: Floats) -> tuple[float, float, float, int] | str:
    """(lr, loss) at the lowest point of a parabola of loss in ln lr, the best rate tried, and how many rates it is of.

    Through the best rate and up to two on either side, the mean where one (to 2 %) was run again. Instead of it a text
    says why there is none: the best rate is the first or last that was tried, or the parabola is no bowl.
    """
    order = np.argsort(lr)
    which = np.concatenate([[0], np.cumsum(lr[order][1:] > SAME_RATE * lr[order][:-1])])
    rates, means = (np.bincount(which, v[order]) / np.bincount(which) for v in (lr, loss))
    if len(rates) < 3:
        return f"{len(rates)} learning rates, where a parabola takes three"
    best = int(np.argmin(means))
    if best in (0, len(rates) - 1):
        return f"the {'lowest' if best == 0 else 'highest'} rate tried is the best"
    near = slice(max(best - BESIDE, 0), best + BESIDE + 1)
    center = np.log(rates[best])
    c, b, a = np.polynomial.polynomial.polyfit(np.log(rates[near]) - center, means[near], 2)
    if a <= 0:
        return "the losses about the best rate make no bowl"
    at = -b / (2 * a)
    if not np.log(rates[near][0]) <= at + center <= np.log(rates[near][-1]):
        return "the parabola's lowest point lies outside the rates it goes through"
    return float(np.exp(at + center)), float(c - b * b / (4 * a)), float(rates[best]), len(rates[near])


def _left(left_out: tuple[Mapping[str, Any], ...]) -> tuple[Notice, ...]:
    if not left_out:
        return ()
    reasons: dict[str, int] = {}
    for each in left_out:
        reasons[str(each["why"])] = reasons.get(str(each["why"]), 0) + 1
    parts = ", ".join(f"{count} ({why})" for why, count in reasons.items())
    return (Notice("SL461", "warning", f"sizes and tokens without an optimum, left out: {parts}"),)


def _no_batch(batch: float | None) -> tuple[Notice, ...]:
    if batch is not None:
        return ()
    message = "the table has no batch column: its rows are taken to be of one batch, which the rule is at"
    return (Notice("SL462", "info", message),)
