"""Worlds of the laws of steps."""

from __future__ import annotations

import numpy as np

from .world import World, grid

SIZES, STEPS = np.geomspace(1e6, 1e9, 6), np.geomspace(1e3, 3e5, 8)
SINCE = np.geomspace(1, 2000, 30)

WORLDS = [
    World(
        "kaplan-steps",
        {"N_c": 6.5e13, "alpha_N": 0.077, "S_c": 2.1e3, "alpha_S": 0.76},
        grid(params_nonembed=SIZES, min_steps=STEPS),
        {"params_nonembed": np.full(24, 1e8), "min_steps": np.geomspace(1e3, 3e5, 24)},
    ),
    World("retention", {"R_0": 0.9, "a": 0.2}, {"steps_since": SINCE}, {"steps_since": np.full(30, 100.0)}, noise=0.02),
    World("retention@tokens", {"R_0": 1.8, "a": 0.2}, {"tokens": 1e6 * SINCE}, {"tokens": np.full(30, 1e8)}, 0.02),
]
