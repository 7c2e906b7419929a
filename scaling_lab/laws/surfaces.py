"""Laws of the final loss as a function of model size, data and compute."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Law, Param, Power, Prior, Published, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any


def _chinchilla(x: dict[str, Array], E: Array, A: Array, B: Array, alpha: Array, beta: Array) -> Array:
    return E + A * x["params"] ** -alpha + B * x["tokens"] ** -beta


def _chinchilla_tied(x: dict[str, Array], E: Array, A: Array, B: Array, alpha: Array) -> Array:
    return E + A * x["params"] ** -alpha + B * x["tokens"] ** -alpha


def _kaplan_nd(x: dict[str, Array], N_c: Array, D_c: Array, alpha_N: Array, alpha_D: Array) -> Array:
    # The printed formula, written so that no digits are lost where both terms are near one: a large alpha_D with a
    # small D_c tends to (N_c / params)**alpha_N * exp(D / tokens), and real tables lead there.
    size = np.expm1(alpha_N / alpha_D * (np.log(N_c) - np.log(x["params"])))
    return np.exp(alpha_D * np.log1p(size + D_c / x["tokens"]))


# The start ranges enclose every fit of this family that we know of (E of repeated public fits 0.2 to 2, exponents
# .08 to .7), with room on either side.
_E = Param("E", "nats/token", (0.1, 5.0), "loss left at infinite model and data")
_A = Param("A", "nats/token", (1e0, 1e5), "finite-model term at N = 1")
_B = Param("B", "nats/token", (1e0, 1e6), "finite-data term at D = 1")
_ALPHA = Param("alpha", "", (0.05, 1.2), "exponent of the finite-model term")
_BETA = Param("beta", "", (0.05, 1.2), "exponent of the finite-data term")

# Exponents of .2 to .6 in repeated public fits of this family (Hoffmann .34 and .28, Besiroglu .35 and .37, Muennighoff
# .35, Gadre .36 to .51), and a floor at about .7 of the lowest loss that the small runs of those tables reached.
_FLOOR_PRIOR = Prior(0.70, 0.3, of_lowest=True)
_EXPONENT_PRIOR = Prior(0.35, 0.35)

_ONE_RATIO = (
    "Runs that all have one ratio of tokens to params can't tell the finite-model term from the finite-data term: vary "
    "the ratio at fixed compute, or the tokens at fixed size."
)

CHINCHILLA = register(
    Law(
        name="chinchilla",
        title="Chinchilla, parametric loss (approach 3)",
        source="Hoffmann et al. 2022, arXiv:2203.15556, eq. 2; replication Besiroglu et al. 2024, arXiv:2404.10102",
        family="size",
        identifiability=_ONE_RATIO,
        inputs=("params", "tokens"),
        params=(_E, _A, _B, _ALPHA, _BETA),
        formula="E + A / params**alpha + B / tokens**beta",
        predict=_chinchilla,
        linear=("E", "A", "B"),
        powers=(Power("E"), Power("A", "params", "alpha", -1), Power("B", "tokens", "beta", -1)),
        priors={"E": _FLOOR_PRIOR, "alpha": _EXPONENT_PRIOR, "beta": _EXPONENT_PRIOR},
        published={
            "hoffmann2022": Published(
                dict(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
                "arXiv:2203.15556, approach 3, as printed",
                "rounded: beta .2849 printed as .28 moves the data term by about 13 % at 1e11 tokens",
            ),
            "hoffmann2022-unrounded": Published(
                dict(
                    E=1.6933737,
                    A=406.40102,
                    B=410.72283,
                    alpha=0.33917084,
                    beta=0.2849083,
                ),
                "log-parameters e .5267228, a 6.0073404, b 6.0179186 behind the printed values",
            ),
            "besiroglu2024": Published(
                dict(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658),
                "arXiv:2404.10102, 240 points",
                "standard errors .03, 124.5, 1293, .02, .02",
            ),
            "epoch-notebook": Published(
                dict(E=1.81686, A=482.00572, B=2085.4342, alpha=0.34781, beta=0.36585),
                "epoch-research/analyzing-chinchilla, fit of 240 points, more digits",
            ),
            "muennighoff2023-untied": Published(
                dict(E=1.8782184, A=386.72676, B=2736.7777, alpha=0.33480313, beta=0.38289225),
                "arXiv:2305.16264, C4, single-epoch runs (log-parameters e .63032365, a 5.9577184, b 7.9145365)",
                "the paper goes on with the tied fit, an entry of chinchilla-tied",
            ),
            "epoch-notebook-245": Published(
                dict(E=1.89172, A=534.88, B=13530.4, alpha=0.352861, beta=0.455962),
                "epoch-research/analyzing-chinchilla, fit of all 245 points",
                "not the optimum: scores .0018562 where .00182602 is reached",
            ),
            **{
                f"gemstones2025-{runs}": Published(
                    dict(E=math.exp(e0), A=math.exp(a), B=math.exp(b), alpha=alpha, beta=beta),
                    f"arXiv:2502.06857, authors' code, {meaning}, Huber 1e-4 on log loss",
                    f"log-parameters {e0:g}, {a:g}, {b:g}; which runs are taken moves the prescription a lot",
                )
                for runs, meaning, e0, a, b, alpha, beta in (
                    ("hot", "constant learning rate", 0.7663, 5.4575, 14.972, 0.2989, 0.6928),
                    ("cooled", "cooled-down ends", 0.7459, 5.3628, 14.9718, 0.2970, 0.6904),
                    ("lr-ablation", "other learning rates", 0.7967, 5.8753, 14.9094, 0.3278, 0.6777),
                    ("100b", "runs of 100B tokens and more", 0.6655, 4.8762, 12.6984, 0.2576, 0.5909),
                )
            },
            **{
                f"sardana2023-{name}": Published(
                    dict(E=floor, A=size, B=data, alpha=alpha, beta=beta),
                    f"arXiv:2401.00448, runs of {runs} tokens per parameter, read in a secondary note",
                    "as printed, two digits; fits of small ratios overrate data at large ones",
                )
                for name, runs, alpha, beta, size, data, floor in (
                    ("100", "at most 100", 0.08, 0.13, 7.199, 25.97, 0.17),
                    ("250", "at most 250", 0.13, 0.16, 14.23, 39.54, 0.98),
                    ("500", "at most 500", 0.13, 0.16, 17.07, 35.80, 0.95),
                    ("all", "up to 10,000", 0.18, 0.24, 33.66, 138.9, 1.45),
                )
            },
        },
        notes=(
            "N counts all parameters, embeddings included; C is about 6*N*D. Report the compute-optimal D/N only with "
            "its interval: the optimum is flat, a size 2x off costs 0.65 % of the loss at 1e21 FLOP."
        ),
    )
)

CHINCHILLA_TIED = register(
    Law(
        name="chinchilla-tied",
        title="Chinchilla with one exponent for model and data",
        source="Hoffmann et al. 2022, arXiv:2203.15556, eq. 2, alpha = beta; Muennighoff et al. 2023, arXiv:2305.16264",
        family="size",
        identifiability=_ONE_RATIO,
        inputs=("params", "tokens"),
        params=(_E, _A, _B, Param("alpha", "", (0.05, 1.2), "exponent of both terms")),
        formula="E + A / params**alpha + B / tokens**alpha",
        predict=_chinchilla_tied,
        linear=("E", "A", "B"),
        powers=(Power("E"), Power("A", "params", "alpha", -1), Power("B", "tokens", "alpha", -1)),
        priors={"E": _FLOOR_PRIOR, "alpha": _EXPONENT_PRIOR},
        published={
            "muennighoff2023": Published(
                dict(E=1.8691437, A=520.825, B=1487.716, alpha=0.3526596),
                "arXiv:2305.16264, C4, single-epoch runs (log-parameters e .6254804, a 6.255414, b 7.3049974)",
            ),
        },
        notes="The compute-optimal N and D grow alike (exponent 1/2). Often better on small tables, never a default.",
    )
)


def _drift(
    x: dict[str, Array],
    E: Array,
    A: Array,
    B: Array,
    alpha: Array,
    beta: Array,
    kappa: Array,
    mu: Array,
    N_0: Array,
    D_0: Array,
) -> Array:
    n, d = np.log(x["params"] / N_0), np.log(x["tokens"] / D_0)
    return E + A * np.exp(-alpha * n) + B * np.exp(-kappa * n - (beta + mu * n) * d)


DRIFT = register(
    Law(
        name="drift",
        title="Chinchilla with a data term that drifts with model size",
        source="This project; Hoffmann et al. 2022, arXiv:2203.15556, eq. 2, is kappa = mu = 0",
        family="size",
        identifiability=_ONE_RATIO,
        inputs=("params", "tokens"),
        params=(
            _E,
            Param("A", "nats/token", (1e-2, 5.0), "finite-model term at N_0"),
            Param("B", "nats/token", (1e-2, 5.0), "finite-data term at N_0 and D_0"),
            _ALPHA,
            Param("beta", "", (0.05, 1.2), "exponent of the finite-data term at N_0"),
            Param("kappa", "", (-0.2, 0.2), "exponent in model size of the finite-data term", domain="real"),
            Param("mu", "", (-0.1, 0.1), "growth of beta with the logarithm of model size", domain="real"),
            Param("N_0", "params", (1e7, 1e11), "model size at the centre of the table", reference="params"),
            Param("D_0", "tokens", (1e9, 1e12), "tokens at the centre of the table", reference="tokens"),
        ),
        formula="E + A * (params / N_0)**-alpha + B * (params / N_0)**-kappa"
        " * (tokens / D_0)**-(beta + mu * log(params / N_0))",
        predict=_drift,
        linear=("E", "A", "B"),
        priors={
            "E": _FLOOR_PRIOR,
            "alpha": _EXPONENT_PRIOR,
            "beta": _EXPONENT_PRIOR,
            # Held near Chinchilla: without these two the law explodes on small tables.
            "kappa": Prior(0.0, 0.1),
            "mu": Prior(0.0, 0.05),
        },
        notes=(
            "Two parameters more than Chinchilla: small tables can't tell them without priors, which `fit auto` has. "
            "N_0 and D_0 are the geometric means of the table's params and tokens, held."
        ),
    )
)

KAPLAN_ND = register(
    Law(
        name="kaplan-nd",
        title="Kaplan, loss in model size and data",
        source="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5",
        family="size",
        identifiability=_ONE_RATIO,
        inputs=("params", "tokens"),
        params=(
            Param("N_c", "params", (1e8, 1e18), "scale of the finite-model term"),
            Param("D_c", "tokens", (1e8, 1e18), "scale of the finite-data term"),
            Param("alpha_N", "", (0.01, 0.6), "exponent in model size with unlimited data"),
            Param("alpha_D", "", (0.01, 0.6), "exponent in data with an unlimited model"),
        ),
        formula="((N_c / params)**(alpha_N / alpha_D) + D_c / tokens)**alpha_D",
        predict=_kaplan_nd,
        published={
            "kaplan2020": Published(
                dict(N_c=6.4e13, D_c=1.8e13, alpha_N=0.076, alpha_D=0.103),
                "arXiv:2001.08361, Table 2",
                "N without embeddings; never mix with the constants of Tables 3 and 5",
            ),
        },
        notes=(
            "Kaplan's N leaves embeddings out: pass --params-column params_nonembed. There is no floor, so the law is "
            "too hopeful far outside its data."
        ),
    )
)


def _hestness(
    size: str,
    symbol: str,
    name: str,
    published: dict[str, Published] | None = None,
    aliases: tuple[str, ...] = (),
    over: Callable[[tuple[str, ...]], Law] | None = None,
) -> Law:
    def predict(x: dict[str, Array], alpha: Array, beta: Array, gamma: Array) -> Array:
        return alpha * x[size] ** beta + gamma

    return Law(
        name=name,
        title=f"Hestness power law with a floor, in {size}",
        source="Hestness et al. 2017, arXiv:1712.00409",
        family="size",
        identifiability="Two sizes fit a floor and an exponent of any value: give four or more, over a wide range.",
        inputs=(size,),
        params=(
            Param("alpha", "nats/token", (1e-1, 1e8), f"reducible loss at {symbol} = 1"),
            Param("beta", "", (-1.2, -0.02), "exponent, below zero", domain="negative"),
            Param("gamma", "nats/token", (1e-2, 5.0), "loss that does not fall any more"),
        ),
        formula=f"alpha * {size}**beta + gamma",
        predict=predict,
        linear=("alpha", "gamma"),
        powers=(Power("alpha", size, "beta"), Power("gamma")),
        # Exponents of .05 to .5 against any size (Hestness .07 to .35, Kaplan .05 to .1 without a floor).
        priors={"beta": Prior(-0.25, 0.6), "gamma": _FLOOR_PRIOR},
        published=published or {},
        notes=(
            "A lower envelope: use it on the best run of each size, since runs of one fixed capacity bias beta "
            "towards zero. Of any one size: hestness@examples."
        ),
        aliases=aliases,
        over=over,
    )


@functools.cache
def _hestness_over(inputs: tuple[str, ...]) -> Law:
    return _hestness(inputs[0], inputs[0], f"hestness@{inputs[0]}")


HESTNESS = register(
    _hestness(
        "tokens",
        "m",
        "hestness",
        {
            "hestness2017-word-lm": Published(
                dict(alpha=11.9, beta=-0.066, gamma=0.0),
                "arXiv:1712.00409, word language models, read in a secondary note",
                "training-set size in words; the floor was not reached",
            )
        },
        ("hestness-tokens",),
        _hestness_over,
    )
)
HESTNESS_PARAMS = register(_hestness("params", "m", "hestness-params"))
HESTNESS_FLOPS = register(_hestness("flops", "m", "hestness-flops"))
