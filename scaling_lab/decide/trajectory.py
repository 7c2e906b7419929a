"""Loss along a training at any batch size by Kaplan's law: least loss, steps and tokens for a loss, the frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Notice
from ..errors import BadInput, UsageError
from ..laws import LAWS
from ..quantities import format_quantity
from .allocate import Quantile, quantile_of

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/trajectory/1"
NAMES = ("N_c", "alpha_N", "S_c", "alpha_S", "B_star", "alpha_B")
PUBLISHED = "kaplan2020"
# Sizes, steps and unique tokens of the runs behind the published constants: arXiv:2001.08361, sections 2.2 and 3. They
# had one batch of 2^19; what it is traded against comes from other scans, whose range the paper does not print.
PUBLISHED_RANGE = {
    "params_nonembed": {"min": 768.0, "max": 1.5e9},
    "step": {"min": 3e3, "max": 2.5e5},
    "tokens": {"min": 2.2e7, "max": 2.29e10},
}
# Beyond this nothing is trained, and powers leave floating point.
MOST = 1e30
# Safeguarded Newton steps, each of which halves the bracket or does better, and points of a drawn curve.
ROUNDS, POINTS = 200, 61
# Batches of the plot, as factors of the one asked for.
BATCHES = (0.125, 0.5, 2.0, 8.0)


@dataclass(frozen=True)
class Constants:
    """Kaplan's six constants, as arrays that broadcast with what is asked: (), or (k, 1) for draws.

    Sizes are counted without embeddings, batches in tokens.
    """

    N_c: Any
    alpha_N: Any
    S_c: Any
    alpha_S: Any
    B_star: Any
    alpha_B: Any

    @classmethod
    def of(cls, values: Floats) -> Constants:
        """The constants of values (6,), or of draws (k, 6)."""
        return cls(*(values[..., i, None] if values.ndim > 1 else values[i] for i in range(len(NAMES))))

    def floor(self, params: Any) -> Any:
        """The loss after endless steps."""
        return (self.N_c / params) ** self.alpha_N

    def critical(self, loss: Any) -> Any:
        """The critical batch size at a loss, in tokens."""
        return self.B_star * loss ** (-1.0 / self.alpha_B)

    def loss(self, params: Any, step: Any, batch: Any) -> Floats:
        """The loss after steps at a batch size: the root of L = floor + (S_c * (1 + B_crit(L) / B) / S)**alpha_S.

        The right side falls as L grows, so there is one root, between the floor and the right side at the floor. An
        endless batch is allowed. Solved by Newton's steps, or halving where one leaves the bracket.
        """
        floor, rate, batch = np.broadcast_arrays(
            np.asarray(self.floor(params), dtype=float), self.S_c / np.asarray(step, dtype=float), batch
        )
        low = floor
        high = floor + (rate * (1 + self.critical(floor) / batch)) ** self.alpha_S
        at = high
        for _ in range(ROUNDS):
            ratio = self.critical(at) / batch
            rest = (rate * (1 + ratio)) ** self.alpha_S
            gap = at - floor - rest
            low, high = np.where(gap <= 0, at, low), np.where(gap >= 0, at, high)
            newton = at - gap / (1 + self.alpha_S * rest * ratio / (self.alpha_B * at * (1 + ratio)))
            moved = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            done = np.abs(moved - at) <= 1e-15 * moved
            at = moved
            if done.all():
                break
        return np.asarray(at, dtype=float)

    def min_steps(self, params: Any, loss: Any) -> Floats:
        """The least steps to a loss (at an endless batch); infinite where the model never gets there."""
        above = np.asarray(loss - self.floor(params), dtype=float)
        reached = above > 0
        return np.where(reached, self.S_c * np.where(reached, above, 1.0) ** (-1.0 / self.alpha_S), np.inf)


@dataclass(frozen=True)
class Source:
    """Constants with their draws (k, 6), the range of the runs they came from, and where that is written.

    `data` are the constants of the law of size and unique tokens (kaplan-nd) that goes with them, where there is one.
    """

    values: Floats
    draws: Floats
    inputs: Mapping[str, Mapping[str, float]]
    says: str
    data: Mapping[str, float] | None = None

    @property
    def every(self) -> Constants:
        """The constants first, then their draws, (1 + k, 1)."""
        return Constants.of(np.concatenate([self.values[None, :], self.draws.reshape(-1, len(NAMES))]))


@dataclass(frozen=True)
class Moment:
    """One place of a training, with the steps an endless batch would take and the compute that a tiny one would."""

    step: float
    tokens: float
    flops: float
    loss: Quantile
    critical: float
    min_steps: float
    min_flops: float


@dataclass(frozen=True)
class Goal:
    """What a loss takes: the least steps (endless batch), the least tokens (no batch to speak of), and both at B."""

    loss: float
    critical: Quantile
    min_steps: Quantile
    min_tokens: Quantile
    min_flops: Quantile
    steps: Quantile
    tokens: Quantile
    flops: Quantile


@dataclass(frozen=True)
class EarlyStop:
    """Where training on so many unique tokens, repeated, should stop at the earliest, at an endless batch and at B.

    `loss` is the lowest that those tokens allow, `endless` that of endless data, both by the law of size and data.
    """

    unique_tokens: float
    loss: float
    endless: float
    min_steps: float
    steps: float
    tokens: float
    epochs: float


@dataclass(frozen=True)
class Frontier:
    """Compute-efficient training, at the critical batch and stopped alpha_N / alpha_S above the loss at the end.

    N grows as C**size, the batch as C**batch, the steps as C**steps, and the loss falls as C**-loss; `stop` is by what
    share of the final loss training ends early. The rest is at `flops`, None where none were asked.
    """

    size: float
    batch: float
    steps: float
    loss: float
    stop: float
    scale: float
    flops: float | None = None
    params: float | None = None
    min_steps: float | None = None
    batch_tokens: float | None = None
    reached: float | None = None


@dataclass(frozen=True)
class Trajectory:
    """The training of a model of `params` at one batch size: its least loss, moments, goal and drawn curves."""

    source: str
    params: float
    batch_tokens: float
    floor: Quantile
    moments: tuple[Moment, ...]
    goal: Goal | None
    frontier: Frontier
    early_stop: EarlyStop | None
    level: float
    warnings: tuple[Notice, ...]
    drawn: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `trajectory --json`."""

        def plain(value: Any) -> Any:
            return {k: v.to_dict() if isinstance(v, Quantile) else v for k, v in vars(value).items()}

        return {
            "schema": SCHEMA,
            "source": self.source,
            "params_nonembed": self.params,
            "batch_tokens": self.batch_tokens,
            "min_loss": self.floor.to_dict(),
            "moments": [plain(moment) for moment in self.moments],
            "goal": None if self.goal is None else plain(self.goal),
            "frontier": asdict(self.frontier),
            "early_stop": None if self.early_stop is None else asdict(self.early_stop),
            "level": self.level,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def published(name: str = PUBLISHED) -> Source:
    """The published constants of that name: Table 3 with the critical batch of eq. 5.3, and Table 2 for early stops."""
    steps, batch, data = LAWS["kaplan-steps"], LAWS["bcrit-loss"], LAWS["kaplan-nd"]
    if name not in steps.published:
        raise UsageError(f"no published constants {name!r}; known: {', '.join(steps.published)}")
    found = {**steps.published[name].values, **batch.published[name].values}
    says = f"{steps.published[name].source}, with the critical batch of {batch.published[name].source}"
    values, draws = np.array([found[n] for n in NAMES]), np.empty((0, len(NAMES)))
    return Source(values, draws, PUBLISHED_RANGE, says, data.published[name].values)


def trajectory(
    source: Source,
    params: float,
    batch: float,
    *,
    steps: Sequence[float] = (),
    target_loss: float | None = None,
    flops: float | None = None,
    unique_tokens: float | None = None,
    level: float = 0.9,
) -> Trajectory:
    """The training of `params` (without embeddings) at `batch` tokens a step: losses at `steps`, and cost of a loss.

    Without steps, seven places over the range of the source. `unique_tokens` asks where a training that repeats them
    should stop. Intervals hold the doubt of the constants alone. Raises UsageError where a number makes no sense,
    BadInput where the model never reaches the target.
    """
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    sizes = [("params", params), ("batch", batch), ("flops", flops), ("unique-tokens", unique_tokens)]
    sizes += [("steps", step) for step in steps]
    for name, value in (*sizes, ("target-loss", target_loss)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"--{name} {value:g} is not a number above zero")
    for name, value in sizes:
        if value is not None and not 1 <= value <= MOST:
            raise UsageError(f"--{name} {value:g} is no number that a training has; give one from 1 to {MOST:g}")
    reach = source.inputs["step"]
    places = np.asarray(steps or np.geomspace(reach["min"], reach["max"], 7), dtype=float)
    every = source.every
    # A draw may leave floating point where the constants don't: it counts beyond an end of the interval.
    with np.errstate(all="ignore"):
        losses = every.loss(params, places, batch)
        if not np.isfinite(losses[0]).all():
            raise BadInput(f"the constants of {source.says} give no finite loss there", fix="ask nearer to their runs")
        goal = None if target_loss is None else _goal(every, params, batch, target_loss, level)
        best = frontier(Constants.of(source.values), flops)
        stop = None if unique_tokens is None else early_stop(source, params, batch, unique_tokens)
        return Trajectory(
            source=source.says,
            params=params,
            batch_tokens=batch,
            floor=quantile_of(every.floor(params)[:, 0], level),
            moments=tuple(_moments(every, params, batch, places, losses, level)),
            goal=goal,
            frontier=best,
            early_stop=stop,
            level=level,
            warnings=_outside(source, params, batch, places if steps else places[:0], goal, best, unique_tokens),
            drawn=_drawn(every, params, batch, places, goal, level),
        )


def _moments(
    every: Constants, params: float, batch: float, steps: Floats, losses: Floats, level: float
) -> list[Moment]:
    found = []
    for i, step in enumerate(steps.tolist()):
        critical = float(np.ravel(every.critical(losses[0, i]))[0])
        flops = 6 * params * batch * step
        found.append(
            Moment(
                step=step,
                tokens=batch * step,
                flops=flops,
                loss=quantile_of(losses[:, i], level),
                critical=critical,
                min_steps=step / (1 + critical / batch),
                min_flops=flops / (1 + batch / critical),
            )
        )
    return found


def _goal(every: Constants, params: float, batch: float, loss: float, level: float) -> Goal:
    least = every.min_steps(params, loss)[:, 0]
    if not np.isfinite(least[0]):
        raise BadInput(
            f"a model of {format_quantity(params)} never reaches {loss:g}: its loss ends at "
            f"{float(np.ravel(every.floor(params))[0]):.4g}",
            fix="ask for a higher --target-loss or a larger --params",
        )
    critical = np.broadcast_to(every.critical(np.full((1, 1), loss))[:, 0], least.shape)
    tokens, steps = critical * least, least * (1 + critical / batch)
    columns = (critical, least, tokens, 6 * params * tokens, steps, batch * steps, 6 * params * batch * steps)
    return Goal(loss, *(quantile_of(column, level) for column in columns))


def early_stop(source: Source, params: float, batch: float, unique_tokens: float) -> EarlyStop:
    """The least steps before training on so many unique tokens should stop: S_c / [L(N, D) - L(N, inf)]**(1 / alpha_S).

    Kaplan et al. 2020, arXiv:2001.08361, eq. 5.7: endless data would by then have led as far as these ever do. Both
    losses are of eq. 1.5 with its own constants (Table 2), S_c and alpha_S of Table 3. Raises UsageError where the
    source has no law of data, or more tokens than the model can overfit are asked.
    """
    if source.data is None:
        raise UsageError(
            f"--unique-tokens takes a law of size and data, and {source.says} has none; take --published {PUBLISHED}"
        )
    law, c = LAWS["kaplan-nd"], Constants.of(source.values)
    loss, endless = (
        float(law.predict({"params": np.array(params), "tokens": np.array(tokens)}, **source.data))
        for tokens in (unique_tokens, np.inf)
    )
    above = loss - endless
    least = float(c.S_c * above ** (-1 / c.alpha_S)) if above > 1e-9 * endless else np.inf
    if not least < MOST:
        raise UsageError(f"{format_quantity(params)} parameters never overfit {format_quantity(unique_tokens)} tokens")
    steps = float(least * (1 + c.critical(loss) / batch))
    return EarlyStop(unique_tokens, loss, endless, least, steps, steps * batch, steps * batch / unique_tokens)


def frontier(constants: Constants, flops: float | None = None) -> Frontier:
    """The compute-efficient frontier in closed form, by Kaplan et al. 2020, appendix B; flops are the least, C_min."""
    c = constants
    power = 1 / (1 / c.alpha_S + 1 / c.alpha_B + 1 / c.alpha_N)
    stop = c.alpha_N / c.alpha_S
    exponent = 1 / c.alpha_S + 1 / c.alpha_N
    scale = 6 * c.N_c * c.B_star * c.S_c * (1 + stop) ** exponent * stop ** (-1 / c.alpha_S)
    shape = (power / c.alpha_N, power / c.alpha_B, power / c.alpha_S, power, stop, scale)
    found = Frontier(*(float(v) for v in shape))
    if flops is None:
        return found
    params = c.N_c * (flops / scale) ** (power / c.alpha_N) * (1 + stop) ** (1 / c.alpha_N)
    loss = (1 + stop) * c.floor(params)
    # At the critical batch twice the least steps are taken and twice the least tokens seen.
    least, batch = c.min_steps(params, loss), c.critical(loss)
    return Frontier(*(float(v) for v in (*shape, flops, params, least, batch, loss)))


def _drawn(
    every: Constants, params: float, batch: float, places: Floats, goal: Goal | None, level: float
) -> dict[str, Any]:
    """Curves for a plot: losses (m,) at steps (m,) at the batch with the ends of its interval, and at other batches."""
    ends = [*places.tolist(), float(places.max()) / 100, *([goal.steps.value] if goal is not None else [])]
    steps = np.geomspace(min(ends), max(ends), POINTS)
    losses = every.loss(params, steps, batch)
    mine = [quantile_of(column, level) for column in losses.T]
    one = Constants(*(np.ravel(value)[0] for value in vars(every).values()))
    return {
        "steps": steps,
        "loss": losses[0],
        "low": np.array([q.ci[0] if q.ci else q.value for q in mine]),
        "high": np.array([q.ci[1] if q.ci else q.value for q in mine]),
        "others": {factor * batch: one.loss(params, steps, factor * batch) for factor in BATCHES},
    }


def _outside(
    source: Source,
    params: float,
    batch: float,
    steps: Floats,
    goal: Goal | None,
    best: Frontier,
    unique_tokens: float | None,
) -> tuple[Notice, ...]:
    """A warning where the question lies beyond the runs that the constants came from."""
    asked = [("params_nonembed", params), ("batch_tokens", batch)]
    asked += [("step", float(step)) for step in ((steps.min(), steps.max()) if steps.size else ())]
    if goal is not None:
        asked.append(("step", goal.steps.value))
    if best.params is not None:
        asked.append(("params_nonembed", best.params))
    if unique_tokens is not None:
        asked.append(("tokens", unique_tokens))
    said = []
    for name, value in asked:
        if name not in source.inputs:
            continue
        low, high = source.inputs[name]["min"], source.inputs[name]["max"]
        beyond = max(value / high, low / value)
        if beyond > 1 + 1e-9:
            reach = " to ".join(format_quantity(end) for end in dict.fromkeys((low, high)))
            said.append(f"{name} {format_quantity(value)} by a factor {beyond:.2g} (the runs had {reach})")
    if not said:
        return ()
    message = (
        f"beyond the runs behind the constants: {', '.join(dict.fromkeys(said))}. Intervals hold the doubt of the "
        "constants alone, not that of the law out there, which has no floor"
    )
    return (Notice("SL480", "warning", message),)
