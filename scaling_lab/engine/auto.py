"""The choice of laws: several of them, each with and without a discrepancy, weighed by inner backtests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, DidNotConverge, NotEnoughData, NotIdentified, UsageError
from ..laws import LAWS, Law
from ..quantities import QUANTITIES, SHARE_PREFIX, quantity
from ..tables import Rows, Table, column_numbers
from . import diagnostics
from .blend import DISCREPANCY, NAME, PLAIN, PRIORS, Blend, Calibration, Member, inputs_of, weighted_spread
from .bootstrap import Progress
from .coordinates import Coordinates
from .discrepancy import (
    Posterior,
    Scales,
    Seen,
    evenly,
    fit_with_discrepancy,
    is_size,
    mild_weights,
    run_size,
    target_unit,
)
from .fit import (
    Settings,
    estimates,
    fit_points,
    fit_rows,
    fitting_laws,
    law_inputs,
    quick_optimum,
    solve_linear,
)
from .metrics import metrics
from .prior import FIRST_NOISE, objective_unit, prior_of
from .result import Estimate, Fit, Noise, Notice, stamp
from .solve import CONVERGED, Objective, Pull, Solutions, chunk_size, graduated, in_chunks, one_blas_thread, widths
from .uncertainty import distance, extent, ranges, residual_spread

Floats = NDArray[np.float64]

# Where the inner backtests cut the rows: quantiles of compute, runs below against rows above.
CUTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEAST_TRAIN, LEAST_TEST = 8, 2
# The same along each further input that a law takes, where it is no part of compute: what will be asked may lie out
# there too.
FURTHER_CUTS = (0.5, 0.7, 0.85)
# Sets of rows that are held out in turn where no input is a size, as in a table of mixtures.
FOLDS = 7
# Laws of fewer inputs that stand beside those of the most, and the least inputs of such a law.
FEWER, LEAST_FEWER = 2, 2
# Laws of one input that bend. One is taken where the rows themselves show its bends: where its AICc is lower by this
# than that of the power law, whose odds are then less than 1 in 20,000.
BENT, BROKEN, BEND = ("bnsl1", "bnsl2"), ("bnsl1", "bnsl2", "bnsl3"), 20.0
# Columns that say how runs differ by design, each an input of some law: where the laws weighed leave one out that
# varies, that is told.
DESIGNED = (
    "tokens", "unique_tokens", "experts", "sparsity", "granularity", "streams", "ratio", "learnability",
    "datastore_tokens", "pretrain_tokens", "growth_tokens",
)  # fmt: skip
# Starts drawn from the priors, the width of their scatter in prior standard deviations, and rounds in which the
# residuals' size (which the priors' weight hangs on) settles.
STARTS, SCATTER, ROUNDS = 12, 0.7, 3
# Members are weighted by (mean inner error) to minus this power.
POWER = 2.0
MOST_DRAWS = 500
# Of larger tables the inner backtests see an even selection of rows. Draws are refitted to no more rows than this in
# all, but LEAST_DRAWS at least; a block of them is held at a time.
MOST_INNER, MOST_DRAWN, LEAST_DRAWS, DRAWN_BLOCK = 20_000, 20_000_000, 100, 5_000_000
# Intervals: the least that is ever assumed (half widths in log loss, or in units of a plain target, at 90 %: at the
# rows, for each factor e beyond them, and as a multiple of the members' spread), the grid the inner backtests choose
# from, and how much wider than they ask, because error outside the table is larger than inside it (by 1.2 to 1.45 on
# public tables).
LEAST_NEAR, LEAST_FAR, LEAST_SPREAD, WIDER = 0.004, 0.004, 1.0, 1.1
# Wider yet where the cuts go along several inputs: what is asked lies mostly beyond the rows in one of them, and widths
# that are right over all of them together are too narrow in some.
WIDER_ALONG_MANY = 1.3
NEAR = np.geomspace(LEAST_NEAR, 0.08, 12)
FAR = np.geomspace(LEAST_FAR, 0.06, 12)
SPREAD = np.array([1.0, 1.64, 2.5, 4.0])
LEVEL = 0.9


@dataclass(frozen=True)
class Candidate:
    """A law in one variant."""

    law: Law
    variant: str


@dataclass(frozen=True)
class Fitted:
    """A candidate fitted to rows: coordinates (p,), their covariance (p, p) where it has a process, and its scales."""

    coordinates: Coordinates
    theta: Floats
    pull: Pull
    solved: Solutions
    scales: Scales | None = None
    covariance: Floats | None = None
    seen: Seen | None = None

    @property
    def params(self) -> dict[str, float]:
        """The law's parameters by name."""
        return {n: float(v[0, 0]) for n, v in self.coordinates.to_params(self.theta[None, :]).items()}

    def scaled(self, x: Mapping[str, Floats]) -> Floats:
        """Predictions (m,) at inputs (m,), on the scale of the residuals."""
        member = Member(self.coordinates.law, "", 1.0, 0.0, self.scales)
        params = {name: np.array([[value]]) for name, value in self.params.items()}
        return Blend((member,), self.seen).scaled_member(member, x, params)[0]


@dataclass(frozen=True)
class Inner:
    """One inner backtest: rows below and above a cut, the measured targets (m,), and predictions by candidate.

    Both are on the scale of the residuals. `distance` (m,) is how many factors e each row above lies from those below.
    """

    measured: Floats
    distance: Floats
    predicted: Mapping[str, Floats]
    baselines: Mapping[str, Floats]

    def error(self, name: str) -> float:
        """Mean absolute error of scaled predictions, infinite where one is not a number."""
        found = np.abs({**self.baselines, **self.predicted}[name] - self.measured)
        return float(np.mean(found)) if np.isfinite(found).all() else np.inf


def candidates(has: Sequence[Law], tells: Callable[[Law], bool] = lambda law: True) -> list[Law]:
    """Of laws whose inputs a table has, those that `auto` weighs: with priors, and of the most inputs that tell.

    Laws that explode without their priors (`needs_priors`) stand in only where there are no others. Where no law of two
    inputs or of shares can tell, the laws are chosen by their columns alone, and the fit says what is wrong with those.
    First come the laws of just the inputs chosen, then up to FEWER of those that leave one or more of them out, the
    nearest first: whether the further inputs help is for the inner backtests to say.
    """
    known = [law for law in has if law.priors and _base(law) not in BROKEN]
    laws = [law for law in known if tells(law) and (law.shares or breadth(law) >= LEAST_FEWER)] or known
    laws = [law for law in laws if not law.needs_priors] or laws
    if not laws:
        return []
    widest = max(laws, key=lambda law: (breadth(law), {"params", "tokens"} <= set(law.inputs)))
    same = [law for law in laws if law.residual == widest.residual and law.target == widest.target]
    within = [law for law in same if set(law.inputs) < set(widest.inputs) and breadth(law) >= LEAST_FEWER]
    fewer = [law for law in within if breadth(law) == max(map(breadth, within))]
    return [law for law in same if set(law.inputs) == set(widest.inputs)] + fewer[:FEWER]


def breadth(law: Law) -> int:
    """How many inputs a law takes, the shares of one mixture counted once."""
    return len({SHARE_PREFIX if name.startswith(SHARE_PREFIX) else name for name in law.inputs})


def choice(table: Table) -> list[Law]:
    """The laws that `auto` weighs on a table; raises BadInput where it has the inputs of none."""
    has = fitting_laws(table)
    found = candidates(has, lambda law: _tells(table, law)) or _of_one_size(table)
    if not found:
        wanted = " or ".join(dict.fromkeys(", ".join((*law.inputs, law.target)) for law in LAWS.values() if law.priors))
        raise BadInput(f"auto needs columns {wanted}", file=table.name, fix="name columns with --map")
    if len(found[0].inputs) == 1 and found[0].residual == "log":
        found = [
            *found,
            *(of(found[0].inputs) for name in BENT if name in LAWS and (of := LAWS[name].over) is not None),
        ]
    return found


# Two counts of one thing, each rounded to three digits, differ by as much.
SAME = 0.005


def left_out(table: Table, laws: Sequence[Law]) -> tuple[Notice, ...]:
    """A warning where something that runs differ in by design is no input of the laws that are weighed."""
    taken = {name: column_numbers(table, name)[0] for law in laws for name in law.inputs if table.has(name)}
    stray = [
        name
        for name in [*table.columns, *table.made]
        if name not in taken
        and (name in DESIGNED or name.startswith(SHARE_PREFIX))
        and _differs(name, column_numbers(table, name)[0], taken)
    ]
    if not stray:
        return ()
    message = (
        f"runs differ in {', '.join(stray)} in {table.name}, and the laws that auto weighs there take "
        f"{', '.join(inputs_of(laws))} alone: a prediction is for the mixture of runs that the table holds"
    )
    return (Notice("SL317", "warning", message),)


def _differs(name: str, values: Floats, taken: Mapping[str, Floats]) -> bool:
    """Whether runs differ in a column (n,), and not as in one of the columns that are taken.

    An empty cell beside numbers is a run of another kind; one unique corpus is passed over more often the more tokens
    there are.
    """
    known = np.isfinite(values)
    if any(np.allclose(values, other, rtol=SAME, atol=0.0, equal_nan=True) for other in taken.values()):
        return False
    return len(np.unique(values[known])) + (not known.all()) > 1 or (name == "unique_tokens" and bool(known.any()))


def _tells(table: Table, law: Law) -> bool:
    """Whether every input takes more than one value, not those of another, and has no empty cell in a law of three.

    Unique tokens that are the tokens, run by run, tell nothing of repetition: a law of both is no candidate.
    """
    measured = np.isfinite(column_numbers(table, law.target)[0])
    seen: list[Floats] = []
    for name in law.inputs:
        if not table.has(name):
            return False  # it follows from params and tokens, whose own laws come before
        values = column_numbers(table, name)[0][measured]
        known = values[np.isfinite(values)]
        if len(np.unique(known)) < 2 or (breadth(law) > LEAST_FEWER and len(known) < len(values)):
            return False
        if any(np.allclose(values, other, rtol=SAME, atol=0.0, equal_nan=True) for other in seen):
            return False
        seen.append(values)
    return True


def _of_one_size(table: Table) -> list[Law]:
    """The power law with a floor over the one size of a table that no law is named after; none where it has several."""
    law = LAWS["hestness"]
    known = set(QUANTITIES) - {law.target for law in LAWS.values()}
    sizes = [name for name in table.columns if name in known and quantity(name).domain == "positive"]
    if len(sizes) != 1 or law.over is None or not table.has(law.target):
        return []
    return [law.over((sizes[0],))]


def auto_rows(
    laws: Sequence[Law],
    rows: Rows,
    settings: Settings,
    progress: Progress | None = None,
    notices: Sequence[Notice] = (),
) -> Fit:
    """The laws, each with priors and with priors and a discrepancy, weighted by their errors in inner backtests.

    The fit carries `notices`, those of the table, with its own warnings.

    Where the rows are too few for an inner backtest, the law of fewest parameters alone, fitted plainly (SL314).
    Raises NotIdentified or NotEnoughData where the rows can't tell even that one.
    """
    with one_blas_thread():
        made = _weigh(laws, rows, settings, progress)
    return replace(made, warnings=(*made.warnings, *notices)) if notices else made


def check_settings(settings: Settings) -> None:
    """Raises UsageError where settings are those of a single law."""
    if settings.fix:
        raise UsageError("--fix holds a parameter of one law, and auto takes several; name a law")
    if settings.prior is not None:
        raise UsageError("--prior lends exponents to one law, and auto takes several; name a law")
    if settings.device != "cpu":
        raise UsageError(f"--device {settings.device} solves the refits of one law, and auto has several; leave it out")
    if settings.intervals != "bootstrap":
        raise UsageError(
            f"--intervals {settings.intervals} is of one law's parameters, and auto takes several; name one"
        )
    if settings.resample != "runs":
        raise UsageError(f"--resample {settings.resample}: auto draws whole runs, as its inner backtests hold them out")


def _weigh(laws: Sequence[Law], rows: Rows, settings: Settings, progress: Progress | None) -> Fit:
    check_settings(settings)
    bent = _bent(laws, rows, settings)
    if bent is not None:
        return _plain(bent[0], rows, settings, progress, bent[1])
    laws = [law for law in laws if _base(law) not in BROKEN]
    laws = [law for law in laws if _varied(law, rows)] or list(laws)
    rows = _narrowed(rows, laws)
    plainest = min(laws, key=lambda law: sum(not p.reference for p in law.params))
    if not plainest.needs_priors:
        diagnostics.check_identified(Coordinates.of(plainest, {}, rows.x), rows)
    some = _selection(rows)
    cuts = inner_cuts(some)
    if not cuts:
        why = f"{rows.used} rows are too few for an inner backtest ({LEAST_TRAIN} below a cut, {LEAST_TEST} above)"
        return _plain(plainest, rows, settings, progress, _unweighed(plainest, why))
    chosen = [Candidate(law, variant) for law in laws for variant in (PRIORS, DISCREPANCY)]
    steps = len(cuts) + 1
    inner = []
    for done, (below, above) in enumerate(cuts):
        inner.append(_inner(laws, some.take(below), some.take(above), settings))
        if progress:
            progress("inner backtests", done + 1, steps)
    errors = {label(c): float(np.mean([test.error(label(c)) for test in inner])) for c in chosen}
    usable = _needed([c for c in chosen if np.isfinite(errors[label(c)])], errors)
    if not usable:
        why = "no law could be fitted below every cut"
        return _plain(plainest, rows, settings, progress, _unweighed(plainest, why))
    rows = _narrowed(rows, [c.law for c in usable])
    fitted: dict[str, Fitted] = {}
    for law in [law for law in laws if any(c.law is law for c in usable)]:
        fitted |= fit_variants(law, rows, settings)
    raw = np.array([errors[label(c)] for c in usable])
    weights = np.maximum(raw, 1e-12) ** -POWER
    weights = weights / weights.sum()
    members = tuple(
        Member(c.law, c.variant, float(w), errors[label(c)], fitted[label(c)].scales)
        for c, w in zip(usable, weights, strict=True)
    )
    notes = [
        f"{label(c)} left out: some inner backtest could not be made with it"
        for c in chosen
        if not np.isfinite(errors[label(c)])
    ]
    fewer = dict.fromkeys(c.law.name for c in chosen if np.isfinite(errors[label(c)]) and c not in usable)
    if fewer:
        notes.append(f"{', '.join(fewer)} left out: laws of more inputs did better in the inner backtests")
    if some.used < rows.used:
        notes.append(f"the inner backtests are made on {some.used:,} of {rows.used:,} rows, taken evenly along compute")
    made = _assemble(members, fitted, inner, rows, settings, notes)
    if progress:
        progress("inner backtests", steps, steps)
    return made


def _needed(usable: Sequence[Candidate], errors: Mapping[str, float]) -> list[Candidate]:
    """The candidates but those of fewer inputs than others, unless one of these did best of all.

    A law that knows nothing of an input is wrong about it in a way that averaging does not mend: it stands by for
    tables in which the further input tells nothing that the wider law could use.
    """
    if not usable:
        return []
    most = max(len(c.law.inputs) for c in usable)
    best = min(usable, key=lambda c: errors[label(c)])
    return list(usable) if len(best.law.inputs) < most else [c for c in usable if len(c.law.inputs) == most]


def _unweighed(law: Law, why: str) -> Notice:
    message = (
        f"{why}: auto takes {law.name}, the law of fewest parameters, fitted plainly, with the intervals that weak "
        "priors leave"
    )
    return Notice("SL314", "warning", message)


def _varied(law: Law, rows: Rows) -> bool:
    """Whether each input of the law takes more than one value in the rows."""
    return all(len(np.unique(rows.x[name])) > 1 for name in law.inputs)


def _narrowed(rows: Rows, laws: Sequence[Law]) -> Rows:
    """The rows with the inputs of these laws alone."""
    wanted = inputs_of(laws)
    return replace(rows, x={n: rows.x[n] for n in wanted}, inputs={n: rows.inputs[n] for n in wanted})


def _base(law: Law) -> str:
    """The name of a law without the inputs it is made over."""
    return law.name.partition("@")[0]


def _bent(laws: Sequence[Law], rows: Rows, settings: Settings) -> tuple[Law, Notice] | None:
    """The law with a bend that the rows show, and how; None where they show none.

    A bend that has not begun below a cut can't be predicted there by any law, so that inner backtests would call a
    broken law and an unbroken one equally wrong. The rows themselves, with the bend in them, decide.
    """
    known = [(_information(law, rows, settings), law) for law in laws if _base(law) in BENT]
    if not known:
        return None
    straight = min(_information(law, rows, settings) for law in laws if _base(law) not in BENT)
    least, best = min(known, key=lambda one: one[0])
    gain = straight - least
    if not gain > BEND:
        return None
    message = (
        f"the rows bend as no power law does (AICc lower by {gain:.3g}): auto takes {best.name}, fitted plainly; what "
        "comes after the last bend rests on the rows beyond it"
    )
    return best, Notice("SL318", "warning", message)


def _information(law: Law, rows: Rows, settings: Settings) -> float:
    """AICc of the law by least squares, each run counting once; infinite where the rows are too few for it."""
    free = sum(not p.reference for p in law.params) + 1
    if rows.runs - free - 1 <= 0:
        return np.inf
    squares = replace(settings, objective=replace(settings.objective, name="l2"))
    params = quick_optimum(Coordinates.of(law, {}, rows.x), rows, squares)
    if params is None:
        return np.inf
    named = {name: params[:, [i]] for i, name in enumerate(law.names)}
    residual = squares.objective.residual(
        np.asarray(law.predict(dict(rows.x), **named))[0], squares.objective.scale(rows.y)
    )
    # A fit through every row is no evidence of anything: no noise is believed to be less than rounding to 1e-6.
    spread = max(float(np.mean(residual**2)), 1e-12)
    return float(rows.runs * np.log(spread) + 2 * free + 2 * free * (free + 1) / (rows.runs - free - 1))


def label(candidate: Candidate) -> str:
    """The name of a candidate: its law's, with ~ where it has a discrepancy."""
    return candidate.law.name + ("~" if candidate.variant == DISCREPANCY else "")


def inner_cuts(rows: Rows) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Rows below and rows above each cut; a run belongs to the side of its last row.

    The cuts are of compute, and of further inputs where some are no part of it. Where no input is a size, sets of runs
    are held out in turn.
    """
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    found: dict[bytes, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}
    for size, quantiles in directions(rows):
        reach = np.full(run.max() + 1, -np.inf)
        np.maximum.at(reach, run, size)
        for cut in quantiles:
            edge = np.quantile(size, cut)
            below, above = reach[run] <= edge, size > edge
            if below.sum() >= LEAST_TRAIN and above.sum() >= LEAST_TEST:
                found.setdefault(below.tobytes(), (below, above))
    if not any(is_size(name) for name in rows.x) and rows.flops is None:
        for fold in range(FOLDS):
            above = run % FOLDS == fold
            if (~above).sum() >= LEAST_TRAIN and above.sum() >= LEAST_TEST:
                found[above.tobytes()] = (~above, above)
    return list(found.values())


def directions(rows: Rows) -> list[tuple[Floats, tuple[float, ...]]]:
    """Sizes (n,) along which rows are cut, each with the quantiles of its cuts.

    Compute first, or the first size where there is none. Then the further inputs of laws of three or more, and how
    often data are repeated; params and tokens are parts of compute and not cut again.
    """
    sizes = [name for name in rows.x if is_size(name)]
    if not sizes and rows.flops is None:
        return []
    found: list[tuple[Floats, tuple[float, ...]]] = [(run_size(rows.flops, rows.x), CUTS)]
    if rows.flops is None:
        return found + [(rows.x[name], CUTS) for name in sizes[1:]]
    if len(rows.x) <= LEAST_FEWER:
        return found
    found += [(rows.x[name], FURTHER_CUTS) for name in rows.x if name not in ("flops", "params", "tokens")]
    if "unique_tokens" in rows.x and "tokens" in rows.x:
        found.append((rows.x["tokens"] / rows.x["unique_tokens"], FURTHER_CUTS))
    return found


def _selection(rows: Rows) -> Rows:
    """All rows, or MOST_INNER of them taken evenly along compute."""
    if rows.used <= MOST_INNER:
        return rows
    return rows.take(evenly(run_size(rows.flops, rows.x), MOST_INNER))


def compute_weights(rows: Rows) -> Floats:
    """The rows' own weights times a mild power of compute, with mean one."""
    return mild_weights(run_size(rows.flops, rows.x), rows.weights)


def _inner(laws: Sequence[Law], below: Rows, above: Rows, settings: Settings) -> Inner:
    predicted: dict[str, Floats] = {}
    for law in laws:
        # What can't be fitted has no prediction, and its candidate no finite error: it is left out by name.
        predicted |= {label(Candidate(law, v)): np.full(above.used, np.nan) for v in (PRIORS, DISCREPANCY)}
        with suppress(DidNotConverge, NotEnoughData, NotIdentified, np.linalg.LinAlgError):
            predicted |= {name: one.scaled(above.x) for name, one in fit_variants(law, below, settings).items()}
    far = distance(extent(above.x), ranges(extent(below.x)))
    others = baselines(laws[0], below, above, settings)
    return Inner(settings.objective.scale(above.y), far, predicted, others)


def baselines(law: Law, below: Rows, above: Rows, settings: Settings) -> dict[str, Floats]:
    """What the blend is measured against: the plain law, a power law in compute, the last point.

    All on the scale of the residuals; the power law where that is the logarithm.
    """
    found = {"plain " + law.name: _plainly(law, below, above, settings)}
    known = below.flops is not None and above.flops is not None and len(np.unique(below.flops)) > 1
    if known and law.inputs != ("flops",) and settings.objective.on == "log":
        law = LAWS["hestness-flops"]
        found["power law in compute"] = _plainly(law, _by_compute(below), _by_compute(above), settings)
    last = below.y[[np.argmax(run_size(below.flops, below.x))]]
    found["last point"] = np.full(above.used, settings.objective.scale(last)[0])
    return found


def _plainly(law: Law, below: Rows, above: Rows, settings: Settings) -> Floats:
    params = quick_optimum(Coordinates.of(law, {}, below.x), below, settings)
    if params is None:
        return np.full(above.used, np.nan)
    named = {name: params[:, [i]] for i, name in enumerate(law.names)}
    with np.errstate(all="ignore"):
        return np.asarray(settings.objective.scale(np.asarray(law.predict(dict(above.x), **named))[0]))


def _by_compute(rows: Rows) -> Rows:
    assert rows.flops is not None
    return replace(rows, x={"flops": rows.flops}, inputs={})


# --------------------------------------------------------------------------------------------------------- candidates


def fit_variants(law: Law, rows: Rows, settings: Settings) -> dict[str, Fitted]:
    """The law at its most probable parameters, by name of the variant: without a discrepancy, and with one."""
    coordinates = Coordinates.of(law, {}, rows.x)
    found = most_probable(coordinates, rows, settings)
    center, sd = prior_of(coordinates, rows)
    seen = Seen.of_points(law, fit_points(law, rows), tuple(rows.x))
    theta, covariance, scales = fit_with_discrepancy(coordinates, seen, center, sd, found.theta)
    missed = replace(found, theta=theta, covariance=covariance, scales=scales, seen=seen)
    return {label(Candidate(law, PRIORS)): found, label(Candidate(law, DISCREPANCY)): missed}


def most_probable(coordinates: Coordinates, rows: Rows, settings: Settings) -> Fitted:
    """The law at the least sum of the objective and its priors, with mild weights of compute.

    The objective is a log likelihood in units of mean(residual * slope), which is taken from the residuals of the round
    before. Rows of one run share its error and count together as one.
    """
    objective, weights = settings.objective, compute_weights(rows)
    center, sd = prior_of(coordinates, rows)
    theta = _prior_starts(coordinates, rows, center, sd, settings.seed)
    target, p = objective.scale(rows.y), len(center)
    runs = rows.used / rows.runs
    unit = objective_unit(objective, np.full(rows.used, FIRST_NOISE), weights, 0.0)
    first: Solutions | None = None
    for turn in range(ROUNDS):
        pull = Pull(center, unit * runs / sd**2)
        ladder = widths(objective) if turn == 0 else widths(objective, 0.01)
        solved = _solve(coordinates, rows, objective, theta, weights, target, pull, ladder, settings.workers)
        values = np.where(np.isfinite(solved.value), solved.value, np.inf)
        if not np.isfinite(values).any():
            raise DidNotConverge(f"{coordinates.law.name}: no start from its priors gives a finite loss on {rows.name}")
        theta = solved.theta[[np.argmin(values)]]
        first = first or solved
        residual = _residual(coordinates, rows, objective, theta)
        unit = objective_unit(objective, residual, weights, p / 2)
    assert first is not None
    return Fitted(coordinates, theta[0], pull, first)


def _residual(coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats) -> Floats:
    predicted = np.asarray(coordinates.law.predict(dict(rows.x), **coordinates.to_params(theta)))[0]
    return objective.residual(predicted, objective.scale(rows.y))


def _prior_starts(coordinates: Coordinates, rows: Rows, center: Floats, sd: Floats, seed: int) -> Floats:
    """Starts (STARTS, p) scattered about the priors' centers; parameters without one by least squares, or anywhere.

    Least squares gives the linear ones, and a start range the others.
    """
    rng = np.random.default_rng([seed, 3])
    scatter = rng.standard_normal((STARTS, len(center))) * SCATTER
    scatter[0] = 0.0
    theta = np.where(np.isfinite(sd), center + scatter * np.where(np.isfinite(sd), sd, 0.0), 0.0)
    anywhere = coordinates.random(STARTS, rng)
    for i, p in enumerate(coordinates.free):
        if not np.isfinite(sd[i]) and p.name not in coordinates.law.linear:
            theta[:, i] = anywhere[:, i]
    named = coordinates.to_params(theta)
    curved = {p.name: named[p.name][:, 0] for p in coordinates.free if p.name not in coordinates.law.linear}
    return coordinates.to_theta(curved | solve_linear(coordinates, rows, curved, STARTS))


def _solve(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    theta: Floats,
    weights: Floats,
    target: Floats,
    pull: Pull,
    ladder: Sequence[float],
    workers: int | None,
) -> Solutions:
    """Minima reached from theta (B, p); `weights` are (n,) or (B, n)."""
    kernel = coordinates.kernel(rows.x)

    def solve(part: slice) -> Solutions:
        own = weights if weights.ndim == 1 else weights[part]
        return graduated(kernel, theta[part], target, own, objective, ladder, pull)

    return in_chunks(solve, len(theta), chunk_size(rows.used), workers)


# ------------------------------------------------------------------------------------------------------------- result


def _plain(law: Law, rows: Rows, settings: Settings, progress: Progress | None, why: Notice) -> Fit:
    """The one law that the rows allow, as a plain fit that says so, and why.

    Of few rows its intervals are those of the law with priors and a discrepancy about it, since they show neither the
    doubt of the parameters nor what the law misses.
    """
    rows = _narrowed(rows, [law])
    fit = fit_rows(law, rows, settings, progress)
    member = {"law": law.name, "variant": PLAIN, "weight": 1.0, "inner_error": None}
    if not law.priors:
        return replace(fit, members=(member,), warnings=(*fit.warnings, why))
    found = fit_variants(law, rows, settings)[label(Candidate(law, DISCREPANCY))]
    assert found.covariance is not None
    assert found.scales is not None
    posterior = Posterior(found.theta, found.covariance, found.scales)
    # What resampling so few rows was warned of does not hold of the posterior, which takes its place.
    warnings = tuple(w for w in fit.warnings if w.code not in ("SL204", "SL305", "SL308"))
    fit = replace(fit, members=(member,), posterior=posterior, warnings=(*warnings, why))
    return _with_posterior_draws(fit, found.coordinates, posterior, settings) if settings.bootstrap > 1 else fit


def _with_posterior_draws(fit: Fit, coordinates: Coordinates, posterior: Posterior, settings: Settings) -> Fit:
    """The fit with draws of the posterior: half about its own mean, half about the plain fit, which may lie apart."""
    count = min(settings.bootstrap, MOST_DRAWS)
    rng = np.random.default_rng([settings.seed, 6])
    plain = coordinates.from_array(fit.optimum_row())[0]
    centers = np.where((np.arange(count) % 2 == 0)[:, None], plain, posterior.theta)
    theta = centers + rng.multivariate_normal(np.zeros(len(plain)), posterior.covariance, size=count, method="eigh")
    with np.errstate(over="ignore"):
        draws = coordinates.to_array(theta)
    draws = draws[np.isfinite(draws).all(axis=1)]
    return replace(
        fit,
        draws=draws,
        params=estimates(fit.entry, fit.values, draws, settings.level, coordinates.fixed),
        bootstrap={"n": count, "resample": "posterior", "failed": count - len(draws), "level": settings.level},
    )


def calibrate(
    inner: Sequence[Inner], members: Sequence[Member], unit: float = 1.0, wider: float = WIDER
) -> Calibration:
    """The narrowest intervals, by interval score, that the members' own errors in the inner backtests ask for.

    Widths are tried in units of the target (target_unit), and the best are made `wider` by that factor.
    """
    weights = np.array([m.weight for m in members])
    errors, far, spread, share = [], [], [], []
    for test in inner:
        each = np.stack([test.predicted[m.label] for m in members])
        errors.append(weights @ each - test.measured)
        spread.append(weighted_spread(each, weights))
        far.append(test.distance)
        share.append(np.full(len(test.measured), 1.0 / len(test.measured)))
    e, d, s, w = (np.concatenate(parts) for parts in (errors, far, spread, share))

    def score(at: tuple[float, float, float]) -> float:
        half = np.sqrt(at[0] ** 2 + (at[1] * d) ** 2 + (at[2] * s) ** 2)
        return float(np.sum(w * (2 * half + 2 / (1 - LEVEL) * np.maximum(np.abs(e) - half, 0.0))))

    best = min(product((unit * NEAR).tolist(), (unit * FAR).tolist(), SPREAD.tolist()), key=score)
    near, far_out, apart = (wider * part for part in best)
    error = float(np.sum(w * np.abs(e)) / len(inner))
    return Calibration(near, far_out, apart, level=LEVEL, cuts=len(inner), held_out=len(e), error=error)


def _assemble(
    members: tuple[Member, ...],
    fitted: Mapping[str, Fitted],
    inner: Sequence[Inner],
    rows: Rows,
    settings: Settings,
    notes: Sequence[str],
) -> Fit:
    wider = WIDER_ALONG_MANY if len(directions(rows)) > 1 else WIDER
    calibration = calibrate(inner, members, target_unit(settings.objective.on, rows.y), wider)
    points = fit_points(members[0].law, rows)
    blend = Blend.of(members, points)
    values: dict[str, float] = {}
    for member in members:
        own = fitted[member.label].params
        values |= {f"{member.label}.{name}": value for name, value in own.items()}
        values[f"{member.label}.weight"] = member.weight
    draws, boot = _draws(members, fitted, values, rows, settings)
    predicted = np.asarray(blend.law.predict(dict(rows.x), **values))
    residuals = settings.objective.residual(predicted, settings.objective.scale(rows.y))
    # Both variants of a law begin with the same starts.
    solved = {m.law.name: fitted[m.label].solved for m in members}.values()
    simple = {name: _baseline_error(inner, name) for name in inner[0].baselines}
    sd = residual_spread(residuals, rows.used, max(len(fitted[m.label].theta) for m in members))
    return Fit(
        law=NAME,
        target=blend.law.target,
        params=_estimates(members, values, draws, blend.law, settings.level),
        objective=settings.objective,
        value=float(rows.weights @ settings.objective.terms(residuals)),
        starts={
            "n": sum(len(s.value) for s in solved),
            "converged": int(sum(np.sum(s.status == CONVERGED) for s in solved)),
            "at_best": int(sum(np.sum(s.value <= np.nanmin(s.value) * (1 + 1e-6)) for s in solved)),
        },
        bootstrap=boot | {"level": settings.level},
        draws=draws,
        metrics=metrics(predicted, rows.y),
        inputs=law_inputs(rows),
        rows={"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped), "runs": rows.runs},
        noise=Noise(sd=sd, drift=calibration.far / 1.645, cuts=calibration.cuts),
        points=points,
        warnings=(
            *diagnostics.of_table(members[0].law, rows),
            *diagnostics.beaten(calibration.error, simple, settings.objective.on),
        ),
        notes=(*rows.notes, *notes),
        seed=settings.seed,
        made_by=stamp(rows.name, rows.sha256, blend.law),
        members=tuple(m.to_dict() for m in members),
        calibration=calibration,
        baselines=simple,
    )


def _baseline_error(inner: Sequence[Inner], name: str) -> float | None:
    """The mean error over the inner backtests; None where one of them could not be made."""
    error = float(np.mean([test.error(name) for test in inner if name in test.baselines]))
    return error if np.isfinite(error) else None


def _draws(
    members: Sequence[Member], fitted: Mapping[str, Fitted], values: Mapping[str, float], rows: Rows, settings: Settings
) -> tuple[Floats, dict[str, Any]]:
    """Draws (B, P) of one member each, as many as its weight says: refits to resampled runs, or its posterior."""
    names = list(values)
    optimum = np.array([list(values.values())])
    count = min(settings.bootstrap, MOST_DRAWS, max(LEAST_DRAWS, MOST_DRAWN // rows.used))
    account: dict[str, Any] = {"n": count, "resample": "runs", "failed": 0}
    if not count:
        return optimum, account
    shares = np.diff(np.round(np.cumsum([0.0, *(m.weight for m in members)]) * count)).astype(int)
    rng = np.random.default_rng([settings.seed, 4])
    parts = []
    for member, share in zip(members, shares.tolist(), strict=True):
        if not share:
            continue
        found = _member_draws(fitted[member.label], rows, settings, share, rng)
        part = np.repeat(optimum, len(found), axis=0)
        for other in members:
            part[:, names.index(f"{other.label}.weight")] = float(other is member)
        columns = [names.index(f"{member.label}.{name}") for name in member.law.names]
        part[:, columns] = found
        account["failed"] += share - len(found)
        parts.append(part)
    return np.concatenate(parts), account


def _member_draws(fitted: Fitted, rows: Rows, settings: Settings, count: int, rng: np.random.Generator) -> Floats:
    """Parameters (up to count, P) of one member; those that did not end finite are left out."""
    coordinates = fitted.coordinates
    if fitted.covariance is not None:
        theta = rng.multivariate_normal(fitted.theta, fitted.covariance, size=count, method="eigh")
    else:
        _, run = np.unique(rows.group.astype(str), return_inverse=True)
        kinds = int(run.max()) + 1
        parts, size = [], max(1, DRAWN_BLOCK // rows.used)
        for at in range(0, count, size):
            drawn = rng.multinomial(kinds, np.full(kinds, 1 / kinds), size=min(size, count - at))[:, run]
            solved = _solve(
                coordinates,
                rows,
                settings.objective,
                np.repeat(fitted.theta[None, :], len(drawn), axis=0),
                drawn * compute_weights(rows),
                settings.objective.scale(rows.y),
                fitted.pull,
                widths(settings.objective, 0.01),
                settings.workers,
            )
            parts.append(solved.theta[np.isfinite(solved.value)])
        theta = np.concatenate(parts)
    with np.errstate(over="ignore"):
        params = coordinates.to_array(theta)
    return np.asarray(params[np.isfinite(params).all(axis=1)])


def _estimates(
    members: Sequence[Member], values: Mapping[str, float], draws: Floats, law: Law, level: float
) -> dict[str, Estimate]:
    """Each parameter with the spread of its own member's draws."""
    names, tail = list(values), (1 - level) / 2
    out = {}
    for member in members:
        mine = draws[draws[:, names.index(f"{member.label}.weight")] == 1.0]
        for p in (*member.law.names, "weight"):
            name = f"{member.label}.{p}"
            at, unit = values[name], law.param(name).unit
            held = p == "weight" or bool(member.law.param(p).reference)
            if held:
                out[name] = Estimate(at, 0.0, (at, at), unit, fixed=True)
            elif len(mine) < 20:
                out[name] = Estimate(at, None, None, unit)
            else:
                column = mine[:, names.index(name)]
                low, high = (float(v) for v in np.quantile(column, [tail, 1 - tail]))
                with np.errstate(over="ignore"):
                    se = float(np.std(column, ddof=1))
                out[name] = Estimate(at, se if np.isfinite(se) else None, (min(low, at), max(high, at)), unit)
    return out
