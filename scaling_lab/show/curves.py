"""What the figures draw: places on an axis, size classes, the compute-optimal frontier, running medians. No drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..decide.allocate import best_split
from ..engine.result import Fit
from ..engine.uncertainty import extent
from ..errors import LabError
from ..laws.base import SETTINGS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Abscissa:
    """What a law's main figure is drawn against.

    kind "frontier": compute as 6 * params * tokens, for a law of both; "curve": the law's only input; "scatter": any
    other law, against compute where it is known and else against its first input.
    """

    name: str
    kind: Literal["frontier", "curve", "scatter"]

    def of(self, x: Mapping[str, Any]) -> Floats | None:
        """The place (n,) of inputs x on the axis, or None where they don't say it."""
        known = {name: np.atleast_1d(np.asarray(v, dtype=float)) for name, v in x.items() if name in _numeric(x)}
        if self.kind == "frontier":
            # The table's own compute may count otherwise than 6ND; curves and points must share one axis.
            known.pop("flops", None)
        return extent(known).get(self.name)


def _numeric(x: Mapping[str, Any]) -> set[str]:
    """The names in x whose values are numbers (a run's id is not)."""
    return {name for name, v in x.items() if np.asarray(v).dtype.kind in "fiu"}


def abscissa(fit: Fit) -> Abscissa:
    """The axis for the main figure of a fit."""
    inputs = fit.entry.inputs
    if set(inputs) == {"params", "tokens"} and fit.target not in SETTINGS:
        return Abscissa("flops", "frontier")
    if len(inputs) == 1:
        return Abscissa(inputs[0], "curve")
    return Abscissa("flops" if "flops" in extent(fit.points) else inputs[0], "scatter")


def inputs_of(fit: Fit) -> dict[str, Floats]:
    """The law's inputs of the rows used, each (n,)."""
    return {name: np.asarray(fit.points[name], dtype=float) for name in fit.entry.inputs}


def target_of(fit: Fit) -> Floats:
    """The measured target of the rows used (n,)."""
    return np.asarray(fit.points[fit.target], dtype=float)


@dataclass(frozen=True)
class SizeClass:
    """Runs of about one size: their typical size, and which rows they are (n,)."""

    params: float
    rows: NDArray[np.bool_]


def size_classes(params: Floats, most: int = 6) -> list[SizeClass]:
    """At most `most` classes of like sizes, smallest first; each distinct size is its own where they are few."""
    logs = np.log(params)
    kinds = np.unique(np.round(logs, 2))
    if len(kinds) <= most:
        nearest = np.argmin(np.abs(logs[:, None] - kinds), axis=1)
    else:
        width = (logs.max() - logs.min()) / most
        nearest = np.minimum(((logs - logs.min()) / width).astype(int), most - 1)
    classes = [nearest == i for i in np.unique(nearest)]
    return [SizeClass(float(np.exp(np.median(logs[rows]))), rows) for rows in classes]


def frontier(fit: Fit, flops: Floats) -> dict[str, Floats] | None:
    """The params and tokens, each (m,), that the law calls best for each compute (m,), or None where it has no best."""
    # One row of parameters serves every budget: a blend of laws asks its rows about each row of them.
    named = {name: np.array([[value]]) for name, value in fit.values.items()}
    try:
        params, tokens, _ = best_split(fit.entry, named, flops)
    except LabError:
        return None
    return {"params": params, "tokens": tokens}


def running_median(x: Floats, y: Floats, bins: int = 8) -> tuple[Floats, Floats]:
    """Medians of x and y in runs of equally many points along x; empty where fewer than 24 points say little."""
    bins = min(bins, len(x) // 8)
    if bins < 3 or len(np.unique(x)) < 3:
        return np.empty(0), np.empty(0)
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, bins)
    # Bins of one and the same x (a few model sizes) are one bin.
    positive = bool((x > 0).all())
    at = np.array([np.exp(np.median(np.log(x[p]))) if positive else np.median(x[p]) for p in parts])
    kept = np.unique(at)
    together = [np.concatenate([y[p] for p, a in zip(parts, at, strict=True) if a == k]) for k in kept]
    return kept, np.array([np.median(values) for values in together])


def relative(fit: Fit, predicted: Floats, measured: Floats) -> Floats:
    """Predicted minus measured: in percent of the measured for a law fitted to log values, else in its own unit."""
    return 100.0 * (predicted / measured - 1.0) if fit.objective.on == "log" else predicted - measured
