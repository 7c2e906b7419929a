"""Worlds of the laws of model size, data and compute."""

from __future__ import annotations

import numpy as np

from tests.conftest import TRUTH

from .world import World, grid

SIZES, DATA = np.geomspace(1e7, 3e9, 6), np.geomspace(1e9, 3e11, 5)
ND = grid(params=SIZES, tokens=DATA)
ONE_RATIO = {"params": np.geomspace(1e7, 1e10, 30), "tokens": 20 * np.geomspace(1e7, 1e10, 30)}
TWO = np.repeat([1e8, 1e9], 15)

WORLDS = [
    World("chinchilla", TRUTH, ND, ONE_RATIO),
    World("chinchilla-tied", {"E": 1.7, "A": 500.0, "B": 1400.0, "alpha": 0.35}, ND, ONE_RATIO),
    World("kaplan-nd", {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}, ND, ONE_RATIO),
    World(
        "drift",
        {
            "E": 1.8,
            "A": 0.6,
            "B": 0.3,
            "alpha": 0.34,
            "beta": 0.36,
            "kappa": 0.05,
            "mu": 0.01,
            "N_0": float(np.sqrt(1e7 * 3e9)),
            "D_0": float(np.sqrt(1e9 * 3e11)),
        },
        ND,
        ONE_RATIO,
    ),
    World("hestness", {"alpha": 300.0, "beta": -0.28, "gamma": 1.6}, {"tokens": ND["tokens"]}, {"tokens": TWO}),
    World("hestness-params", {"alpha": 120.0, "beta": -0.25, "gamma": 1.9}, {"params": ND["params"]}, {"params": TWO}),
    World(
        "hestness-flops",
        {"alpha": 1500.0, "beta": -0.16, "gamma": 1.7},
        {"flops": 6 * ND["params"] * ND["tokens"]},
        {"flops": TWO * 1e12},
    ),
]
