"""Worlds of the laws of learning rate and batch size: optima, one for each place."""

from __future__ import annotations

import numpy as np

from .world import World, grid

WIDE, ONE = np.geomspace(5e7, 5e10, 20), np.full(20, 1e9)
FLOPS, LOSS = np.geomspace(1e17, 1e21, 20), np.geomspace(4.0, 2.0, 20)
SIZES, TOKENS = np.geomspace(1e8, 4e9, 5), np.geomspace(4e9, 4e11, 5)


def of_one(law: str, name: str, x: np.ndarray, scale: float, alpha: float) -> World:
    return World(law, {"scale": scale, "alpha": alpha}, {name: x}, {name: np.full(len(x), x[0])})


WORLDS = [
    of_one("hp:step-law-batch", "tokens", WIDE * 100, 0.58, 0.571),
    of_one("hp:deepseek", "flops", FLOPS, 0.3118, -0.125),
    of_one("hp:deepseek-batch", "flops", FLOPS, 0.292, 0.3271),
    of_one("deepseek-tokens", "flops", FLOPS, 5.8316, 0.4757),
    of_one("hp:porian", "params_nonembed_head", WIDE, 3.7, -0.36),
    of_one("hp:porian-batch", "params_nonembed_head", WIDE, 0.7576, 0.703),
    of_one("hp:kaplan-batch", "loss", LOSS, 2e8, -1 / 0.21),
    of_one("hp:minicpm-batch", "loss", LOSS, 1.21e9, -6.24),
    of_one("hp:moonlight", "flops", FLOPS, 0.02, -0.06),
    of_one("hp:moonlight-batch", "flops", FLOPS, 0.006, 0.4),
    of_one("hp:meituan", "loss", LOSS, 1e-4, 2.0),
    of_one("hp:meituan-batch", "loss", LOSS, 3e8, -5.0),
    World(
        "hp:kaplan",
        {"intercept": 3.239e-3, "fall": 1.395e-4},
        {"params_nonembed": np.geomspace(1e5, 5e9, 20)},
        {"params_nonembed": ONE},
        noise=2e-6,
    ),
    World(
        "hp:step-law",
        {"scale": 1.79, "alpha": -0.713, "beta": 0.307},
        {"params_nonvocab": grid(n=SIZES, d=TOKENS)["n"], "tokens": grid(n=SIZES, d=TOKENS)["d"]},
        {"params_nonvocab": WIDE, "tokens": 20 * WIDE},
    ),
    World(
        "hp:bjorck",
        {"scale": 600.0, "alpha": -0.23, "beta": -0.32},
        grid(params=SIZES, tokens=TOKENS),
        {"params": WIDE, "tokens": 20 * WIDE},
    ),
    World(
        "hp:power",
        {"a": 4.0, "b": -0.51},
        grid(batch_sequences=np.array([16.0, 64.0, 256.0]), tokens=TOKENS),
        {"batch_sequences": np.geomspace(16, 512, 20), "tokens": ONE},
    ),
]
