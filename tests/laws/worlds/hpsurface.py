"""The world of the loss over size, data, learning rate and batch."""

from __future__ import annotations

import numpy as np

from .world import World, grid

_SIZES, _TOKENS = np.array([1e8, 3e8, 1e9]), np.array([3e9, 1.2e10, 5e10])
_RATES, _BATCHES = np.geomspace(2.5e-4, 1.6e-2, 6), np.geomspace(3.3e4, 4.2e6, 5)
_PLANTED = {
    "E": 1.6,
    "A": 0.35,
    "alpha": 0.4,
    "B": 0.3,
    "beta": 0.3,
    "lr_0": 1.5e-3,
    "lr_n": -0.4,
    "lr_d": 0.35,
    "batch_0": 4.5e5,
    "batch_d": 0.6,
    "C_lr": 0.035,
    "skew_lr": 0.7,
    "tilt": -0.4,
    "C_batch": 0.03,
    "skew_batch": 0.4,
}

WORLDS = [
    World(
        "hp-surface",
        _PLANTED,
        grid(params=_SIZES, tokens=_TOKENS, lr_max=_RATES, batch_tokens=_BATCHES),
        # One batch for each number of tokens, along its best: nothing tells what another batch would have cost.
        {
            **(few := grid(params=_SIZES, tokens=_TOKENS, lr_max=_RATES)),
            "batch_tokens": _PLANTED["batch_0"] * (few["tokens"] / 2e10) ** _PLANTED["batch_d"],
        },
    )
]
