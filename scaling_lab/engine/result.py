"""What a fit found, as one frozen value that can be saved, read back and compared."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..domains import allowed, beyond
from ..errors import BadInput, UsageError
from ..files import made_by, to_json, write_text
from ..laws import Law, get_law
from ..quantities import DOMAINS, quantity
from .blend import NAME, Blend, Calibration, members_of
from .discrepancy import Posterior
from .metrics import Metrics
from .solve import Objective
from .stored import check_fit

if TYPE_CHECKING:
    from .bridge import LawResult

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/fit/1"
# The end of an interval is the chance of single draws where fewer than about this many lie beyond it.
FEW = 5


@dataclass(frozen=True)
class Estimate:
    """A parameter's value, standard error and interval (None where there is none), and unit.

    An end of the interval that the data leave open is infinite here and null in FIT.json.
    """

    value: float
    se: float | None
    ci: tuple[float, float] | None
    unit: str
    fixed: bool = False


@dataclass(frozen=True)
class Notice:
    """Something the reader must know: a stable code, how bad (info, warning, error), and the message."""

    code: str
    severity: str
    message: str


@dataclass(frozen=True)
class Noise:
    """Where an interval's width comes from, on the scale of the residuals (log loss for a log objective).

    `sd` is a robust spread of the residuals. `drift` is the standard error of extrapolation for each factor e beyond
    the fitted range; `cuts` is how many inner backtests it rests on (0: it is the default, see engine/predict.py).
    `bias` is the mean error of what the inner backtests held out, above zero where predictions are too high, `bias_z`
    the mean over the cuts of that error in its standard errors; both None where fewer than three cuts can say, and in
    files written before they were measured.
    """

    sd: float
    drift: float
    cuts: int
    bias: float | None = None
    bias_z: float | None = None


@dataclass(frozen=True)
class Fit:
    """A fitted law with all that predict, allocate and report need.

    `draws` (n, p) are bootstrap parameters in the order of the law's registry entry (the optimum alone, (1, p),
    without a bootstrap). `converged`: random starts found nothing lower, and at least three starts agree (None where
    that was not looked at, as by older versions). `points` are the rows used: inputs, the target, `flops` where
    known, `line`, `run_id`.
    """

    law: str
    target: str
    params: Mapping[str, Estimate]
    objective: Objective
    value: float
    starts: Mapping[str, Any]
    bootstrap: Mapping[str, Any]
    draws: Floats
    metrics: Metrics
    inputs: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Any]
    noise: Noise
    points: Mapping[str, Any]
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    made_by: Mapping[str, Any] = field(default_factory=dict, compare=False)
    converged: bool | None = None
    members: tuple[Mapping[str, Any], ...] = ()
    calibration: Calibration | None = None
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    posterior: Posterior | None = None
    prior: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[str, Any] = field(default_factory=lambda: {"method": "bootstrap"})

    @property
    def entry(self) -> Law:
        """The law's registry entry, or the blend's law."""
        return self.blend.law if self.law == NAME else get_law(self.law)

    @cached_property
    def blend(self) -> Blend:
        """The members of `auto` as one, with what their processes have seen."""
        return Blend.of(members_of(self.members), self.points)

    @property
    def values(self) -> dict[str, float]:
        """The optimum by parameter name."""
        return {name: estimate.value for name, estimate in self.params.items()}

    def at(self, x: Mapping[str, Floats]) -> Floats:
        """The law at its optimum for inputs (n,), shape (n,); not finite where that leaves floating point."""
        x = {name: np.asarray(v, dtype=float) for name, v in x.items()}
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            out: Floats = np.asarray(self.entry.predict(x, **self.values))
        return out

    def at_draws(self, x: Mapping[str, Floats]) -> Floats:
        """The law at each draw for inputs (n,), shape (draws, n); not finite where that leaves floating point."""
        x = {name: np.atleast_1d(np.asarray(v, dtype=float)) for name, v in x.items()}
        named = {name: self.draws[:, [i]] for i, name in enumerate(self.entry.names)}
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            out: Floats = np.asarray(self.entry.predict(x, **named))
        return out

    def optimum_row(self) -> Floats:
        """The optimum as a draw, (1, p)."""
        return np.array([[self.params[name].value for name in self.entry.names]])

    def to_lmfit(self) -> LawResult:
        """The fit as an lmfit ModelResult on the rows it keeps: fit_report(), conf_interval(), eval(x={...}), emcee().

        Its chi-square is twice the objective: the residuals handed to lmfit are sign(r) * sqrt(2 * weight * rho(r)).
        Standard errors and intervals are scaled by the fit's own sandwich covariance. `x` maps each input to (n,),
        because lmfit keeps the name `params` for itself. Raises BadInput where the fit keeps only some of its rows, and
        for a blend of laws.
        """
        from .bridge import to_lmfit

        return to_lmfit(self)

    def outside(self, point: Mapping[str, Any]) -> dict[str, float]:
        """By what factor each input of a point, or its compute, lies beyond the fitted range; empty inside it.

        A share of a mixture has no factors: one beyond by the width of its fitted range counts as a factor e. Raises
        BadInput where an input is none of its quantity, as 6 * params * tokens of absurd sizes is not.
        """
        factors = {}
        for name, value in point.items():
            known = self.inputs.get(name, {})
            if "min" in known:
                size = np.array([float(value)])
                domain = quantity(name).domain
                if not allowed(domain, size).all():
                    raise BadInput(
                        f"{name} = {size[0]:g} is not a finite number {DOMAINS[domain]}", fix="mend the point"
                    )
                with np.errstate(over="ignore"):
                    factor = float(np.exp(beyond(name, size, known["min"], known["max"])[0]))
                # Digits lost in printing a number are no extrapolation.
                if factor > 1 + 1e-9:
                    factors[name] = factor
        return factors

    def to_dict(self) -> dict[str, Any]:
        """The contents of FIT.json."""
        return {
            "schema": SCHEMA,
            "law": self.law,
            "target": self.target,
            "params": {name: asdict(estimate) for name, estimate in self.params.items()},
            "objective": {**asdict(self.objective), "value": self.value},
            "starts": dict(self.starts),
            "converged": self.converged,
            "bootstrap": dict(self.bootstrap),
            "intervals": dict(self.intervals),
            "draws": {"names": list(self.entry.names), "values": self.draws, "n": len(self.draws)},
            "metrics": asdict(self.metrics),
            "inputs": self.inputs,
            "rows": self.rows,
            "noise": asdict(self.noise),
            "points": self.points,
            "warnings": [asdict(notice) for notice in self.warnings],
            "notes": list(self.notes),
            "seed": self.seed,
            "made_by": self.made_by,
            **({"prior": dict(self.prior)} if self.prior else {}),
            **self._choice(),
        }

    def _choice(self) -> dict[str, Any]:
        """What only a choice of laws has: members, baselines, and the calibration of its intervals."""
        if not self.members:
            return {}
        calibration = None if self.calibration is None else asdict(self.calibration)
        posterior = {} if self.posterior is None else {"posterior": self.posterior.to_dict()}
        return {
            "members": list(self.members),
            "baselines": dict(self.baselines),
            "calibration": calibration,
            **posterior,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes FIT.json whole or not at all."""
        return write_text(path, to_json(self.to_dict()) + "\n")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], file: str | None = None) -> Fit:
        """The fit of FIT.json's contents; raises BadInput where they are of another schema, incomplete or damaged."""
        if not isinstance(found, Mapping) or found.get("schema") != SCHEMA:
            schema = found.get("schema") if isinstance(found, Mapping) else None
            raise BadInput(
                f"is not a fit this version reads (schema {schema!r}, wanted {SCHEMA!r})", file=file, fix="fit again"
            )
        if found.get("kind") == "curves":
            raise BadInput(
                f"is a fit of the curve law {found.get('law')!r}, which this command does not take",
                file=file,
                fix="use it with forecast, schedule compare or schedule optimize",
            )
        _check_known(found.get("law"), file)
        try:
            law = check_fit(found)
            objective = dict(found["objective"])
            value = objective.pop("value")
            return cls(
                law=law.name,
                target=found["target"],
                params={name: _estimate(found["params"][name]) for name in law.names},
                objective=Objective(**objective),
                value=value,
                starts=found["starts"],
                bootstrap=found["bootstrap"],
                draws=np.array(found["draws"]["values"], dtype=float),
                metrics=Metrics(**found["metrics"]),
                inputs=found["inputs"],
                rows=found["rows"],
                noise=Noise(**found["noise"]),
                points={name: _column(values) for name, values in found["points"].items()},
                warnings=tuple(Notice(**notice) for notice in found["warnings"]),
                notes=tuple(found["notes"]),
                seed=found["seed"],
                made_by=found["made_by"],
                converged=found.get("converged"),
                members=tuple(found.get("members", ())),
                calibration=Calibration(**found["calibration"]) if found.get("calibration") else None,
                baselines=found.get("baselines", {}),
                prior=found.get("prior", {}),
                posterior=Posterior.from_dict(found["posterior"]) if found.get("posterior") else None,
                # A file of a version that knew only the bootstrap does not say so.
                intervals=found.get("intervals", {"method": "bootstrap"}),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as fault:
            what = f"no {fault}" if isinstance(fault, KeyError) else fault
            raise BadInput(f"the fit is incomplete or damaged ({what})", file=file, fix="fit again") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Fit:
        """The fit of a file; raises BadInput where it is missing, cut short or of another schema."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput("no such file", file=str(path), fix="make one with scaling-lab fit ... --out") from None
        except (OSError, UnicodeDecodeError) as fault:
            raise BadInput(f"can't be read ({fault})", file=str(path)) from None
        except ValueError as fault:
            line = getattr(fault, "lineno", None)
            raise BadInput(
                "is not a FIT.json, or was cut short",
                file=str(path),
                line=line,
                fix="make one with scaling-lab fit LAW TABLE --out FIT.json",
            ) from None
        except RecursionError:
            what = "values are nested without end"
            raise BadInput(f"the fit is incomplete or damaged ({what})", file=str(path), fix="fit again") from None
        return cls.from_dict(found, str(path))


def _check_known(name: Any, file: str | None) -> None:
    """Raises BadInput where a fit is of a law that the catalogue lacks, as one of somebody's own."""
    try:
        if isinstance(name, str) and name != NAME:
            get_law(name)
    except UsageError:
        raise BadInput(
            f"is a fit of the law {name!r}, which the catalogue has not",
            file=file,
            fix="give the file it is in with --law-file FILE.py:NAME",
        ) from None


def _estimate(found: Mapping[str, Any]) -> Estimate:
    ci = found["ci"]
    if ci is not None:
        ci = (-math.inf if ci[0] is None else float(ci[0]), math.inf if ci[1] is None else float(ci[1]))
    return Estimate(**{**found, "value": float(found["value"]), "ci": ci})


def _column(values: list[Any]) -> NDArray[Any]:
    return np.array(values, dtype=object if values and isinstance(values[0], str) else float)


def too_few_draws(fit: Fit, level: float) -> tuple[Notice, ...]:
    """A warning where fewer than FEW draws lie beyond each end of an interval at `level`, which are then chance."""
    beyond = len(fit.draws) * (1 - level) / 2
    # Without a bootstrap there is nothing to count: SL405 says that.
    if len(fit.draws) < 2 or beyond >= FEW:
        return ()
    message = (
        f"{len(fit.draws)} bootstrap draws are too few for intervals at {level:g}: {beyond:.2g} of them lie beyond "
        "each end; ask for a lower --level, or fit with a larger --bootstrap (1,000 draws at most are kept)"
    )
    return (Notice("SL407", "warning", message),)


def stamp(rows_name: str, sha256: str, law: Law) -> dict[str, Any]:
    """The `made_by` record of a result that was made from one table, by a law that may have a file of its own."""
    return made_by(**{rows_name: sha256}, **law.files)
