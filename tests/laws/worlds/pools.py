"""Worlds of the laws of pools of data: filtering and retrieval."""

from __future__ import annotations

import numpy as np

from .world import World, grid

SIZE = 12.8e6
_ALONE = grid(samples=SIZE * np.array([0.25, 0.5, 1.0, 2.0, 3.5, 6.0, 10.0, 20.0, 40.0]), w_strict=np.array([0.0, 1.0]))
ALONE = _ALONE | {"unique_samples": np.full(len(_ALONE["samples"]), SIZE), "w_loose": 1.0 - _ALONE["w_strict"]}
_ONCE = grid(samples=SIZE * np.geomspace(0.15, 1.0, 9), w_strict=np.array([0.0, 1.0]))
SINGLE_PASS = _ONCE | {"unique_samples": np.full(len(_ONCE["samples"]), SIZE), "w_loose": 1.0 - _ONCE["w_strict"]}
POOLS = {"a": 16.0, "d": 0.1, "b_strict": -0.23, "b_loose": -0.2, "tau_strict": 2.5, "tau_loose": 8.0}

STORES = grid(
    params=np.geomspace(1e8, 1e10, 3),
    tokens=np.geomspace(3e9, 3e11, 3),
    datastore_tokens=np.array([0.0, 1e9, 1e10, 1e11, 1e12]),
)
_NONE = grid(params=np.geomspace(1e8, 1e10, 6), tokens=np.geomspace(3e9, 3e11, 5))

WORLDS = [
    World("qqt@w_strict,w_loose", POOLS, ALONE, SINGLE_PASS),
    World(
        "datastore",
        {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36, "kappa": 0.03, "S_0": 3e9},
        STORES,
        _NONE | {"datastore_tokens": np.zeros(len(_NONE["params"]))},
        noise=0.001,
    ),
]
