"""Worlds of the laws of vocabulary."""

from __future__ import annotations

import numpy as np

from scaling_lab.accounting import tokens_per_character

from .world import World, grid

PARAMS = {"E": 5.5, "A1": 1.9, "A2": 0.5, "B": 1.4, "alpha": 0.44, "alpha2": 0.6}
# Every vocabulary at every size, so that the vocabulary's parameters do not go with the others.
CELLS = grid(
    size=np.geomspace(3e6, 1e9, 5), vocab=np.geomspace(2048.0, 131072.0, 5), characters=np.geomspace(2e8, 2e11, 4)
)
WIDTH = 16 * (CELLS["size"] / 1e6) ** 0.6
X = {"params_nonvocab": CELLS["size"], "params_vocab": CELLS["vocab"] * WIDTH}
TOKENS = CELLS["characters"] * tokens_per_character(CELLS["vocab"])
ONE = np.full(len(TOKENS), 32768.0)

WORLDS = [
    World(
        "vocab",
        PARAMS,
        {**X, "tokens": TOKENS},
        {**X, "params_vocab": 16.0 * ONE, "tokens": TOKENS},
        rel=1e-4,
    ),
    World(
        "vocab-published",
        PARAMS,
        {**X, "vocab_size": CELLS["vocab"], "characters": CELLS["characters"]},
        {**X, "params_vocab": 16.0 * ONE, "vocab_size": ONE, "characters": CELLS["characters"]},
        rel=1e-4,
    ),
]
