"""Laws of mixture-of-experts models: routed experts, sparsity and granularity."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput
from .base import Budget, Law, Param, Prior, Published, Rule, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any

LN10 = float(np.log(10.0))

_EXPERTS = Rule(lambda x: x["experts"] >= 1, "experts is less than 1: a dense model has one")
_ACTIVE = (
    "params_active are those that one token sees, embeddings included: the dense model's size where each token goes to "
    "one expert. Its column is named with --map params_active=COLUMN."
)


def saturated(experts: Array, E_start: Array, E_max: Array) -> Array:
    """Clark's saturating count of experts: E_start for a dense model, towards E_max for very many."""
    return 1.0 / (1.0 / (experts - 1.0 + 1.0 / (1.0 / E_start - 1.0 / E_max)) + 1.0 / E_max)


def _routed(x: dict[str, Array], a: Array, b: Array, c: Array, d: Array, E_start: Array, E_max: Array) -> Array:
    log_n, log_e = np.log(x["params_active"]), np.log(saturated(x["experts"], E_start, E_max))
    return np.exp(a * log_n + (b + (c / LN10) * log_n) * log_e + d * LN10)


def effective_params(
    params_active: Array, experts: Array, *, a: float, b: float, c: float, E_start: float, E_max: float
) -> Array:
    """The size (count) of the dense model that reaches the routed one's loss, by Clark's law (arXiv:2202.01169).

    Raises BadInput for fewer than one expert.
    """
    many = np.asarray(experts, dtype=float)
    if not (many >= 1).all():
        raise BadInput(_EXPERTS.says, fix="give 1 for a dense model")
    log_e = np.log10(saturated(many, E_start, E_max))
    dense = a + c * np.log10(E_start)
    log_n = np.log10(np.asarray(params_active, dtype=float))
    return 10 ** (log_n * (a + c * log_e) / dense + (log_e - np.log10(E_start)) * b / dense)


ROUTED = register(
    Law(
        name="routed",
        title="Clark, routed language models with a saturating count of experts",
        source="Clark et al. 2022, arXiv:2202.01169, eq. 3 and 7",
        family="experts",
        identifiability=(
            "E_start rests on dense runs and those of few experts, E_max on those of very many: without counts over a "
            "wide range b, c and the two trade off. Runs of one size can't tell a from d, nor b from c."
        ),
        inputs=("params_active", "experts"),
        params=(
            Param("a", "", (-0.3, -0.01), "exponent in model size of one effective expert", domain="negative"),
            Param("b", "", (-0.6, -0.01), "exponent in effective experts at one parameter", domain="negative"),
            Param("c", "", (-0.05, 0.05), "how far experts help larger models less", domain="real"),
            Param("d", "log10 nats/token", (0.2, 2.0), "logarithm of the loss at one parameter", domain="real"),
            Param("E_start", "count", (1.0, 10.0), "effective experts of a dense model"),
            Param("E_max", "count", (30.0, 2000.0), "effective experts of very many"),
        ),
        formula=(
            "10**(a * log10(params_active) + d + (b + c * log10(params_active))"
            " * log10(1 / (1 / (experts - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max)))"
        ),
        predict=_routed,
        rules=(_EXPERTS,),
        published={
            "clark2022-s-base": Published(
                dict(a=-0.082, b=-0.108, c=0.009, d=1.104, E_start=1.847, E_max=314.478),
                "arXiv:2202.01169, S-BASE, read in a secondary note and checked on the runs",
                "130B tokens; no gain from experts beyond 937B params",
            ),
            "clark2022-rl-r": Published(
                dict(a=-0.083, b=-0.126, c=0.012, d=1.111, E_start=1.880, E_max=469.982),
                "arXiv:2202.01169, RL-R, read in a secondary note",
                "130B tokens; no gain from experts beyond 85B params",
            ),
            "clark2022-hash": Published(
                dict(a=-0.087, b=-0.136, c=0.012, d=1.157, E_start=4.175, E_max=477.741),
                "arXiv:2202.01169, HASH, read in a secondary note",
                "130B tokens; no gain from experts beyond 83B params",
            ),
        },
        # No priors, so that `auto` does not weigh it: without a floor it is too hopeful beyond its data, as kaplan-nd
        # is, which runs of sizes that lie close together can't show.
        notes=f"{_ACTIVE} One token budget. No floor: routed-floor predicts larger models better.",
    )
)


def _routed_floor(x: dict[str, Array], E_0: Array, A: Array, a: Array, b: Array) -> Array:
    return E_0 + A * np.exp(-a * np.log(x["params_active"]) - b * np.log(x["experts"]))


ROUTED_FLOOR = register(
    Law(
        name="routed-floor",
        title="Routed experts with a floor",
        source="This project's notes; Clark et al. 2022, arXiv:2202.01169, has no floor",
        family="experts",
        identifiability="Runs of one size can't tell the floor from A, nor runs of one count of experts b.",
        inputs=("params_active", "experts"),
        params=(
            Param("E_0", "nats/token", (0.1, 5.0), "loss left at infinite model and experts"),
            Param("A", "nats/token", (1e0, 1e5), "reducible loss of a dense model at one parameter"),
            Param("a", "", (0.02, 0.8), "exponent in model size"),
            Param("b", "", (0.005, 0.5), "exponent in experts"),
        ),
        formula="E_0 + A * params_active**-a * experts**-b",
        predict=_routed_floor,
        linear=("E_0", "A"),
        rules=(_EXPERTS,),
        # Refits of public routed runs: a .18 to .20, b .07.
        priors={"E_0": Prior(0.70, 0.3, of_lowest=True), "a": Prior(0.22, 0.4), "b": Prior(0.075, 0.5)},
        notes=f"{_ACTIVE} One token budget. Half the error of `routed` on models larger than the fitted ones.",
    )
)


def _sparsity(
    x: dict[str, Array],
    a: Array,
    alpha: Array,
    b: Array,
    beta: Array,
    c: Array,
    lam: Array,
    d: Array,
    delta: Array,
    gamma: Array,
    e: Array,
) -> Array:
    log_n, log_d, dense = np.log(x["params"]), np.log(x["tokens"]), np.log(1.0 - x["sparsity"])
    model = a * np.exp(-alpha * log_n) + b * np.exp(-beta * log_d)
    return e + model + c * np.exp(-lam * dense) + d * np.exp(-delta * dense - gamma * log_n)


MOE_SPARSITY = register(
    Law(
        name="moe-sparsity",
        title="Abnar, mixture of experts in total params, tokens and sparsity",
        source="Abnar et al. 2025, arXiv:2501.12370",
        family="experts",
        identifiability=(
            "Ten parameters: at one sparsity its two terms are constants of the others, and over a narrow range of "
            "sparsities c, lambda and e trade off. Give four sparsities or more, each at several sizes and tokens."
        ),
        inputs=("params", "tokens", "sparsity"),
        params=(
            Param("a", "nats/token", (1e0, 1e6), "finite-model term at N = 1"),
            Param("alpha", "", (0.1, 1.0), "exponent of the finite-model term"),
            Param("b", "nats/token", (1e0, 1e6), "finite-data term at D = 1"),
            Param("beta", "", (0.1, 1.0), "exponent of the finite-data term"),
            Param("c", "nats/token", (1e-2, 3.0), "term of sparsity of a dense model"),
            Param("lam", "", (-0.6, 0.6), "exponent of that term in the active share", domain="real"),
            Param("d", "nats/token", (1e0, 1e3), "term of sparsity and size at N = 1 of a dense model"),
            Param("delta", "", (0.02, 0.6), "exponent of that term in the active share"),
            Param("gamma", "", (0.05, 0.6), "exponent of that term in model size"),
            Param("e", "nats/token", (0.1, 3.0), "loss left"),
        ),
        formula=(
            "e + a / params**alpha + b / tokens**beta + c / (1 - sparsity)**lam"
            " + d / ((1 - sparsity)**delta * params**gamma)"
        ),
        predict=_sparsity,
        linear=("a", "b", "c", "d", "e"),
        rules=(Rule(lambda x: x["sparsity"] < 1, "sparsity is 1: no expert would be active"),),
        budget=Budget(
            per_token=lambda x: 6.0 * x["params"] * (1.0 - x["sparsity"]),
            per_served=lambda x: 2.0 * x["params"] * (1.0 - x["sparsity"]),
            further=("sparsity",),
            free=("sparsity",),
            says="6*params*(1-sparsity)*tokens",
            note="only active experts are paid for (all params count as such), not memory or traffic between devices",
        ),
        published={
            "abnar2025": Published(
                dict(
                    a=16612.5,
                    alpha=0.5962,
                    b=5455.67,
                    beta=0.3954,
                    c=0.4598,
                    lam=-0.1666,
                    d=17.26,
                    delta=0.1603,
                    gamma=0.1595,
                    e=0.94,
                ),
                "arXiv:2501.12370, read in a secondary note",
                "held-out R2 .68",
            )
        },
        notes="sparsity is 1 - active / total experts; params counts all experts.",
    )
)


def _granularity(
    x: dict[str, Array], c: Array, g: Array, gamma: Array, a: Array, alpha: Array, b: Array, beta: Array
) -> Array:
    log_n, log_d, log_g = np.log(x["params"]), np.log(x["tokens"]), np.log(x["granularity"])
    return c + g * np.exp(-gamma * log_g - alpha * log_n) + a * np.exp(-alpha * log_n) + b * np.exp(-beta * log_d)


MOE_GRANULARITY = register(
    Law(
        name="moe-granularity",
        title="Krajewski, mixture of fine-grained experts",
        source="Krajewski et al. 2024, arXiv:2402.07871",
        family="experts",
        identifiability=(
            "At one granularity g and a are one parameter; with two, gamma is anything. Give three granularities or "
            "more, and params and tokens that vary apart."
        ),
        inputs=("params", "tokens", "granularity"),
        params=(
            Param("c", "nats/token", (0.1, 5.0), "loss left"),
            Param("g", "nats/token", (1e-2, 1e4), "what coarse experts cost, at N = 1"),
            Param("gamma", "", (0.05, 1.5), "exponent in granularity"),
            Param("a", "nats/token", (1e0, 1e5), "finite-model term at N = 1, of experts without end fine"),
            Param("alpha", "", (0.05, 0.8), "exponent in model size"),
            Param("b", "nats/token", (1e0, 1e6), "finite-data term at D = 1"),
            Param("beta", "", (0.05, 0.8), "exponent in tokens"),
        ),
        formula="c + (g / granularity**gamma + a) / params**alpha + b / tokens**beta",
        predict=_granularity,
        linear=("c", "g", "a", "b"),
        published={
            "krajewski2024": Published(
                dict(c=0.47, g=2.1, gamma=0.58, a=18.1, alpha=0.115, b=30.8, beta=0.147),
                "arXiv:2402.07871, read in a secondary note",
                "the units of N and D behind these constants were not read; as counts they give the note's values",
            )
        },
        notes="granularity is the width of a dense layer over that of one expert; 1 is as coarse as a dense layer.",
        budget=Budget(
            further=("granularity",),
            free=("granularity",),
            note="routing to finer experts is not paid for, so that the finest are always best",
        ),
    )
)
