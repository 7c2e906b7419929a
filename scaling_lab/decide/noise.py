"""The gradient noise scale of a training, from the gradient's size at two batch sizes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Notice
from ..errors import BadInput, NotEnoughData, UsageError
from ..tables import Rows, Table, check_rising, read_table, rows_for
from .allocate import Quantile

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/noise/1"
# Parts of the log that are told apart, batch means in each that its interval rests on, and rows that one mean takes.
PARTS, MEANS, LEAST = 5, 10, 2
# Half-life of the moving averages as a share of the log: points nearer than that are not independent.
HALF_LIFE = 0.05


@dataclass(frozen=True)
class Part:
    """A stretch of the log: squared gradient |G|^2, trace of the noise, and their quotient, the noise scale.

    `scale` is in the unit of the batches, None where the mean |G|^2 or the mean trace is not above zero; `negative`
    counts rows whose own estimate of |G|^2 is not, which enter the mean all the same.
    """

    first: float
    last: float
    rows: int
    negative: int
    gradient: float
    trace: float
    scale: Quantile | None

    def to_dict(self) -> dict[str, Any]:
        """An entry of the JSON."""
        return {**vars(self), "scale": None if self.scale is None else self.scale.to_dict()}


@dataclass(frozen=True)
class NoiseScale:
    """The noise scale of the whole log, of its parts, and at steps (n,) by moving averages (nan where it has none)."""

    small: float
    big: float
    whole: Part
    parts: tuple[Part, ...]
    step: Floats
    smoothed: Floats
    skipped: int
    half_life: float
    level: float
    rows: Mapping[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[Notice, ...]
    sha256: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `noise --json`."""
        return {
            "schema": SCHEMA,
            "small_batch": self.small,
            "big_batch": self.big,
            "noise_scale": self.whole.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "smoothed": {"step": self.step, "noise_scale": self.smoothed, "half_life": self.half_life},
            "skipped": self.skipped,
            "level": self.level,
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def two_batch(small_sq: Any, big_sq: Any, small: float, big: float) -> tuple[Floats, Floats]:
    """Unbiased estimates (n,) of |G|^2 and of tr(Sigma) from squared norms (n,) at two batch sizes.

    McCandlish et al. 2018, arXiv:1812.06162, appendix A.1. Either may come out below zero, as an unbiased estimate of
    something small does.
    """
    small_sq, big_sq = np.asarray(small_sq, dtype=float), np.asarray(big_sq, dtype=float)
    return (big * big_sq - small * small_sq) / (big - small), (small_sq - big_sq) / (1 / small - 1 / big)


def noise_scale(
    log: str | os.PathLike[str] | pd.DataFrame | Table,
    small_batch: float,
    big_batch: float,
    *,
    half_life: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
    level: float = 0.9,
) -> NoiseScale:
    """B_simple = tr(Sigma) / |G|^2 from a log of squared gradient norms (columns step, grad_sq_small, grad_sq_big).

    In data-parallel training the small batch is that of a rank (its squared norms averaged over ranks), the big one all
    of it; the answer is in their unit. Numerator and denominator are averaged apart and then divided: single estimates
    at or below zero stay in, for without them the mean is too high; a quotient of means at or below zero is skipped and
    counted. `half_life` is that of the moving averages in rows.
    """
    _check(small_batch, big_batch, half_life, level)
    read = read_table(log, mapping=mapping, where=where)
    rows = rows_for(read, ("step", "grad_sq_small"), "grad_sq_big", drop_bad=drop_bad)
    if rows.grouped and rows.runs > 1:
        raise BadInput(
            f"the log is of {rows.runs} runs", file=rows.name, column="run_id", fix="choose one with --where"
        )
    if rows.used < MEANS * LEAST:
        detail = " of squared gradient norms"
        raise NotEnoughData(rows.used, MEANS * LEAST, "the noise scale", detail, more="steps of the log")
    order = np.argsort(rows.x["step"], kind="stable")
    step = rows.x["step"][order]
    # Two rows of one step are two logs in one file: their means would be told apart as if they were one run's.
    check_rising(step, rows.lines[order], "step", file=rows.name, column=read.columns.get("step"))
    gradient, trace = two_batch(rows.x["grad_sq_small"][order], rows.y[order], small_batch, big_batch)
    span = max(1.0, HALF_LIFE * rows.used) if half_life is None else half_life
    smoothed = _moving(gradient, trace, span)
    count = PARTS if rows.used >= PARTS * MEANS * LEAST else 1
    cuts = [slice(int(part[0]), int(part[-1]) + 1) for part in np.array_split(np.arange(rows.used), count)]
    parts = tuple(_part(step[cut], gradient[cut], trace[cut], level) for cut in cuts)
    whole = _part(step, gradient, trace, level)
    skipped = int(np.sum(~np.isfinite(smoothed)))
    return NoiseScale(
        small=small_batch,
        big=big_batch,
        whole=whole,
        parts=parts,
        step=step,
        smoothed=smoothed,
        skipped=skipped,
        half_life=span,
        level=level,
        rows=_account(rows),
        notes=rows.notes,
        warnings=(*_not_best(), *_open((whole, *parts), skipped)),
        sha256={rows.name: rows.sha256},
    )


def _check(small: float, big: float, half_life: float | None, level: float) -> None:
    for name, value in (("small-batch", small), ("big-batch", big), ("half-life", half_life)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"--{name} {value:g} is not a number above zero")
    if not small < big:
        raise UsageError(f"--small-batch {small:g} is not smaller than --big-batch {big:g}, and two sizes are needed")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")


def _account(rows: Rows) -> dict[str, Any]:
    return {"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped)}


def _moving(gradient: Floats, trace: Floats, half_life: float) -> Floats:
    """The quotient (n,) of exponential moving averages of trace and gradient, nan where either is not above zero."""
    keep = 0.5 ** (1 / half_life)
    found, top, bottom = np.full(len(gradient), np.nan), 0.0, 0.0
    for i, (g, s) in enumerate(zip(gradient.tolist(), trace.tolist(), strict=True)):
        # The correction is one factor of both, and leaves the quotient.
        top, bottom = keep * top + (1 - keep) * s, keep * bottom + (1 - keep) * g
        if top > 0 and bottom > 0:
            found[i] = top / bottom
    return found


def _part(step: Floats, gradient: Floats, trace: Floats, level: float) -> Part:
    """The quotient of means over some rows (n,), with Fieller's interval from the means of consecutive rows.

    Means of many rows are nearly independent, and a drift between them widens the interval.
    """
    g, s = float(gradient.mean()), float(trace.mean())
    scale = None
    if g > 0 and s > 0:
        scale = Quantile(s / g, _fieller(gradient, trace, level))
    return Part(float(step[0]), float(step[-1]), len(step), int(np.sum(gradient <= 0)), g, s, scale)


def _fieller(gradient: Floats, trace: Floats, level: float) -> tuple[float, float]:
    """Where mean trace - q * mean gradient is within Student's t of zero; open above where the gradient may be 0."""
    from scipy.stats import t

    means = np.array([[v.mean() for v in np.array_split(values, MEANS)] for values in (trace, gradient)])
    (s, g), cov = means.mean(axis=1), np.cov(means) / MEANS
    q = float(t.ppf((1 + level) / 2, MEANS - 1)) ** 2
    two, one, zero = g * g - q * cov[1, 1], -2 * (s * g - q * cov[0, 1]), s * s - q * cov[0, 0]
    if two <= 0:
        # Numbers on either side of a gap are as likely as not: the lower side is all that is known.
        roots = np.roots([two, one, zero])
        real = [float(r.real) for r in roots if abs(r.imag) < 1e-12 * abs(r) and r.real > 0]
        return (min(real) if real and zero > 0 else 0.0), np.inf
    root = np.sqrt(max(one * one - 4 * two * zero, 0.0))
    return max(float((-one - root) / (2 * two)), 0.0), float((-one + root) / (2 * two))


def _not_best() -> tuple[Notice, ...]:
    message = (
        "the noise scale is that of the gradient at one place, by the size of the gradient alone (B_simple): it stands "
        "for the critical batch size where the loss is about as curved in every direction, and is no best batch size"
    )
    return (Notice("SL475", "info", message),)


def _open(parts: tuple[Part, ...], skipped: int) -> tuple[Notice, ...]:
    """A warning where the log can't tell |G|^2 from zero."""
    lost = [p for p in parts[1:] if p.scale is None or not np.isfinite(p.scale.ci[1])]
    if not lost and not skipped:
        return ()
    said = [f"{len(lost)} of {len(parts) - 1} parts of the log can't tell |G|^2 from zero"] if lost else []
    said += [f"{skipped} moving averages at or below zero give no noise scale and are skipped"] if skipped else []
    message = f"{'; '.join(said)}: log more steps, or take a larger --big-batch"
    return (Notice("SL478", "warning", message),)
