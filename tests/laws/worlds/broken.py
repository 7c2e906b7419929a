"""Worlds of broken power laws."""

from __future__ import annotations

import numpy as np

from .world import World

FEW = np.repeat([1e8, 1e9, 1e10], 8)

WORLDS = [
    World(
        "bnsl1",
        {"a": 1.2, "b": 12.0, "c_0": 0.06, "c_1": 0.3, "d_1": 3e9, "f_1": 0.3},
        {"tokens": np.geomspace(1e7, 1e12, 40)},
        {"tokens": FEW},
        noise=1e-3,
    ),
    World(
        "bnsl1@examples",
        {"a": 0.4, "b": 2.3, "c_0": 0.06, "c_1": 5.0, "d_1": 600.0, "f_1": 0.06},
        {"examples": np.geomspace(160, 1500, 30)},
        {"examples": FEW},
        noise=1e-3,
    ),
    World(
        "bnsl2",
        {"a": 1.0, "b": 12.0, "c_0": 0.05, "c_1": 0.5, "d_1": 1e9, "f_1": 0.2, "c_2": -0.4, "g_2": 60.0, "f_2": 0.2},
        {"tokens": np.geomspace(1e7, 1e13, 60)},
        {"tokens": FEW},
        noise=3e-4,
    ),
    World(
        "bnsl3",
        {
            "a": 0.5,
            "b": 12.0,
            "c_0": 0.05,
            "c_1": 0.6,
            "d_1": 3e8,
            "f_1": 0.2,
            "c_2": -0.55,
            "g_2": 100.0,
            "f_2": 0.2,
            "c_3": 0.5,
            "g_3": 100.0,
            "f_3": 0.2,
        },
        {"tokens": np.geomspace(1e7, 1e14, 60)},
        {"tokens": FEW},
        noise=2e-4,
    ),
]
