"""Power laws of the best learning rate and batch, from grids of both: Step Law's procedure, and others'."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.codes import severity
from ..engine.coordinates import Coordinates
from ..engine.fit import Progress, Settings, estimates, fit_rows, law_rows
from ..engine.predict import interval
from ..engine.result import Fit, Notice, stamp
from ..engine.solve import Objective
from ..errors import BadInput, NotIdentified, UsageError
from ..files import to_json, write_text
from ..laws import Law, get_law
from ..laws.hpsurface import HP_SURFACE, optimum_at
from ..quantities import quantity
from ..tables import Rows, read_table
from .allocate import Quantile, quantile_of
from .hpgrid import (
    NEAR,
    Grids,
    Method,
    Optimum,
    Regret,
    edge_notices,
    optima,
    pick_of,
    published,
    read_grids,
    regret,
)

Floats = NDArray[np.float64]
LR, BATCH = "hp:step-law", "hp:step-law-batch"
# Grids from which laws are made that are judged on another: one more than the rate's law has parameters.
LEAST_GRIDS = 4
# Sizes and tokens that vary apart by less than this, in logarithm and summed over cells, tell no exponent.
LEAST_SPREAD = 0.1
# Keys that a FIT.json of this command has beside those of a plain fit.
BESIDE, GRID = "batch", "grid"


@dataclass(frozen=True)
class StepLaw:
    """The fitted power laws of the best peak learning rate and of the best batch, and the grids they came from.

    `batch` is None where every grid has one batch. `left_out` is the regret of the laws on each grid when they are
    made from the others, None where the others can't tell them; `regrets` those of the published rules and of these
    laws on the grids they were made from. `near` is a share of the loss.
    """

    lr: Fit
    batch: Fit | None
    method: Method
    near: float
    optima: tuple[Optimum, ...]
    regrets: tuple[Regret, ...]
    left_out: Regret | None
    size: str
    rows: Mapping[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """FIT.json: the fit of the learning rate, with that of the batch and the grids beside it."""
        return {
            **self.lr.to_dict(),
            BESIDE: None if self.batch is None else self.batch.to_dict(),
            GRID: {
                "schema": "scaling-lab/step-law/1",
                "method": self.method,
                "near": self.near,
                "size": self.size,
                "optima": [best.to_dict() for best in self.optima],
                "regret": [found.to_dict() for found in self.regrets],
                "regret_left_out": None if self.left_out is None else self.left_out.to_dict(),
                "rows": dict(self.rows),
                "notes": list(self.notes),
                "warnings": [vars(notice) for notice in self.warnings],
            },
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes FIT.json whole or not at all; predict reads it as the fit of the learning rate."""
        return write_text(path, to_json(self.to_dict()) + "\n")

    @property
    def fits(self) -> tuple[Fit, ...]:
        """The fit of the learning rate, and that of the batch where there is one."""
        return (self.lr,) if self.batch is None else (self.lr, self.batch)


def fits_of(path: str | os.PathLike[str]) -> tuple[Fit, ...]:
    """The fits of a FIT.json: two of what `fit step-law` wrote, else the one. Raises BadInput."""
    first = Fit.load(path)
    beside = json.loads(Path(path).read_text(encoding="utf-8")).get(BESIDE)
    return (first,) if beside is None else (first, Fit.from_dict(beside, str(path)))


def fit_step_law(
    table: Any,
    *,
    method: Method = "near",
    near: float = NEAR,
    keep_edges: bool = False,
    bootstrap: int = 1000,
    resample: Literal["runs", "rows"] = "runs",
    seed: int = 0,
    drop_above: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> StepLaw:
    """The power laws lr_max = scale * N**alpha * D**beta and batch_tokens = scale * D**alpha through grids' optima.

    Least squares on logarithms. `runs` resamples whole grids, widened as `student_draws` says; `rows` single cells,
    which is what the paper did: cells of one grid share its optimum, so that those intervals are too narrow. Raises
    what read_grids raises, BadInput where too few grids have an optimum, and NotIdentified where they do not tell the
    exponents apart.
    """
    if resample not in ("runs", "rows"):
        raise UsageError(f"--resample {resample}: grids are resampled as runs (whole grids) or rows (cells)")
    grids = read_grids(
        table,
        drop_above=drop_above,
        mapping=mapping,
        where=where,
        params_column=params_column,
        drop_bad=drop_bad,
    )
    found = optima(grids, method, near, keep_edges)
    made = [
        _law(name, found, grids, bootstrap, resample, seed, workers, progress)
        for name in ((LR,) if grids.one_batch else (LR, BATCH))
    ]
    warnings = [*edge_notices(found), *_few(found)]
    for about, one in zip(("learning rate", "batch"), made, strict=False):
        warnings += [replace(notice, message=f"{about}: {notice.message}") for notice in one.warnings]
    notes = [*grids.notes]
    if grids.one_batch:
        notes.append("every grid has one batch: no law of the batch, and the learning rate's is at those batches")
        return StepLaw(made[0], None, method, near, found, (), None, grids.size, grids.rows, tuple(notes), (*warnings,))
    picks = {"these laws, on their own grids": pick_of(made)} | published()
    return StepLaw(
        made[0],
        made[1],
        method,
        near,
        found,
        tuple(regret(name, pick, grids.grids) for name, pick in picks.items()),
        _left_out(found, grids),
        grids.size,
        grids.rows,
        tuple(notes),
        (*warnings,),
    )


def _law(
    name: str,
    found: Sequence[Optimum],
    grids: Grids,
    bootstrap: int,
    resample: Literal["runs", "rows"],
    seed: int,
    workers: int | None,
    progress: Progress | None,
) -> Fit:
    """One of the two power laws through the cells of every optimum that is used."""
    law = get_law(name)
    used = [best for best in found if best.status == "used"]
    need = len(law.params) + 1
    if len(used) < need:
        reasons = ", ".join(sorted({best.status for best in found if best.status != "used"}))
        others = f"; the other {len(found) - len(used)}: {reasons}" if reasons else ""
        raise BadInput(
            f"{len(used)} of {len(found)} grids have an optimum to use{others}; the power law of {law.target} needs "
            f"{need}",
            file=grids.name,
            fix="add grids at other sizes and tokens, or cells round the best ones",
        )
    settings = Settings(
        Objective("l2", on=law.residual), bootstrap=bootstrap, resample=resample, seed=seed, workers=workers
    )
    try:
        one = student_draws(fit_rows(law, _rows(law, used), settings, progress), len(used))
    except NotIdentified as fault:
        # Its advice is of fits that take --fix, and of a size that the table may count otherwise.
        why = str(fault).split(f": {', '.join(fault.names)} can't be told")[0].replace("params_nonvocab", grids.size)
        fix = f"add grids in which {grids.size} and tokens vary apart"
        raise NotIdentified(fault.names, f"{law.target}: {why}", fix) from None
    return replace(
        one,
        warnings=tuple(
            replace(notice, message=notice.message.replace("params_nonvocab", grids.size)) for notice in one.warnings
        ),
        inputs={
            name: {**about, "column": grids.size, "counts": quantity(grids.size).counts}
            if name.startswith("params")
            else about
            for name, about in one.inputs.items()
        },
        rows={**one.rows, "read": grids.rows["read"], "used": one.rows["used"], "dropped": _dropped(grids, used)},
        made_by=stamp(grids.name, grids.sha256, law),
    )


def student_draws(one: Fit, groups: int) -> Fit:
    """The fit with its draws of resampled groups as wide as so few groups warrant; as it is where none were resampled.

    Resampled groups scatter too little by (G - 1) / G, as variances of a mean: distances from the optimum grow by the
    root of G / (G - 1), in logs of positive parameters. Their scale is known from G - p degrees of freedom only, for p
    parameters: each is divided by sqrt(chi² / (G - p)), so that all together are spread as Student's t. A standard
    error is the grown draws' before that division, for t with two degrees has none. G / (G - p) in place of
    G / (G - 1) is wider by 7 % at 17 groups and 29 % at six (p = 3), where it held up to 98 % (docs/hp-grid.md).
    `intervals` says by what the draws were widened.
    """
    from scipy.special import chdtri

    law = one.entry
    freedom = groups - len(law.params)
    if one.bootstrap["resample"] != "runs" or len(one.draws) < 2:
        return one
    coordinates = Coordinates(law, {})
    best, draws = (coordinates.from_array(rows) for rows in (one.optimum_row(), one.draws))
    grown = float(np.sqrt(groups / (groups - 1)))
    apart = grown * (draws - best)
    # Every quantile of chi² once, in a random order: fewer draws are then enough than with chi² drawn at random.
    places = (np.random.default_rng([one.seed, 5]).permutation(len(draws)) + 0.5) / len(draws)
    wide = coordinates.to_array(best + apart * np.sqrt(freedom / chdtri(freedom, places))[:, None])
    level = one.bootstrap["level"]
    errors = estimates(law, one.values, coordinates.to_array(best + apart), level, {})
    spread = estimates(law, one.values, wide, level, {})
    account = {**one.intervals, "widened": grown, "freedom": freedom}
    return replace(
        one,
        draws=wide,
        params={name: replace(found, se=errors[name].se) for name, found in spread.items()},
        intervals=account,
    )


def _dropped(grids: Grids, used: Sequence[Optimum]) -> dict[str, int]:
    """Rows by why they are not in the regression; cells that are behind an optimum without being it count as such."""
    inside = sum(len(best.lrs) for best in used)
    return {**grids.rows["dropped"], "not an optimum of its grid": grids.rows["used"] - inside}


def _rows(law: Law, used: Sequence[Optimum]) -> Rows:
    """A row for each cell of each optimum; the cells of a grid are one run, for they share its optimum."""
    import pandas as pd

    rows = []
    for i, best in enumerate(used):
        values = best.lrs if law.target == "lr_max" else best.batches
        at = {name: best.grid.tokens if name == "tokens" else best.grid.params for name in law.inputs}
        rows += [{"grid": f"grid {i}", **at, law.target: float(v)} for v in values]
    frame = pd.DataFrame(rows)
    # Told after reading: a run's rows at one size are taken for repeats of one measurement, and these are not.
    return replace(law_rows(law, read_table(frame)), group=frame["grid"].to_numpy(dtype=object), grouped=True)


def _left_out(found: Sequence[Optimum], grids: Grids) -> Regret | None:
    """What laws made from all other grids lose on each grid, None where the others can't tell them."""
    used = [best for best in found if best.status == "used"]
    picks = {}
    for best in found:
        others = [other for other in used if other is not best]
        laws = [_line(others, target) for target in ("lr_max", "batch_tokens")]
        if len(others) < LEAST_GRIDS or any(law is None for law in laws):
            return None
        picks[id(best.grid)] = tuple(_at(law, best) for law in laws if law is not None)
    return regret(
        "these laws, each grid left out",
        lambda grid: (picks[id(grid)][0], picks[id(grid)][1]),
        grids.grids,
        "made from the other grids",
    )


def _line(used: Sequence[Optimum], target: str) -> Floats | None:
    """Least squares of the logarithms, (3,) for the rate and (2,) for the batch; None where they can't be told."""
    rows, y = [], []
    for best in used:
        values = best.lrs if target == "lr_max" else best.batches
        at = [1.0, np.log(best.grid.tokens)] + ([np.log(best.grid.params)] if target == "lr_max" else [])
        rows += [at] * len(values)
        y += np.log(values).tolist()
    design = np.array(rows)
    spread = design[:, 1:] - design[:, 1:].mean(axis=0) if rows else np.zeros((0, 1))
    if np.linalg.matrix_rank(spread, tol=LEAST_SPREAD) < spread.shape[1]:
        return None
    return np.asarray(np.linalg.lstsq(design, np.array(y), rcond=None)[0])


def _at(line: Floats, best: Optimum) -> float:
    place = np.array([1.0, np.log(best.grid.tokens), np.log(best.grid.params)])[: len(line)]
    return float(np.exp(line @ place))


def _few(found: Sequence[Optimum]) -> list[Notice]:
    """A warning where grids lack many of their cells, so that the best may be one that was not run."""
    thin = [best.grid for best in found if best.grid.missing > 0.25 * (len(best.grid.loss) + best.grid.missing)]
    if not thin:
        return []
    which = ", ".join(f"{grid.named()}: {grid.missing}" for grid in thin[:3])
    message = (
        f"{len(thin)} of {len(found)} grids lack more than a quarter of their cells ({which}): the best may be a cell "
        "that was not run"
    )
    return [Notice("SL467", severity("SL467"), message)]


# ---------------------------------------------------------------------------------------- the best of a joint surface


@dataclass(frozen=True)
class Best:
    """The best peak learning rate and batch in tokens at params and tokens, each with its interval."""

    params: float
    tokens: float
    lr_max: Quantile
    batch_tokens: Quantile
    level: float
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "params": self.params,
            "tokens": self.tokens,
            "lr_max": self.lr_max.to_dict(),
            "batch_tokens": self.batch_tokens.to_dict(),
            "level": self.level,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def optimum_of(fits: Fit | Sequence[Fit], params: float, tokens: float, level: float = 0.9) -> Best:
    """Where a fitted hp-surface, or the two power laws of `fit step-law`, is best; intervals from bootstrap draws.

    N counts what it counted in the fit. A best rate or batch beyond those that were tried is warned of (SL468). Raises
    UsageError for a fit of another law.
    """
    several = [fits] if isinstance(fits, Fit) else list(fits)
    for name, value in (("params", params), ("tokens", tokens)):
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} of {value:g} is not a number above zero")
    pick_of(several)  # raises where they are of other laws
    one = next((fit for fit in several if fit.law == HP_SURFACE.name), None)
    if one is None:
        by = {fit.target: fit for fit in several}
        lr, batch = (_power(by[name], params, tokens, level) for name in ("lr_max", "batch_tokens"))
        return Best(params, tokens, lr, batch, level, ())
    x = {"params": np.array([params]), "tokens": np.array([tokens])}
    draws = np.concatenate([one.optimum_row(), one.draws]) if len(one.draws) > 1 else one.optimum_row()
    with np.errstate(over="ignore"):
        rates, batches = optimum_at(x, {name: draws[:, [i]] for i, name in enumerate(one.entry.names)})
    lr, batch = (quantile_of(np.broadcast_to(v, (len(draws), 1))[:, 0], level) for v in (rates, batches))
    return Best(params, tokens, lr, batch, level, _untried(one, lr.value, batch.value))


def _power(fit: Fit, params: float, tokens: float, level: float) -> Quantile:
    x = {name: np.array([tokens if name == "tokens" else params]) for name in fit.entry.inputs}
    low, high = interval(fit, x, level, noise=False)
    return Quantile(float(fit.at(x)[0]), (float(low[0]), float(high[0])) if len(fit.draws) > 1 else ())


def _untried(fit: Fit, lr: float, batch: float) -> tuple[Notice, ...]:
    """A warning where the best lies beyond the rates or batches of the table."""
    beyond = []
    for name, value in (("lr_max", lr), ("batch_tokens", batch)):
        tried = fit.inputs[name]
        if not tried["min"] <= value <= tried["max"]:
            beyond.append(f"{name} {value:.3g} ({tried['min']:.3g} to {tried['max']:.3g} were tried)")
    if not beyond:
        return ()
    return (Notice("SL468", severity("SL468"), f"the surface is best beyond its table: {' and '.join(beyond)}"),)


__all__ = ["Best", "StepLaw", "fit_step_law", "fits_of", "optimum_of", "student_draws"]
