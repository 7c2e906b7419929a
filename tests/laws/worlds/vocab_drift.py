"""The world of the law of vocabulary that drifts."""

from __future__ import annotations

import numpy as np

from .vocabulary import ONE, TOKENS, X
from .world import World

DESIGN = {**X, "tokens": TOKENS}

WORLDS = [
    World(
        "vocab-drift",
        {
            "E": 5.5,
            "A1": 0.4,
            "A2": 0.2,
            "B": 0.6,
            "alpha": 0.4,
            "alpha2": 0.6,
            "beta": 0.4,
            "kappa": 0.05,
            "mu": 0.01,
            "nu": -0.03,
            **{
                name: float(np.exp(np.mean(np.log(DESIGN[of]))))
                for name, of in (("N_0", "params_nonvocab"), ("V_0", "params_vocab"), ("D_0", "tokens"))
            },
        },
        DESIGN,
        {**DESIGN, "params_vocab": 16.0 * ONE},
        rel=1e-4,
    ),
]
