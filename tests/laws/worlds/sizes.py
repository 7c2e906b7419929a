"""Worlds of the laws of one size, of shapes, of over-training and of contexts."""

from __future__ import annotations

import numpy as np

from .world import World, grid

SIZES, DATA = np.geomspace(1e7, 3e9, 6), np.geomspace(1e9, 3e11, 5)
ND = grid(params=SIZES, tokens=DATA)
WIDE = np.geomspace(1e6, 1e12, 24)
ONE = np.full(24, 1e9)
TWO = np.repeat([1e8, 1e9], 15)
FLOPS, RATIOS = np.geomspace(1e17, 1e21, 6), np.array([5.0, 20.0, 80.0, 320.0])
SHAPES = grid(width=np.array([256.0, 512, 1024, 2048]), depth=np.array([4.0, 8, 16, 32]))
ONE_SHAPE = {"width": 128 * np.geomspace(2, 32, 16), "depth": np.geomspace(2, 32, 16)}
WDT = grid(width=np.array([256.0, 512, 1024, 2048]), depth=np.array([4.0, 8, 16]), tokens=np.geomspace(1e9, 1e12, 5))
# Vocabulary matrices keep params from being a product of width and depth.
WDNT = {**WDT, "params": 12 * WDT["depth"] * WDT["width"] ** 2 + 50304 * WDT["width"]}
FEW = {"params": np.tile([1e8, 1e9], 12), "tokens": np.geomspace(1e9, 1e11, 24)}
MANY = grid(params=np.geomspace(1e7, 1e11, 7), tokens=np.geomspace(1e8, 1e12, 6))

WORLDS = [
    World("kaplan-n", {"N_c": 8.8e13, "alpha_N": 0.076}, {"params": WIDE}, {"params": ONE}),
    World("kaplan-d", {"D_c": 5.4e13, "alpha_D": 0.095}, {"tokens": WIDE}, {"tokens": ONE}),
    World("kaplan-c", {"C_c": 1.4e27, "alpha_C": 0.057}, {"flops": WIDE * 1e10}, {"flops": ONE}),
    World("kaplan-cmin", {"C_c": 2.7e28, "alpha_C": 0.05}, {"flops": WIDE * 1e10}, {"flops": ONE}),
    World(
        "hestness-regions",
        {"plateau": 10.5, "gamma": 1.8, "m_0": 3e6, "beta": -0.35},
        {"tokens": np.geomspace(1e3, 1e12, 30)},
        {"tokens": TWO},
    ),
    World("hestness-growth", {"alpha_s": 0.5, "beta_p": 0.72}, {"tokens": WIDE}, {"tokens": ONE}, noise=0.05),
    World(
        "overtrain",
        {"E": 1.6, "a": 150.0, "b": 220.0, "eta": 0.125},
        grid(flops=FLOPS, tokens_per_param=RATIOS),
        {"flops": np.geomspace(1e17, 1e21, 24), "tokens_per_param": np.full(24, 20.0)},
    ),
    World(
        "farseer",
        {"s": -0.5, "q": 0.12, "S": 1.0, "B": 9.0, "b": -0.11, "Q": -4.0, "A": -1.3, "a": 0.1, "E": 0.2, "N_0": 1e9},
        MANY,
        FEW,
        rel=2e-3,
    ),
    World(
        "avg-params",
        {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36},
        {"params_average": ND["params"], "tokens": ND["tokens"]},
        {"params_average": WIDE, "tokens": 20 * WIDE},
        told=("SL303",),
    ),
    World(
        "gemstones",
        {
            "E": 1.5,
            "A_w": 6.0,
            "A_d": 1.2,
            "A": 2500.0,
            "B": 24000.0,
            "alpha_w": 0.25,
            "alpha_d": 0.5,
            "alpha": 0.5,
            "beta": 0.48,
        },
        WDNT,
        {**ONE_SHAPE, "params": np.full(16, 1e9), "tokens": np.full(16, 1e10)},
        noise=3e-4,
        rel=1e-3,
    ),
    World(
        "gemstones-wd",
        {"E": 1.5, "A_w": 9.0, "A_d": 1.0, "B": 24000.0, "alpha_w": 0.3, "alpha_d": 0.6, "beta": 0.48},
        WDT,
        {**ONE_SHAPE, "tokens": np.full(16, 1e10)},
        noise=0.001,
    ),
    World(
        "width-depth",
        {"E": 1.9, "A_w": 14.0, "A_d": 1.1, "alpha_w": 0.4, "alpha_d": 0.7},
        SHAPES,
        ONE_SHAPE,
        noise=0.001,
        told=("SL303",),
    ),
    World(
        "context",
        {"alpha": 20.0, "beta": 0.5, "gamma": 1.5},
        {"seq_len": np.geomspace(128, 65536, 20)},
        {"seq_len": np.repeat([2048.0, 4096.0], 10)},
        noise=1e-4,
    ),
    World(
        "parallel",
        {"E": 1.3, "A": 1.5e8, "alpha": 0.2, "k": 0.4},
        grid(params=np.geomspace(5e8, 4e9, 8), streams=np.array([1.0, 2, 4, 8])),
        {"params": np.geomspace(5e8, 4e9, 24), "streams": np.ones(24)},
        noise=5e-4,
    ),
]
