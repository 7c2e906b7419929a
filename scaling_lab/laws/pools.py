"""The law of data filtering: the error of training on pools of data of unequal quality, each of them repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ..quantities import SHARE_PREFIX
from .base import Law, Param, Prior, Rule, register
from .mixtures import SUM_TOLERANCE

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any

# Passes over as many samples as a pool holds that the law sums: at published half-lives (1 to 20) nothing is left of a
# pool's worth long before.
PASSES = 256
# Floors, as shares of the lowest error, and half-lives that a fit begins at.
FLOORS, HALVES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.95), (1.0, 2.0, 4.0, 8.0, 16.0)


def _qqt(shares: tuple[str, ...]) -> Any:
    """The law's function for pools whose shares are these inputs."""
    names = [share.removeprefix(SHARE_PREFIX) for share in shares]

    def predict(x: Mapping[str, Array], a: Array, d: Array, **params: Array) -> Array:
        log_first, gains = _gains(x["samples"], x["unique_samples"])
        power: Array = 0.0
        for share, name in zip(shares, names, strict=True):
            w = x[share]
            # Horner's rule in delta^w: each pass is worth that much less than the one before.
            decay = np.exp(-np.log(2.0) * w * (1.0 / params[f"tau_{name}"]))
            total: Array = 0.0
            for gain in gains[::-1]:
                total = (total + gain) * decay
            power = power + w * (params[f"b_{name}"] * (total + log_first))
        return a * np.exp(power) + d

    return predict


def _gains(samples: Array, unique: Array) -> tuple[Array, list[Array]]:
    """log of the samples of the first pass, and what each further pass adds to the log of all samples, each (n,).

    A last pass that is not completed adds what was seen of it.
    """
    passes = np.asarray(samples, dtype=float) / np.asarray(unique, dtype=float)
    most = int(np.ceil(np.max(passes, initial=1.0) - 1e-9))
    further = [np.log(np.maximum(np.minimum(passes, k + 1.0) / k, 1.0)) for k in range(1, most)]
    return np.log(np.minimum(samples, unique)), further


def _begin(shares: tuple[str, ...]) -> Any:
    """Places to begin a fit at: for floors and half-lives on a grid, log (error - d) is linear in log a and the b.

    With random utilities of more than a few pools no start comes near.
    """
    names = [share.removeprefix(SHARE_PREFIX) for share in shares]

    def begin(x: Mapping[str, Array], y: Array) -> dict[str, Array]:
        log_first, gains = _gains(x["samples"], x["unique_samples"])
        found = []
        for floor in FLOORS:
            for half in HALVES:
                worth = [
                    x[share] * (log_first + sum(g * 0.5 ** ((k + 1) * x[share] / half) for k, g in enumerate(gains)))
                    for share in shares
                ]
                design = np.column_stack([np.ones(len(y)), *worth])
                solved = np.linalg.lstsq(design, np.log(y - floor * np.min(y)), rcond=None)[0]
                utility = np.minimum(solved[1:], -1e-3)
                found.append(
                    [np.exp(np.clip(solved[0], -20.0, 20.0)), floor * np.min(y), *utility, *[half] * len(names)]
                )
        columns = ["a", "d", *(f"b_{n}" for n in names), *(f"tau_{n}" for n in names)]
        return dict(zip(columns, np.array(found).T, strict=True))

    return begin


def _formula(shares: tuple[str, ...]) -> str:
    pools = [(share, share.removeprefix(SHARE_PREFIX)) for share in shares]
    first = " + ".join(f"{w} * b_{name}" for w, name in pools)
    later = " + ".join(f"{w} * b_{name} * 0.5**(k * {w} / tau_{name})" for w, name in pools)
    return (
        f"a * minimum(samples, unique_samples)**({first}) * exp(sum([({later}) "
        f"* log(maximum(minimum(samples / unique_samples, k + 1) / k, 1)) for k in range(1, {PASSES})])) + d"
    )


def _rules(shares: tuple[str, ...]) -> tuple[Rule, ...]:
    return (
        Rule(
            lambda x: np.abs(sum(x[share] for share in shares) - 1.0) <= SUM_TOLERANCE,
            f"the shares {', '.join(shares)} do not sum to 1 (to {SUM_TOLERANCE:g})",
        ),
        Rule(
            lambda x: np.asarray(x["samples"]) <= PASSES * np.asarray(x["unique_samples"]),
            f"samples are more than {PASSES} times unique_samples (one pool), further than the law is summed",
        ),
    )


@cache
def _law(shares: tuple[str, ...]) -> Law:
    names = [share.removeprefix(SHARE_PREFIX) for share in shares]
    utilities = tuple(
        Param(f"b_{n}", "", (-0.5, -0.005), f"utility of pool {n}: exponent of its fresh samples", domain="negative")
        for n in names
    )
    halves = tuple(
        Param(f"tau_{n}", "repetitions", (1.0, 20.0), f"half-life of pool {n}: repetitions that halve its utility")
        for n in names
    )
    return Law(
        name=f"qqt@{','.join(shares)}",
        title="Data filtering: utility and half-life of pools of data (QQT)",
        source="Goyal et al. 2024, arXiv:2404.07177; conventions of locuslab/scaling_laws_data_filtering",
        family="data",
        identifiability=(
            "A pool's half-life shows only in runs that pass over it several times, its utility only in runs of "
            "several sample counts, and the floor d only where the error bends: train on each pool alone at five or "
            "more sample counts, some of less than one pass and some of many. Then no run need mix pools."
        ),
        inputs=("samples", "unique_samples", *shares),
        params=(
            Param("a", "share", (1e-1, 1e3), "error above the floor after one sample"),
            Param("d", "share", (1e-3, 0.5), "error that no number of samples takes away"),
            *utilities,
            *halves,
        ),
        formula=_formula(shares),
        predict=_qqt(shares),
        begin=_begin(shares),
        target="error",
        linear=("a", "d"),
        # The grids that the authors search: utilities -.005 to -.5, half-lives 1 to 20, a floor of .02 to .15.
        priors={
            "d": Prior(0.08, 0.7),
            **{p.name: Prior(-0.1, 1.0) for p in utilities},
            **{p.name: Prior(5.0, 0.8) for p in halves},
        },
        rules=_rules(shares),
        over=_law,
        shares=True,
        notes=(
            "unique_samples is the size of one pool, the same for every pool of a mixture; a pass is as many samples, "
            "whatever they are drawn from. Of it a pool with share w is seen w times, so that its half-life counts "
            "tau / w passes: the p * tau of p equal pools. The passes' exponents act on the samples seen in each; that "
            "of a last pass on what was seen of it. The floor d is added once, where the authors' code multiplies it "
            "along."
        ),
    )


QQT = register(replace(_law(("w_strict", "w_loose")), name="qqt"))
