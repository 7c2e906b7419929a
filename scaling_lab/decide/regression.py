"""Regression of the loss on the mixture, without a law: trees, a process or a ridge, the best by inner folds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Notice
from ..engine.solve import one_blas_thread
from ..errors import BadInput, LabError, MissingExtra, NotEnoughData, UsageError, nearest
from ..laws.mixtures import SUM_TOLERANCE
from ..quantities import SHARE_PREFIX
from ..tables import Rows, Table, read_table, rows_for
from .allocate import Quantile

Floats = NDArray[np.float64]
Predictor = Callable[[Floats], Floats]
Way = Callable[[Floats, Floats], Predictor]
SCHEMA = "scaling-lab/mixture-regression/1"
METHODS = ("trees", "process", "ridge")
# RegMix (Liu et al. 2024, arXiv:2407.01492): 100,000 mixtures simulated, the best 128 averaged.
SIMULATED, TOP = 100_000, 128
FOLDS = 5
LEAST_ROWS = 10


@dataclass(frozen=True)
class Regression:
    """The best mixture by regression: `shares` with the spread of the mixtures that were averaged.

    `loss` is the predicted loss there, give or take the errors of the inner folds. `errors` and `ranks` are each
    method's mean absolute error and rank correlation over inner folds of the table, `method` the one taken.
    """

    method: str
    errors: Mapping[str, float]
    ranks: Mapping[str, float]
    shares: Mapping[str, Quantile]
    loss: Quantile
    tried_loss: float
    rows: int
    simulated: int
    top: int
    level: float
    warnings: tuple[Notice, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `mixture --regress --json`."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "inner_mae": dict(self.errors),
            "inner_spearman": dict(self.ranks),
            "shares": {name: q.to_dict() for name, q in self.shares.items()},
            "loss": self.loss.to_dict(),
            "best_tried_loss": self.tried_loss,
            "rows": self.rows,
            "simulated": self.simulated,
            "averaged": self.top,
            "level": self.level,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def regress_mixture(
    table: Any,
    *,
    small: Any = None,
    method: str = "auto",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    strength: float = 1.0,
    simulated: int = SIMULATED,
    top: int = TOP,
    renormalise: bool = False,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
    level: float = 0.9,
    seed: int = 0,
) -> Regression:
    """The mixture of least loss by regression on the shares w_NAME of a table (a path, a DataFrame or a Table).

    `simulated` mixtures are drawn from a Dirichlet whose mean is that of the table's mixtures and whose parameters sum
    to `strength` times the number of sources; the `top` of least predicted loss are averaged. Draws outside `bounds`
    are left out. With `small`, a table of cheaper runs over the same sources, the regression is of those, and `carried`
    to the table's. Raises BadInput, NotEnoughData, or MissingExtra.
    """
    if method not in ("auto", *METHODS):
        raise UsageError(f"no regression by {method!r}; known: auto, {', '.join(METHODS)}")
    if not (simulated >= top >= 1) or not (np.isfinite(strength) and strength > 0) or not 0 < level < 1:
        raise UsageError("--top is from 1 to --simulated, --strength above zero and --level between 0 and 1")
    names, rows, w, told = shares_of(read_table(table, mapping=mapping, where=where), renormalise, drop_bad)
    methods = METHODS if method == "auto" else (method,)
    also: tuple[str, ...] = ()
    ways: dict[str, Way] = {one: partial(fitted, one) for one in methods}
    if small is not None:
        cheap = shares_of(read_table(small, mapping=mapping, where=where), renormalise, drop_bad)
        ways, told = _from_small(methods, names, cheap), (*told, *cheap[3])
        also = (
            *cheap[1].notes,
            f"the regression is of {cheap[1].used} rows of {cheap[1].name}, carried to this table's",
        )
    errors: dict[str, float] = {}
    ranks: dict[str, float] = {}
    residuals: dict[str, Floats] = {}
    for one, way in ways.items():
        residuals[one], errors[one], ranks[one] = inner_errors(way, w, rows.y, seed)
    taken = min(errors, key=lambda m: errors[m])
    predict = ways[taken](w, rows.y)
    drawn = simulate(w, strength, simulated, np.random.default_rng([seed, 6]), names, bounds or {})
    if len(drawn) < top:
        raise UsageError(
            f"--bounds leaves {len(drawn)} of {simulated} simulated mixtures, fewer than the {top} to be averaged; "
            "widen them, or ask for more with --simulated"
        )
    value = predict(drawn)
    best = drawn[np.argsort(value, kind="stable")[:top]]
    place = best.mean(axis=0)
    tail = [(1 - level) / 2, (1 + level) / 2]
    spread = np.quantile(best, tail, axis=0)
    at = float(predict(place[None, :])[0])
    low, high = np.quantile(residuals[taken], tail)
    return Regression(
        method=taken,
        errors=errors,
        ranks=ranks,
        shares={
            name: Quantile(float(place[i]), (float(spread[0, i]), float(spread[1, i]))) for i, name in enumerate(names)
        },
        loss=Quantile(at, (at * float(np.exp(low)), at * float(np.exp(high)))),
        tried_loss=float(rows.y.min()),
        rows=rows.used,
        simulated=len(drawn),
        top=top,
        level=level,
        warnings=(*told, *_outside(names, w, place)),
        notes=(*rows.notes, *also),
    )


def shares_of(
    table: Table, renormalise: bool, drop_bad: bool = False
) -> tuple[tuple[str, ...], Rows, Floats, tuple[Notice, ...]]:
    """The names of a table's shares, its rows, the shares (n, m), and a note where they were divided by their sums."""
    names = tuple(name for name in (*table.columns, *table.made) if name.startswith(SHARE_PREFIX))
    names = tuple(dict.fromkeys(names))
    if len(names) < 2:
        raise BadInput(
            f"a regression needs the shares of two or more sources, {SHARE_PREFIX}NAME, and there are {len(names)}",
            file=table.name,
            fix=f"name the columns with --map {SHARE_PREFIX}code=COLUMN",
        )
    rows = rows_for(table, names, "loss", drop_bad=drop_bad)
    w = np.column_stack([rows.x[name] for name in names])
    sums = w.sum(axis=1)
    if rows.used < LEAST_ROWS:
        dropped = f" ({', '.join(f'{n} {why}' for why, n in rows.dropped.items())})" if rows.dropped else ""
        raise NotEnoughData(rows.used, LEAST_ROWS, f"a regression over the mixtures of {rows.name}", dropped)
    if len(np.unique(w, axis=0)) < 2:
        raise BadInput("all rows have one mixture", file=rows.name, fix="add runs on other mixtures")
    if np.ptp(rows.y) == 0:
        problem = f"all rows have one loss, {rows.y[0]:g}: nothing tells one mixture from another"
        raise BadInput(problem, file=rows.name, fix="add runs that differ")
    if renormalise:
        if not (sums > 0).all():
            row = int(np.argmin(sums))
            raise BadInput("all shares are 0", file=rows.name, line=int(rows.lines[row]), fix="leave the row out")
        message = f"the shares of each row were divided by their sum ({sums.min():.4g} to {sums.max():.4g})"
        return names, rows, w / sums[:, None], (Notice("SL429", "info", message),)
    wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if wrong.size:
        raise BadInput(
            f"the shares sum to {sums[wrong[0]]:.6g}, not to 1 (within {SUM_TOLERANCE:g}) ({wrong.size} such rows)",
            file=rows.name,
            line=int(rows.lines[wrong[0]]),
            fix="mend them, or divide every row by its sum with --renormalise",
        )
    return names, rows, w, ()


def _from_small(
    methods: Sequence[str], names: Sequence[str], cheap: tuple[tuple[str, ...], Rows, Floats, tuple[Notice, ...]]
) -> dict[str, Way]:
    """By method: how runs (n, m), (n,) over the sources `names` become a predictor, by way of the cheaper ones."""
    others, rows, w, _ = cheap
    if set(others) != set(names):
        lacking = sorted(set(names) ^ set(others))
        raise BadInput(
            f"the two tables have different shares: {', '.join(lacking)} is in one of them alone",
            file=rows.name,
            fix="name the same sources in both with --map",
        )
    w = w[:, [others.index(name) for name in names]]
    return {one: partial(carried, fitted(one, w, rows.y)) for one in methods}


def inner_errors(way: str | Way, w: Floats, y: Floats, seed: int = 0) -> tuple[Floats, float, float]:
    """Errors of log loss (n,), their mean size in loss, and the rank correlation, over inner folds.

    `way` is one of METHODS, or makes a predictor of mixtures (n, m) and losses (n,).
    """
    from scipy.stats import spearmanr

    fold = np.random.default_rng([seed, 7]).permutation(len(y)) % FOLDS
    predicted, make = np.empty(len(y)), partial(fitted, way) if isinstance(way, str) else way
    for k in range(FOLDS):
        predicted[fold == k] = make(w[fold != k], y[fold != k])(w[fold == k])
    rank = float(spearmanr(predicted, y).statistic) if np.ptp(predicted) > 0 else 0.0
    return np.log(y / predicted), float(np.mean(np.abs(predicted - y))), rank


def fitted(method: str, w: Floats, y: Floats) -> Predictor:
    """The loss as a function of mixtures (k, m), fitted to mixtures (n, m) and losses (n,) by one of METHODS."""
    return {"trees": _trees, "process": _process, "ridge": _ridge}[method](w, y)


def _trees(w: Floats, y: Floats) -> Predictor:
    """Boosted trees with the paper's rate and number of rounds."""
    try:
        import lightgbm
    except ImportError:
        raise MissingExtra("lightgbm", "mixture", "--regress by trees") from None
    except OSError as fault:
        # It is installed and lacks a library of the system, as libgomp on a small image.
        raise LabError(f"lightgbm can't be loaded: {fault}; install that library, or take --method ridge") from None
    settings = {
        "objective": "regression",
        "learning_rate": 0.01,
        "num_threads": 1,
        "verbosity": -1,
        "seed": 42,
        "deterministic": True,
        # With few rows a leaf of 20, the default, could never split.
        "min_data_in_leaf": max(1, min(20, len(y) // 10)),
    }
    model = lightgbm.train(settings, lightgbm.Dataset(w, label=y), num_boost_round=1000)
    return lambda new: np.asarray(model.predict(new), dtype=float)


def _process(w: Floats, y: Floats) -> Predictor:
    """A Gaussian process of log loss over the roots of the shares, about a linear ridge of them."""
    process, kernels = _learn("gaussian_process"), _learn("gaussian_process.kernels")
    root = np.sqrt(w)
    log, middle = np.log(y), float(np.mean(np.log(y)))
    size = max(float(np.std(log)), 1e-9)
    kernel = (
        kernels.ConstantKernel(1.0, (1e-3, 1e4)) * kernels.RBF(1.0, (0.05, 50.0))
        + kernels.ConstantKernel(1.0, (1e-4, 1e4)) * kernels.DotProduct(1.0, "fixed")
        + kernels.WhiteKernel(1e-3, (1e-8, 1.0))
    )
    model = process.GaussianProcessRegressor(kernel, n_restarts_optimizer=0, random_state=0)
    with warnings.catch_warnings(), one_blas_thread():
        # A kernel's number at its bound is a part that the mixtures do not ask for.
        warnings.simplefilter("ignore")
        model.fit(root, (log - middle) / size)
    return lambda new: np.exp(middle + size * model.predict(np.sqrt(new)))


def _ridge(w: Floats, y: Floats) -> Predictor:
    """Log loss as a quadratic of the roots of the shares, held by a ridge whose strength inner rows choose."""
    linear, pipeline, preprocessing = _learn("linear_model"), _learn("pipeline"), _learn("preprocessing")
    model = pipeline.make_pipeline(
        preprocessing.PolynomialFeatures(2, include_bias=False),
        preprocessing.StandardScaler(),
        linear.RidgeCV(alphas=np.geomspace(1e-5, 1e3, 33)),
    )
    model.fit(np.sqrt(w), np.log(y))
    return lambda new: np.exp(np.asarray(model.predict(np.sqrt(new)), dtype=float))


def _learn(module: str) -> Any:
    """A module of scikit-learn; raises MissingExtra."""
    from importlib import import_module

    try:
        return import_module(f"sklearn.{module}")
    except ImportError:
        raise MissingExtra("scikit-learn", "mixture", "--regress") from None


def carried(small: Predictor, w: Floats, y: Floats, seed: int = 0) -> Predictor:
    """The loss of another size from a predictor of small runs and some runs (n, m), (n,) of that size.

    Log loss is a line in the small runs' predicted log loss, and a ridge over the roots of the shares for what that
    leaves, where inner folds find that it helps.
    """

    def features(v: Floats) -> Floats:
        return np.log(small(v))

    def line(w: Floats, y: Floats) -> Predictor:
        slope, level = np.polyfit(features(w), np.log(y), 1)
        return lambda new: np.exp(level + slope * features(new))

    def mended(w: Floats, y: Floats) -> Predictor:
        first = line(w, y)
        left = np.log(y) - np.log(first(w))
        ridge = _learn("linear_model").RidgeCV(alphas=np.geomspace(1e-4, 1e3, 29)).fit(np.sqrt(w), left)
        return lambda new: first(new) * np.exp(np.asarray(ridge.predict(np.sqrt(new)), dtype=float))

    fold = np.random.default_rng([seed, 8]).permutation(len(y)) % FOLDS
    miss = {
        way: np.mean(
            [np.mean(np.abs(way(w[fold != k], y[fold != k])(w[fold == k]) - y[fold == k])) for k in range(FOLDS)]
        )
        for way in (line, mended)
    }
    return min(miss, key=lambda way: miss[way])(w, y)


def simulate(
    w: Floats,
    strength: float,
    count: int,
    rng: np.random.Generator,
    names: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
) -> Floats:
    """Mixtures (k, m) drawn from a Dirichlet about the mean of those that were tried, those within the bounds."""
    mean = w.mean(axis=0) / w.mean(axis=0).sum()
    drawn = np.zeros((count, len(names)))
    drawn[:, mean > 0] = rng.dirichlet(mean[mean > 0] * strength * len(names), count)
    keep = np.ones(count, dtype=bool)
    for given, (low, high) in bounds.items():
        name = given if given in names else SHARE_PREFIX + given
        if name not in names:
            raise UsageError(f"--bounds: no share {given!r}; {nearest(name, names)}")
        if not 0 <= low <= high <= 1:
            raise UsageError(f"--bounds {given}={low:g}..{high:g} is no range of a share, as 0.05..0.3 is")
        share = drawn[:, list(names).index(name)]
        keep &= (share >= low) & (share <= high)
    return drawn[keep]


def _outside(names: Sequence[str], w: Floats, place: Floats) -> tuple[Notice, ...]:
    """A warning where a share of the best mixture lies at the upper edge of what was tried, or beyond."""
    from .mixture import NEAR_EDGE

    high = w.max(axis=0)
    low = w.min(axis=0)
    told = [
        f"{name.removeprefix(SHARE_PREFIX)} = {place[i]:.3g} of {low[i]:.3g} to {high[i]:.3g}"
        for i, name in enumerate(names)
        if place[i] > high[i] - NEAR_EDGE * max(high[i] - low[i], 1e-9) or place[i] < low[i]
    ]
    if not told:
        return ()
    return (Notice("SL426", "warning", f"the best mixture is not inside what was tried: {'; '.join(told[:4])}"),)
