"""Where a fit meets lmfit: the fit as lmfit's model and result, and a posterior sampled by lmfit's emcee.

Imports lmfit (0.5 s), so it is imported inside functions only.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lmfit
import numpy as np
from lmfit.model import Model, ModelResult
from numpy.typing import NDArray

from ..errors import BadInput
from ..laws import Law, Param
from .coordinates import Coordinates, inward, slope
from .sandwich import NoCovariance, Sandwich, sandwich
from .solve import Objective

if TYPE_CHECKING:
    from .likelihood import Likelihood
    from .result import Fit

Floats = NDArray[np.float64]

# A chain shorter than this many autocorrelation times does not know its own length (emcee's own rule).
LENGTHS = 50
FIRST_STEPS, MOST_STEPS, LEAST_WALKERS = 2000, 32_000, 32
# The prior is flat over each parameter's start range, a thousand times wider on either side.
WIDER = 1000.0


class LawModel(Model):
    """A law as lmfit's Model of one mapping `x` from input to (n,); its residual is the law's objective.

    The residuals handed to lmfit are sign(r) * sqrt(2 * weight * rho(r)), r the fit's own residual (of logarithms for
    most laws): their sum of squares, lmfit's chi-square, is twice the objective, for Huber and l1 too.
    """

    def __init__(self, law: Law, objective: Objective) -> None:
        def predict(x: Mapping[str, Floats], **params: float) -> Floats:
            values = law.predict({name: np.asarray(v, dtype=float) for name, v in x.items()}, **params)
            return np.asarray(values, dtype=float)

        # lmfit reads a function's signature, or these two attributes where it has them.
        predict.argnames, predict.kwargs = ["x", *law.names], []  # type: ignore[attr-defined]
        super().__init__(predict, independent_vars=["x"], name=law.name)
        self.law, self.objective = law, objective

    def _residual(self, params: Any, data: Floats, weights: Floats, **kwargs: Any) -> Floats:
        r = self.objective.residual(self.eval(params, **kwargs), self.objective.scale(data))
        return np.asarray(np.sign(r) * np.sqrt(2.0 * weights * self.objective.terms(r)))


class LawResult(ModelResult):
    """lmfit's result at the fit's optimum, with the fit's own covariance in place of that of the residuals' squares.

    `stderr`, `correl` and `covar` are the sandwich's (engine/sandwich.py; None where there is none), and
    `conf_interval` and `emcee` scale the objective's rise by it: a Huber sum is no chi-square.
    """

    shape: Sandwich | None = None

    def conf_interval(self, **kwargs: Any) -> Any:
        """lmfit's profile intervals; rises are compared with F(1, df) times the sandwich's dispersion."""
        if self.shape is not None:
            kwargs.setdefault("prob_func", self._probability)
        return super().conf_interval(**kwargs)

    def _probability(self, best: Any, other: Any) -> float:
        from scipy.special import fdtr

        assert self.shape is not None
        (held,) = set(best.var_names) - set(other.var_names)
        free = [name for name in self.model.law.names if name in best.var_names]
        rise = (other.chisqr - best.chisqr) / float(self.shape.dispersion[free.index(held)])
        # leastsq may end a rounding below the optimum that it is compared with.
        return float(fdtr(1, self.shape.df, max(rise, 0.0)))

    def emcee(self, params: Any = None, **kwargs: Any) -> Any:
        """lmfit's emcee with a flat prior on the parameters themselves, of -(df + q) / 2 * log(1 + rise / df), where
        rise is that of chi-square over the largest dispersion. Raises BadInput where the fit has no covariance."""
        if self.shape is None:
            raise BadInput("the fit has no covariance to scale its posterior by", fix="see --intervals bootstrap")
        q, df = int(self.shape.alive.sum()), self.shape.df
        scale, best, inner = float(np.max(self.shape.dispersion)), float(self.chisqr), self.model._residual

        def log_posterior(named: Any, *args: Any, **kws: Any) -> float:
            with np.errstate(all="ignore"):
                r = self.model._residual(named, *args, **kws)
                out = -0.5 * (df + q) * np.log1p((float(r @ r) - best) / scale / df)
            return float(out) if np.isfinite(out) else -1e100

        self.userfcn = log_posterior
        try:
            return super().emcee(params=params, **kwargs)
        finally:
            self.userfcn = inner


def to_lmfit(fit: Fit) -> LawResult:
    """The fit as an lmfit result: leastsq started from the fit's own optimum, on the rows that the fit keeps.

    Raises BadInput where it keeps only some of its rows, whose objective would be another, and for a blend of laws.
    """
    if fit.members:
        raise BadInput(f"{fit.law} is a blend of {len(fit.members)} laws", fix="fit one of them by its name")
    kept = len(fit.points[fit.target])
    if kept != fit.rows["used"]:
        raise BadInput(
            f"the fit keeps {kept:,} of its {fit.rows['used']:,} rows, which have another optimum",
            fix="fit a part of the table with --where",
        )
    law, held = fit.entry, {name: e.value for name, e in fit.params.items() if e.fixed}
    x = {name: np.asarray(fit.points[name], dtype=float) for name in law.inputs}
    y = np.asarray(fit.points[fit.target], dtype=float)
    weights = np.asarray(fit.points.get("weight", np.ones(len(y))), dtype=float)
    model = LawModel(law, fit.objective)
    params = lmfit.Parameters()
    for p in law.params:
        low, high = p.bounds
        ends = {"min": -np.inf if low is None else low, "max": np.inf if high is None else high}
        params.add(p.name, value=fit.params[p.name].value, vary=p.name not in held, **ends)
    result = LawResult(model, params, data=y, weights=weights, fcn_args=(y, weights), fcn_kws={"x": x})
    with warnings.catch_warnings():
        # lmfit's own estimate of the errors, which is replaced below, warns where it is zero.
        warnings.simplefilter("ignore", UserWarning)
        with np.errstate(all="ignore"):
            result.fit(data=y, weights=weights, x=x)
        result.shape = _shape(fit, Coordinates(law, held), x, y, weights)
        _take_covariance(result)
    return result


def _shape(fit: Fit, coordinates: Coordinates, x: Mapping[str, Floats], y: Floats, weights: Floats) -> Sandwich | None:
    if not coordinates.free:
        return None
    theta = coordinates.to_theta({p.name: np.array([fit.params[p.name].value]) for p in coordinates.free})[0]
    groups = np.arange(len(y)) if fit.bootstrap["resample"] == "rows" else np.asarray(fit.points["run_id"])
    try:
        return sandwich(coordinates, x, y, weights, groups, fit.objective, theta)
    except NoCovariance:
        return None


def _take_covariance(result: LawResult) -> None:
    """Puts the sandwich, in the parameters' own units, in the place of lmfit's covariance; none where there is none."""
    names = [name for name in result.model.law.names if name in result.var_names]
    shape, params = result.shape, result.params
    known = shape is not None and bool(shape.alive.all())
    result.covar = None
    for name in names:
        params[name].stderr, params[name].correl = None, None
    result.errorbars = known
    if not known:
        return
    assert shape is not None
    laws = {p.name: p for p in result.model.law.params}
    slopes = np.array([slope(laws[n], params[n].value) for n in names])
    # The covariance stands in lmfit's own order of the parameters.
    order = [names.index(name) for name in result.var_names]
    covariance = (shape.covariance * np.outer(slopes, slopes))[np.ix_(order, order)]
    se = np.sqrt(np.diag(covariance))
    for i, name in enumerate(result.var_names):
        params[name].stderr = float(se[i])
        params[name].correl = {
            other: float(covariance[i, k] / (se[i] * se[k])) for k, other in enumerate(result.var_names) if k != i
        }
    result.covar = covariance
    result.params.create_uvars(covar=covariance)


# ------------------------------------------------------------------------------------------------------------- chain


@dataclass(frozen=True)
class Chain:
    """Draws (n, p) after `burn` steps of `walkers` walkers, and how long the chain remembers (inf: not known)."""

    theta: Floats
    walkers: int
    steps: int
    burn: int
    autocorrelation: float
    acceptance: float


class _Batch:
    """What emcee takes for a pool: all walkers' posteriors in one call of numpy instead of one call each."""

    def __init__(self, posterior: Callable[[Floats], Floats]) -> None:
        self.posterior = posterior

    def map(self, function: Callable[..., Any], places: Iterable[Floats]) -> list[float]:
        return self.posterior(np.stack(list(places))).tolist()


def sample(found: Likelihood, seed: int) -> Chain:
    """The posterior of the parameters that move anything, by lmfit's Minimizer.emcee, until it is LENGTHS times as long
    as it remembers or MOST_STEPS long. A tenth, and five autocorrelation times at least, is burnt."""
    alive = np.flatnonzero(found.shape.alive)
    params = lmfit.Parameters()
    free = [found.coordinates.free[i] for i in alive]
    # A flat prior on an exponent's logarithm, sampled in the exponent: the valley in which it trades with its term's
    # logarithm is straight there, and the chain forgets several times sooner.
    curved = [p.signed and p.name not in found.coordinates.law.linear for p in free]
    plain = np.asarray([c and se < 0.5 for c, se in zip(curved, found.shape.se[alive], strict=True)])
    bounds = np.array([_box(p, float(found.theta[i])) for p, i in zip(free, alive, strict=True)])
    bounds[plain] = np.exp(bounds[plain])

    def outward(theta: Floats) -> Floats:
        return np.where(plain, np.exp(np.where(plain, theta, 0.0)), theta)

    for p, center, (low, high) in zip(free, outward(found.theta[alive]), bounds, strict=True):
        params.add(p.name, value=float(center), min=low, max=high)

    def thetas(places: Floats) -> Floats:
        theta = np.repeat(found.theta[None, :], len(places), axis=0)
        theta[:, alive] = np.where(plain, np.log(np.where(plain, places, 1.0)), places)
        return theta

    def posterior(places: Floats) -> Floats:
        inside = np.asarray(np.all((places >= bounds[:, 0]) & (places <= bounds[:, 1]), axis=1))
        theta = thetas(np.where(inside[:, None], places, outward(found.theta[alive])))
        return np.where(inside, found.log_posterior(theta) - theta[:, alive][:, plain].sum(axis=1), -np.inf)

    def one(named: Any) -> float:
        return float(posterior(np.array([[named[p.name].value for p in free]]))[0])

    minimizer = lmfit.Minimizer(one, params)
    walkers = max(LEAST_WALKERS, 4 * len(alive))
    rng = np.random.default_rng([seed, 4])
    begun = outward(found.theta[alive] + found.shape.steps(walkers, rng)[:, alive])
    run = {"nwalkers": walkers, "workers": _Batch(posterior), "progress": False, "float_behavior": "posterior"}
    steps = FIRST_STEPS
    # lmfit prints what it thinks of the chain's length; stdout may be one JSON object, and SL311 says it.
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        minimizer.emcee(steps=steps, pos=begun, seed=int(rng.integers(2**31)), **run)
        while (memory := _memory(minimizer)) * LENGTHS > steps and steps < MOST_STEPS:
            # Twice as long; the sampler goes on with its own random state.
            minimizer.emcee(steps=steps, reuse_sampler=True, **run)
            steps *= 2
    burn = int(max(steps // 10, min(5 * memory, steps // 2)))
    chain = minimizer.sampler.get_chain(discard=burn, flat=True)
    acceptance = float(np.mean(minimizer.sampler.acceptance_fraction))
    return Chain(thetas(chain), walkers, steps, burn, memory, acceptance)


def _memory(minimizer: Any) -> float:
    """The longest autocorrelation time in steps; infinite where a parameter never moved."""
    times = np.asarray(minimizer.sampler.get_autocorr_time(tol=0, quiet=True))
    return float(np.max(times)) if np.isfinite(times).all() else np.inf


def _box(param: Param, center: float) -> tuple[float, float]:
    """The prior's ends in search coordinates; an optimum outside the start range keeps as much room about it."""
    low, high = param.start
    if not param.signed:
        low, high = (float(v) for v in inward(param, np.array([low, high])))
        room = WIDER * (high - low)
        return min(low, center) - room, max(high, center) + room
    ends = sorted((float(np.log(abs(low))), float(np.log(abs(high)))))
    room = float(np.log(WIDER))
    return min(ends[0], center) - room, max(ends[1], center) + room
