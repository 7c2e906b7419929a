"""A law of loss curves fitted to curves: the optimum, the doubt of its parameters, and losses under other schedules."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, NotIdentified, UsageError
from ..files import to_json, write_text
from ..histories import TOGETHER, History, Warmup
from ..laws import Law
from ..laws.curves import get_curve_law
from ..schedules import Schedule
from ..tables import Curves, Rows, Table, read_curves, read_table
from .coordinates import Coordinates
from .fit import KEPT_POINTS, Settings, estimates, optimum
from .metrics import Metrics, metrics
from .prior import FIRST_NOISE, objective_unit
from .result import SCHEMA, Estimate, Notice, stamp
from .sandwich import NoCovariance, sandwich
from .solve import Objective, Pull, thinned
from .uncertainty import residual_spread

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

# What marks a FIT.json as one of curves.
KIND = "curves"
# Neighbouring points share their error: as many groups of them in a curve count as independent of each other.
BLOCKS = 20
# Drops are gathered more coarsely for a fit than for an answer: the difference is below 1e-5 nats (tests/engine).
FIT_TOGETHER = 128
STARTS, FOLLOWED, AUDITED = 40, (5, 0), 5
DRAWS = 400


@dataclass(frozen=True)
class Forecast:
    """Losses (n,) after steps (n,) under one schedule, with the ends of an interval at `level`."""

    step: Floats
    loss: Floats
    low: Floats
    high: Floats
    level: float


@dataclass(frozen=True)
class CurveFit:
    """A law fitted to loss curves; its JSON is a FIT.json of kind "curves".

    `draws` (m, p) are parameters as uncertain as the curves leave them. `sd` is the spread of the residuals of log
    loss. `curves` says of each run how many points and steps it has, its peak and how its learning rates were known;
    `points` are the points used (`run_id`, `step`, `lr`, the target, `predicted`), KEPT_POINTS at most. `warmup` is the
    convention that histories must be made in, `smoothing` what was done to the losses.
    """

    law: str
    target: str
    params: Mapping[str, Estimate]
    objective: Objective
    value: float
    starts: Mapping[str, Any]
    converged: bool | None
    draws: Floats
    sd: float
    metrics: Metrics
    inputs: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Any]
    curves: tuple[Mapping[str, Any], ...]
    points: Mapping[str, NDArray[Any]]
    warmup: Warmup
    smoothing: str
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    level: float = 0.95
    made_by: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def entry(self) -> Law:
        """The law."""
        return get_curve_law(self.law)

    @property
    def values(self) -> dict[str, float]:
        """The optimum by parameter name."""
        return {name: estimate.value for name, estimate in self.params.items()}

    @property
    def peak(self) -> float:
        """The highest learning rate of all curves: the law says nothing of a higher one."""
        return max(float(curve["peak"]) for curve in self.curves)

    @property
    def steps(self) -> int:
        """The last step of the longest curve."""
        return int(max(curve["last"] for curve in self.curves))

    def history(self, schedule: Schedule) -> History:
        """The learning rates of a schedule, its warm-up counted as the fit counted it."""
        return History(schedule.updates(), schedule.warmup_steps, self.warmup)

    def at(self, history: History, steps: Sequence[float] | Floats, params: float | None = None) -> Floats:
        """The loss (n,) after each of the steps (n,) of a run; within 1e-6 of the sum over all its updates.

        `params` is the size of the model, for a law of several.
        """
        x = self._x(history, steps, params)
        return np.asarray(self.entry.predict(x, **self.values), dtype=float)

    def at_draws(self, history: History, steps: Sequence[float] | Floats, params: float | None = None) -> Floats:
        """The loss (m, n) by each draw."""
        x = self._x(history, steps, params)
        rows = []
        # A draw at a time: a law works on every drop that each point has seen.
        for draw in self.draws:
            named = {name: np.array([[value]]) for name, value in zip(self.entry.names, draw, strict=True)}
            with np.errstate(over="ignore", invalid="ignore"):
                rows.append(np.broadcast_to(self.entry.predict(x, **named), (1, len(x["step"])))[0])
        return np.array(rows, dtype=float)

    def _x(self, history: History, steps: Sequence[float] | Floats, params: float | None) -> dict[str, Any]:
        if history.warmup != self.warmup:
            raise UsageError(f"the fit counts warm-up as {self.warmup!r}, not as {history.warmup!r}")
        x = history.at(steps, TOGETHER).x
        if "params" in self.entry.inputs:
            if params is None:
                raise UsageError(f"{self.law} is of models of several sizes: say which, as params=1B")
            x["params"] = np.full(len(x["step"]), float(params))
        return x

    def forecast(
        self, history: History, steps: Sequence[float] | Floats, level: float = 0.9, params: float | None = None
    ) -> Forecast:
        """The losses under a schedule with their interval: the parameters' doubt and the scatter about the law."""
        step = np.atleast_1d(np.asarray(steps, dtype=float))
        loss = self.at(history, step, params)
        drawn = np.log(self.at_draws(history, step, params))
        spread = np.sqrt(np.var(drawn, axis=0) + self.sd**2)
        from scipy.stats import norm

        wide = float(norm.ppf(0.5 + level / 2)) * spread
        return Forecast(step, loss, loss * np.exp(-wide), loss * np.exp(wide), level)

    # ----------------------------------------------------------------------------------------------------- to a file

    def to_dict(self) -> dict[str, Any]:
        """The contents of FIT.json."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "law": self.law,
            "target": self.target,
            "params": {name: asdict(estimate) for name, estimate in self.params.items()},
            "objective": {**asdict(self.objective), "value": self.value},
            "starts": dict(self.starts),
            "converged": self.converged,
            "bootstrap": {"n": 0, "resample": "runs", "failed": 0, "level": self.level},
            "intervals": {"method": "covariance", "blocks": BLOCKS},
            "draws": {"names": list(self.entry.names), "values": self.draws, "n": len(self.draws)},
            "sd": self.sd,
            "metrics": asdict(self.metrics),
            "inputs": self.inputs,
            "rows": self.rows,
            "curves": [dict(curve) for curve in self.curves],
            "points": self.points,
            "warmup": self.warmup,
            "smoothing": self.smoothing,
            "warnings": [asdict(notice) for notice in self.warnings],
            "notes": list(self.notes),
            "seed": self.seed,
            "made_by": self.made_by,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes FIT.json whole or not at all."""
        return write_text(path, to_json(self.to_dict()) + "\n")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], file: str | None = None) -> CurveFit:
        """The fit of FIT.json's contents; raises BadInput where they are of another kind, incomplete or damaged."""
        if not isinstance(found, Mapping) or found.get("schema") != SCHEMA or found.get("kind") != KIND:
            what = found.get("law") if isinstance(found, Mapping) else None
            raise BadInput(
                f"is not a fit of loss curves (law {what!r})",
                file=file,
                fix="make one with scaling-lab fit multi-power CURVES --out FIT.json",
            )
        try:
            objective = dict(found["objective"])
            value = float(objective.pop("value"))
            law = get_curve_law(found["law"])
            return cls(
                law=law.name,
                target=found["target"],
                params={name: _estimate(found["params"][name]) for name in law.names},
                objective=Objective(**objective),
                value=value,
                starts=found["starts"],
                converged=found["converged"],
                draws=np.array(found["draws"]["values"], dtype=float).reshape(-1, len(law.names)),
                sd=float(found["sd"]),
                metrics=Metrics(**found["metrics"]),
                inputs=found["inputs"],
                rows=found["rows"],
                curves=tuple(found["curves"]),
                points={n: np.array(v, dtype=object if n == "run_id" else float) for n, v in found["points"].items()},
                warmup=found["warmup"],
                smoothing=found["smoothing"],
                warnings=tuple(Notice(**notice) for notice in found["warnings"]),
                notes=tuple(found["notes"]),
                seed=found["seed"],
                level=found["bootstrap"]["level"],
                made_by=found["made_by"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as fault:
            what = f"no {fault}" if isinstance(fault, KeyError) else fault
            raise BadInput(f"the fit is incomplete or damaged ({what})", file=file, fix="fit again") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CurveFit:
        """The fit of a file; raises BadInput where it is missing, cut short or of another kind."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput("no such file", file=str(path), fix="make one with scaling-lab fit ... --out") from None
        except (OSError, ValueError, RecursionError) as fault:
            raise BadInput(f"is not a FIT.json, or was cut short ({fault})", file=str(path), fix="fit again") from None
        return cls.from_dict(found, str(path))


def _estimate(found: Mapping[str, Any]) -> Estimate:
    ci = found["ci"]
    ends = None if ci is None else (-math.inf if ci[0] is None else ci[0], math.inf if ci[1] is None else ci[1])
    return Estimate(**{**found, "value": float(found["value"]), "ci": ends})


# ---------------------------------------------------------------------------------------------------------------- fit


def fit_curves(
    law: str | Law,
    table: str | os.PathLike[str] | pd.DataFrame | Table | Curves,
    *,
    schedule: Mapping[str, Schedule] | Schedule | None = None,
    warmup: Warmup = "area",
    warmup_steps: int | None = None,
    smooth: str = "none",
    objective: Literal["huber", "l2", "l1"] = "huber",
    delta: float = 1e-3,
    starts: int = STARTS,
    fix: Mapping[str, float] | None = None,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    target: str = "loss",
    drop_bad: bool = False,
) -> CurveFit:
    """A law of loss curves fitted to a table of steps (or to curves already read).

    Raises BadInput, NotEnoughData, NotIdentified or DidNotConverge, each with what to do. See `read_curves` for the
    schedule, the warm-up and the smoothing.
    """
    curves = (
        table
        if isinstance(table, Curves)
        else read_curves(
            read_table(table, mapping=mapping, where=where),
            target=target,
            schedule=schedule,
            warmup=warmup,
            warmup_steps=warmup_steps,
            smooth=smooth,
            drop_bad=drop_bad,
        )
    )
    settings = Settings(
        objective=Objective(objective, delta),
        starts=starts,
        bootstrap=0,
        fix=fix or {},
        seed=seed,
        polish=FOLLOWED,
        audit=AUDITED,
        workers=1,
    )
    return curves_fit(get_curve_law(law), curves, settings)


def curves_fit(law: Law, curves: Curves, settings: Settings) -> CurveFit:
    """The law fitted to curves."""
    rows = curves.rows(FIT_TOGETHER, BLOCKS)
    if "params" in law.inputs and "params" not in rows.x:
        raise BadInput(
            f"{law.name} is a law of models of several sizes, and not every run has one size",
            file=curves.name,
            fix="name the column with --map params=COLUMN",
        )
    coordinates = Coordinates.of(law, settings.fix, rows.x)
    pull, drawn_to = _pull(coordinates, curves, rows, settings)
    try:
        best = optimum(coordinates, rows, settings, pull)
    except NotIdentified as fault:
        raise NotIdentified(fault.names, _lacking(curves), _remedy(law)) from None
    named = coordinates.to_params(best.theta[None, :])
    params = {name: float(v[0, 0]) for name, v in named.items()}
    predicted = np.asarray(law.predict(dict(rows.x), **params), dtype=float)
    residuals = settings.objective.residual(predicted, settings.objective.scale(rows.y))
    draws, doubts = _draws(coordinates, rows, settings, best.theta, pull)
    return CurveFit(
        law=law.name,
        target=curves.target,
        params=estimates(law, params, draws, settings.level, coordinates.fixed),
        objective=settings.objective,
        value=float(np.sum(settings.objective.terms(residuals))),
        starts=best.account,
        converged=best.certain,
        draws=draws,
        sd=residual_spread(residuals, rows.runs, len(coordinates.free)),
        metrics=metrics(predicted, rows.y),
        inputs=rows.inputs,
        rows={"read": curves.read, "used": rows.used, "dropped": dict(curves.dropped), "runs": len(curves.curves)},
        curves=tuple(_told(curve) for curve in curves.curves),
        points=_points(curves, rows, predicted),
        warmup=curves.warmup,
        smoothing=curves.smoothing,
        warnings=doubts,
        notes=(*curves.notes, *drawn_to),
        seed=settings.seed,
        level=settings.level,
        made_by=stamp(curves.name, curves.sha256, law),
    )


def _pull(
    coordinates: Coordinates, curves: Curves, rows: Rows, settings: Settings
) -> tuple[Pull | None, tuple[str, ...]]:
    """The pull of the law's own priors where it needs them, or where one schedule can't tell its parameters; a note."""
    law = coordinates.law
    named = [p.name for p in coordinates.free if p.name in law.priors]
    alone = len({curve.schedule for curve in curves.curves}) < 2
    if not named or not (law.needs_priors or alone):
        return None, ()
    center, precision = np.zeros((2, len(coordinates.free)))
    middles = {p.name: law.priors[p.name].center if p.name in law.priors else _middle(p) for p in coordinates.free}
    at = coordinates.to_theta({name: np.array([value]) for name, value in middles.items()})[0]
    for i, p in enumerate(coordinates.free):
        if p.name in law.priors:
            center[i], precision[i] = at[i], law.priors[p.name].sd ** -2.0
    unit = objective_unit(settings.objective, np.full(rows.used, FIRST_NOISE), rows.weights, 0.0)
    pull = Pull(center, precision * unit * rows.used / rows.runs)
    for _ in range(2):
        theta = optimum(coordinates, rows, settings, pull).theta
        predicted = np.asarray(law.predict(dict(rows.x), **coordinates.to_params(theta[None, :])))[0]
        residuals = settings.objective.residual(predicted, settings.objective.scale(rows.y))
        unit = objective_unit(settings.objective, residuals, rows.weights, 0.0)
        pull = Pull(center, precision * unit * rows.used / rows.runs)
    why = "there is one schedule" if alone else "no curves tell them"
    told = ", ".join(f"{name} to {law.priors[name].center:g}" for name in named)
    return pull, (f"{why}: {told} is drawn by what is known of other runs",)


def _middle(param: Any) -> float:
    low, high = param.start
    return float(math.sqrt(low * high)) if low > 0 else 0.5 * (low + high)


def _draws(
    coordinates: Coordinates, rows: Rows, settings: Settings, theta: Floats, pull: Pull | None
) -> tuple[Floats, tuple[Notice, ...]]:
    """Parameters (m, p) as uncertain as blocks of neighbouring points leave them; the optimum alone where none can."""
    if not coordinates.free:
        return coordinates.to_array(theta[None, :]), ()
    priors = coordinates.law.priors
    sds = np.array([priors[p.name].sd if p.name in priors else 0.0 for p in coordinates.free])
    known = None if pull is None else (pull.precision, sds)
    try:
        told = sandwich(
            coordinates,
            rows.x,
            rows.y,
            rows.weights,
            rows.group,
            settings.objective,
            theta,
            scaled_by={"step": rows.x["step"]},
            known=known,
        )
    except NoCovariance as fault:
        message = f"the parameters' doubt can't be told ({fault}): intervals hold the scatter about the law alone"
        return coordinates.to_array(theta[None, :]), (Notice("SL319", "warning", message),)
    steps = told.steps(DRAWS, np.random.default_rng([settings.seed, 7]))
    with np.errstate(over="ignore"):
        drawn = coordinates.to_array(theta + steps)
    return drawn[np.isfinite(drawn).all(axis=1)], ()


def _lacking(curves: Curves) -> str:
    kinds = {curve.schedule for curve in curves.curves}
    flat = all(np.ptp(curve.history.lr[curve.schedule.warmup_steps :]) == 0 for curve in curves.curves)
    if flat:
        return "the learning rate never falls in any of the curves"
    return (
        f"{len(curves.curves)} curve{'s' * (len(curves.curves) > 1)} of {len(kinds)} schedule{'s' * (len(kinds) > 1)}"
    )


def _remedy(law: Law) -> str:
    return "add a run whose learning rate falls (cosine, or a sudden drop), or hold parameters with --fix name=value"


def _told(curve: Any) -> dict[str, Any]:
    return {
        "run": curve.run,
        "points": len(curve.step),
        "first": float(curve.step[0]),
        "last": float(curve.step[-1]),
        "peak": curve.history.peak,
        "final_lr": float(curve.history.lr[int(curve.step[-1]) - 1]),
        "warmup_steps": curve.schedule.warmup_steps,
        "schedule": str(curve.schedule),
        "known_by": curve.known_by,
    }


def _points(curves: Curves, rows: Rows, predicted: Floats) -> dict[str, NDArray[Any]]:
    kept = thinned(rows.used, KEPT_POINTS)
    names = np.concatenate([np.full(len(curve.step), curve.run, dtype=object) for curve in curves.curves])
    return {
        "run_id": names[kept],
        "step": np.asarray(rows.x["step"])[kept],
        "lr": np.asarray(rows.x["lr"])[kept],
        curves.target: rows.y[kept],
        "predicted": predicted[kept],
    }


__all__ = ["CurveFit", "Forecast", "curves_fit", "fit_curves"]
