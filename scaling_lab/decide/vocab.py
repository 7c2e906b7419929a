"""The vocabulary that is best for a model's size and compute, by the three approaches of Tao et al. (2407.13623)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..accounting import (
    LARGEST_VOCABULARY,
    TOKENS_PER_CHARACTER,
    six_nd,
    tokens_per_character,
    width_of,
)
from ..engine.codes import severity
from ..engine.dual import Dual
from ..engine.fit import fit
from ..engine.result import Fit, Notice
from ..engine.solve import ByDual, Objective, graduated, widths
from ..errors import BadInput, LabError, NotEnoughData, UsageError
from ..laws import LAWS
from ..laws.vocabulary import MILLION
from ..quantities import format_quantity
from ..tables import Rows, Table, read_table, rows_for

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Mask = NDArray[Any]
Found = TypeVar("Found")
SCHEMA = "scaling-lab/vocab/1"
TARGET = "loss_unigram_norm"
# Interpolated points along size and characters, and along the vocabulary, as in the paper's code.
ALONG_SIZE, ALONG_VOCABULARY = 50, 20
# Exponents of compute that approach 1 holds for size and characters (after Hoffmann et al., arXiv:2203.15556).
HELD_EXPONENT = 0.5
DELTA = 1e-3
# Sizes of approach 2's derivative, as in the paper's code.
DERIVATIVE_SIZES = (33e6, 85e6, 151e6, 302e6, 631e6, 1130e6, 2870e6)
# A profile's minimum is that of a parabola through the vocabularies within this factor of the lowest loss.
AROUND, LEAST_VOCABULARIES = 4.0, 4
# Answers further apart than this factor are said to disagree.
APART = 1.5
# A table's tokens and compute may differ from characters * f(V) and 6 * parameters * tokens by these factors.
ODD = (0.5, 2.0)
LEAST_DRAWS = 20
# Record-low losses over a smaller factor of compute show no power law of it.
LEAST_SPAN = 2.0


# ------------------------------------------------------------------------------------------------------- approaches


@dataclass(frozen=True)
class BudgetLaw:
    """Approach 1: the best non-vocabulary and vocabulary parameters and characters as powers of compute."""

    size: float
    vocabulary: float
    exponent: float
    characters: float

    def flops(self, params_nonvocab: float) -> float:
        """The compute at which a size is the best one."""
        return float((params_nonvocab / np.exp(self.size)) ** (1 / HELD_EXPONENT))

    def params_nonvocab(self, flops: float) -> float:
        """The best size for a compute."""
        return float(np.exp(self.size) * flops**HELD_EXPONENT)

    def params_vocab(self, flops: float) -> float:
        """The best number of vocabulary parameters for a compute."""
        return float(np.exp(self.vocabulary + self.exponent * np.log(flops)))

    def best_characters(self, flops: float) -> float:
        """The best number of training characters for a compute."""
        return float(np.exp(self.characters) * flops**HELD_EXPONENT)


@dataclass(frozen=True)
class Anchored:
    """Approach 2: vocabulary parameters as `scale` times the size to the derivative's power."""

    log_scale: float
    exponent: float

    def params_vocab(self, params_nonvocab: float) -> float:
        """The best number of vocabulary parameters for a size."""
        return float(np.exp(self.log_scale + self.exponent * np.log(params_nonvocab)))


# Printed constants: logarithms of the coefficients, and the exponent of the vocabulary.
TAO_BUDGET = BudgetLaw(size=-2.48465, vocabulary=-1.58903, exponent=0.41636, characters=1.859585)
# 6,144 tokens of width 512: the vocabulary that was found best for the smallest model, of 33 million parameters.
TAO_ANCHOR = (33e6, 3_145_728.0)


def derivative_vocabulary(params_nonvocab: float, width: float) -> float:
    """The vocabulary at which the compute of a text is least: d FLOPs / dV = 0 at fixed characters.

    Raises LabError where compute falls all the way to LARGEST_VOCABULARY, beyond which f(V) is held.
    """
    from scipy.optimize import brentq

    a, b, _ = TOKENS_PER_CHARACTER

    def slope(log_v: float) -> float:
        v = np.exp(log_v)
        return float(width * tokens_per_character(v) + (params_nonvocab / v + width) * (2 * a * log_v + b))

    low, high = np.log(10.0), np.log(LARGEST_VOCABULARY)
    if slope(low) >= 0 or slope(high) <= 0:
        raise LabError(
            f"compute has no minimum in the vocabulary for {format_quantity(params_nonvocab)} parameters of width "
            f"{width:g}; give a wider model or a smaller one"
        )
    return float(np.exp(brentq(slope, low, high, xtol=1e-12)))


@cache
def derivative_exponent(sizes: tuple[float, ...] = DERIVATIVE_SIZES) -> float:
    """The exponent of size in the vocabulary parameters that the derivative gives, through the first of the sizes."""
    best = np.array([derivative_vocabulary(n, width_of(n)) * width_of(n) for n in sizes])
    return _robust_slope(np.log(np.array(sizes[1:]) / sizes[0]), np.log(best[1:] / best[0]))


def published_anchor() -> Anchored:
    """Approach 2 as published: the derivative's exponent through the best vocabulary of the smallest model."""
    gamma = derivative_exponent()
    size, vocabulary = TAO_ANCHOR
    return Anchored(float(np.log(vocabulary) - gamma * np.log(size)), gamma)


def parametric_vocabulary(
    params: Mapping[str, Any], params_nonvocab: float, flops: float, width: float
) -> NDArray[np.float64]:
    """Approach 3: the vocabulary (B,) of least loss at a compute, by parameters (B,) of `vocab`.

    Compute is 6 * (N_nv + V * width) * tokens. As the vocabulary grows, its own term falls and the tokens that are left
    grow fewer: with exponents below one the loss has exactly one minimum, found by bisection. One below a single token
    is that of a vocabulary term of nothing, and no vocabulary: 0.
    """
    p = {name: np.asarray(values, dtype=float).reshape(-1) for name, values in params.items()}
    size, budget = params_nonvocab / MILLION, flops / (6.0 * MILLION * 1e9)
    with np.errstate(divide="ignore"):  # a vocabulary term of nothing has its minimum at no vocabulary
        gain = np.log(p["alpha2"] * p["A2"])
    cost = np.log(p["alpha"] * p["B"]) - p["alpha"] * np.log(budget)
    low, high = np.full(len(gain), np.log(1e-12)), np.full(len(gain), np.log(1e18))
    for _ in range(120):
        middle = (low + high) / 2
        falls = gain - (p["alpha2"] + 1) * middle > cost + (p["alpha"] - 1) * np.log(size + np.exp(middle))
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    best = np.exp((low + high) / 2) * MILLION / width
    return np.where(best < 1.0, 0.0, best)


def _robust_slope(x: Floats, y: Floats) -> float:
    """The slope of y = slope * x of least Huber error."""

    def model(theta: Floats) -> Dual:
        return Dual.variable(theta[:, [0]], 0) * x

    first = np.array([[float(x @ y / (x @ x))]])
    objective = Objective("huber", DELTA, "plain")
    kernel = ByDual(model, np.ones(1, dtype=bool))
    found = graduated(kernel, first, y, np.ones(len(y)), objective, widths(objective))
    return float(found.theta[0, 0])


def _robust_middle(y: Floats) -> float:
    """The constant of least Huber error to y (n,): a root, since its slope never falls."""
    from scipy.optimize import brentq

    if np.ptp(y) == 0:
        return float(y[0])
    return float(brentq(lambda m: float(np.sum(np.clip(m - y, -DELTA, DELTA))), y.min(), y.max(), xtol=1e-13))


# ------------------------------------------------------------------------------------------------------- measurements


@dataclass(frozen=True)
class Measured:
    """Checkpoints (n,) of runs of several sizes and vocabularies; `run` numbers the run of each."""

    size: Floats
    vocabulary: Floats
    width: Floats
    characters: Floats
    tokens: Floats
    flops: Floats
    loss: Floats
    run: NDArray[np.int64]

    def take(self, keep: Mask) -> Measured:
        """Some of the checkpoints."""
        return Measured(**{name: values[keep] for name, values in vars(self).items()})

    def widths(self, sizes: Floats) -> Floats:
        """Widths of sizes (m,) between those that were trained: a straight line in logarithms."""
        known, at = np.unique(self.size, return_index=True)
        return np.exp(np.interp(np.log(sizes), np.log(known), np.log(self.width[at])))


@dataclass(frozen=True)
class Profile:
    """Losses of one size by vocabulary (sorted) at one compute, and the vocabulary of the lowest; None where none is.

    `status` is "used", or why there is no minimum to use.
    """

    params_nonvocab: float
    width: float
    flops: float
    vocab_size: Floats
    loss: Floats
    minimum: float | None
    status: str


def measure(table: Table, drop_bad: bool = False) -> tuple[Measured, Rows]:
    """The checkpoints of a table of params_nonvocab, vocab_size, width, characters and the normalised loss.

    Width may also be params_vocab over vocab_size, characters be tokens over f(V), and compute be worked out.
    Raises BadInput naming what is missing.
    """
    if not table.has("width") and not table.has("params_vocab"):
        raise BadInput(
            "width is missing: the vocabulary's parameters are its size times the width",
            file=table.name,
            fix="name the column with --map width=COLUMN, or params_vocab",
        )
    if not table.has("characters") and not table.has("tokens"):
        raise BadInput(
            "characters is missing: runs of different vocabularies are compared by the text that they saw",
            file=table.name,
            fix="name the column with --map characters=COLUMN, or tokens",
        )
    wide = "width" if table.has("width") else "params_vocab"
    text = "characters" if table.has("characters") else "tokens"
    also = [name for name in ("tokens", "flops") if name != text and table.has(name)]
    names = ("params_nonvocab", "vocab_size", wide, text, *also)
    rows = rows_for(table, names, TARGET, positive_target=False, drop_bad=drop_bad)
    x = rows.x
    width = x["width"] if wide == "width" else x["params_vocab"] / x["vocab_size"]
    share = tokens_per_character(x["vocab_size"])
    tokens = x["tokens"] if "tokens" in x else x["characters"] * share
    characters = x["characters"] if "characters" in x else tokens / share
    worked_out = six_nd(x["params_nonvocab"] + x["vocab_size"] * width, tokens)
    cells = [f"{a!r} {b!r}" for a, b in zip(x["params_nonvocab"], x["vocab_size"], strict=True)]
    _, run = np.unique(rows.group.astype(str) if rows.grouped else np.array(cells), return_inverse=True)
    flops = x.get("flops", worked_out)
    seen = Measured(x["params_nonvocab"], x["vocab_size"], width, characters, tokens, flops, rows.y, run)
    _check_falls(seen, table)
    return seen, rows


def _check_falls(seen: Measured, table: Table) -> None:
    """Raises BadInput where most runs end higher than they began: then the losses have the wrong sign."""
    curves = [_sorted(seen.take(seen.run == i)) for i in range(int(seen.run.max()) + 1)]
    changes = np.array([curve.loss[-1] - curve.loss[0] for curve in curves if curve.flops[-1] > curve.flops[0]])
    if len(changes) and np.mean(changes > 0) > 0.5:
        column = table.columns.get(TARGET, TARGET)
        raise BadInput(
            f"the loss rises with compute in {int(np.sum(changes > 0))} of {len(changes)} runs",
            file=table.name,
            column=column,
            fix=f"it is the model's less a unigram model's: if the sign is turned, --map {TARGET}='-{column}'",
        )


def profiles(seen: Measured) -> tuple[Profile, ...]:
    """The profile of every size at the largest compute that all of its vocabularies reached."""
    return tuple(_profile(seen.take(seen.size == size)) for size in np.unique(seen.size))


def _profile(seen: Measured) -> Profile:
    vocabularies = np.unique(seen.vocabulary)
    curves = [_sorted(seen.take(seen.vocabulary == v)) for v in vocabularies]
    top = min(float(curve.flops[-1]) for curve in curves)
    started = [curve for curve in curves if curve.flops[0] <= top]
    sizes = np.array([curve.vocabulary[0] for curve in started])
    loss = np.array([np.interp(np.log(top), np.log(curve.flops), curve.loss) for curve in started])
    minimum, status = _minimum(np.log(sizes), loss)
    return Profile(float(seen.size[0]), float(seen.width[0]), top, sizes, loss, minimum, status)


def _end(seen: Measured) -> Measured:
    """The checkpoint of the most compute."""
    return seen.take(np.array([int(np.argmax(seen.flops))]))


def _sorted(seen: Measured) -> Measured:
    order = np.argsort(seen.flops, kind="stable")
    return Measured(**{name: values[order] for name, values in vars(seen).items()})


def _minimum(log_v: Floats, loss: Floats) -> tuple[float | None, str]:
    """The vocabulary of least loss by a parabola about the lowest one, and whether it is of use."""
    if len(loss) < LEAST_VOCABULARIES:
        return None, f"only {len(loss)} vocabular{'y' if len(loss) == 1 else 'ies'}"
    near = np.abs(log_v - log_v[np.argmin(loss)]) <= np.log(AROUND)
    if near.sum() < LEAST_VOCABULARIES:
        near = np.argsort(np.abs(log_v - log_v[np.argmin(loss)]), kind="stable")[:LEAST_VOCABULARIES]
    x, y = log_v[near], loss[near]
    bend, lean, _ = np.polyfit(x - x.mean(), y, 2)
    if bend <= 0:
        return None, "the losses have no minimum"
    place = float(x.mean() - lean / (2 * bend))
    if not log_v.min() <= place <= log_v.max():
        return None, "minimum at the edge"
    return float(np.exp(place)), "used"


# ------------------------------------------------------------------------------------------------- approaches 1 and 2


Surfaces = dict[tuple[Any, ...], Measured]


def budget_law(seen: Measured, ends: Measured | None = None, made: Surfaces | None = None) -> BudgetLaw:
    """Approach 1 on measurements: power laws of compute through the points of record-low loss.

    The size and character laws have the held exponent and least Huber error. The vocabulary's is of least squares:
    that is what the paper's printed line is (its search by Huber stopped early, docs/vocabulary.md). `ends` are the
    measurements whose range is interpolated in, `made` keeps surfaces from one resample to the next. Raises
    NotEnoughData.
    """
    kinds = len(np.unique(seen.vocabulary))
    if kinds < LEAST_VOCABULARIES:
        raise NotEnoughData(kinds, LEAST_VOCABULARIES, "approach 1", " (vocabularies)")
    surfaces = _between_sizes(seen, ends or seen, {} if made is None else made)
    points = _records(_sorted(_joined([seen, *surfaces, *_between_vocabularies(seen)])))
    x = np.log(points.flops)
    if len(x) < 4:
        raise NotEnoughData(len(x), 4, "approach 1", " (points of record-low loss)")
    if np.ptp(x) < np.log(LEAST_SPAN):
        raise LabError(
            f"approach 1: the points of record-low loss lie within a factor {np.exp(np.ptp(x)):.3g} of compute, which "
            "shows no power of it: the loss does not fall as compute grows"
        )
    slope, start = np.polyfit(x, np.log(points.vocabulary * points.width), 1)
    return BudgetLaw(
        size=_robust_middle(np.log(points.size) - HELD_EXPONENT * x),
        vocabulary=float(start),
        exponent=float(slope),
        characters=_robust_middle(np.log(points.characters) - HELD_EXPONENT * x),
    )


def anchored_law(found: Sequence[Profile]) -> Anchored:
    """Approach 2 on measurements: the derivative's exponent through the measured minima of every size."""
    size, best = _minima(found)
    if not len(size):
        reasons = ", ".join(sorted({p.status for p in found}))
        raise BadInput(f"no size has a measured best vocabulary ({reasons})", fix="add vocabularies on both sides")
    gamma = derivative_exponent()
    return Anchored(float(np.mean(best - gamma * size)), gamma)


def _minima(found: Sequence[Profile]) -> tuple[Floats, Floats]:
    """Logarithms of the sizes with a measured best vocabulary, and of that vocabulary's parameters."""
    used = [(p.params_nonvocab, p.minimum * p.width) for p in found if p.minimum is not None]
    size, best = np.log(np.array(used).reshape(-1, 2)).T
    return size, best


def measured_vocabulary(found: Sequence[Profile], params_nonvocab: float, rng: np.random.Generator) -> float:
    """The vocabulary parameters on the straight line through the measured minima themselves, with its error drawn.

    What approach 2 is doubted by: the derivative's exponent is an assumption, the line's is measured. Raises
    NotEnoughData below three minima, which leave no scatter about a line.
    """
    size, best = _minima(found)
    if len(size) < 3:
        raise NotEnoughData(len(size), 3, "a line through measured best vocabularies", " (sizes)")
    middle = size.mean()
    slope, level = np.polyfit(size - middle, best, 1)
    scatter = np.sum((best - level - slope * (size - middle)) ** 2) / (len(size) - 2)
    far = np.log(params_nonvocab) - middle
    error = np.sqrt(scatter * (1 / len(size) + far**2 / np.sum((size - middle) ** 2)))
    return float(np.exp(level + slope * far + error * rng.standard_t(len(size) - 2)))


def _joined(parts: Sequence[Measured]) -> Measured:
    return Measured(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def _records(seen: Measured) -> Measured:
    """Those with a lower loss than any of less compute."""
    below = np.minimum.accumulate(seen.loss)
    return seen.take(np.append(True, seen.loss[1:] < below[:-1]))


def _made(size: Floats, vocabulary: Floats, width: Floats, characters: Floats, loss: Floats) -> Measured:
    tokens = characters * tokens_per_character(vocabulary)
    flops = six_nd(size + vocabulary * width, tokens)
    return Measured(size, vocabulary, width, characters, tokens, flops, loss, np.full(len(size), -1))


def _between_sizes(seen: Measured, ends: Measured, made: Surfaces) -> Iterator[Measured]:
    """Points between sizes and characters, which grow together, for each vocabulary: a cubic surface of the loss."""
    from scipy.interpolate import griddata

    size = np.geomspace(ends.size.min(), ends.size.max(), ALONG_SIZE)
    characters = np.geomspace(ends.characters.min(), ends.characters.max(), ALONG_SIZE)
    for v in np.unique(seen.vocabulary):
        own = seen.vocabulary == v
        key = (float(v), *np.unique(seen.run[own]).tolist())
        if key in made:
            yield made[key]
            continue
        places = np.log(np.column_stack([seen.size[own], seen.characters[own]]))
        # A surface needs a triangle.
        if np.linalg.matrix_rank(places - places.mean(axis=0), tol=1e-6) < 2:
            continue
        loss = griddata(places, seen.loss[own], np.log(np.column_stack([size, characters])), method="cubic")
        inside = np.isfinite(loss)
        at = size[inside]
        made[key] = _made(at, np.full(len(at), v), ends.widths(at), characters[inside], loss[inside])
        yield made[key]


def _between_vocabularies(seen: Measured) -> Iterator[Measured]:
    """Points between the vocabularies of each size, at the end of its runs: a quadratic spline of the loss."""
    from scipy.interpolate import interp1d

    everywhere = np.geomspace(seen.vocabulary.min(), seen.vocabulary.max(), ALONG_VOCABULARY)
    for size in np.unique(seen.size):
        own = seen.take(seen.size == size)
        ends = _joined([_end(own.take(own.vocabulary == v)) for v in np.unique(own.vocabulary)])
        if len(ends.loss) < 3:
            continue
        inside = everywhere[(everywhere >= ends.vocabulary[0]) & (everywhere <= ends.vocabulary[-1])]
        loss = interp1d(ends.vocabulary, ends.loss, kind="quadratic")(inside)
        tokens = np.interp(inside, ends.vocabulary, ends.tokens)
        same = np.ones(len(inside))
        yield _made(size * same, inside, ends.width[0] * same, tokens / tokens_per_character(inside), loss)


# ------------------------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True)
class Answer:
    """The best vocabulary by one approach, its interval (empty where there is none), and what it rests on.

    An end of the interval is infinite where too many resamples had no answer.
    """

    approach: str
    source: str
    vocab_size: float
    ci: tuple[float, ...]
    width: float

    @property
    def params_vocab(self) -> float:
        """The parameters of that vocabulary."""
        return self.vocab_size * self.width

    def to_dict(self) -> dict[str, Any]:
        """Value and interval, an infinite end as null."""
        ends = [end if np.isfinite(end) else None for end in self.ci]
        return {
            "approach": self.approach,
            "source": self.source,
            "vocab_size": {"value": self.vocab_size, "ci": ends},
            "params_vocab": self.params_vocab,
        }


@dataclass(frozen=True)
class Vocabulary:
    """The best vocabulary for a size and a compute by each approach, with the measured profiles behind them."""

    params_nonvocab: float
    flops: float
    width: float
    level: float
    answers: tuple[Answer, ...]
    failed: Mapping[str, str]
    profiles: tuple[Profile, ...]
    warnings: tuple[Notice, ...]
    notes: tuple[str, ...]
    rows: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `vocab --json`."""
        return {
            "schema": SCHEMA,
            "params_nonvocab": self.params_nonvocab,
            "flops": self.flops,
            "width": self.width,
            "level": self.level,
            "approaches": [answer.to_dict() for answer in self.answers],
            "failed": dict(self.failed),
            "profiles": [asdict(profile) for profile in self.profiles],
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def optimal_vocabulary(
    source: str | os.PathLike[str] | pd.DataFrame | Table | Fit | None = None,
    *,
    params_nonvocab: float | None = None,
    flops: float | None = None,
    width: float | None = None,
    least_flops: float = 0.0,
    bootstrap: int = 200,
    level: float = 0.9,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
) -> Vocabulary:
    """The vocabulary of least loss by approaches 1 (isoFLOP envelope), 2 (derivative) and 3 (parametric).

    `source` is a table of runs, a fit of `vocab`, or None for published coefficients. What isn't given of size and
    compute is taken from approach 1, the width from the paper's table of widths. Intervals come from resampled runs.
    `least_flops` leaves rows out of approach 3's fit alone, as the paper does with 2.18e17.
    """
    _check(params_nonvocab, flops, width, bootstrap, level, least_flops)
    ask = _Ask(params_nonvocab, flops, width)
    if source is None or isinstance(source, Fit) or str(source).endswith(".json"):
        given = None if source is None else source if isinstance(source, Fit) else Fit.load(str(source))
        return _from_coefficients(ask, given, level)
    table = read_table(source, mapping=mapping, where=where)
    return _from_table(table, ask, least_flops, bootstrap, level, seed, drop_bad)


@dataclass(frozen=True)
class _Ask:
    """What is asked for, and what of it is still open."""

    params_nonvocab: float | None
    flops: float | None
    width: float | None

    def settled(self, law: BudgetLaw) -> tuple[float, float, float]:
        """Size, compute and width, the open ones by approach 1 and the table of widths."""
        size, flops = self.params_nonvocab, self.flops
        if size is None:
            assert flops is not None
            size = law.params_nonvocab(flops)
        return size, law.flops(size) if flops is None else flops, self.width or float(width_of(size))

    def notes(self, size: float, flops: float, width: float) -> list[str]:
        """What was taken for granted."""
        said = []
        if self.params_nonvocab is None:
            said.append(f"params_nonvocab taken as {format_quantity(size)}, approach 1's best for {flops:.3g} FLOP")
        if self.flops is None:
            said.append(f"compute taken as {flops:.3g} FLOP, approach 1's best for {format_quantity(size)} parameters")
        if self.width is None:
            said.append(f"width taken as {width:g}, usual at that size in the paper; --width gives another")
        return said


def _check(
    size: float | None, flops: float | None, width: float | None, bootstrap: int, level: float, least: float
) -> None:
    if size is None and flops is None:
        raise UsageError("give --params-nonvocab, --flops, or both")
    for name, value in (("--params-nonvocab", size), ("--flops", flops), ("--width", width)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} {value:g} is not a number above zero")
    if size is not None and flops is not None and flops < six_nd(size, 1.0):
        raise UsageError(
            f"--flops {flops:g} pay for less than one token at {format_quantity(size)} parameters; give more"
        )
    if size is not None and size < 1000:
        raise UsageError(f"--params-nonvocab {size:g} is fewer than 1,000 parameters: give a count, as 7B or 350M")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    if bootstrap < 0 or 0 < bootstrap < LEAST_DRAWS:
        raise UsageError(f"--bootstrap {bootstrap}: give {LEAST_DRAWS} or more, or 0 for no intervals")
    if least < 0:
        raise UsageError(f"--least-flops {least:g} is below zero")


def _from_coefficients(ask: _Ask, given: Fit | None, level: float) -> Vocabulary:
    """The answers of published coefficients, and of a fit of the user's where there is one."""
    size, flops, width = ask.settled(TAO_BUDGET)
    tao = "published, Tao et al. 2024"
    answers = [
        Answer("1 isoFLOP envelope", tao, TAO_BUDGET.params_vocab(flops) / width, (), width),
        Answer("2 derivative", tao, published_anchor().params_vocab(size) / width, (), width),
    ]
    failed: dict[str, str] = {}
    notes = ask.notes(size, flops, width)
    if given is None:
        sets = (
            ("3 parametric", "vocab", "refit-true-tokens", "this project's refit of the paper's runs, true tokens"),
            ("3 parametric, as published", "vocab-published", "tao2024", f"{tao}, with its slip of units"),
        )
        for name, law, row, source in sets:
            values = LAWS[law].published[row].values
            best = float(parametric_vocabulary(values, size, flops, width)[0])
            answers.append(Answer(name, source, best, (), width))
        notes.append("published coefficients have no intervals: give a table of runs, or a fit, for yours")
        return _answered(size, flops, width, level, answers, failed, (), notes, {}, None, ())
    answers.append(_parametric(given, size, flops, width, level))
    notes.append("approaches 1 and 2 are the published ones, without intervals: give a table of runs for yours")
    return _answered(size, flops, width, level, answers, failed, (), notes, given.rows, None, _limit(given))


def _parametric(found: Fit, size: float, flops: float, width: float, level: float) -> Answer:
    if found.law != "vocab":
        raise UsageError(f"the fit is one of {found.law}; approach 3 needs one of vocab (fit vocab TABLE)")
    named = {name: found.draws[:, i] for i, name in enumerate(found.entry.names)}
    best = float(parametric_vocabulary(found.values, size, flops, width)[0])
    draws = parametric_vocabulary(named, size, flops, width) if len(found.draws) > 1 else np.empty(0)
    return Answer("3 parametric", "fit of vocab", best, _interval(best, draws, level), width)


def _interval(value: float, draws: Floats, level: float) -> tuple[float, ...]:
    """Ends of the central interval, empty without draws; one that has no answer (nan) counts beyond both ends."""
    if not len(draws):
        return ()
    tail = (1 - level) / 2
    low = float(np.quantile(np.where(np.isnan(draws), -np.inf, draws), tail, method="nearest"))
    high = float(np.quantile(np.where(np.isnan(draws), np.inf, draws), 1 - tail, method="nearest"))
    return min(low, value), max(high, value)


def _about(value: float, draws: Floats, level: float) -> tuple[float, ...]:
    """Ends as many factors e above a value as below, within which that share of resamples lies; empty without draws.

    Resamples have fewer of the runs, and the points of least loss shift to one side with them: both the shift and the
    spread count as doubt. One that has no answer (nan) lies beyond both ends.
    """
    if not len(draws):
        return ()
    far = np.abs(np.log(np.where(np.isnan(draws), np.inf, draws) / value))
    half = float(np.quantile(far, level, method="higher"))
    return value * float(np.exp(-half)), value * float(np.exp(half))


def _from_table(
    table: Table, ask: _Ask, least_flops: float, bootstrap: int, level: float, seed: int, drop_bad: bool
) -> Vocabulary:
    """The answers of a table of runs; an approach that it can't carry is named with the reason."""
    seen, rows = measure(table, drop_bad)
    kinds = len(np.unique(seen.vocabulary))
    if kinds < LEAST_VOCABULARIES:
        raise BadInput(
            f"runs of {kinds} vocabular{'y' if kinds == 1 else 'ies'} can't tell which is best",
            file=table.name,
            fix=f"give runs of {LEAST_VOCABULARIES} or more at each size, or no table for the published coefficients",
        )
    found = profiles(seen)
    failed: dict[str, str] = {}
    own = _or_why("1 isoFLOP envelope", lambda: budget_law(seen), failed)
    size, flops, width = ask.settled(own or TAO_BUDGET)
    notes = [*rows.notes, *ask.notes(size, flops, width)]
    if own is None and (ask.flops is None or ask.params_nonvocab is None):
        notes.append("approach 1 had no answer on this table: what was not given comes from the published one")
    answers = []

    made: Surfaces = {}

    def one(of: Measured, rng: np.random.Generator) -> float:
        return budget_law(of, seen, made).params_vocab(flops) / width

    def two(of: Measured, rng: np.random.Generator) -> float:
        return measured_vocabulary(profiles(of), size, rng) / width

    anchored = _or_why("2 derivative", lambda: anchored_law(found), failed)
    for name, best, other in (
        ("1 isoFLOP envelope", own.params_vocab(flops) / width if own else None, one),
        ("2 derivative", anchored.params_vocab(size) / width if anchored else None, two),
    ):
        if best is not None:
            draws = _resampled(seen, other, bootstrap, seed)
            answers.append(Answer(name, "this table", best, _about(best, draws, level), width))
    third = _or_why("3 parametric", lambda: _fitted(seen, least_flops, bootstrap, seed), failed)
    if third is not None:
        answers.append(_parametric(third, size, flops, width, level))
    if not answers:
        raise BadInput("; ".join(f"{name}: {why}" for name, why in failed.items()), file=table.name)
    about = {"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped), "runs": int(seen.run.max()) + 1}
    limit = () if third is None else _limit(third)
    return _answered(size, flops, width, level, answers, failed, found, notes, about, seen, limit)


def _or_why(name: str, run: Callable[[], Found], failed: dict[str, str]) -> Found | None:
    """What `run` returns; where it can't be, the reason goes into `failed`."""
    try:
        return run()
    except LabError as fault:
        failed[name] = " ".join(str(fault).split())
        return None


def _resampled(
    seen: Measured, answer: Callable[[Measured, np.random.Generator], float], count: int, seed: int
) -> Floats:
    """Answers (count,) of resampled runs, nan for a draw that has none."""
    rng = np.random.default_rng([seed, 5])
    runs = int(seen.run.max()) + 1
    out = np.full(count, np.nan)
    for i in range(count):
        drawn = np.zeros(runs, dtype=bool)
        drawn[rng.integers(runs, size=runs)] = True
        try:
            out[i] = answer(seen.take(drawn[seen.run]), rng)
        except LabError:
            continue
    return out


def _fitted(seen: Measured, least_flops: float, bootstrap: int, seed: int) -> Fit:
    """`vocab` fitted to the checkpoints of at least that compute."""
    import pandas as pd

    keep = seen.flops >= least_flops
    if not keep.any():
        most = float(seen.flops.max())
        raise LabError(f"--least-flops {least_flops:g} leaves no row: the largest has {most:.3g} FLOP")
    frame = pd.DataFrame(
        {
            "run_id": seen.run[keep],
            "params_nonvocab": seen.size[keep],
            "params_vocab": (seen.vocabulary * seen.width)[keep],
            "tokens": seen.tokens[keep],
            "flops": seen.flops[keep],
            TARGET: seen.loss[keep],
        }
    )
    return fit("vocab", frame, bootstrap=bootstrap, seed=seed)


# ------------------------------------------------------------------------------------------------------------ warnings


def _answered(
    size: float,
    flops: float,
    width: float,
    level: float,
    answers: Sequence[Answer],
    failed: Mapping[str, str],
    found: tuple[Profile, ...],
    notes: Sequence[str],
    rows: Mapping[str, Any],
    seen: Measured | None,
    limit: tuple[Notice, ...],
) -> Vocabulary:
    notices = (*_units(seen), *limit, *_outside(answers, size, seen), *_apart(answers), *_held(answers))
    return Vocabulary(size, flops, width, level, tuple(answers), dict(failed), found, notices, tuple(notes), dict(rows))


def _notice(code: str, message: str) -> Notice:
    return Notice(code, severity(code), message)


def _units(seen: Measured | None) -> tuple[Notice, ...]:
    """A warning where a table's tokens or compute can't be those of its characters and sizes."""
    if seen is None:
        return ()
    said = []
    pairs = (
        (
            "tokens",
            "characters * f(vocab_size)",
            seen.tokens / (seen.characters * tokens_per_character(seen.vocabulary)),
        ),
        (
            "flops",
            "6 * (params_nonvocab + vocab_size * width) * tokens",
            seen.flops / six_nd(seen.size + seen.vocabulary * seen.width, seen.tokens),
        ),
    )
    for name, other, share in pairs:
        odd = (share < ODD[0]) | (share > ODD[1])
        if odd.any():
            said.append(
                _notice(
                    "SL430",
                    f"{name} is not within a factor 2 of {other} in {int(odd.sum())} of {len(odd)} rows (median ratio "
                    f"{float(np.median(share)):.3g}): columns of different units, or other parameters counted",
                )
            )
    return tuple(said)


def _limit(found: Fit) -> tuple[Notice, ...]:
    """A warning where the vocabulary's exponent ran to its limit: approach 3 then rests on that limit."""
    value, (low, high) = found.values["alpha2"], found.entry.param("alpha2").limits
    if min(value - low, high - value) > 1e-3 * (high - low) or found.params["alpha2"].fixed:
        return ()
    message = (
        f"approach 3: the exponent of the vocabulary term ended at its limit, {value:.3g}, so its answer rests on that "
        "limit, not on the table; prefer approach 1"
    )
    return (_notice("SL431", message),)


def _outside(answers: Sequence[Answer], size: float, seen: Measured | None) -> tuple[Notice, ...]:
    if seen is None:
        return ()
    low, high = float(seen.vocabulary.min()), float(seen.vocabulary.max())
    beyond = [a.approach for a in answers if not low <= a.vocab_size <= high]
    far = size / float(seen.size.max())
    if not beyond and far <= 1.1:
        return ()
    what = [f"the best vocabulary of {', '.join(beyond)} lies outside those tried, {low:.0f} to {high:.0f}"] * bool(
        beyond
    )
    what += [f"the size is {far:.3g} times the largest in the table"] * (far > 1.1)
    return (_notice("SL432", f"{' and '.join(what)}: the answer is extrapolated"),)


def _apart(answers: Sequence[Answer]) -> tuple[Notice, ...]:
    """A warning where approaches disagree, the slip of units left out."""
    kept = [a for a in answers if "as published" not in a.approach]
    low, high = (pick(kept, key=lambda a: a.vocab_size) for pick in (min, max))
    if high.vocab_size <= APART * low.vocab_size:
        return ()
    if low.vocab_size < 1:
        message = f"{low.approach} has no best vocabulary here: by it the fewer tokens the better, down to none"
        return (_notice("SL433", message),)
    message = (
        f"the approaches lie a factor {high.vocab_size / low.vocab_size:.3g} apart ({low.approach}: "
        f"{format_quantity(low.vocab_size)}, {high.approach}: {format_quantity(high.vocab_size)}): read the answer as "
        "that range"
    )
    return (_notice("SL433", message),)


def _held(answers: Sequence[Answer]) -> tuple[Notice, ...]:
    large = [a.approach for a in answers if a.vocab_size > LARGEST_VOCABULARY]
    if not large:
        return ()
    message = (
        f"the best vocabulary of {', '.join(large)} is above {LARGEST_VOCABULARY:,.0f}, where tokens for each "
        "character were never measured (f(V) is held there)"
    )
    return (_notice("SL434", message),)
