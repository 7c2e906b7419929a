"""Worlds of the laws of growth."""

from __future__ import annotations

import numpy as np

from .world import World, grid

WORLDS = [
    World(
        "gstack",
        {"alpha": 0.88, "beta": 163.27, "gamma": -5.74},
        grid(params=np.geomspace(4e8, 7e9, 5), flops=np.geomspace(1e20, 1e23, 5)),
        {"params": np.geomspace(4e8, 7e9, 25), "flops": np.full(25, 1e21)},
    )
]
