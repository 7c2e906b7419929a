"""When to grow a small model into a large one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Law, Param, Published, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any
_TEN = float(np.log(10.0))


def _gstack(x: Mapping[str, Array], alpha: Array, beta: Array, gamma: Array) -> Array:
    return np.exp(alpha * np.log(x["params"]) + beta * (_TEN / np.log10(x["flops"])) + gamma * _TEN)


def _more_than_all(x: Mapping[str, Any], values: Mapping[str, float]) -> list[str]:
    """What a point asks for that its whole training does not have."""
    found = np.atleast_1d(_gstack(x, **values))
    tokens = np.atleast_1d(np.asarray(x["flops"]) / (6.0 * np.asarray(x["params"])))
    over = np.flatnonzero(found > tokens)
    return [
        f"growth_tokens = {found[i]:.3g} are more than the {tokens[i]:.3g} that the compute pays for at this size: the "
        "law does not hold of so short a training"
        for i in over[:1]
    ]


GSTACK = register(
    Law(
        name="gstack",
        title="When to stack a small model into a large one (G_stack)",
        source="Du et al. 2024, arXiv:2405.15319, section 4",
        family="growth",
        target="growth_tokens",
        inputs=("params", "flops"),
        params=(
            Param("alpha", "", (0.2, 2.0), "exponent of the target's size"),
            Param("beta", "", (10.0, 1000.0), "how fewer tokens are best the more compute there is"),
            Param("gamma", "", (-30.0, 10.0), "decimal logarithm of the tokens at N = 1 and infinite C", domain="real"),
        ),
        formula="params**alpha * 10**(beta / log10(flops) + gamma)",
        predict=_gstack,
        cautions=_more_than_all,
        identifiability=(
            "beta and gamma show only where sizes and compute vary apart: at one compute they are one parameter, and "
            "where compute grows with the square of the size all three trade off."
        ),
        published={
            "du2024": Published(
                dict(alpha=0.88, beta=163.27, gamma=-5.74),
                "arXiv:2405.15319, and the table of tongxuluo/prts",
                "from the best of 0, 1, 5, 10, 20 and 50B tokens at each size and compute, growth factor 4",
            )
        },
        notes=(
            "params counts the target model without embeddings, flops all of its training (6*N*D). growth_tokens are "
            "those that the small model, of params / 4, sees before its layers are copied. At one size the law asks "
            "for fewer tokens the more compute there is, which can't go on: use it near the sizes it was fitted to "
            "(410M to 7B); `scaling-lab growth` never gives more tokens than there are. A third text prints a product "
            "where the quotient beta / log10(flops) stands."
        ),
    )
)
