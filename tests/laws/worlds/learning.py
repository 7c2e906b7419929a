"""Worlds of learning curves: a curve logged from its first steps on, and one of too few distinct steps."""

from __future__ import annotations

import numpy as np

from .world import World

# Denser early, where most families bend.
STEPS = np.unique(np.round(np.geomspace(20, 1e5, 80)))
TOKENS = np.geomspace(1e7, 1e11, 60)


def _few(count: int) -> dict[str, np.ndarray]:
    return {"step": np.repeat(np.geomspace(1e3, 1e4, count), 8)}


WORLDS = [
    World("lc:pow3", {"c": 2.9, "a": 40.0, "alpha": 0.55}, {"step": STEPS}, _few(2)),
    World("lc:pow3@tokens", {"c": 2.5, "a": 900.0, "alpha": 0.35}, {"tokens": TOKENS}, {"tokens": np.repeat(1e9, 9)}),
    World("lc:pow4", {"c": 2.9, "a": 90.0, "b": 300.0, "alpha": 0.6}, {"step": STEPS}, _few(3), noise=1e-3),
    World("lc:log-power", {"a": 11.0, "b": 2e4, "c": 0.35}, {"step": STEPS}, _few(2)),
    World("lc:hill3", {"theta": 11.0, "kappa": 2e4, "eta": 0.35}, {"step": STEPS}, _few(2)),
    World("lc:loglog-linear", {"a": 0.006, "b": 3.0}, {"step": STEPS}, _few(1)),
    World("lc:vapour-pressure", {"a": 6.0, "b": 25.0, "c": 0.06}, {"step": STEPS}, _few(2)),
    World("lc:mmf", {"alpha": 2.8, "beta": 10.8, "kappa": 0.004, "delta": 0.8}, {"step": STEPS}, _few(3), noise=1e-3),
    World(
        "lc:weibull", {"alpha": 3.0, "beta": 10.8, "kappa": 0.002, "delta": 0.4}, {"step": STEPS}, _few(3), noise=1e-3
    ),
    World("lc:janoschek", {"a": 3.0, "beta": 10.8, "k": 0.08, "delta": 0.4}, {"step": STEPS}, _few(3), noise=1e-3),
    World("lc:exp3", {"a": 4.0, "b": -1e-4, "c": 3.1}, {"step": STEPS}, _few(2)),
    World("lc:exp4", {"c": 3.0, "a": 0.08, "b": 2.0, "alpha": 0.4}, {"step": STEPS}, _few(3), noise=1e-3),
    World("lc:ilog2", {"c": 2.0, "a": 14.0}, {"step": STEPS}, _few(1)),
]
