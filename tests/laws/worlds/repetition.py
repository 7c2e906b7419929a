"""Worlds of the laws of repeated data."""

from __future__ import annotations

import numpy as np

from .world import World, grid

# Excess parameters too: the optimal size for 3e9 unique tokens is about 1e8.
_GRID = grid(
    params=np.geomspace(3e7, 3e10, 6), unique_tokens=np.geomspace(3e8, 3e10, 4), epochs=np.array([1, 4, 16, 64])
)
REPEATED = {
    "params": _GRID["params"],
    "tokens": _GRID["unique_tokens"] * _GRID["epochs"],
    "unique_tokens": _GRID["unique_tokens"],
}
_ONCE = grid(params=np.geomspace(1e7, 3e9, 6), tokens=np.geomspace(1e9, 3e11, 5))
SINGLE_PASS = _ONCE | {"unique_tokens": _ONCE["tokens"]}
TIED = {"E": 1.85, "A": 520.0, "B": 1480.0, "alpha": 0.353, "R_D": 15.0, "R_N": 5.3}

WORLDS = [
    World("data-constrained", TIED | {"beta": 0.37, "B": 2000.0}, REPEATED, SINGLE_PASS),
    World("data-constrained-tied", TIED, REPEATED, SINGLE_PASS),
]
