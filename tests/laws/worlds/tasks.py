"""Worlds of the laws of downstream tasks."""

from __future__ import annotations

import numpy as np

from .surfaces import ND, ONE_RATIO
from .world import World

FLOPS = np.geomspace(1e18, 1e22, 30)
PRETRAIN = np.geomspace(1e8, 1e12, 30)
SIZES = np.geomspace(3e7, 2.4e9, 30)

WORLDS = [
    World(
        "err-loss",
        {"eps": 0.85, "k": 2.1, "gamma": 0.75},
        {"loss": np.linspace(2.0, 6.0, 30)},
        {"loss": np.repeat([2.5, 3.5], 15)},
    ),
    World(
        "ladder",
        {"a": -0.7, "k": 5.0, "L_0": 0.9, "b": 0.95},
        {"bpb": np.linspace(0.3, 2.0, 40)},
        {"bpb": np.repeat([0.8, 0.9, 1.0], 10)},
    ),
    World("ladder-bpb", {"E": 0.4, "A": 300.0, "B": 900.0, "alpha": 0.34, "beta": 0.36}, ND, ONE_RATIO),
    World("ladder-bpb-tied", {"E": 0.4, "A": 300.0, "B": 900.0, "alpha": 0.35}, ND, ONE_RATIO),
    World(
        "ladder-flops",
        {"E": 0.5, "A": 5000.0, "alpha": 0.19},
        {"flops": FLOPS},
        {"flops": np.repeat([1e19, 1e20], 15)},
    ),
    World("acc-flops", {"at": 0.45, "slope": 0.03, "C_0": 1e20}, {"flops": FLOPS}, {"flops": np.full(30, 1e20)}),
    World(
        "bleu-log",
        {"A": 2e-3, "alpha": 0.5, "beta": 1.9},
        {"pretrain_tokens": PRETRAIN},
        {"pretrain_tokens": np.repeat([1e9, 1e10], 15)},
    ),
    World(
        "xent-power",
        {"E": 0.9, "A": 80.0, "alpha": 0.22},
        {"pretrain_tokens": PRETRAIN},
        {"pretrain_tokens": np.repeat([1e9, 1e10], 15)},
    ),
    World("task-law", {"c": 2300.0, "alpha": 0.31}, {"params": SIZES}, {"params": np.full(30, 1e8)}, noise=0.01),
    World(
        "loss-to-loss",
        {"E": 0.8, "K": 1.1, "E_0": 1.5, "kappa": 1.3},
        {"source_loss": np.linspace(1.7, 6.0, 40)},
        {"source_loss": np.repeat([2.0, 2.5, 3.0], 10)},
        noise=0.001,
    ),
]
