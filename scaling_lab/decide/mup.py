"""How initialisation, learning rates and multipliers change with width and depth, so that tuned values carry over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

MUP_SCHEMA = "scaling-lab/mup/1"
MUP_SOURCE = "Yang et al. 2022, arXiv:2203.03466, tables 3 and 8; code of microsoft/mup"
OPTIMIZERS = ("adam", "sgd")
CARRIES = "learning rate, shape of the schedule, momentum, initial spreads and multipliers"
DOES_NOT = "weight decay and dropout, batch, tokens"


@dataclass(frozen=True)
class TensorRule:
    """What one kind of tensor's tuned values are multiplied with under one optimizer.

    `init_std` is the factor of the initial standard deviation, `lr` of the learning rate, `multiplier` of what goes
    into the tensor's product, `weight_decay` of a coefficient that is multiplied with the learning rate (coupled).
    """

    optimizer: str
    tensor: str
    init_std: float
    lr: float
    multiplier: float
    weight_decay: float
    note: str = ""


@dataclass(frozen=True)
class MupTransfer:
    """The table of factors from one width (and depth) to another; `attention` is what q·k is multiplied with."""

    from_width: float
    to_width: float
    width_multiplier: float
    rules: tuple[TensorRule, ...]
    attention: float | None
    residual: float | None
    lr: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON of the table, with the learning rates where one was given."""
        rows = [{**vars(r), "lr_value": None if self.lr is None else self.lr * r.lr} for r in self.rules]
        own = {name: value for name, value in vars(self).items() if name != "rules"}
        return {
            "schema": MUP_SCHEMA,
            **own,
            "tensors": rows,
            "source": MUP_SOURCE,
            "carries_over": CARRIES,
            "does_not": DOES_NOT,
        }


def mup(
    from_width: float,
    to_width: float,
    *,
    from_depth: float | None = None,
    to_depth: float | None = None,
    from_head_width: float | None = None,
    to_head_width: float | None = None,
    lr: float | None = None,
) -> MupTransfer:
    """The factors that carry values tuned at one width to another under muP, for Adam and SGD.

    Every hidden width grows by the one multiplier. Depth carries over only where branches are scaled by 1/sqrt(depth).
    `attention` is sqrt(d_base)/d for heads of d channels. Raises UsageError for a width or depth not above zero, or
    one of a pair without the other.
    """
    pairs = {
        "width": (from_width, to_width),
        "depth": (from_depth, to_depth),
        "head-width": (from_head_width, to_head_width),
    }
    for name, ends in pairs.items():
        if (ends[0] is None) != (ends[1] is None):
            raise UsageError(f"give --from-{name} and --to-{name}, both")
        for end, value in zip(("from", "to"), ends, strict=True):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"--{end}-{name} {value:g} is not a number above zero")
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise UsageError(f"--lr {lr:g} is not a number above zero")
    m = to_width / from_width
    return MupTransfer(
        from_width=from_width,
        to_width=to_width,
        width_multiplier=m,
        rules=(*_adam(m), *_sgd(m)),
        attention=None
        if from_head_width is None or to_head_width is None
        else math.sqrt(from_head_width) / to_head_width,
        residual=None if from_depth is None or to_depth is None else math.sqrt(from_depth / to_depth),
        lr=lr,
    )


_OUTPUT = "spread held where SP's falls as 1/sqrt(width), or zero; x output_mult / m goes into it"


def _adam(m: float) -> tuple[TensorRule, ...]:
    """Matrices learn 1/m as fast; what has one width does not change."""
    return (
        TensorRule("adam", "embedding", 1, 1, 1, 1),
        TensorRule("adam", "biases, norms", 1, 1, 1, 1),
        TensorRule("adam", "hidden matrices", m**-0.5, 1 / m, 1, m, "coupled decay x m keeps lr x decay as it was"),
        TensorRule("adam", "query projection", 0, 1 / m, 1, m, "zero at the start is recommended; else as hidden"),
        TensorRule("adam", "output", 1, 1, 1 / m, 1, _OUTPUT),
    )


def _sgd(m: float) -> tuple[TensorRule, ...]:
    """What has one width learns m times as fast; a matrix by its fan-out over its fan-in, which grow alike."""
    return (
        TensorRule("sgd", "embedding", 1, m, 1, 1 / m),
        TensorRule("sgd", "biases, norms", 1, m, 1, 1 / m),
        TensorRule("sgd", "hidden matrices", m**-0.5, 1, 1, 1, "lr x (fan-out multiplier / fan-in multiplier)"),
        TensorRule("sgd", "query projection", 0, 1, 1, 1, "zero at the start is recommended; else as hidden"),
        TensorRule("sgd", "output", 1, m, 1 / m, 1 / m, _OUTPUT),
    )
