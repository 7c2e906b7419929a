"""Kaplan's six constants from the curves of small runs: step by step, and all at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.local import NOTHING
from ..engine.result import Estimate, Notice
from ..errors import BadInput, DidNotConverge, LabError, NotEnoughData, NotIdentified, UsageError
from ..files import made_by, to_json, write_text
from ..laws import LAWS
from ..quantities import format_quantity
from ..tables import Rows, Table, read_table, rows_for
from .critical import LEAST, USED, after_warmup, fit_hyperbola, one_value, steps_to, usable, with_batch_tokens
from .trajectory import NAMES, Constants, Source, published

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Method = Literal["joint", "recipe"]
METHODS: tuple[Method, ...] = ("joint", "recipe")
SCHEMA = "scaling-lab/trajectory-fit/1"
# A run is converged where the last doubling of its steps lowered the loss by less than this share. With Kaplan's
# alpha_S = .76 what an endless training would still lower it by is then up to 1.45 times as much.
CONVERGED = 0.01
# Losses at which batches are compared, between the highest last loss of their runs and the lowest first one.
LEVELS = 12
# Draws of the constants, starts of the joint fit beside the recipe's, their spread in logs, and the largest condition
# number of its derivatives (columns of one length) that double precision tells from a singular one.
DRAWS, STARTS, SPREAD, SINGULAR = 400, 12, 0.3, 1e8
# The largest logarithm of a scale (1e130, where the law's own numbers are up to 1e20), and the largest error of one at
# which it is still known at all.
MOST_LOG, MOST_ERROR = 300.0, 20.0


@dataclass(frozen=True)
class Curve:
    """One run: its size without embeddings, its batch in tokens, and steps and losses (m,) past the warm-up."""

    run: str
    params: float
    batch: float
    step: Floats
    loss: Floats


@dataclass(frozen=True)
class Final:
    """How a run of the size sweep ended: its last loss, and the share it fell by over the last doubling of its steps.

    `left` is what an endless training would still lower the loss by, from the fitted constants; `used` says whether the
    recipe took it for converged and the best of its size.
    """

    run: str
    params: float
    loss: float
    fall: float
    left: float
    used: bool


@dataclass(frozen=True)
class TrajectoryFit:
    """Kaplan's six constants with intervals, by `method`; what the other method says, and what both rest on.

    `draws` (k, 6) are of the constants in the order of NAMES. `finals` are the runs of the size sweep, `batches` the
    (loss, critical batch) pairs of the sweep over batch sizes.
    """

    method: Method
    params: Mapping[str, Estimate]
    other: Mapping[str, float]
    draws: Floats
    inputs: Mapping[str, Mapping[str, float]]
    finals: tuple[Final, ...]
    batches: tuple[tuple[float, float], ...]
    error: float
    rows: Mapping[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[Notice, ...]
    level: float
    seed: int
    made_by: Mapping[str, Any]

    @property
    def values(self) -> Floats:
        """The constants (6,)."""
        return np.array([self.params[name].value for name in NAMES])

    def source(self, file: str) -> Source:
        """The constants for `trajectory`."""
        return Source(self.values, self.draws, self.inputs, f"{file} ({self.method})")

    def to_dict(self) -> dict[str, Any]:
        """The contents of the file."""
        return {
            "schema": SCHEMA,
            "laws": ["kaplan-steps", "bcrit-loss"],
            "method": self.method,
            "params": {name: asdict(estimate) for name, estimate in self.params.items()},
            "other": dict(self.other),
            "draws": {"names": list(NAMES), "values": self.draws, "n": len(self.draws)},
            "inputs": {name: dict(reach) for name, reach in self.inputs.items()},
            "finals": [asdict(final) for final in self.finals],
            "batches": [list(pair) for pair in self.batches],
            "error": self.error,
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "warnings": [vars(notice) for notice in self.warnings],
            "level": self.level,
            "seed": self.seed,
            "made_by": dict(self.made_by),
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file whole or not at all."""
        return write_text(path, to_json(self.to_dict()) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrajectoryFit:
        """The fit of a file; raises BadInput where it is missing, damaged or of another kind."""
        fix = "make one with scaling-lab trajectory --estimate CURVES.csv --out FIT.json"
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput("no such file", file=str(path), fix=fix) from None
        except (OSError, ValueError) as fault:
            raise BadInput(f"can't be read as JSON ({fault})", file=str(path), fix=fix) from None
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema != SCHEMA:
            raise BadInput(f"holds no constants of trajectories (schema {schema!r})", file=str(path), fix=fix)
        try:
            return _of_dict(found)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as fault:
            raise BadInput(f"the fit is incomplete or damaged ({fault!r})", file=str(path), fix=fix) from None


def _of_dict(found: Mapping[str, Any]) -> TrajectoryFit:
    params = {}
    for name in NAMES:
        ci = found["params"][name]["ci"]
        params[name] = Estimate(**{**found["params"][name], "ci": None if ci is None else (float(ci[0]), float(ci[1]))})
    draws = np.array(found["draws"]["values"], dtype=float).reshape(-1, len(NAMES))
    every = np.append(draws, [float(params[name].value) for name in NAMES])
    if not ((every > np.exp(-MOST_LOG)) & (every < np.exp(MOST_LOG))).all():
        raise ValueError("a constant or a draw of one is no scale or exponent")
    for name in ("params_nonembed", "batch_tokens", "step"):
        if not 0 < float(found["inputs"][name]["min"]) <= float(found["inputs"][name]["max"]) < np.inf:
            raise ValueError(f"the range of {name} is none")
    return TrajectoryFit(
        method=found["method"],
        params=params,
        other=found["other"],
        draws=draws,
        inputs={name: {k: float(v) for k, v in reach.items()} for name, reach in found["inputs"].items()},
        finals=tuple(Final(**final) for final in found["finals"]),
        batches=tuple((float(a), float(b)) for a, b in found["batches"]),
        error=found["error"],
        rows=found["rows"],
        notes=tuple(found["notes"]),
        warnings=tuple(Notice(**notice) for notice in found["warnings"]),
        level=found["level"],
        seed=found["seed"],
        made_by=found["made_by"],
    )


def estimate_trajectory(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    method: Method = "joint",
    converged: float = CONVERGED,
    warmup_steps: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
    level: float = 0.9,
    seed: int = 0,
) -> TrajectoryFit:
    """Kaplan's six constants from curves (run_id, params_nonembed, batch_tokens, step, loss) of small runs.

    By the recipe of Su et al. 2024 (a sweep over sizes to convergence, one size at several batches, least steps), and
    by one least-squares fit of log loss to all points, in which every run counts once. Intervals leave out one run in
    turn. Rows up to `warmup_steps` (or the column of that name) are left out and counted. Raises BadInput for tables
    that can't tell the constants.
    """
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; known: {', '.join(METHODS)}")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    if not (np.isfinite(converged) and 0 < converged < 1):
        raise UsageError(f"--converged {converged:g} is not a share between 0 and 1")
    read = with_batch_tokens(read_table(table, mapping=mapping, where=where))
    rows = usable(rows_for(read, ("params_nonembed", "batch_tokens", "step"), drop_bad=drop_bad))
    curves, kept, dropped = _curves(read, rows, warmup_steps)
    recipe, why = _tried(curves, converged)
    if method == "recipe" and recipe is None:
        raise why or DidNotConverge("the recipe found no constants")
    start = published().values if recipe is None else recipe.values
    every = _Joint(curves)
    joint = every.solve(_starts(start, seed))
    every.check(joint)
    best = np.log(recipe.values) if method == "recipe" and recipe is not None else joint
    spread, missing = _left_out(curves, method, converged, best)
    notes = [*rows.notes] + ([f"the recipe gives no constants: {why}"] if why else [])
    return TrajectoryFit(
        method=method,
        params=_estimates(best, spread, len(curves), level),
        other=_named(np.exp(joint)) if method == "recipe" else {} if recipe is None else _named(recipe.values),
        draws=_draws(best, spread, len(curves), seed),
        inputs={name: {"min": float(v.min()), "max": float(v.max())} for name, v in kept.x.items()},
        finals=_finals(curves, converged, Constants.of(np.exp(best))),
        batches=() if recipe is None else recipe.batches,
        error=float(np.sqrt(np.sum(every.residual(best) ** 2) / len(curves))),
        rows={"read": rows.read, "used": kept.used, "dropped": {**rows.dropped, **dropped}},
        notes=tuple(notes),
        warnings=(*_unannealed(), *_not_converged(curves, converged), *_no_intervals(missing)),
        level=level,
        seed=seed,
        made_by=made_by(**{rows.name: rows.sha256}),
    )


def _named(values: Floats) -> dict[str, float]:
    return dict(zip(NAMES, values.tolist(), strict=True))


def _curves(read: Table, rows: Rows, warmup_steps: float | None) -> tuple[list[Curve], Rows, dict[str, int]]:
    """The runs of a table, each of three points or more past its warm-up."""
    if not rows.grouped:
        raise BadInput("no column run_id says which rows are one curve", file=rows.name, fix="give --map run_id=COLUMN")
    kept, dropped = after_warmup(read, rows, warmup_steps)
    first = kept.x["step"] > 0
    if not first.all():
        dropped, kept = {**dropped, "at step 0": int(np.sum(~first))}, kept.take(first)
    found, short = [], 0
    for run in dict.fromkeys(kept.group.tolist()):
        own = kept.take(kept.group == run)
        own = own.take(np.argsort(own.x["step"], kind="stable"))
        if own.used < LEAST:
            short += own.used
            kept = kept.take(kept.group != run)
            continue
        sizes = one_value(own, "params_nonembed"), one_value(own, "batch_tokens")
        found.append(Curve(str(run), *sizes, own.x["step"], own.y))
    if short:
        dropped = {**dropped, "of a run with fewer than three points": short}
    sizes_of = {"params_nonembed": (3, {c.params for c in found}), "batch_tokens": (2, {c.batch for c in found})}
    for name, (least, values) in sizes_of.items():
        if len(values) < least:
            only = ", ".join(format_quantity(v) for v in sorted(values)) or "none"
            raise BadInput(
                f"the runs have {len(values)} value{'s' if len(values) != 1 else ''} of {name} ({only}), and the "
                f"constants take {least} or more",
                file=rows.name,
                column=name,
                fix="add small runs: several sizes at one batch, and one size at several batches",
            )
    return found, kept, dropped


# ------------------------------------------------------------------------------------------------------- the recipe


@dataclass(frozen=True)
class _Recipe:
    values: Floats
    batches: tuple[tuple[float, float], ...]


def _tried(curves: Sequence[Curve], converged: float) -> tuple[_Recipe | None, LabError | None]:
    """The recipe's constants, or why it has none."""
    try:
        return _recipe(curves, converged), None
    except LabError as fault:
        return None, fault


def _recipe(curves: Sequence[Curve], converged: float) -> _Recipe:
    """The constants step by step: sizes, then batches, then least steps."""
    alpha_n, n_c = _size_law(curves, converged)
    pairs = _critical_batches(curves)
    slope, log_b = np.polyfit(np.log([loss for loss, _ in pairs]), np.log([b for _, b in pairs]), 1)
    if slope >= 0:
        raise BadInput(
            "the critical batch size does not grow as the loss falls",
            fix="give longer curves of more batch sizes, or take --method joint",
        )
    alpha_b, b_star = -1 / slope, _exp(float(log_b))
    alpha_s, s_c = _step_law(curves, n_c, alpha_n, b_star, alpha_b)
    return _Recipe(np.array([n_c, alpha_n, s_c, alpha_s, b_star, alpha_b]), tuple(pairs))


def _exp(log: float) -> float:
    """A scale of its logarithm; raises BadInput where a law is so flat that it leaves floating point."""
    if not abs(log) < MOST_LOG:
        raise BadInput(
            "the losses hardly change with the sizes, batches or steps: a law through them has no scale",
            fix="check the columns, or take --method joint",
        )
    return float(np.exp(log))


def _ending(curve: Curve) -> tuple[float, float]:
    """The last loss of a curve made to fall, and by what share its last doubling of steps lowered it."""
    from scipy.optimize import isotonic_regression

    falling = isotonic_regression(curve.loss, increasing=False).x
    if curve.step[0] > curve.step[-1] / 2:
        return float(falling[-1]), np.inf
    half = float(np.interp(np.log(curve.step[-1] / 2), np.log(curve.step), falling))
    return float(falling[-1]), 1 - float(falling[-1]) / half


def _best_endings(curves: Sequence[Curve], converged: float) -> dict[float, Curve]:
    """The converged run of the lowest last loss of each size."""
    best: dict[float, tuple[float, Curve]] = {}
    for curve in curves:
        loss, fall = _ending(curve)
        if fall <= converged and (curve.params not in best or loss < best[curve.params][0]):
            best[curve.params] = (loss, curve)
    return {size: curve for size, (_, curve) in sorted(best.items())}


def _size_law(curves: Sequence[Curve], converged: float) -> tuple[float, float]:
    """alpha_N and N_c from the last losses of converged runs, the lowest of each size."""
    best = _best_endings(curves, converged)
    if len(best) < 3:
        falls = ", ".join(f"{c.run} {_ending(c)[1]:.2%}" for c in sorted(curves, key=lambda c: _ending(c)[1])[:4])
        raise BadInput(
            f"{len(best)} sizes have a converged run, and their law takes 3: the last doubling of steps must lower the "
            f"loss by less than {converged:.2%} (nearest: {falls})",
            fix="train them longer, widen --converged, or take --method joint",
        )
    slope, level = np.polyfit(np.log(list(best)), np.log([_ending(c)[0] for c in best.values()]), 1)
    if slope >= 0:
        raise BadInput("the last losses do not fall with the size", fix="check params_nonembed, or train longer")
    return -float(slope), _exp(float(level / -slope))


def _critical_batches(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """(loss, critical batch) of the size with most batches, at losses that all of its runs pass through."""
    sizes = {c.params: len({o.batch for o in curves if o.params == c.params}) for c in curves}
    size = max(sizes, key=lambda params: (sizes[params], -params))
    if sizes[size] < LEAST:
        raise BadInput(
            f"no size has runs of {LEAST} batch sizes (at most {sizes[size]})",
            fix="add runs of one small size at several batches, or take --method joint",
        )
    own = [c for c in curves if c.params == size]
    # Levels lie where every curve has come down to and none has begun below.
    low, high = max(_ending(c)[0] for c in own), min(float(c.loss[0]) for c in own)
    if not low < high:
        raise BadInput(
            f"no loss is reached by all batches of the size {format_quantity(size)}: one ends at {low:.4g}, another "
            f"begins at {high:.4g}",
            fix="train the slow ones longer, log the fast ones earlier, or take --method joint",
        )
    pairs = []
    for loss in np.geomspace(high, low, LEVELS + 2)[1:-1].tolist():
        steps = np.array([steps_to(c.step, c.loss, np.array([loss]))[0] for c in own])
        reached = np.isfinite(steps)
        batch = np.array([c.batch for c in own])[reached]
        if len(np.unique(batch)) < LEAST:
            continue
        found = fit_hyperbola(batch, steps[reached])
        if found.status == USED:
            pairs.append((loss, found.critical.value))
    if len(pairs) < 3:
        raise BadInput(
            f"{len(pairs)} of {LEVELS} losses give a critical batch size, and their law takes 3",
            fix="take batches on both sides of the critical one, or --method joint",
        )
    return pairs


def _step_law(
    curves: Sequence[Curve], n_c: float, alpha_n: float, b_star: float, alpha_b: float
) -> tuple[float, float]:
    """alpha_S and S_c from the line of log(L - floor) against log least steps, over all points above their floor.

    Each point counts as its share above the floor squared, for that is how its error grows in the logarithm.
    """
    x, y, weight = [], [], []
    for c in curves:
        above = c.loss - (n_c / c.params) ** alpha_n
        keep = above > 0
        least = c.step / (1 + b_star * c.loss ** (-1 / alpha_b) / c.batch)
        x.append(np.log(least[keep]))
        y.append(np.log(above[keep]))
        weight.append((above / c.loss)[keep] / np.sqrt(len(c.step)))
    at, height, count = np.concatenate(x), np.concatenate(y), np.concatenate(weight)
    if len(at) < 3:
        raise NotEnoughData(len(at), 3, "the law of steps", " (points above the floor of their size)")
    slope, level = np.polyfit(at, height, 1, w=count)
    if slope >= 0:
        raise BadInput("the loss does not fall towards the floor of its size", fix="take --method joint")
    return -float(slope), _exp(float(level / -slope))


# ---------------------------------------------------------------------------------------------------- all at once


class _Joint:
    """All points of the runs, each run counting once, as a least-squares problem in the logs of the six constants."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self.params = np.concatenate([np.full(len(c.step), c.params) for c in curves])
        self.batch = np.concatenate([np.full(len(c.step), c.batch) for c in curves])
        self.step = np.concatenate([c.step for c in curves])
        self.y = np.log(np.concatenate([c.loss for c in curves]))
        self.weight = np.concatenate([np.full(len(c.step), len(c.step) ** -0.5) for c in curves])

    def residual(self, logs: Floats) -> Floats:
        """log of the law's loss less the log of the measured one (n,), by the root of what a point counts."""
        loss = Constants.of(np.exp(logs)).loss(self.params, self.step, self.batch)
        found: Floats = (np.log(loss) - self.y) * self.weight
        return found

    def jacobian(self, logs: Floats) -> Floats:
        """Its derivatives (n, 6), by implicit differentiation of the law."""
        n_c, a_n, s_c, a_s, b_star, a_b = np.exp(logs)
        loss = Constants.of(np.exp(logs)).loss(self.params, self.step, self.batch)
        floor = (n_c / self.params) ** a_n
        ratio = b_star * loss ** (-1 / a_b) / self.batch
        under = s_c * (1 + ratio) / self.step
        rest = under**a_s
        by_ratio = a_s * rest * ratio / (1 + ratio)
        columns = (
            a_n * floor,
            a_n * np.log(n_c / self.params) * floor,
            a_s * rest,
            a_s * np.log(under) * rest,
            by_ratio,
            by_ratio * np.log(loss) / a_b,
        )
        whole = loss + by_ratio / a_b
        found: Floats = np.stack(columns, axis=1) / whole[:, None] * self.weight[:, None]
        return found

    def solve(self, starts: Sequence[Floats]) -> Floats:
        """The logs (6,) of least squares over all starts; raises DidNotConverge where none settles."""
        from scipy.optimize import least_squares

        best, cost = None, np.inf
        for start in starts:
            with np.errstate(all="ignore"):
                if not np.isfinite(self.residual(start)).all():
                    continue
                try:
                    found = least_squares(
                        self.residual,
                        start,
                        self.jacobian,
                        method="lm",
                        x_scale="jac",
                        xtol=1e-12,
                        ftol=1e-12,
                        max_nfev=400,
                    )
                except ValueError:
                    # A step to where the law overflows: this start leads nowhere.
                    continue
            if found.success and found.cost < cost and np.abs(found.x).max() < MOST_LOG:
                best, cost = found.x, float(found.cost)
        if best is None:
            raise DidNotConverge(
                "the joint fit of Kaplan's constants settled from no start; check that the losses fall with size and "
                "steps, and the units of the table"
            )
        return np.asarray(best)

    def check(self, logs: Floats) -> None:
        """Raises NotIdentified where the curves leave a combination of the constants open."""
        slopes = self.jacobian(logs)
        length = np.linalg.norm(slopes, axis=0)
        seen = np.max(np.abs(slopes / self.weight[:, None]), axis=0) > NOTHING
        if seen.all():
            _, sizes, right = np.linalg.svd(slopes / length, full_matrices=False)
            if sizes[-1] * SINGULAR > sizes[0]:
                return
            names = [NAMES[i] for i in np.argsort(-np.abs(right[-1]))[:2]]
        else:
            names = [NAMES[i] for i in np.flatnonzero(~seen)]
        raise NotIdentified(names, "the curves leave a combination open", "add sizes, batches or longer runs")


def _starts(values: Floats, seed: int) -> list[Floats]:
    """Logs to start at: those given, the published ones, and places about both."""
    rng = np.random.default_rng([seed, 5])
    centers = [np.log(values), np.log(published().values)]
    return centers + [centers[i % 2] + SPREAD * rng.standard_normal(len(NAMES)) for i in range(STARTS)]


# -------------------------------------------------------------------------------------------------------- intervals


def _left_out(curves: Sequence[Curve], method: Method, converged: float, best: Floats) -> tuple[Floats | None, str]:
    """The jackknife's covariance of the logs (6, 6) from leaving out each run in turn, or None and why."""
    count = len(curves)
    if count <= len(NAMES):
        return None, f"{count} runs are too few to leave one out"
    found = []
    for i in range(count):
        rest = [*curves[:i], *curves[i + 1 :]]
        try:
            if method == "recipe":
                found.append(np.log(_recipe(rest, converged).values))
            else:
                again = _Joint(rest)
                found.append(again.solve([best]))
                again.check(found[-1])
        except LabError as fault:
            return None, f"without run {curves[i].run} they are lost ({fault})"
    apart = np.array(found) - np.mean(found, axis=0)
    spread = (count - 1) / count * apart.T @ apart
    lost = [name for name, error in zip(NAMES, np.sqrt(np.diag(spread)), strict=True) if error > MOST_ERROR]
    return (None, f"single runs move {', '.join(lost)} without bound") if lost else (spread, "")


def _estimates(best: Floats, spread: Floats | None, count: int, level: float) -> dict[str, Estimate]:
    from scipy.stats import t

    units = {p.name: p.unit for law in ("kaplan-steps", "bcrit-loss") for p in LAWS[law].params}
    found = {}
    for i, name in enumerate(NAMES):
        value = float(np.exp(best[i]))
        if spread is None:
            found[name] = Estimate(value, None, None, units[name])
            continue
        sd = float(np.sqrt(spread[i, i]))
        half = float(t.ppf((1 + level) / 2, count - 1)) * sd
        found[name] = Estimate(value, value * sd, (value * np.exp(-half), value * np.exp(half)), units[name])
    return found


def _draws(best: Floats, spread: Floats | None, count: int, seed: int) -> Floats:
    """Draws (k, 6) of the constants: Student's t about the logs of the optimum, with one freedom less than runs."""
    if spread is None:
        return np.empty((0, len(NAMES)))
    rng = np.random.default_rng([seed, 6])
    values, vectors = np.linalg.eigh(spread)
    normal = rng.standard_normal((DRAWS, len(NAMES))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    return np.asarray(np.exp(best + normal / np.sqrt(rng.chisquare(count - 1, (DRAWS, 1)) / (count - 1))))


# --------------------------------------------------------------------------------------------------------- warnings


def _finals(curves: Sequence[Curve], converged: float, constants: Constants) -> tuple[Final, ...]:
    """How every run ended, with what the fitted law says is still to come."""
    used = {curve.run for curve in _best_endings(curves, converged).values()}
    found = []
    for c in sorted(curves, key=lambda c: (c.params, c.batch)):
        loss, fall = _ending(c)
        left = float(constants.loss(c.params, c.step[-1], c.batch)) - float(constants.floor(c.params))
        found.append(Final(c.run, c.params, loss, fall, left, c.run in used))
    return tuple(found)


def _unannealed() -> tuple[Notice, ...]:
    message = (
        "the law knows nothing of a learning rate: give curves of one long schedule, and read the constants as those "
        "of that schedule. Curves of different batches cross before they decay, so that the critical batch is biased"
    )
    return (Notice("SL476", "warning", message),)


def _not_converged(curves: Sequence[Curve], converged: float) -> tuple[Notice, ...]:
    best, sizes = _best_endings(curves, converged), {c.params for c in curves}
    if len(best) == len(sizes):
        return ()
    message = (
        f"{len(sizes) - len(best)} of {len(sizes)} sizes have no converged run (the last doubling of steps lowered the "
        f"loss by more than {converged:.2%}): the recipe leaves them out of its law of sizes"
    )
    return (Notice("SL481", "warning", message),)


def _no_intervals(why: str) -> tuple[Notice, ...]:
    if not why:
        return ()
    return (Notice("SL482", "warning", f"the constants have no intervals: {why}; add small runs"),)
