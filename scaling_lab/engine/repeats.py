"""What is published of many passes over little data, held against the points that are asked about."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .result import Notice

Floats = NDArray[np.float64]

# Up to about so many passes repeated tokens are worth nearly what fresh ones are (Muennighoff et al. 2023,
# arXiv:2305.16264).
FREE_EPOCHS = 4.0
# Up to so many passes nothing was lost where data were many enough (T5 on 2^29 tokens; Xue et al. 2023,
# arXiv:2305.13230); 2^8 passes over 2^27 tokens cost 3 points of accuracy, and larger models lost more.
MANY_EPOCHS = 64.0
# Unique tokens for each parameter. Of the public C4 runs (huggingface/datablations), every series of one size and one
# set of unique tokens with fewer ends above its own lowest loss where it goes beyond 64 passes; those with 1.8 or more
# end within .2 % of it.
FEW_UNIQUE = 1.5


def repeats(x: Mapping[str, Floats]) -> tuple[Notice, ...]:
    """Notices on points (n,) that name tokens and unique_tokens; none for others.

    A law of repeated data falls for ever; a real loss turns up again where a model has too little to learn from.
    """
    if not {"tokens", "unique_tokens"} <= set(x):
        return ()
    epochs = np.asarray(x["tokens"], dtype=float) / np.asarray(x["unique_tokens"], dtype=float)
    found = []
    if np.any(epochs > FREE_EPOCHS):
        found.append(
            Notice(
                "SL420",
                "info",
                f"{int(np.sum(epochs > FREE_EPOCHS))} of {epochs.size} points pass over their unique tokens more than "
                f"{FREE_EPOCHS:g} times (at most {epochs.max():.4g}): up to there repeated tokens are worth nearly "
                "what fresh ones are, and less with every pass beyond",
            )
        )
    if "params" not in x:
        return tuple(found)
    few = np.asarray(x["unique_tokens"], dtype=float) < FEW_UNIQUE * np.asarray(x["params"], dtype=float)
    worn = (epochs >= MANY_EPOCHS) & few
    if np.any(worn):
        found.append(
            Notice(
                "SL421",
                "warning",
                f"{int(np.sum(worn))} of {epochs.size} points make {MANY_EPOCHS:g} passes or more over fewer than "
                f"{FEW_UNIQUE:g} unique tokens a parameter: there the loss of real runs rises again, which the law "
                "does not show",
            )
        )
    return tuple(found)
