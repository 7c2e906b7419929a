"""Learning-rate schedules as arrays: the one source for the trainer, the curve laws and the plots.

A schedule is a function of the step s and the horizon T = `total`. Warm-up is linear, lr_max·s/W for s <= W, so it
starts at 0 (step 0 is before the first update) and reaches the peak at s = W exactly; what follows runs over the
steps that are left, x = (s − W)/(T − W), and reaches `floor`·lr_max at s = T exactly. The n-th of T updates takes the
value at s = n: the first update is never at 0, and with floor = 0 the last one is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BadInput, nearest

Array = NDArray[np.float64]

DECAY_SHAPES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: 0.5 * (1 + np.cos(np.pi * x)),
    "sqrt": lambda x: 1 - np.sqrt(x),
}


def _constant(x: Array, decay: float) -> Array:
    return np.ones_like(x)


def _cosine(x: Array, decay: float) -> Array:
    return DECAY_SHAPES["cosine"](x)


def _linear(x: Array, decay: float) -> Array:
    return DECAY_SHAPES["linear"](x)


def _stable_then(shape: str) -> Callable[[Array, float], Array]:
    def stable_then_decay(x: Array, decay: float) -> Array:
        return DECAY_SHAPES[shape](np.maximum(0.0, 1 - (1 - x) / decay))

    return stable_then_decay


# Each takes x, the progress after warm-up, and `decay`, the share of it that decays (used by the wsd family alone).
SCHEDULES: dict[str, Callable[[Array, float], Array]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _stable_then("linear"),
    "wsd-cosine": _stable_then("cosine"),
    "wsd-sqrt": _stable_then("sqrt"),
}


def learning_rates(
    schedule: str,
    steps: ArrayLike,
    total: int,
    *,
    lr_max: float = 1.0,
    warmup_steps: int = 0,
    floor: float = 0.0,
    decay: float = 0.2,
) -> Array:
    """The learning rate at each of `steps` (0 … total), float64, in the shape of `steps`.

    `floor` is the ratio of the last rate to the peak; `decay` the share of the steps after warm-up in which a wsd
    schedule decays. `constant` has no floor. Raises BadInput for what can't be a schedule.
    """
    step = np.asarray(steps, dtype=np.float64)
    if schedule not in SCHEDULES:
        raise BadInput(f"no schedule {schedule!r}", fix=nearest(schedule, SCHEDULES))
    if not 0 <= warmup_steps < total:
        raise BadInput(f"{warmup_steps} warm-up steps leave nothing of {total} steps", fix="shorten the warm-up")
    if not (0 <= floor <= 1 and 0 < decay <= 1):
        raise BadInput(f"floor = {floor:g} must lie in 0 … 1 and decay = {decay:g} above 0 and up to 1")
    if step.size and (step.min() < 0 or step.max() > total):
        raise BadInput(f"steps {step.min():g} … {step.max():g} are outside 0 … {total}")
    progress = np.maximum(0.0, step - warmup_steps) / (total - warmup_steps)
    factor = floor + (1 - floor) * SCHEDULES[schedule](progress, decay)
    if warmup_steps:
        factor = np.where(step < warmup_steps, step / warmup_steps, factor)
    return lr_max * factor


def update_rates(schedule: str, total: int, **settings: float) -> Array:
    """The learning rates of the `total` updates of a run, shape (total,): element n − 1 belongs to the n-th update."""
    return learning_rates(schedule, np.arange(1, total + 1), total, **settings)  # type: ignore[arg-type]
