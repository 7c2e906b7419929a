"""Laws of the loss as a function of the training mixture: the share of one corpus, or of every source."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from ..quantities import SHARE_PREFIX
from .base import ExpOfSum, Law, Param, Prior, Published, Rule, WeightedSum, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any

# How far the shares of a row may be from a sum of one: what 17 shares rounded to three decimals may come to (those of
# the RegMix runs sum to .996 to 1.003).
SUM_TOLERANCE = 0.005

# ---------------------------------------------------------------------------------------- the share of one corpus

_STRICTLY = Rule(
    lambda x: (x["ratio"] > 0) & (x["ratio"] < 1),
    "the law says nothing of a ratio of 0 or 1: it is the share of a mixture of two corpora, both of which are there",
)


def _dcpt(
    x: dict[str, Array],
    E: Array,
    A: Array,
    alpha: Array,
    B: Array,
    eta: Array,
    beta: Array,
    C: Array,
    gamma: Array,
    epsilon: Array,
) -> Array:
    n, d, r = np.log(x["params"]), np.log(x["tokens"]), x["ratio"]
    size, data = A * np.exp(-alpha * n), B * np.exp(eta * np.log(r) - beta * d)
    return E + size + data + C * np.exp(-gamma * np.log(r + epsilon))


def _dcpt_cross(x: dict[str, Array], F: Array, mu: Array, **others: Array) -> Array:
    return _dcpt(x, **others) + F * np.exp(-mu * np.log(x["learnability"]))


def _dcpt_shape(x: Mapping[str, Any], values: Mapping[str, float]) -> tuple[str, ...]:
    """What the fitted law lacks of the shape that its authors ask: more of the corpus must lower its loss.

    The other conditions (falling in params and in tokens, and d²L/dD dr below zero) hold for any positive parameters.
    """
    data = values["B"] * values["eta"] * x["ratio"] ** (values["eta"] - 1.0) * x["tokens"] ** -values["beta"]
    share = values["C"] * values["gamma"] * (x["ratio"] + values["epsilon"]) ** (-values["gamma"] - 1.0)
    rising = int(np.sum(data >= share))
    if not rising:
        return ()
    return (
        f"at {rising} of {len(x['ratio'])} of the rows the fitted loss rises with the corpus's own share, which the "
        "law forbids (dL/dr < 0): a best ratio there is not to be relied on",
    )


_DCPT_PARAMS = (
    Param("E", "nats/token", (0.1, 5.0), "loss left at infinite model, data and share"),
    Param("A", "nats/token", (1e0, 1e5), "finite-model term at N = 1"),
    Param("alpha", "", (0.05, 1.2), "exponent of the finite-model term"),
    Param("B", "nats/token", (1e0, 1e6), "finite-data term at D = 1 and a share of 1"),
    Param("eta", "", (0.05, 2.0), "exponent of the share in the finite-data term"),
    Param("beta", "", (0.05, 1.2), "exponent of the finite-data term"),
    Param("C", "nats/token", (1e-2, 5.0), "term of the share at r + epsilon = 1"),
    Param("gamma", "", (0.02, 2.0), "exponent of the share's own term"),
    Param("epsilon", "share", (1e-3, 1.0), "what keeps the share's term finite where the share is small"),
)
_DCPT_SOURCE = "Que et al. 2024, arXiv:2406.01375"
_DCPT_BLIND = (
    "One ratio tells nothing of B's eta, C, gamma and epsilon, and one size or one number of tokens nothing of its own "
    "term: vary all three. Epsilon needs ratios of .1 and less; without them it trades against gamma and C."
)
_DCPT_NOTES = (
    "A fit is of one corpus; fit the general one with its share r_g = 1 - r_d (--map ratio=1-r_d). No coefficients are "
    "published."
)

DCPT = register(
    Law(
        name="dcpt",
        title="D-CPT law: continual pre-training on a mixture of two corpora",
        source=_DCPT_SOURCE,
        family="mixture",
        identifiability=_DCPT_BLIND,
        inputs=("params", "tokens", "ratio"),
        params=_DCPT_PARAMS,
        formula="E + A / params**alpha + B * ratio**eta / tokens**beta + C / (ratio + epsilon)**gamma",
        predict=_dcpt,
        linear=("E", "A", "B", "C"),
        rules=(_STRICTLY,),
        shape=_dcpt_shape,
        notes=_DCPT_NOTES,
    )
)

DCPT_CROSS = register(
    Law(
        name="dcpt-cross",
        title="Cross-domain D-CPT law: with how easily the domain is learnt",
        source=_DCPT_SOURCE,
        family="mixture",
        identifiability=_DCPT_BLIND + " Runs of one domain, or of two, can't tell F and mu from E.",
        inputs=("params", "tokens", "ratio", "learnability"),
        params=(
            *_DCPT_PARAMS,
            Param("F", "nats/token", (1e-2, 1e2), "term of the learnability at K = 1"),
            Param("mu", "", (0.05, 3.0), "exponent of the learnability"),
        ),
        formula=(
            "E + A / params**alpha + B * ratio**eta / tokens**beta + C / (ratio + epsilon)**gamma"
            " + F / learnability**mu"
        ),
        predict=_dcpt_cross,
        linear=("E", "A", "B", "C", "F"),
        rules=(_STRICTLY,),
        shape=_dcpt_shape,
        notes=(
            "The learnability is K = w1 / k1 + w2 * k2 of a domain's first validation loss k1 and its early rate of "
            "decline k2, which a run of about 1 % of the cost tells; the weights w1 and w2 are the user's. No "
            "coefficients are published."
        ),
    )
)

# --------------------------------------------------------------------------------------------- critical mixture ratio

CMR_UNIT = 2e8


def _cmr(x: dict[str, Array], a4: Array, s4: Array, b3: Array) -> Array:
    return a4 * np.exp(s4 * np.log(x["tokens"] / CMR_UNIT)) + b3


def _cmr_loss(x: dict[str, Array], alpha: Array, s: Array, beta: Array) -> Array:
    return alpha * np.exp(s * np.log(x["ratio"])) + beta


def _gu(a4: float, s4: float, b3: float) -> Published:
    return Published(dict(a4=a4, s4=s4, b3=b3), "arXiv:2407.17467, read in a secondary note", "tokens in units of 2e8")


CMR = register(
    Law(
        name="cmr",
        title="Critical mixture ratio against training tokens",
        source="Gu et al. 2024, arXiv:2407.17467",
        family="mixture",
        identifiability="Two lengths of training fit any exponent: give four or more, over a wide range.",
        inputs=("tokens",),
        target="ratio",
        residual="plain",
        params=(
            Param("a4", "share", (-3.0, 3.0), "size of the part that changes with tokens", domain="real"),
            Param("s4", "", (-0.6, 0.6), "its exponent", domain="real"),
            Param("b3", "share", (-2.0, 2.0), "the part that does not change", domain="real"),
        ),
        formula="a4 * (tokens / 2e8)**s4 + b3",
        predict=_cmr,
        published={
            "gu2024-460M": _gu(0.22524761, 0.26944345, -0.48139982),
            "gu2024-940M": _gu(0.7520627, 0.13720245, -1.06581937),
            "gu2024-1.6B": _gu(-2.36384831, -0.15125569, 1.59223649),
            "gu2024-3.1B": _gu(-2.5368197, -0.42071423, 0.84375368),
        },
        notes=(
            "The largest share of the domain for which the general loss rises by no more than a tolerance while the "
            "domain's falls. A share of one size of model; a law that ends above 1 or below 0 says nothing there."
        ),
    )
)

CMR_LOSS = register(
    Law(
        name="cmr-loss",
        title="Domain loss against its share at a fixed length of training",
        source="Gu et al. 2024, arXiv:2407.17467",
        family="mixture",
        identifiability="Three shares fit three parameters of any values: give five or more, down to .1.",
        inputs=("ratio",),
        params=(
            Param("alpha", "nats/token", (-2.0, 2.0), "size of the part that changes with the share", domain="real"),
            Param("s", "", (-1.0, 1.0), "its exponent", domain="real"),
            Param("beta", "nats/token", (-1.0, 6.0), "the part that does not change", domain="real"),
        ),
        formula="alpha * ratio**s + beta",
        predict=_cmr_loss,
        rules=(Rule(lambda x: x["ratio"] > 0, "a share of 0 has no power"),),
        notes="Near s = 0 the law is a line in the logarithm of the share, and alpha and beta grow without end.",
    )
)

# ------------------------------------------------------------------------------------------------ shares of all sources


def _sum_to_one(shares: tuple[str, ...]) -> Rule:
    def holds(x: Mapping[str, Any]) -> Any:
        return np.abs(sum(x[name] for name in shares) - 1.0) <= SUM_TOLERANCE

    listed = " + ".join(shares) if len(shares) <= 4 else f"{shares[0]} + ... + {shares[-1]} ({len(shares)} shares)"
    return Rule(holds, f"the shares {listed} do not sum to 1 (within {SUM_TOLERANCE:g})")


def _sources(shares: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.removeprefix(SHARE_PREFIX) for name in shares)


def _name(base: str, shares: tuple[str, ...]) -> str:
    return base if shares == _TWO else f"{base}@{','.join(shares)}"


# What stands in the catalogue for any number of sources.
_TWO = ("w_1", "w_2")
# A share's slope of 4 makes the reducible loss of a pure source 55 times another's: two standard deviations. Without
# bounds the law explodes on a few dozen mixtures (surveyed on 20 mixtures of seven sources).
_SLOPE_PRIOR = Prior(0.0, 2.0)
_BEND_PRIOR = Prior(0.0, 1.0)
_PURE = (
    "The sum of all shares is one, so the table tells each source only against the others: mixtures in which the share "
    "of a source never moves, or fewer mixtures than sources, tell nothing of it."
)


@cache
def _mixing_exp(shares: tuple[str, ...]) -> Law:
    slopes = tuple(f"t_{source}" for source in _sources(shares))

    def predict(x: dict[str, Array], c: Array, k: Array, **t: Array) -> Array:
        return c + k * np.exp(sum(t[slope] * x[share] for slope, share in zip(slopes, shares, strict=True)))

    return Law(
        name=_name("mixing-exp", shares),
        title="Data mixing law: exponential in the shares",
        source="Ye et al. 2024, arXiv:2403.16952",
        family="mixture",
        identifiability=_PURE + " Adding a number to every t and dividing k by its exponential changes nothing: the "
        "prior on t settles that, at a mean of t near zero, where k is the geometric mean of the pure sources.",
        inputs=shares,
        params=(
            Param("c", "nats/token", (0.1, 5.0), "loss that no mixture lowers"),
            Param("k", "nats/token", (0.05, 5.0), "reducible loss where the slopes cancel"),
            *(
                Param(slope, "", (-4.0, 4.0), f"log of what a model of {source} alone has left, against k", "real")
                for slope, source in zip(slopes, _sources(shares), strict=True)
            ),
        ),
        formula="c + k * exp(" + " + ".join(f"{t} * {w}" for t, w in zip(slopes, shares, strict=True)) + ")",
        predict=predict,
        form=ExpOfSum("c", "k", tuple(zip(slopes, shares, strict=True))),
        linear=("c", "k"),
        priors=dict.fromkeys(slopes, _SLOPE_PRIOR),
        needs_priors=True,
        rules=(_sum_to_one(shares),),
        shares=True,
        over=_mixing_exp,
        notes=(
            "One fit for each validation domain. The slopes are held by a prior of standard deviation 2, without which "
            "the law explodes where mixtures are few. With no more than three mixtures for each source, compare "
            "mixing-linear."
        ),
    )


@cache
def _mixing_linear(shares: tuple[str, ...]) -> Law:
    names = tuple(f"b_{source}" for source in _sources(shares))

    def predict(x: dict[str, Array], **b: Array) -> Array:
        return sum(b[name] * x[share] for name, share in zip(names, shares, strict=True))

    return Law(
        name=_name("mixing-linear", shares),
        title="Loss linear in the shares",
        source="Kang et al. 2023, arXiv:2307.02460 (the linear form that projektor is compared with)",
        family="mixture",
        identifiability=_PURE,
        inputs=shares,
        params=tuple(
            Param(name, "nats/token", (0.1, 20.0), f"loss of a model of {source} alone", domain="real")
            for name, source in zip(names, _sources(shares), strict=True)
        ),
        formula=" + ".join(f"{b} * {w}" for b, w in zip(names, shares, strict=True)),
        predict=predict,
        form=WeightedSum(tuple((name, (share,)) for name, share in zip(names, shares, strict=True))),
        rules=(_sum_to_one(shares),),
        shares=True,
        over=_mixing_linear,
        notes="Its best mixture is always one source alone, or a corner of the bounds. A fallback for few mixtures.",
    )


@cache
def _mixing_quadratic(shares: tuple[str, ...]) -> Law:
    lines = tuple(f"b_{source}" for source in _sources(shares))
    bends = tuple(f"q_{source}" for source in _sources(shares))

    def predict(x: dict[str, Array], **p: Array) -> Array:
        return sum((p[b] + p[q] * x[w]) * x[w] for b, q, w in zip(lines, bends, shares, strict=True))

    return Law(
        name=_name("mixing-quadratic", shares),
        title="Projektor's first stage without transport distance: shares and their squares",
        source="Kang et al. 2023, arXiv:2307.02460",
        family="mixture",
        identifiability=_PURE + " Of two sources the squares say the same twice; the prior on q shares it out.",
        inputs=shares,
        params=(
            *(
                Param(b, "nats/token", (0.1, 20.0), f"slope of the share of {source} near 0", domain="real")
                for b, source in zip(lines, _sources(shares), strict=True)
            ),
            *(
                Param(q, "nats/token", (-5.0, 5.0), f"bend in the share of {source}", domain="real")
                for q, source in zip(bends, _sources(shares), strict=True)
            ),
        ),
        formula=" + ".join(f"({b} + {q} * {w}) * {w}" for b, q, w in zip(lines, bends, shares, strict=True)),
        predict=predict,
        form=WeightedSum(
            (
                *((b, (w,)) for b, w in zip(lines, shares, strict=True)),
                *((q, (w, w)) for q, w in zip(bends, shares, strict=True)),
            )
        ),
        priors=dict.fromkeys(bends, _BEND_PRIOR),
        needs_priors=True,
        rules=(_sum_to_one(shares),),
        shares=True,
        over=_mixing_quadratic,
        notes=(
            "The paper's form with the optimal-transport distance taken as 1, since a table of mixtures and losses has "
            "none; its constants are one with the slopes, as shares sum to one. Second stage: `between_sizes`."
        ),
    )


MIXING_EXP = register(_mixing_exp(_TWO))
MIXING_LINEAR = register(_mixing_linear(_TWO))
MIXING_QUADRATIC = register(_mixing_quadratic(_TWO))
