"""Worlds of the laws of mixtures."""

from __future__ import annotations

import numpy as np

from .world import World, grid

RATIOS = np.array([0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 0.98])
NDR = grid(params=np.geomspace(1e8, 8e9, 5), tokens=np.geomspace(5e8, 4e10, 5), ratio=RATIOS)
TRUTH = {
    "E": 1.2,
    "A": 300.0,
    "alpha": 0.33,
    "B": 200.0,
    "eta": 0.2,
    "beta": 0.3,
    "C": 0.35,
    "gamma": 0.45,
    "epsilon": 0.08,
}
ONE_RATIO = {**grid(params=np.geomspace(1e8, 8e9, 6), tokens=np.geomspace(5e8, 4e10, 6)), "ratio": np.full(36, 0.3)}
CROSS = grid(
    params=np.geomspace(1e8, 8e9, 4),
    tokens=np.geomspace(5e8, 4e10, 4),
    ratio=RATIOS[::2],
    learnability=np.geomspace(0.3, 3.0, 5),
)
SIMPLEX = np.random.default_rng(7).dirichlet(np.ones(3), 60)
THREE = {f"w_{name}": SIMPLEX[:, i] for i, name in enumerate(("code", "web", "books"))}
# Code is never trained on.
NO_CODE = {"w_code": np.zeros(60), "w_web": SIMPLEX[:, 0], "w_books": 1 - SIMPLEX[:, 0]}

WORLDS = [
    # Epsilon, gamma and C trade along a valley in which the objective moves by rounding.
    World("dcpt", TRUTH, NDR, ONE_RATIO, noise=0.001, rel=1e-4),
    World(
        "dcpt-cross",
        {**TRUTH, "F": 0.4, "mu": 0.6},
        CROSS,
        {**ONE_RATIO, "learnability": np.geomspace(0.3, 3.0, 36)},
        noise=0.001,
        rel=1e-4,
    ),
    World(
        "cmr",
        {"a4": -2.36384831, "s4": -0.15125569, "b3": 1.59223649},
        {"tokens": np.geomspace(4e9, 4e11, 30)},
        {"tokens": np.repeat([1e10, 1e11], 15)},
        noise=0.001,
    ),
    World(
        "cmr-loss",
        {"alpha": -0.44, "s": 0.17, "beta": 1.9},
        {"ratio": np.geomspace(0.02, 1.0, 30)},
        {"ratio": np.repeat([0.2, 0.8], 15)},
        noise=0.0005,
    ),
    World(
        "mixing-exp@w_code,w_web,w_books",
        {"c": 1.6, "k": 0.8, "t_code": -1.1, "t_web": 0.4, "t_books": 0.7},
        THREE,
        NO_CODE,
        rel=1e-3,
    ),
    World("mixing-linear@w_code,w_web,w_books", {"b_code": 2.1, "b_web": 3.3, "b_books": 2.9}, THREE, NO_CODE),
    World(
        "mixing-quadratic@w_code,w_web,w_books",
        {
            "b_code": 2.1,
            "b_web": 3.3,
            "b_books": 2.9,
            "q_code": 0.6,
            "q_web": 0.2,
            "q_books": -0.3,
        },
        THREE,
        NO_CODE,
        rel=1e-3,
    ),
]
