"""What a world is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scaling_lab.laws import get_law


@dataclass(frozen=True)
class World:
    """A law (a name, NAME@INPUTS too) with planted parameters and the inputs (n,) of a design that tells them apart.

    `blind` is a design that can't, as the law's `identifiability` says: a fit to it is refused, or warned of with one
    of `told`. `noise` is that of the log target (of the target itself where the law's residual is plain), and `rel`
    how near to the planted parameters a fit without noise must come.
    """

    law: str
    params: Mapping[str, float]
    x: Mapping[str, np.ndarray]
    blind: Mapping[str, np.ndarray]
    noise: float = 0.003
    rel: float = 1e-5
    told: tuple[str, ...] = field(default=("SL201", "SL203", "SL302"))

    def table(self, x: Mapping[str, np.ndarray] | None = None, noise: float = 0.0, seed: int = 1) -> pd.DataFrame:
        """The design, or another, as a table with the law's target."""
        law, x = get_law(self.law), self.x if x is None else x
        y = np.asarray(law.predict(dict(x), **self.params))
        shift = noise * np.random.default_rng(seed).standard_normal(len(y))
        return pd.DataFrame({**x, law.target: y * np.exp(shift) if law.residual == "log" else y + shift})


def grid(**axes: np.ndarray) -> dict[str, np.ndarray]:
    """Every combination of the values of each axis, each (n,)."""
    return {name: v.ravel() for name, v in zip(axes, np.meshgrid(*axes.values(), indexing="ij"), strict=True)}
