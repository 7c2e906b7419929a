"""Worlds of the laws of mixture-of-experts models."""

from __future__ import annotations

import numpy as np

from .world import World, grid

ROUTED = grid(params_active=np.geomspace(1.5e7, 1.3e9, 6), experts=np.array([1.0, 2, 4, 8, 16, 32, 64, 128, 256, 512]))
ONE_COUNT = {"params_active": np.geomspace(1.5e7, 1.3e9, 30), "experts": np.full(30, 8.0)}
SPARSE = grid(
    params=np.geomspace(1e8, 3e10, 7), tokens=np.geomspace(1e9, 1e12, 6), sparsity=np.array([0.0, 0.5, 0.8, 0.9, 0.97])
)
GRAINS = grid(
    params=np.geomspace(1e8, 1e10, 5), tokens=np.geomspace(1e9, 3e11, 5), granularity=np.array([1.0, 2, 4, 8, 16])
)
ONE = grid(params=np.geomspace(1e8, 1e10, 6), tokens=np.geomspace(1e9, 3e11, 6))

WORLDS = [
    World(
        "routed",
        {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.85, "E_max": 314.0},
        ROUTED,
        ONE_COUNT,
        noise=5e-4,
    ),
    World("routed-floor", {"E_0": 1.47, "A": 33.0, "a": 0.18, "b": 0.07}, ROUTED, ONE_COUNT),
    World(
        "moe-sparsity",
        {
            "a": 16000.0,
            "alpha": 0.6,
            "b": 5500.0,
            "beta": 0.4,
            "c": 0.46,
            "lam": -0.17,
            "d": 17.0,
            "delta": 0.16,
            "gamma": 0.16,
            "e": 0.94,
        },
        SPARSE,
        {**ONE, "sparsity": np.full(36, 0.5)},
        noise=2e-4,
        rel=1e-3,
    ),
    World(
        "moe-granularity",
        {"c": 1.2, "g": 20.0, "gamma": 0.6, "a": 30.0, "alpha": 0.25, "b": 300.0, "beta": 0.3},
        GRAINS,
        {**ONE, "granularity": np.full(36, 4.0)},
        noise=1e-3,
    ),
]
