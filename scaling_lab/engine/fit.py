"""A law and a table in, a fit out: starts, the global optimum, bootstrap, and what the data can't tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..accounting import DERIVED
from ..errors import BadInput, DidNotConverge, NotEnoughData, NotIdentified, UsageError
from ..laws import LAWS, Law, Param, broken_rules, law_for
from ..quantities import SHARE_PREFIX
from ..tables import Rows, Table, read_table, rows_for
from . import diagnostics
from .bootstrap import Progress, bootstrap
from .coordinates import Coordinates, inward, numbers, outward
from .likelihood import doubt
from .local import mean_error
from .metrics import metrics
from .prior import FAMILY_SD, FIRST_NOISE, Borrowed, information, objective_unit, prior_of, with_centers_anew
from .resample import RESAMPLES, curve_blocks
from .result import Estimate, Fit, stamp
from .solve import (
    DELTA,
    NOT_FINITE,
    STATUS_NAMES,
    Objective,
    Pull,
    Solutions,
    chunk_size,
    gone_on,
    graduated,
    in_chunks,
    nonnegative_least_squares,
    one_blas_thread,
    rounding,
    settled,
    thinned,
    widths,
)
from .stored import METHODS
from .uncertainty import extent, measure_noise

if TYPE_CHECKING:
    import os

    import pandas as pd

Floats = NDArray[np.float64]

# How many of the starts are followed to a minimum: the best by objective, and some of the others at random, so that a
# basin whose rim looks poor is seen too.
POLISH = (64, 32)
# Starts whose objectives agree to this share of the best one ended at the same optimum: 1e-9 where the objective is
# about 1e-3, as Huber sums of a few hundred rows are, and the same for an objective of any other size.
SAME_OPTIMUM = 1e-6
# Random starts that are followed to a minimum after the ranked ones, again each time that one of them ends lower, and
# how many starts must agree before the best is called certain.
AUDIT, AUDIT_ROUNDS, AGREEING = 100, 4, 3
KEPT_BASINS = 10
# Minima of a thinned table that are followed on all of its rows, and starts that may take many more steps.
WENT_ON = 12
# Numbers in an array of the bases of linear parameters.
LINEAR_BLOCK = 300_000
# A linear term below this size, or above one over it, for a coefficient of one, is none: its square, or a coefficient
# that shows, would leave floating point.
FAINT = 1e-150
KEPT_DRAWS = 1000
# Rounds in which the residuals' size settles, which the strength of a law's own priors hangs on.
OWN_ROUNDS = 2
KEPT_POINTS = 20_000


@dataclass(frozen=True)
class Settings:
    """How a fit is made; the same settings, rows and seed give the same numbers.

    With `own_width` a backtest takes each law's own Huber width, where it has one, for the one given.
    """

    objective: Objective = field(default_factory=Objective)
    starts: int = 2304
    bootstrap: int = 1000
    resample: Literal["runs", "rows", "wild", "parametric"] = "runs"
    fix: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    level: float = 0.95
    workers: int | None = None
    polish: tuple[int, int] = POLISH
    audit: int = AUDIT
    device: Literal["cpu", "cuda"] = "cpu"
    intervals: Literal["bootstrap", "profile", "covariance", "emcee"] = "bootstrap"
    prior: Borrowed | None = None
    own_width: bool = False

    def objective_of(self, law: Law) -> Objective:
        """The objective that the law is fitted with: on its residuals, with its own width where `own_width`."""
        own = law.delta if self.own_width else None
        return replace(self.objective, on=law.residual, delta=self.objective.delta if own is None else own)

    def __post_init__(self) -> None:
        if self.objective.name not in ("huber", "l2", "l1"):
            raise UsageError(f"no objective {self.objective.name!r}; known: huber, l2, l1")
        if not 0 < self.objective.delta < math.inf:
            raise UsageError(f"--delta {self.objective.delta:g} is not a number above zero")
        if not 1e-100 < self.objective.delta < 1e100:
            raise UsageError(
                f"--delta {self.objective.delta:g}, where residuals of log loss are about 0.01; give one near them, or "
                "--objective l2 for no width at all"
            )
        if self.resample not in RESAMPLES:
            raise UsageError(f"no resampling of {self.resample!r}; known: {', '.join(RESAMPLES)}")
        if self.intervals not in METHODS:
            raise UsageError(f"no intervals by {self.intervals!r}; known: {', '.join(METHODS)}")
        if self.intervals == "emcee" and self.bootstrap < 2:
            raise UsageError("--intervals emcee takes its intervals from draws; give --bootstrap 2 or more")
        if self.intervals != "bootstrap" and self.resample not in ("runs", "rows"):
            raise UsageError(
                f"--resample {self.resample} is a way to bootstrap, which --intervals {self.intervals} is not"
            )
        if self.prior is not None and self.intervals != "bootstrap":
            raise UsageError(f"--intervals {self.intervals} knows no --prior; take --intervals bootstrap")
        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"no device {self.device!r}; known: cpu, cuda")
        if self.starts < 1 or self.bootstrap < 0:
            raise UsageError("--starts is at least 1 and --bootstrap at least 0")
        if not 0 < self.level < 1:
            raise UsageError(f"a level of {self.level:g} is not between 0 and 1")


def fit(
    law: str | Law,
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    objective: Literal["huber", "l2", "l1"] = "huber",
    delta: float | None = None,
    starts: int = 2304,
    bootstrap: int = 1000,
    resample: Literal["runs", "rows", "wild", "parametric"] = "runs",
    intervals: Literal["bootstrap", "profile", "covariance", "emcee"] = "bootstrap",
    fix: Mapping[str, float] | None = None,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    weights: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    prior: Fit | str | os.PathLike[str] | None = None,
    prior_sd: float | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Fit:
    """The law, or `auto`, fitted to a table of finished runs (a path, `-`, a DataFrame or a Table).

    `prior` is a fit of another family, whose exponents this one is drawn to; `prior_sd` is the standard deviation of
    their logarithms from family to family. `delta` is the Huber width, of log loss: 1e-3 unless the law has one of its
    own. Raises BadInput, NotEnoughData, NotIdentified or DidNotConverge, each with
    what to do.
    """
    # The choice of laws is made of fits: it stands above this module.
    from .auto import auto_rows, choice, left_out
    from .blend import NAME

    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    laws = choice(read) if law == NAME else [law_of(law, read)]
    settings = Settings(
        objective=Objective(objective, width_of(laws[0], delta), laws[0].residual),
        starts=starts,
        bootstrap=bootstrap,
        resample=resample,
        intervals=intervals,
        fix=fix or {},
        device=device,
        prior=_borrowed(prior, prior_sd),
        seed=seed,
        workers=workers,
    )
    rows = law_rows(laws[0], read, weights=weights, drop_bad=drop_bad)
    if law == NAME:
        return auto_rows(laws, rows, settings, progress, left_out(read, laws))
    return fit_rows(laws[0], rows, settings, progress)


def width_of(law: Law, delta: float | None) -> float:
    """The Huber width that is asked for, else the law's own, else the usual one."""
    if delta is not None:
        return delta
    return DELTA if law.delta is None else law.delta


def _borrowed(prior: Fit | str | os.PathLike[str] | None, sd: float | None) -> Borrowed | None:
    """The exponents of a fit, or of the FIT.json at a path."""
    if prior is None:
        return None
    other = prior if isinstance(prior, Fit) else Fit.load(prior)
    return Borrowed.of(other, FAMILY_SD if sd is None else sd)


def law_rows(law: Law, table: Table, *, weights: str | None = None, drop_bad: bool = False) -> Rows:
    """The rows of a table that the law can be fitted to, each with its weight.

    Raises BadInput for rows whose inputs break the law's rules, unless `drop_bad` leaves them out, counted.
    """
    circular = _circular(law, table)
    if circular:
        raise BadInput(
            f"no column {circular!r}, which would have to be worked out from {law.target}, what the law predicts",
            file=table.name,
            fix=f"name the column with --map {circular}=COLUMN",
        )
    lacking = any(not has_input(table, name) for name in law.inputs) and has_input(table, law.target)
    others = [other.name for other in fitting_laws(table, law.target)] if lacking else []
    positive = law.residual == "log"
    try:
        rows = rows_for(table, law.inputs, law.target, positive_target=positive, weights=weights, drop_bad=drop_bad)
    except BadInput as fault:
        if others:
            fault.args = (f"{fault}; or take a law of what the table has: {', '.join(others)}",)
        raise
    broken = broken_rules(law, rows.x)
    if not broken:
        return _unless_misfit(law, rows)
    if not drop_bad:
        first = min(broken)
        more = f" ({len(broken)} such rows)" if len(broken) > 1 else ""
        fix = "mend it, select rows with --where, or leave such rows out, counted, with --drop-bad-rows"
        raise BadInput(broken[first] + more, file=rows.name, line=int(rows.lines[first]), fix=fix)
    return _unless_misfit(law, rows.without(broken))


def _unless_misfit(law: Law, rows: Rows) -> Rows:
    """The rows; raises BadInput where the law says that it can't hold of them."""
    why = law.misfit(rows.x, rows.y) if law.misfit is not None else ""
    if why:
        raise BadInput(why, file=rows.name, fix="take another law, or select rows with --where")
    return rows


def law_of(name: str | Law, table: Table) -> Law:
    """The law of that name as it stands for a table: a law of shares is over those that the table has."""
    return law_for(name, [*table.columns, *table.made], table.name)


def has_input(table: Table, name: str) -> bool:
    """Whether a table has a quantity, or the params and tokens that it follows from."""
    return table.has(name) or (name in DERIVED and table.has("params") and table.has("tokens"))


def fitting_laws(table: Table, target: str | None = None) -> list[Law]:
    """The laws whose inputs and target the table has; a law of shares over those of the table.

    All are of one target: loss, where the table has it, unless another is asked for. Laws of the curve of one run,
    which hold of no two runs together, are asked for by name.
    """
    columns = [*table.columns, *table.made]
    found: list[Law] = []
    # What another law takes as an input is a setting before it is an outcome: params, though one law predicts them.
    taken = {name for law in LAWS.values() for name in law.inputs} - {"loss"}
    # A rule of the set-up is asked of a table that measures nothing else: its targets come last.
    measured = {law.target for law in LAWS.values() if law.family != "hyperparameter"}
    targets = sorted(
        dict.fromkeys(["loss", *(law.target for law in LAWS.values())]),
        key=lambda name: (name in taken, name not in measured),
    )
    for name in [target] if target else targets:
        if target or table.has(name):
            found = _laws_of(table, name, columns)
        if found or (name == "loss" and table.has(name)):
            break
    return found


def _laws_of(table: Table, target: str, columns: Sequence[str]) -> list[Law]:
    """The laws of one target whose inputs a table has."""
    found: list[Law] = []
    for law in LAWS.values():
        if law.target != target or law.family == "curve":
            continue
        if law.shares:
            if sum(name.startswith(SHARE_PREFIX) for name in columns) < 2:
                continue
            law = law_for(law, columns)
        if all(has_input(table, name) for name in (*law.inputs, law.target)) and not _circular(law, table):
            found.append(law)
    return found


def _circular(law: Law, table: Table) -> str:
    """The input, if any, that a table lacks and that would be worked out from the law's own target."""
    if law.target not in ("params", "tokens"):
        return ""
    return next((name for name in law.inputs if name in DERIVED and not table.has(name)), "")


def fit_rows(law: Law, rows: Rows, settings: Settings, progress: Progress | None = None) -> Fit:
    """The law fitted to rows of numbers; those of one run's curve are resampled in blocks of neighbours."""
    blocks = curve_blocks(law, rows)
    rows = rows if blocks is None else blocks
    coordinates = Coordinates.of(law, settings.fix, rows.x)
    pull, alone = _drawn_to(coordinates, rows, settings)
    best = optimum(coordinates, rows, settings, pull)
    params = {name: float(v[0, 0]) for name, v in coordinates.to_params(best.theta[None, :]).items()}
    draws, boot = bootstrap(
        coordinates,
        rows,
        settings.objective,
        best.theta,
        best.grid,
        count=settings.bootstrap if settings.intervals == "bootstrap" else 0,
        resample=settings.resample,
        seed=settings.seed,
        workers=settings.workers,
        progress=progress,
        pull=pull,
        device=settings.device,
    )
    boot["level"] = settings.level
    if blocks is not None and boot["resample"] == "runs":
        boot["resample"] = "blocks"
    told = None
    if settings.intervals != "bootstrap":
        told = doubt(
            coordinates,
            rows,
            settings.objective,
            best.theta,
            method=settings.intervals,
            count=settings.bootstrap,
            resample=settings.resample,
            seed=settings.seed,
            level=settings.level,
        )
        draws = told.draws
    predicted = np.asarray(law.predict(dict(rows.x), **params))
    residuals = settings.objective.residual(predicted, settings.objective.scale(rows.y))
    noise = measure_noise(
        law,
        rows,
        residuals,
        len(coordinates.free),
        lambda part: quick_optimum(coordinates, part, settings, pull),
        lambda inside, params, outside: mean_error(
            coordinates, inside, coordinates.from_array(params)[0], outside, settings.objective
        ),
    )
    notices = diagnostics.check(coordinates, rows, best.theta, best.account, boot, noise, settings.objective)
    if law.shape is not None:
        notices = (*notices, *(diagnostics.misshapen(message) for message in law.shape(rows.x, params)))
    lent: dict[str, Any] = {}
    if settings.prior is not None and pull is not None:
        draws, lent = _lent(settings.prior, coordinates, rows, best.theta, alone, draws, noise.sd, settings.seed)
        notices = (*notices, *diagnostics.lent(lent["params"]))
    elif law.needs_priors and told is None:
        _, sd = prior_of(coordinates, rows)
        draws = _moved_priors(coordinates, rows, sd**-2.0, draws, noise.sd, settings.seed)
    kept = _spread(draws, KEPT_DRAWS)
    return Fit(
        law=law.name,
        target=law.target,
        params=told.estimates if told else estimates(law, params, draws, settings.level, coordinates.fixed),
        intervals=told.account if told else {"method": "bootstrap"},
        objective=settings.objective,
        value=_objective(settings.objective, residuals, rows.weights),
        starts=best.account,
        converged=best.certain,
        bootstrap=boot,
        draws=kept if len(kept) else coordinates.to_array(best.theta[None, :]),
        metrics=metrics(predicted, rows.y),
        inputs=law_inputs(rows),
        rows={
            "read": rows.read,
            "used": rows.used,
            "dropped": dict(rows.dropped),
            "runs": 1 if blocks is not None else rows.runs,
        },
        noise=noise,
        points=fit_points(law, rows),
        warnings=(*notices, *(told.notices if told else ())),
        notes=rows.notes,
        seed=settings.seed,
        made_by=stamp(rows.name, rows.sha256, law),
        prior=lent,
    )


def _drawn_to(coordinates: Coordinates, rows: Rows, settings: Settings) -> tuple[Pull | None, Floats | None]:
    """The pull of borrowed exponents, and the optimum (p,) without it where the table has one; None without a prior.

    How strong a pull is against an objective hangs on the residuals' size: that of the fit alone, else of the fit
    under a pull that takes it for FIRST_NOISE.
    """
    if settings.prior is None:
        return (_own_pull(coordinates, rows, settings), None) if coordinates.law.needs_priors else (None, None)
    if coordinates.law.needs_priors:
        raise UsageError(f"{coordinates.law.name} keeps priors of its own in every fit, and takes no --prior")
    settings.prior.pull(coordinates, 1.0)  # raises where nothing can be borrowed, before any work
    diagnostics.check_identified(settings.prior.held(coordinates), rows)
    objective = settings.objective
    scale = rows.used / rows.runs  # rows of one run share its error: together they count as one
    alone: Floats | None = None
    try:
        alone = theta = optimum(coordinates, rows, settings).theta
    except (NotEnoughData, NotIdentified):
        first = objective_unit(objective, np.full(rows.used, FIRST_NOISE), rows.weights, 0.0)
        theta = optimum(coordinates, rows, settings, settings.prior.pull(coordinates, first * scale)).theta
    predicted = np.asarray(coordinates.law.predict(dict(rows.x), **coordinates.to_params(theta[None, :])))[0]
    residuals = objective.residual(predicted, objective.scale(rows.y))
    unit = objective_unit(objective, residuals, rows.weights, len(theta))
    return settings.prior.pull(coordinates, unit * scale), alone


def _check_shares_move(coordinates: Coordinates, rows: Rows) -> None:
    """Raises NotIdentified where the share of a source is the same in all rows: its prior would pass for knowledge."""
    law = coordinates.law
    still = [name for name, v in rows.x.items() if name.startswith(SHARE_PREFIX) and v.size and np.ptp(v) == 0]
    free = {p.name for p in coordinates.free if p.domain == "real"}
    names = [
        p.name
        for p in law.params
        if p.name in free and any(p.name.endswith("_" + name.removeprefix(SHARE_PREFIX)) for name in still)
    ]
    if len(still) == len(rows.x):
        raise NotIdentified(names, f"all {rows.used} runs have one mixture", "add runs on other mixtures")
    if names:
        which = ", ".join(still)
        raise NotIdentified(
            names, f"{which} is the same in all {rows.used} runs", f"vary it, or hold it: --fix {names[0]}=0"
        )


def _own_pull(coordinates: Coordinates, rows: Rows, settings: Settings) -> Pull:
    """The pull of a law's own priors, without which it would be no law, against the residuals' size under it."""
    if not rows.used:
        optimum(coordinates, rows, settings)  # raises: there are too few
    objective, scale = settings.objective, rows.used / rows.runs
    _check_shares_move(coordinates, rows)
    center, sd = prior_of(coordinates, rows)
    fewer = replace(settings, starts=400, polish=(12, 4), audit=0)
    unit = objective_unit(objective, np.full(rows.used, FIRST_NOISE), rows.weights, 0.0)
    for _ in range(OWN_ROUNDS):
        theta = optimum(coordinates, rows, fewer, Pull(center, unit * scale / sd**2)).theta
        predicted = np.asarray(coordinates.law.predict(dict(rows.x), **coordinates.to_params(theta[None, :])))[0]
        residuals = objective.residual(predicted, objective.scale(rows.y))
        unit = objective_unit(objective, residuals, rows.weights, 0.0)
    return Pull(center, unit * scale / sd**2)


def _lent(
    prior: Borrowed,
    coordinates: Coordinates,
    rows: Rows,
    theta: Floats,
    alone: Floats | None,
    draws: Floats,
    sd: float,
    seed: int,
) -> tuple[Floats, dict[str, Any]]:
    """The draws (B, P) with the prior's own doubt added, and what the prior lent.

    Refits to resampled runs are all drawn to the same values: had those been others within their doubt, the optimum
    would have moved, by as much as normal numbers that are independent of the runs say.
    """
    precision = prior.pull(coordinates, 1.0).precision
    share = information(coordinates, rows, theta, sd, precision)
    moved = _moved_priors(coordinates, rows, precision, draws, sd, seed)
    return moved, {"source": dict(prior.source), "params": prior.account(coordinates, theta, alone, share)}


def _moved_priors(
    coordinates: Coordinates, rows: Rows, precision: Floats, draws: Floats, sd: float, seed: int
) -> Floats:
    """The draws (B, P) with the doubt of priors of that precision (p,) added."""
    if len(draws) < 2:
        return draws
    theta = coordinates.from_array(draws)
    normal = np.random.default_rng([seed, 5]).standard_normal(theta.shape)
    with np.errstate(over="ignore"):
        moved = coordinates.to_array(with_centers_anew(coordinates, rows, theta, sd, precision, normal))
    return moved[np.isfinite(moved).all(axis=1)]


def fit_points(law: Law, rows: Rows) -> dict[str, NDArray[Any]]:
    """The rows used, or KEPT_POINTS of them taken evenly: what a report draws and an interval's noise is drawn from."""
    kept = thinned(rows.used, KEPT_POINTS)
    columns: dict[str, NDArray[Any]] = {**rows.x, law.target: rows.y, "line": rows.lines.astype(float)}
    if rows.flops is not None:
        columns["flops"] = rows.flops
    if np.any(rows.weights != 1.0):
        columns["weight"] = rows.weights
    columns["run_id"] = rows.group.astype(str).astype(object)
    return {name: values[kept] for name, values in columns.items()}


# ---------------------------------------------------------------------------------------------------------- optimum


@dataclass(frozen=True)
class Optimum:
    """The best minimum found (p,), every start that was ranked (n, p), and an account of them.

    The account counts: starts (`n`), those followed to a minimum because they ranked well (`polished`) and random ones
    (`audited`, in `rounds`), those of all followed that settled (`converged`) and that ended at the best (`at_best`),
    their `statuses` by name, and `basins`: distinct minima, best first. `certain`: the last round of random starts
    found nothing lower, and at least three starts agree.
    """

    theta: Floats
    grid: Floats
    account: Mapping[str, Any]
    certain: bool = True


@one_blas_thread()
def optimum(coordinates: Coordinates, rows: Rows, settings: Settings, pull: Pull | None = None) -> Optimum:
    """The best of the minima that the starts lead to; raises where the data can't tell one.

    A `pull` towards what is known of every parameter stands in for data that can't tell them.
    """
    free = len(coordinates.free)
    if rows.used < max(free - (0 if pull is None else int(np.sum(pull.precision > 0))) + 1, 2):
        dropped = sum(rows.dropped.values())
        left_out = f" ({dropped} of {rows.read} rows left out)" if dropped else ""
        raise NotEnoughData(rows.used, free + 1, coordinates.law.name, left_out, parameters=free)
    if pull is None:
        diagnostics.check_identified(coordinates, rows)
    rng = np.random.default_rng([settings.seed, 0])
    theta = _suggested(coordinates, rows, starting_points(coordinates, rows, settings.starts, rng))
    ranked = _objectives(coordinates, rows, settings.objective, theta, pull)
    if not free:
        _check_in_reach(coordinates, rows, theta[0])
        return Optimum(theta[0], theta, {"n": 1, "polished": 1, "converged": 1, "at_best": 1, "best": "converged"})
    order = np.argsort(ranked, kind="stable")
    best, random = settings.polish
    chosen = theta[np.concatenate([order[:best], rng.permutation(order[best:])[:random]])]
    ended = _polish(coordinates, rows, settings, chosen, pull)
    if not np.isfinite(_reached(ended)).any():
        raise DidNotConverge(
            f"{coordinates.law.name}: none of {len(theta)} starts gives a finite loss on {rows.name}; check the units "
            f"of {', '.join(coordinates.law.inputs)}"
        )
    ended, rounds, lower = _audited(coordinates, rows, settings, ended, pull)
    values = _reached(ended)
    first = int(np.argmin(values))
    at_best = int(np.sum(values <= _nearly(values[first], rows.used)))
    account = {
        "n": len(theta),
        "polished": len(chosen),
        "audited": len(values) - len(chosen),
        "rounds": rounds,
        "converged": int(np.sum(settled(ended.status))),
        "at_best": at_best,
        "best": STATUS_NAMES[ended.status[first]],
        "statuses": {name: int(np.sum(ended.status == i)) for i, name in enumerate(STATUS_NAMES)},
        "basins": _basins(coordinates, ended, rows.used),
        **({"lower": lower} if lower else {}),
    }
    certain = 0 < rounds <= AUDIT_ROUNDS and at_best >= AGREEING and bool(settled(ended.status)[first])
    _check_in_reach(coordinates, rows, ended.theta[first])
    return Optimum(ended.theta[first], theta, account, certain)


def _check_in_reach(coordinates: Coordinates, rows: Rows, theta: Floats) -> None:
    """Raises DidNotConverge where the optimum theta (p,) can't be written down as numbers that predict the losses."""
    if not coordinates.in_reach(rows.x, theta[None, :]).all():
        law = coordinates.law
        raise DidNotConverge(
            f"{law.name}: the parameters that fit {rows.name} best lie beyond floating point; check the units of "
            f"{', '.join((*law.inputs, law.target))}, or hold parameters with --fix name=value"
        )


def _reached(ended: Solutions) -> Floats:
    """The objective (b,) at which each start ended, infinite where it is not a number."""
    return np.where(np.isfinite(ended.value) & (ended.status != NOT_FINITE), ended.value, np.inf)


def _nearly(value: float, points: int) -> float:
    """The objective up to which a start has ended at the same optimum as one at `value`."""
    return value * (1 + SAME_OPTIMUM) + rounding(points)


def _audited(
    coordinates: Coordinates, rows: Rows, settings: Settings, ended: Solutions, pull: Pull | None
) -> tuple[Solutions, int, float]:
    """All starts followed so far with random ones, how many rounds of those it took, and how much lower they ended.

    A round that finds nothing lower is the last. One more than AUDIT_ROUNDS is made at most: where even that finds
    something, nothing is certain.
    `lower` is a share of the objective that the ranked starts had reached.
    """
    if not settings.audit:
        return ended, 0, 0.0
    rng = np.random.default_rng([settings.seed, 3])
    before = float(np.min(_reached(ended)))
    rounds = 0
    while rounds <= AUDIT_ROUNDS:
        rounds += 1
        begun = random_points(coordinates, rows, settings.audit, rng)
        # Half of them straight down: wider objectives first lead every start to one valley, where there may be several.
        found = _polish(coordinates, rows, settings, begun, pull, straight=len(begun) // 2)
        best = float(np.min(_reached(ended)))
        ended = Solutions.join([ended, found])
        if _nearly(float(np.min(_reached(found))), rows.used) >= best:
            break
    after = float(np.min(_reached(ended)))
    return ended, rounds, (before - after) / before if _nearly(after, rows.used) < before else 0.0


def _basins(coordinates: Coordinates, ended: Solutions, points: int) -> list[dict[str, Any]]:
    """Distinct minima of the starts that settled, best first: objective, how many starts, and the parameters."""
    values = np.where(settled(ended.status), _reached(ended), np.inf)
    order = np.argsort(values, kind="stable")
    found: list[dict[str, Any]] = []
    for i in order[np.isfinite(values[order])]:
        if found and values[i] <= _nearly(found[-1]["objective"], points):
            found[-1]["starts"] += 1
            continue
        if len(found) == KEPT_BASINS:
            break
        with np.errstate(over="ignore"):
            params = {name: float(v[0, 0]) for name, v in coordinates.to_params(ended.theta[[i]]).items()}
        # What has run to infinity has no number in JSON.
        finite = {name: value if math.isfinite(value) else None for name, value in params.items()}
        found.append({"objective": float(values[i]), "starts": 1, "params": finite})
    return found


def _objectives(
    coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats, pull: Pull | None = None
) -> Floats:
    """The objective (B,) at starts (B, p), infinite where it is not a number; of some of the rows where they are many.

    It is for ranking starts, which so many rows tell as well.
    """
    kept = thinned(rows.used)
    if len(kept) < rows.used:
        rows = rows.take(kept)
    predict, target = coordinates.predictor(rows.x), objective.scale(rows.y)
    size = chunk_size(numbers(rows.x), LINEAR_BLOCK)
    parts = []
    for at in range(0, len(theta), size):
        with np.errstate(all="ignore"):
            r = objective.residual(predict(theta[at : at + size]), target)
            parts.append(objective.terms(r) @ rows.weights)
    total = np.concatenate(parts)
    if pull is not None:
        total = total + pull.value(theta)
    return np.where(np.isfinite(total), total, np.inf)


def _polish(
    coordinates: Coordinates,
    rows: Rows,
    settings: Settings,
    theta: Floats,
    pull: Pull | None = None,
    *,
    straight: int = 0,
) -> Solutions:
    """The minima that starts (B, p) lead to, by way of those of wider objectives but for the first `straight` of them.

    Those come last of the answer. Where rows are very many, the starts go to the minima of some of them first. From
    there on those that met there go on as one.
    """
    objective = settings.objective
    kept = thinned(rows.used)
    if len(kept) < rows.used:
        near = _polish(coordinates, rows.take(kept), settings, theta, pull, straight=straight)
        theta, met = _meetings(near, len(kept))
        straight = len(theta)
    target = objective.scale(rows.y)
    kernel = coordinates.kernel(rows.x, float(np.median(np.abs(rows.y))))

    def solve(begun: Floats, ladder: tuple[float, ...]) -> Solutions:
        def some(part: slice) -> Solutions:
            return graduated(kernel, begun[part], target, rows.weights, objective, ladder, pull)

        return in_chunks(some, len(begun), chunk_size(rows.used, kernel.block), settings.workers)

    ways = ((theta[straight:], widths(objective)), (theta[:straight], ()))
    ended = Solutions.join([solve(begun, ladder) for begun, ladder in ways if len(begun)])
    if settings.audit:
        # Of starts by two ways as many of each.
        most = WENT_ON * sum(len(begun) > 0 for begun, _ in ways)
        ended = gone_on(kernel, ended, target, rows.weights, objective, pull, most=most)
    return ended if len(kept) == rows.used else ended.take(met)


def _meetings(ended: Solutions, points: int) -> tuple[Floats, NDArray[np.intp]]:
    """The places (k, p) where starts ended, best first and WENT_ON at most, and which of them each start counts as.

    What ended above all of those counts as the last of them.
    """
    values = _reached(ended)
    order = np.argsort(values, kind="stable")
    first = [order[0]]
    met = np.zeros(len(values), dtype=np.intp)
    for i in order[1:]:
        if values[i] > _nearly(values[first[-1]], points) and len(first) < WENT_ON:
            first.append(i)
        met[i] = len(first) - 1
    return ended.theta[first], met


def quick_optimum(coordinates: Coordinates, rows: Rows, settings: Settings, pull: Pull | None = None) -> Floats | None:
    """The parameters (1, P) fitted to a part of the rows with fewer starts, or None where the part can't tell them."""
    fewer = replace(settings, starts=400, polish=(12, 4), audit=0)
    try:
        best = optimum(coordinates, rows, fewer, pull)
    except (NotEnoughData, NotIdentified, DidNotConverge):
        return None
    with np.errstate(over="ignore"):  # a part that hardly tells a parameter may send it to infinity
        return coordinates.to_array(best.theta[None, :])


def starting_points(coordinates: Coordinates, rows: Rows, count: int, rng: np.random.Generator) -> Floats:
    """About `count` starts (B, p): a grid over the parameters that are not linear, the linear ones solved on it.

    Random starts over the start ranges for a law without linear parameters, or with more than three others; the linear
    ones are solved in any case.
    """
    linear, curved = _kinds(coordinates)
    if not coordinates.free:
        return np.zeros((1, 0))
    if not linear or len(curved) > 3:
        return random_points(coordinates, rows, count, rng)
    side = max(2, round(count ** (1 / len(curved)))) if curved else 1
    # Even steps in the coordinate that is searched, both ends of the start range included.
    ends = [inward(p, np.array(p.start)) for p in curved]
    axes = [outward(p, np.linspace(low, high, side)) for p, (low, high) in zip(curved, ends, strict=True)]
    grid = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")] if curved else []
    named = {p.name: g for p, g in zip(curved, grid, strict=True)}
    return _with_linear(coordinates, rows, named, side ** len(curved))


def _suggested(coordinates: Coordinates, rows: Rows, theta: Floats) -> Floats:
    """Starts (B, p), preceded by those that the law itself suggests for such rows."""
    law = coordinates.law
    if law.begin is None or not coordinates.free or not rows.used:
        return theta
    part = rows.take(thinned(rows.used))
    return np.concatenate([coordinates.to_theta(law.begin(part.x, part.y)), theta])


def random_points(coordinates: Coordinates, rows: Rows, count: int, rng: np.random.Generator) -> Floats:
    """Starts (count, p) drawn over the start ranges, the linear parameters solved where there are any."""
    linear, curved = _kinds(coordinates)
    drawn = coordinates.random(count, rng)
    if not linear or not curved:
        return drawn
    params = coordinates.to_params(drawn)
    return _with_linear(coordinates, rows, {p.name: params[p.name][:, 0] for p in curved}, count)


def _kinds(coordinates: Coordinates) -> tuple[list[Param], list[Param]]:
    """The free parameters that are linear, and the others."""
    linear = coordinates.law.linear
    return [p for p in coordinates.free if p.name in linear], [p for p in coordinates.free if p.name not in linear]


def _with_linear(coordinates: Coordinates, rows: Rows, named: Mapping[str, Floats], total: int) -> Floats:
    """Starts (total, p) of curved parameters by name, each (total,), with the linear ones solved, block by block."""
    linear, _ = _kinds(coordinates)
    rows = rows.take(thinned(rows.used))
    parts, size = [], chunk_size(numbers(rows.x) * (len(linear) + 1), LINEAR_BLOCK)
    for at in range(0, total, size):
        part = {name: values[at : at + size] for name, values in named.items()}
        parts.append(coordinates.to_theta(part | solve_linear(coordinates, rows, part, min(size, total - at))))
    return np.concatenate(parts)


def solve_linear(coordinates: Coordinates, rows: Rows, named: Mapping[str, Floats], count: int) -> dict[str, Floats]:
    """The linear parameters, each (count,), by least squares of relative error where the others are `named`."""
    law = coordinates.law
    linear = [p for p in coordinates.free if p.name in law.linear]
    held = {name: np.full((count, 1), value) for name, value in coordinates.fixed.items()}
    held |= {name: values[:, None] for name, values in named.items()}
    offset, columns = _bases(law, rows, held, linear, count)
    target = rows.y - offset[0] if coordinates.fixed else rows.y
    weights = rows.weights * (rows.y**-2.0 if law.residual == "log" else 1.0)
    if coordinates.fixed and np.any(offset != offset[:1]):
        # A fixed linear parameter beside a curved one: the offset moves along the grid, so each place is solved alone.
        solved = [nonnegative_least_squares(columns[[g]], rows.y - offset[g], weights)[0][0] for g in range(count)]
        coefficients = np.array(solved)
    else:
        coefficients, _ = nonnegative_least_squares(columns, target, weights)
    # Zero has no logarithm, and from near zero the way back is long: a term that least squares leaves out starts at
    # a thirtieth of the loss.
    size = np.mean(np.abs(columns), axis=2)
    floor = 0.03 * float(np.mean(np.abs(rows.y))) / np.where(size > FAINT, size, 1.0)
    coefficients = np.maximum(coefficients, floor)
    return {p.name: coefficients[:, i] for i, p in enumerate(linear)}


def _bases(
    law: Law, rows: Rows, held: Mapping[str, Floats], linear: Sequence[Param], count: int
) -> tuple[Floats, Floats]:
    """What the law is without its linear parameters (count, n), and what one of each adds (count, k, n)."""
    shape = (count, rows.used)
    powers = {power.coefficient: power for power in law.powers}
    if set(law.linear) <= set(powers) and not set(powers) & set(held):
        columns = np.ones((count, len(linear), rows.used))
        for i, power in enumerate(powers[p.name] for p in linear):
            if power.factor:
                logs = np.log(power.base(rows.x))
                np.exp(power.sign * held[power.exponent] * logs, out=columns[:, i])
            elif power.minus:
                columns[:, i] = -1.0
        return np.zeros(shape), columns
    zero = {name: np.zeros((count, 1)) for name in law.linear if name not in held}

    def basis(name: str | None) -> Floats:
        one = {} if name is None else {name: np.ones((count, 1))}
        return np.broadcast_to(np.asarray(law.predict(dict(rows.x), **{**zero, **held, **one})), shape)

    with np.errstate(all="ignore"):
        offset = basis(None)
        columns = np.stack([basis(p.name) - offset for p in linear], axis=1)
        return offset, np.where(np.abs(columns) < 1.0 / FAINT, columns, 0.0)


def _spread(draws: Floats, count: int) -> Floats:
    """At most `count` draws, taken evenly."""
    return draws if len(draws) <= count else draws[np.linspace(0, len(draws) - 1, count).astype(int)]


def estimates(
    law: Law, params: Mapping[str, float], draws: Floats, level: float, fixed: Mapping[str, float]
) -> dict[str, Estimate]:
    """Every parameter's value with the spread of its draws (B, P), none where it is fixed."""
    tail = (1 - level) / 2
    out = {}
    for i, p in enumerate(law.params):
        held = p.name in fixed
        if held or len(draws) < 2:
            se, ci = (0.0, (params[p.name], params[p.name])) if held else (None, None)
        else:
            low, high = np.quantile(draws[:, i], [tail, 1 - tail])
            # The optimum itself is never called impossible, however skewed the draws are.
            ci = (min(float(low), params[p.name]), max(float(high), params[p.name]))
            with np.errstate(over="ignore"):  # draws of a term that hardly shows may reach 1e200: se is then null
                se = float(np.std(draws[:, i], ddof=1))
        out[p.name] = Estimate(params[p.name], se, ci, p.unit, fixed=held)
    return out


def _objective(objective: Objective, residuals: Floats, weights: Floats) -> float:
    """The weighted sum over rows; for l1 the true sum of |r|, not the narrow Huber that was minimised."""
    return float(weights @ (np.abs(residuals) if objective.name == "l1" else objective.terms(residuals)))


def law_inputs(rows: Rows) -> dict[str, Mapping[str, Any]]:
    """The inputs' columns and ranges, with the range of compute, which extrapolation is measured in.

    For a law of params and tokens that is 6 * params * tokens, whatever the table's own flops count, because a point
    that is asked about has no other.
    """
    out = dict(rows.inputs)
    compute = extent(rows.x).get("flops")
    if "flops" not in out and compute is not None:
        ends = {"min": float(compute.min()), "max": float(compute.max())}
        out["flops"] = {"column": "6*params*tokens", "unit": "FLOP", "derived": True, **ends}
    return out


__all__ = ["BadInput", "Settings", "fit", "fit_rows", "law_rows", "optimum", "starting_points"]
