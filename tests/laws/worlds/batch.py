"""Worlds of the laws of batch size."""

from __future__ import annotations

import numpy as np

from .world import World

LOSSES = np.linspace(2.2, 5.5, 16)
SIZES, DATA = np.geomspace(3e7, 3e9, 16), np.geomspace(1e9, 1e12, 16)

WORLDS = [
    World("bcrit-loss", {"B_star": 2e8, "alpha_B": 0.21}, {"loss": LOSSES}, {"loss": np.full(16, 3.0)}, noise=0.05),
    World("minicpm-batch", {"b": 1.21e9, "k": 6.24}, {"loss": LOSSES}, {"loss": np.full(16, 3.0)}, noise=0.05),
    World("cbs-params", {"c": 4.8e4, "kappa": 0.468}, {"params": SIZES}, {"params": np.full(16, 1e8)}, noise=0.05),
    World("cbs-tokens", {"c": 1.2e4, "kappa": 0.468}, {"tokens": DATA}, {"tokens": np.full(16, 1e10)}, noise=0.05),
]
