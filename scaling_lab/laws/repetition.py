"""Laws of the loss where training data are repeated, and what is published of many passes over little data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Budget, Law, Param, Prior, Published, Rule, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any

# Two counts of one corpus, each rounded to three digits, differ by half of the last one: 1.00e9 may stand for 1.005e9.
ROUNDING = 0.005


def _data_constrained(
    x: Mapping[str, Array], E: Array, A: Array, B: Array, alpha: Array, beta: Array, R_D: Array, R_N: Array
) -> Array:
    unique = np.minimum(x["unique_tokens"], x["tokens"])
    log_n, log_u = np.log(x["params"]), np.log(unique)
    # As few steps as there can be on arrays that know five parameters. Minus log U_N, the size that is optimal for the
    # unique tokens: G = (alpha A / (beta B))^(1/(alpha + beta)), N_opt(D) = (D G)^(beta/alpha) G.
    less_g = (np.log(beta) + np.log(B) - np.log(alpha) - np.log(A)) / (alpha + beta)
    ratio = beta / alpha
    less = np.maximum(-log_n, (ratio + 1.0) * less_g - ratio * log_u)
    times = 1.0 + (-R_N) * np.expm1(np.expm1(less + log_n) * (-1.0 / R_N))
    data = log_u + np.log(1.0 + (-R_D) * np.expm1((1.0 - x["tokens"] / unique) * (1.0 / R_D)))
    return E + np.exp(np.log(A) + (np.log(times) - less) * -alpha) + np.exp(np.log(B) + data * -beta)


def _data_constrained_tied(
    x: Mapping[str, Array], E: Array, A: Array, B: Array, alpha: Array, R_D: Array, R_N: Array
) -> Array:
    return _data_constrained(x, E, A, B, alpha, alpha, R_D, R_N)


def _formula(beta: str, size: str) -> str:
    """The printed law; `size` is the compute-optimal params for the unique tokens U_D."""
    return (
        f"E + A / ((U_N := minimum(params, {size.replace('U_D', '(U_D := minimum(unique_tokens, tokens))')})) "
        f"* (1 + R_N * (1 - exp((1 - params / U_N) / R_N))))**alpha "
        f"+ B / (U_D * (1 + R_D * (1 - exp((1 - tokens / U_D) / R_D))))**{beta}"
    )


# As in surfaces.py, which says where the ranges come from.
_E = Param("E", "nats/token", (0.1, 5.0), "loss left at infinite model and data")
_A = Param("A", "nats/token", (1e0, 1e5), "finite-model term at N = 1")
_B = Param("B", "nats/token", (1e0, 1e6), "finite-data term at D = 1")
_R_D = Param("R_D", "repetitions", (1e0, 3e2), "repetitions after which a further pass is worth 1/e of a fresh one")
_R_N = Param("R_N", "excess sizes", (3e-1, 1e2), "excess of N, in sizes U_N, that wears off by a factor e")

_FLOOR_PRIOR = Prior(0.70, 0.3, of_lowest=True)
_EXPONENT_PRIOR = Prior(0.35, 0.35)
# About the published pair, whose objective hardly moves over a factor of six in R_D and of three in R_N.
_R_D_PRIOR, _R_N_PRIOR = Prior(15.0, 1.0), Prior(5.0, 1.0)

_RULE = Rule(
    lambda x: np.asarray(x["unique_tokens"]) <= (1.0 + ROUNDING) * np.asarray(x["tokens"]),
    f"unique_tokens are more than the tokens seen (by more than {ROUNDING:.1%}, what rounding may do)",
)
_BUDGET = Budget(further=("unique_tokens",), unique="unique_tokens")
_IDENTIFIABILITY = (
    "R_D shows only in runs of many passes, and R_N only in models too large for their unique tokens: a table of "
    "single passes tells neither. Where most repeated runs have less than about R_D passes, R_D is known to a factor "
    "of several (read --intervals profile), and a larger R_D with a smaller R_N fits as well. Runs of one ratio of "
    "tokens to params can't tell the finite-model term from the finite-data term."
)
_NOTES = (
    "U_D = min(unique_tokens, tokens); U_N = min(params, compute-optimal params for U_D), params counted with "
    "embeddings once. The paper fits E, A, B, alpha to single-pass runs, then R_D and R_N alone: --fix the first. Its "
    "pair is a local minimum on its own 182 runs (Huber .0158259; .0158047 at R_D 95.4, R_N 1.71): read the profile. "
    "At most D' = U_D * (1 + R_D) fresh tokens are to be had of U_D unique ones."
)
_SOURCE = "Muennighoff et al. 2023, arXiv:2305.16264, eq. 5 and 6"

DATA_CONSTRAINED = register(
    Law(
        name="data-constrained",
        title="Chinchilla with repeated data and excess parameters that wear off",
        source=_SOURCE,
        family="data",
        identifiability=_IDENTIFIABILITY,
        inputs=("params", "tokens", "unique_tokens"),
        params=(
            _E,
            _A,
            _B,
            Param("alpha", "", (0.05, 1.2), "exponent of the finite-model term"),
            Param("beta", "", (0.05, 1.2), "exponent of the finite-data term"),
            _R_D,
            _R_N,
        ),
        formula=_formula("beta", "(U_D * (G := (alpha * A / (beta * B))**(1 / (alpha + beta))))**(beta / alpha) * G"),
        predict=_data_constrained,
        linear=("E",),
        priors={
            "E": _FLOOR_PRIOR,
            "alpha": _EXPONENT_PRIOR,
            "beta": _EXPONENT_PRIOR,
            "R_D": _R_D_PRIOR,
            "R_N": _R_N_PRIOR,
        },
        rules=(_RULE,),
        budget=_BUDGET,
        published={
            "muennighoff2023": Published(
                dict(
                    E=1.8691437,
                    A=520.825,
                    B=1487.716,
                    alpha=0.3526596,
                    beta=0.3526596,
                    R_D=15.387756,
                    R_N=5.309743,
                ),
                "arXiv:2305.16264, C4; unrounded in huggingface/datablations (a 6.255414, b 7.3049974, e .6254804)",
                "alpha and beta tied; the untied base of single-pass runs is an entry of chinchilla",
            ),
        },
        notes=_NOTES,
    )
)

DATA_CONSTRAINED_TIED = register(
    Law(
        name="data-constrained-tied",
        title="The data-constrained law with one exponent for model and data, as published",
        source=_SOURCE,
        family="data",
        identifiability=_IDENTIFIABILITY,
        inputs=("params", "tokens", "unique_tokens"),
        params=(_E, _A, _B, Param("alpha", "", (0.05, 1.2), "exponent of both terms"), _R_D, _R_N),
        formula=_formula("alpha", "U_D * (A / B)**(1 / alpha)"),
        predict=_data_constrained_tied,
        linear=("E",),
        priors={"E": _FLOOR_PRIOR, "alpha": _EXPONENT_PRIOR, "R_D": _R_D_PRIOR, "R_N": _R_N_PRIOR},
        rules=(_RULE,),
        budget=_BUDGET,
        published={
            "muennighoff2023": Published(
                dict(E=1.8691437, A=520.825, B=1487.716, alpha=0.3526596, R_D=15.387756, R_N=5.309743),
                "arXiv:2305.16264, C4; unrounded in huggingface/datablations (a 6.255414, b 7.3049974, e .6254804)",
            ),
        },
        notes=_NOTES,
    )
)
