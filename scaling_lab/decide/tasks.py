"""What a table of task scores shows: pass rates from counts, emergence, jumps, and checkpoints for a ladder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Notice
from ..errors import BadInput, NotEnoughData, UsageError
from ..quantities import ALIASES
from ..tables import Table, column_numbers, read_table

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/emergence/1"
# What the metrics need at least: a jump and a line look alike on two scales.
LEAST_SCALES = 3
# A score this many standard errors above guessing is told from it (two-sided 95 %).
ABOVE_CHANCE = 1.96
# Share of scales at chance above which the table says little of the law above it.
MOST_AT_CHANCE = 0.5


# -------------------------------------------------------------------------------------------------------- pass rates


@dataclass(frozen=True)
class PassRates:
    """Pass rates of n samplings: `value` (n,) is NaN where censored, `upper` (n,) a 95 % upper limit for each."""

    value: Floats
    censored: NDArray[np.bool_]
    upper: Floats


def pass_rate(successes: Floats, draws: Floats, fixed_draws: bool = False) -> PassRates:
    """The unbiased pass rates of samplings that went on until r successes (n,), in K draws (n,).

    (r - 1)/(K - 1) with r >= 2, where drawing stopped at the r-th success; r/K, the maximum likelihood, is too high
    there. A sampling that hit its cap before the second success has none: it is censored, which is not a rate of 0.
    `fixed_draws`: K was fixed beforehand, and r/K is unbiased. Source: Hu et al. 2023, arXiv:2310.03262, section 4.
    """
    from scipy.stats import beta

    r, k = np.asarray(successes, dtype=float), np.asarray(draws, dtype=float)
    wrong = ~(
        np.isfinite(r) & np.isfinite(k) & (r >= 0) & (k >= 1) & (r <= k) & (r == np.round(r)) & (k == np.round(k))
    )
    if wrong.any():
        at = int(np.argmax(wrong))
        raise BadInput(
            f"{r[at]:g} successes in {k[at]:g} draws is no count", fix="give whole numbers, 0 <= r <= K, K >= 1"
        )
    censored = (r < 1) if fixed_draws else (r < 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = r / k if fixed_draws else (r - 1) / (k - 1)
    # One-sided Clopper and Pearson, for a sampling stopped at a success as for one of fixed length.
    upper = np.where(r < k, beta.ppf(0.95, r + 1, np.maximum(k - r, 1)), 1.0)
    return PassRates(np.where(censored, np.nan, value), censored, upper)


# ----------------------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Smoothness:
    """How a score of n scales, in their order, improves: BIG-bench's metrics (arXiv:2206.04615, App. B).

    `improvement` is I = sign(argmax - argmin) * (max - min). `breakthroughness` is I over the root of the median
    squared step, `linearity` I over the root of the mean squared step (its exact form in the paper is unverified), and
    `linearity_per_step` that over the root of the number of steps, with which a single jump has 1. None: a denominator
    of 0. `largest_fall` is how far the score falls below its best at a smaller scale.
    """

    scales: int
    improvement: float
    breakthroughness: float | None
    linearity: float | None
    linearity_per_step: float | None
    largest_fall: float


def smoothness(scores: Floats) -> Smoothness:
    """The metrics of scores (n,) in the order of their scales; raises NotEnoughData below three."""
    y = np.asarray(scores, dtype=float)
    if len(y) < LEAST_SCALES:
        raise NotEnoughData(
            len(y), LEAST_SCALES, "a curve of scores", f" (metrics of jumps need {LEAST_SCALES} scales)"
        )
    steps = np.diff(y)
    improvement = float(np.sign(int(np.argmax(y)) - int(np.argmin(y))) * (y.max() - y.min()))
    median, mean = float(np.sqrt(np.median(steps**2))), float(np.sqrt(np.mean(steps**2)))
    linearity = improvement / mean if mean > 0 else None
    return Smoothness(
        scales=len(y),
        improvement=improvement,
        breakthroughness=improvement / median if median > 0 else None,
        linearity=linearity,
        linearity_per_step=None if linearity is None else linearity / float(np.sqrt(len(steps))),
        largest_fall=float(np.max(np.maximum.accumulate(y) - y)),
    )


# --------------------------------------------------------------------------------------------------------- emergence

Verdict = Literal["line", "convex", "concave"]
MEANING = {
    "line": "no bend is told from a line: growth as the task law has it",
    "convex": "sub-scaling: slower and slower than the task law",
    "concave": "super-scaling: accelerated emergence, faster and faster than the task law",
}


@dataclass(frozen=True)
class Curvature:
    """Whether F = log(-log pass rate) is a line in the log of the scale, as the task law says.

    `bend` is the coefficient of the squared log scale in F with its interval at `level` (an end None where it is open),
    `statistic` what its null hypothesis 0 is tested by, `p_value` its chance under a line. `alpha` and `log_c` are the
    task law's: F = log_c - alpha * log(scale), of the fit of a line. `dispersion` is how many times the counts scatter
    more than draws of a binomial do (1 at least). `rows` is n.
    """

    bend: float
    interval: tuple[float | None, float | None]
    level: float
    statistic: float
    p_value: float
    verdict: Verdict
    alpha: float
    log_c: float
    dispersion: float
    method: str
    rows: int


def curvature_of_counts(scale: Floats, successes: Floats, draws: Floats, level: float = 0.95) -> Curvature:
    """The test by the likelihood of r successes (n,) in K draws (n,) at each scale (n,).

    The likelihood is the same whether drawing stopped at a success, at a cap or after a fixed number: a sampling
    without success counts too. Where rows are more than the three parameters, their scatter about the bent curve
    widens the interval (quasi-likelihood: F in place of chi-square).
    """
    from scipy.stats import chi2, f

    x, r, k = _counts(scale, successes, draws)
    line, bent = _likeliest(x, r, k, 0.0), _likeliest(x, r, k, None)
    spare = len(x) - 3
    dispersion = max(1.0, _pearson(x, r, k, bent[0]) / spare) if spare > 0 else 1.0
    law = f(1, spare) if spare > 0 else chi2(1)
    statistic = max(0.0, 2 * (line[1] - bent[1])) / dispersion
    allowed = float(law.ppf(level)) * dispersion / 2

    def above(bend: float) -> float:
        return _likeliest(x, r, k, bend)[1] - bent[1] - allowed

    bend = float(bent[0][2])
    interval = (_crossing(above, bend, -1.0), _crossing(above, bend, 1.0))
    middle = float(np.mean(np.log(scale)))
    return Curvature(
        bend=bend,
        interval=interval,
        level=level,
        statistic=statistic,
        p_value=float(law.sf(statistic)),
        verdict=_verdict(interval),
        alpha=-float(line[0][1]),
        log_c=float(line[0][0] - line[0][1] * middle),
        dispersion=dispersion,
        method="binomial likelihood of the counts",
        rows=len(x),
    )


def curvature_of_rates(scale: Floats, rates: Floats, level: float = 0.95) -> Curvature:
    """The test by least squares of F over rates (n,) at each scale (n,), where the counts are not known.

    Raises BadInput for a rate of 0 or 1, of which F is infinite, and NotEnoughData below four rows.
    """
    from scipy.stats import t

    rates = np.asarray(rates, dtype=float)
    wrong = ~((rates > 0) & (rates < 1))
    if wrong.any():
        raise BadInput(
            f"a pass rate of {rates[wrong][0]:g} has no log(-log)",
            fix="give the counts in columns successes and draws: with them it is a limit, not a rate",
        )
    x = np.log(scale) - np.mean(np.log(scale))
    y = np.log(-np.log(rates))
    if len(y) < 4 or len(np.unique(x)) < LEAST_SCALES:
        raise NotEnoughData(len(y), 4, "a bent curve of F", " (and three scales)")
    design = np.column_stack([np.ones_like(x), x, x**2])
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    sd = float(np.sqrt(np.sum((y - design @ found) ** 2) / (len(y) - 3)))
    se = sd * float(np.sqrt(np.linalg.inv(design.T @ design)[2, 2]))
    line, *_ = np.linalg.lstsq(design[:, :2], y, rcond=None)
    half = se * float(t.ppf((1 + level) / 2, len(y) - 3))
    bend = float(found[2])
    statistic = float(np.inf) if se == 0 else (bend / se) ** 2
    return Curvature(
        bend=bend,
        interval=(bend - half, bend + half),
        level=level,
        statistic=statistic,
        p_value=float(2 * t.sf(np.sqrt(statistic), len(y) - 3)),
        verdict=_verdict((bend - half, bend + half)),
        alpha=-float(line[1]),
        log_c=float(line[0] - line[1] * np.mean(np.log(scale))),
        dispersion=1.0,
        method="least squares of log(-log rate)",
        rows=len(y),
    )


def _verdict(interval: tuple[float | None, float | None]) -> Verdict:
    low, high = interval
    if low is not None and low > 0:
        return "convex"
    return "concave" if high is not None and high < 0 else "line"


def _counts(scale: Floats, successes: Floats, draws: Floats) -> tuple[Floats, Floats, Floats]:
    """Centred log scales, successes and draws (n,); raises where they tell no curve."""
    pass_rate(successes, draws)  # refuses what is no count
    x = np.log(np.asarray(scale, dtype=float))
    r, k = np.asarray(successes, dtype=float), np.asarray(draws, dtype=float)
    seen = len(np.unique(x[(r > 0) & (r < k)]))
    if seen < LEAST_SCALES:
        raise NotEnoughData(
            seen, LEAST_SCALES, "a bent curve of F", " (scales with some successes and some failures count)"
        )
    return x - x.mean(), r, k


def _minus_log_likelihood(x: Floats, r: Floats, k: Floats, f: Floats) -> tuple[float, Floats, Floats]:
    """Minus the log likelihood where log p = -exp(f0 + f1 x + f2 x²), its gradient (3,) and expected Hessian (3, 3)."""
    basis = np.column_stack([np.ones_like(x), x, x**2])
    m = np.exp(np.clip(basis @ f, -40.0, 40.0))  # -log p: beyond, no float tells p from 0 or from 1
    q = -np.expm1(-m)  # 1 - p
    value = float(np.sum(r * m - (k - r) * np.log(q)))
    slope = m * (r - (k - r) * np.exp(-m) / q)
    weight = k * m**2 * np.exp(-m) / q
    return value, basis.T @ slope, basis.T @ (weight[:, None] * basis)


def _likeliest(x: Floats, r: Floats, k: Floats, bend: float | None) -> tuple[Floats, float]:
    """The likeliest f (3,) and minus its log likelihood, with the bend free (None) or held; by Fisher scoring."""
    free = slice(0, 3 if bend is None else 2)
    known = np.clip((r + 0.5) / (k + 1), 1e-12, 1 - 1e-9)  # a first guess only
    design = np.column_stack([np.ones_like(x), x, x**2])
    target = np.log(-np.log(known)) - (0.0 if bend is None else bend * x**2)
    f = np.zeros(3)
    f[free] = np.linalg.lstsq(design[:, free], target, rcond=None)[0]
    f[2] = f[2] if bend is None else bend
    value, slope, curve = _minus_log_likelihood(x, r, k, f)
    for _ in range(200):
        hessian = curve[free, free]
        step = np.zeros(3)
        step[free] = -np.linalg.solve(hessian + 1e-12 * np.trace(hessian) * np.eye(len(hessian)), slope[free])
        size = 1.0
        while size > 1e-10:
            tried = _minus_log_likelihood(x, r, k, f + size * step)
            if tried[0] <= value:
                break
            size /= 2
        else:
            break
        gain, f = value - tried[0], f + size * step
        value, slope, curve = tried
        if gain < 1e-12 * (1 + abs(value)):
            break
    return f, value


def _pearson(x: Floats, r: Floats, k: Floats, f: Floats) -> float:
    """The sum of squared standardised residuals of counts."""
    p = np.exp(-np.exp(np.column_stack([np.ones_like(x), x, x**2]) @ f))
    return float(np.sum((r - k * p) ** 2 / (k * p * (1 - p))))


def _crossing(above: Any, best: float, side: float) -> float | None:
    """Where `above` rises through 0 on one side of the best, None where it stays below it for a thousand units."""
    from scipy.optimize import brentq

    step = 0.01
    while step < 1000:
        if above(best + side * step) > 0:
            return float(brentq(above, best, best + side * step, xtol=1e-9))
        step *= 2
    return None


# ------------------------------------------------------------------------------------------------- the table as a whole


@dataclass(frozen=True)
class TaskCurve:
    """One task of a table: its scores by scale (mean of a scale's rows), metrics, and the test where it holds.

    `why` says why there is no test, `at_chance` how many scales are not told from guessing (None where not looked at).
    """

    task: str
    scale: Floats
    score: Floats
    upper: Floats | None
    smoothness: Smoothness
    curvature: Curvature | None
    why: str
    at_chance: int | None


@dataclass(frozen=True)
class Emergence:
    """What `emergence` found for each task of a table."""

    by: str
    score: str
    chance: float
    tasks: tuple[TaskCurve, ...]
    rows: Mapping[str, Any]
    warnings: tuple[Notice, ...]
    sha256: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON: for each task its scores, metrics and test."""
        return {
            "schema": SCHEMA,
            "by": self.by,
            "score": self.score,
            "chance": self.chance,
            "normalisation": {
                "breakthroughness": "improvement / sqrt(median(step^2)); not clipped",
                "linearity": "improvement / sqrt(mean(step^2)); not clipped; the paper's exact form is unverified",
                "linearity_per_step": "linearity / sqrt(number of steps): a single jump has 1",
            },
            "tasks": [_task_json(curve) for curve in self.tasks],
            "rows": dict(self.rows),
            "warnings": [asdict(notice) for notice in self.warnings],
        }


def _task_json(curve: TaskCurve) -> dict[str, Any]:
    test = None if curve.curvature is None else asdict(curve.curvature)
    if test is not None and curve.curvature is not None:
        test |= {"interval": list(curve.curvature.interval), "meaning": MEANING[curve.curvature.verdict]}
    return {
        "task": curve.task,
        "scale": curve.scale,
        "score": curve.score,
        **({} if curve.upper is None else {"upper95": curve.upper}),
        **asdict(curve.smoothness),
        "at_chance": curve.at_chance,
        "curvature": test,
        **({"no_test": curve.why} if curve.why else {}),
    }


def emergence(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    by: str = "params",
    score: str | None = None,
    chance: float = 0.0,
    items: int | None = None,
    fixed_draws: bool = False,
    level: float = 0.95,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
) -> Emergence:
    """How scores grow with scale, for each value of a column `task` (or for all rows as one).

    Scores are the counts in columns `successes` and `draws`, or a column `score` of shares (default: the first of
    pass_rate, accuracy that is there). Rows of one task at one scale are samplings of one thing: items of a test that
    differ go under names of their own in `task`. The test for a bend is made of counts and of pass rates, where
    `chance` is 0: a guess that may be right breaks the task law. `items` is how many items an accuracy is the mean of:
    with it, scales that are not told from `chance` are counted.
    """
    if not 0 <= chance < 1:
        raise UsageError(f"--chance {chance:g} is not a share from 0 to 1; a quarter is written 0.25")
    if items is not None and items < 1:
        raise UsageError(f"--items {items} is no number of items")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    read = read_table(table, mapping=mapping, where=where)
    by = ALIASES.get(by, by)
    counted = score is None and read.has("successes") and read.has("draws")
    name = "pass_rate" if counted else _score_column(read, score)
    names = read.text("task") if read.has("task") else np.full(len(read.frame), "all", dtype=object)
    scale = _positive(read, by)
    values = _of_counts(read) if counted else (_shares(read, name), None, None)
    curves, notices = [], []
    for task in dict.fromkeys(names.tolist()):
        own = names == task
        part = tuple(None if v is None else v[own] for v in values)
        curve, told = _curve(
            str(task), scale[own], part, counted or name == "pass_rate", chance, items, fixed_draws, level
        )
        curves.append(curve)
        notices += told
    rows = {"read": read.read, "used": len(read.frame), "dropped": {"--where": len(read.skipped)} if where else {}}
    return Emergence(by, name, chance, tuple(curves), rows, tuple(notices), {read.name: read.sha256})


def _score_column(table: Table, score: str | None) -> str:
    if score is not None:
        return ALIASES.get(score, score)
    found = [name for name in ("pass_rate", "accuracy") if table.has(name)]
    if not found:
        raise BadInput(
            "has neither successes and draws nor pass_rate nor accuracy",
            file=table.name,
            fix="name the scores with --score COLUMN, or the counts with --map successes=COLUMN --map draws=COLUMN",
        )
    return found[0]


def _positive(table: Table, name: str) -> Floats:
    values, faults = column_numbers(table, name)
    wrong = sorted({*faults, *np.flatnonzero(~(np.isfinite(values) & (values > 0))).tolist()})
    if wrong:
        cell = faults.get(wrong[0], f"{values[wrong[0]]:g}")
        line = int(table.lines[wrong[0]])
        raise BadInput(
            f"{cell} is no size above zero",
            file=table.name,
            line=line,
            column=name,
            fix="name the size's column with --by",
        )
    return values


def _shares(table: Table, name: str) -> Floats:
    values, faults = column_numbers(table, name)
    wrong = sorted({*faults, *np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values <= 1))).tolist()})
    if not wrong:
        return values
    cell = faults.get(wrong[0], f"{values[wrong[0]]:g}")
    percent = not faults and np.isfinite(values).all() and 1 < values.max() <= 100 and values.min() >= 0
    column = table.columns.get(name, name)
    fix = f"in percent? give --map {name}='{column} / 100'" if percent else "mend it, or select rows with --where"
    raise BadInput(
        f"{cell} is no share from 0 to 1", file=table.name, line=int(table.lines[wrong[0]]), column=column, fix=fix
    )


def _of_counts(table: Table) -> tuple[Floats, Floats, Floats]:
    """r/K, successes and draws (n,); raises BadInput for what is no count."""
    counts = []
    for name in ("successes", "draws"):
        values, faults = column_numbers(table, name)
        wrong = sorted({*faults, *np.flatnonzero(~(np.isfinite(values) & (values >= 0))).tolist()})
        if wrong:
            cell = faults.get(wrong[0], f"{values[wrong[0]]:g}")
            line = int(table.lines[wrong[0]])
            raise BadInput(
                f"{cell} is no count",
                file=table.name,
                line=line,
                column=name,
                fix="mend it, or select rows with --where",
            )
        counts.append(values)
    r, k = counts
    odd = np.flatnonzero((r > k) | (k < 1) | (r != np.round(r)) | (k != np.round(k)))
    if odd.size:
        raise BadInput(
            f"{r[odd[0]]:g} successes in {k[odd[0]]:g} draws is no count",
            file=table.name,
            line=int(table.lines[odd[0]]),
            fix="give whole numbers, 0 <= successes <= draws, draws >= 1",
        )
    return r / k, r, k


def _curve(
    task: str,
    scale: Floats,
    values: tuple[Any, ...],
    rates: bool,
    chance: float,
    items: int | None,
    fixed_draws: bool,
    level: float,
) -> tuple[TaskCurve, list[Notice]]:
    """The curve of one task and what is to be said of it."""
    score, successes, draws = values
    scales, place = np.unique(scale, return_inverse=True)
    upper, notices = None, []
    if successes is None:
        means = np.bincount(place, score) / np.bincount(place)
    else:
        # Rows of one scale are samplings of one thing, and together one longer sampling.
        right, drawn = (np.bincount(place, part).astype(float) for part in (successes, draws))
        found = pass_rate(right, drawn, fixed_draws)
        means, upper = np.where(found.censored, right / drawn, found.value), found.upper
        notices += _censored(task, scales, found)
    at_chance = _at_chance(means, chance, items)
    if at_chance is not None and at_chance > MOST_AT_CHANCE * len(scales):
        message = f"{task}: {at_chance} of {len(scales)} scales are not told from guessing ({chance:g}, {items} items)"
        notices.append(Notice("SL438", "warning", f"{message}: they say nothing of how scores grow above it"))
    curvature, why = _tested(scale, values, rates, chance, level)
    return TaskCurve(task, scales, means, upper, smoothness(means), curvature, why, at_chance), notices


def _censored(task: str, scales: Floats, found: PassRates) -> list[Notice]:
    if not found.censored.any():
        return []
    most = float(found.upper[found.censored].max())
    message = (
        f"{task}: {int(found.censored.sum())} of {len(scales)} scales had too few successes for an unbiased rate (at "
        f"most {most:.2g} at 95 %): their counts are in the test, and r/K stands for them in the metrics"
    )
    return [Notice("SL437", "warning", message)]


def _at_chance(means: Floats, chance: float, items: int | None) -> int | None:
    if items is None or chance == 0:
        return None
    se = np.sqrt(chance * (1 - chance) / items)
    return int(np.sum(means - chance < ABOVE_CHANCE * se))


def _tested(
    scale: Floats, values: tuple[Any, ...], rates: bool, chance: float, level: float
) -> tuple[Curvature | None, str]:
    """The test for a bend, or why there is none."""
    score, successes, draws = values
    if chance > 0:
        return None, f"a guess is right with a chance of {chance:g}: the task law holds only where none is"
    if not rates:
        return None, "the scores are no pass rates: give successes and draws, or a column pass_rate"
    try:
        if successes is not None:
            return curvature_of_counts(scale, successes, draws, level), ""
        return curvature_of_rates(scale, score, level), ""
    except (NotEnoughData, BadInput) as fault:
        return None, str(fault)


def mean_pass_rate(found: Emergence, scale: float) -> float:
    """The mean over tasks (the items of a test, say) of the pass rate that each one's own line expects at a scale.

    The second of the paper's ways to predict a test, better than one line of the mean in 3 of its 4 settings (Hu et al.
    2023, Table 1). Raises BadInput where a task has no line.
    """
    lines = {curve.task: curve.curvature for curve in found.tasks}
    without = [task for task, line in lines.items() if line is None]
    if without:
        raise BadInput(f"{len(without)} of {len(lines)} tasks have no line ({without[0]})", fix="select the others")
    rates = [np.exp(-np.exp(c.log_c - c.alpha * np.log(scale))) for c in lines.values() if c is not None]
    return float(np.mean(rates))


# ------------------------------------------------------------------------------------------------ ladders and alignment


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of runs made ready for a ladder: `frame`, what was done to it, and the sha256 of what was read."""

    frame: pd.DataFrame
    record: Mapping[str, Any]
    sentence: str
    sha256: Mapping[str, str]


def ready(
    table: str | os.PathLike[str] | pd.DataFrame,
    columns: Sequence[str],
    *,
    run: str = "run_id",
    order: str = "step",
    drop: float = 0.1,
    window: int = 5,
    final: int | None = None,
) -> Checkpoints:
    """A curves table as `checkpoints` makes it, or with `final` as `final_means` does, with a record of what was done.

    Raises BadInput where a column is missing or holds cells that are no numbers, where a run has two rows at one place
    in its order, or where none has as many rows as are to be averaged.
    """
    read = read_table(table)
    frame = read.frame.copy()
    for name in (order, *columns):
        if name in read.columns and name != run:
            frame[name] = _finite(read, name)
    if run in read.columns and run not in frame:
        frame[run] = read.text(run)
    _known(frame, columns, run, order, window if final is None else final, read.name)
    if final is not None:
        out = final_means(frame, columns, run=run, order=order, last=final)
        record: dict[str, Any] = {"mean_of_last": final}
        sentence = f"the last row of each of {len(out)} runs, {', '.join(columns)} as means of its last {final} rows"
    else:
        out = checkpoints(frame, columns, run=run, order=order, drop=drop, window=window)
        record = {"drop_first": drop, "moving_average": window}
        sentence = f"{len(frame) - len(out)} of {len(frame)} rows left out ({drop:.0%} at the beginning of each run)"
        sentence += f", {', '.join(columns)} averaged over {window} rows"
    record |= {"columns": list(columns), "read": len(frame)}
    return Checkpoints(out, record, sentence, {read.name: read.sha256})


def checkpoints(
    frame: pd.DataFrame,
    columns: Sequence[str],
    *,
    run: str = "run_id",
    order: str = "step",
    drop: float = 0.1,
    window: int = 5,
) -> pd.DataFrame:
    """Each run's checkpoints in order, without its first ones, and columns averaged over the last `window` of them.

    The first rows that stay are averaged over those that there are. Source: Bhagia et al. 2024, arXiv:2412.04403, step
    2 (drop .1, window 5). Raises BadInput where a column is missing or holds no number.
    """
    if not 0 <= drop < 1:
        raise UsageError(f"--drop {drop:g} is not a share from 0 to below 1")
    _known(frame, columns, run, order, window)
    parts = []
    for _, rows in frame.groupby(run, sort=False):
        rows = rows.sort_values(order, kind="stable")
        kept = rows.iloc[int(np.ceil(drop * len(rows))) :].copy()
        kept[list(columns)] = kept[list(columns)].astype(float).rolling(window, min_periods=1).mean()
        parts.append(kept)
    import pandas as pd

    return pd.concat(parts, ignore_index=True) if parts else frame.iloc[:0].copy()


def final_means(
    frame: pd.DataFrame, columns: Sequence[str], *, run: str = "run_id", order: str = "step", last: int = 5
) -> pd.DataFrame:
    """The last row of each run, with columns that are means over its last rows (Bhagia et al. 2024: five)."""
    _known(frame, columns, run, order, last)
    ordered = frame.sort_values(order, kind="stable")
    out = ordered.groupby(run, sort=False).tail(1).set_index(run)
    means = ordered.groupby(run, sort=False).tail(last).groupby(run, sort=False)[list(columns)].mean()
    out[list(columns)] = means.loc[out.index]
    return out.loc[list(dict.fromkeys(frame[run]))].reset_index()


def _finite(table: Table, name: str) -> Floats:
    """A column of numbers (n,); raises BadInput naming the first line that has none."""
    values, faults = column_numbers(table, name)
    wrong = sorted({*faults, *np.flatnonzero(~np.isfinite(values)).tolist()})
    if wrong:
        cell = faults.get(wrong[0], f"{values[wrong[0]]:g}")
        line = int(table.lines[wrong[0]])
        raise BadInput(
            f"{cell} is no finite number", file=table.name, line=line, column=name, fix="drop or mend such rows"
        )
    return values


def _known(
    frame: pd.DataFrame, columns: Sequence[str], run: str, order: str, rows: int, file: str | None = None
) -> None:
    """Raises where the columns of runs can't be averaged over so many rows in their order."""
    if rows < 1:
        raise UsageError(f"a mean over {rows} rows is none; give 1 or more")
    twice = [name for name in columns if list(columns).count(name) > 1 or name in (run, order)]
    if twice:
        raise UsageError(f"--columns {twice[0]}: give each column to be averaged once, and neither {run} nor {order}")
    missing = [name for name in (run, order, *columns) if name not in frame.columns]
    if missing:
        has = f"it has {', '.join(map(str, list(frame.columns)[:12]))}"
        fix = f"{has}; name the one that orders a run's rows with --order" if missing[0] == order else has
        raise BadInput(f"no column {missing[0]!r}", file=file, fix=fix)
    for name in (order, *columns):
        values = frame[name]
        if values.dtype.kind not in "fiu" or not np.isfinite(values.to_numpy(dtype=float)).all():
            raise BadInput(
                "holds cells that are no finite numbers", file=file, column=name, fix="drop or mend those rows"
            )
    if frame[run].isna().any():
        raise BadInput("rows belong to no run", file=file, column=run, fix="name the run of every row")
    again = frame[frame.duplicated([run, order])]
    if len(again):
        which = f"run {again[run].iloc[0]} has two rows at {order} {again[order].iloc[0]:g}"
        raise BadInput(
            which, file=file, fix="give one row for each; rows of different tasks go into tables of their own"
        )
    longest = int(frame.groupby(run).size().max()) if len(frame) else 0
    if len(frame) and rows > longest:
        raise BadInput(
            f"no run has the {rows} rows that are to be averaged, the longest {longest}", file=file, fix="average fewer"
        )


def alignment_score(source: float, target: float) -> float:
    """How well pre-training data fit a translation task: A = P_s * P_t + .7 P_s + .8 P_t, from 0 to 1.

    P_s and P_t are the shares of the source and of the target language in the pre-training data. Source: Isik et al.
    2024, arXiv:2402.04177: the log law of BLEU held for 1 (half and half) and .8, not for .7 and 0.
    """
    for share in (source, target):
        if not 0 <= share <= 1:
            raise UsageError(f"{share:g} is no share from 0 to 1")
    if source + target > 1 + 1e-9:
        raise UsageError(f"shares of {source:g} and {target:g} are more than all of the data")
    return source * target + 0.7 * source + 0.8 * target
