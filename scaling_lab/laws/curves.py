"""Laws of a whole loss curve under any learning-rate schedule, kept apart from LAWS: they are of a run's history.

Their inputs are those of `histories.Points.x`: `area`, the sum of the learning rates so far with the warm-up's, and
`drops`, every fall of the learning rate that a point has seen. `Points.total` sums over a point's drops, written
sum(...) in a formula, where `drop`, `lr`, `since`, `steps` and `area_then` are of each drop (see `Pairs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import UsageError, nearest
from .base import Law, Param, Prior, Published

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any
CURVE_LAWS: dict[str, Law] = {}
# The choice among them, which is no law (engine/curve_auto.py).
AUTO_CURVE = "auto-curve"

# Laws whose parameters of what a drop is worth only a sudden one tells apart: without it they are drawn to priors.
NEED_A_JUMP = ("multi-power", "multi-power-worth", "functional")

# Below it a rate counts as this much: an update at zero adds no area, and what its drop is worth is the limit.
LEAST_RATE = 1e-30


def _register(law: Law) -> Law:
    CURVE_LAWS[law.name] = law
    return law


def is_curve_law(name: Any) -> bool:
    """Whether a name or a law is that of a law of curves."""
    return isinstance(name, str) and any(name in (law.name, *law.aliases) for law in CURVE_LAWS.values())


def get_curve_law(name: str | Law) -> Law:
    """The law of curves of that name or alias; raises UsageError naming the nearest."""
    if isinstance(name, Law):
        return name
    known = {alias: law for law in CURVE_LAWS.values() for alias in (law.name, *law.aliases)}
    if name not in known:
        raise UsageError(f"no law of loss curves named {name!r}; {nearest(name, known)}")
    return known[name]


_L0 = Param("L0", "nats/token", (0.5, 4.0), "loss left after any training at any rate")
_A = Param("A", "nats/token", (0.05, 5.0), "loss above L0 that an area of 1 leaves")
_ALPHA = Param("alpha", "", (0.1, 1.0), "exponent of the area of the learning rate")
_GAIN = "how much a drop is worth in the end, for each unit the learning rate falls"
# What is known before a curve is read. The exponent: .41 to .62 in the fits of arXiv:2408.11029 and arXiv:2503.12811. A
# whole fall to zero: C * peak / (1 - momentum) of the former's fits is .082 and .152 nats where the peak is printed,
# B * peak of the latter's .13 to .18, an end that no run reaches (docs/curves-accuracy.md).
_KNOWN_ALPHA = Prior(0.5, 0.15)
_WHOLE_FALL, _WHOLE_POWER, _FALL_SD = 0.11, 0.13, 0.4


def _trend(x: Mapping[str, Array], L0: Array, A: Array, alpha: Array) -> Array:
    return L0 + A * x["area"] ** -alpha


LR_SUM = _register(
    Law(
        name="lr-sum",
        title="Power law in the sum of learning rates, the baseline",
        source="Luo et al. 2025, arXiv:2503.12811, section 5 (one-power law)",
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA),
        formula="L0 + A * area**-alpha",
        predict=_trend,
        linear=("L0", "A"),
        identifiability="L0 and alpha trade off on a curve that is short or flat.",
        notes="Knows no gain from annealing: what the other laws must beat.",
    )
)


def _annealing(x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, C: Array, momentum: Array) -> Array:
    drops = x["drops"]
    kept = -np.expm1(drops.pairs.steps * np.log(momentum))
    return _trend(x, L0, A, alpha) - (C / (1.0 - momentum)) * drops.total(drops.pairs.drop * kept)


_MOMENTUM = Param(
    "momentum", "", (0.98, 0.9995), "share of a drop's effect that is still to come after each step", "between",
    limits=(0.9, 0.99999),
)  # fmt: skip

ANNEALING = _register(
    Law(
        name="annealing",
        aliases=("mtl", "tissue", "momentum-law"),
        title="Learning-rate annealing law",
        source="Tissue et al. 2024, arXiv:2408.11029, eq. 1-3",
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, Param("C", "nats/token", (0.05, 5.0), "worth of a drop, for each unit and step"),
                _MOMENTUM),
        formula="L0 + A * area**-alpha - C * sum(drop * (1 - momentum**steps) / (1 - momentum))",
        predict=_annealing,
        linear=("L0", "A", "C"),
        priors={
            "alpha": _KNOWN_ALPHA,
            "C": Prior(_WHOLE_FALL * 1e-3, _FALL_SD, per_peak=True),
            "momentum": Prior(0.999, 1.0),
        },
        identifiability=(
            "C shows only where the learning rate falls, momentum only where a fall is followed by enough steps: from "
            "one cosine momentum can't be told and is drawn to the paper's .999. Of C and momentum C / (1 - momentum) "
            "is what runs agree on."
        ),
        published={
            "tissue2024-a": Published(dict(L0=2.628, A=0.429, alpha=0.550, C=0.411, momentum=0.999),
                                      "arXiv:2408.11029, setting A", "594M, batch 4M tokens, peak 2e-4; warm-up flat"),
            "tissue2024-b": Published(dict(L0=2.761, A=0.517, alpha=0.491, C=0.458, momentum=0.999),
                                      "arXiv:2408.11029, setting B", "293M, batch 2M tokens"),
            "tissue2024-d": Published(dict(L0=2.801, A=0.424, alpha=0.619, C=0.347, momentum=0.999),
                                      "arXiv:2408.11029, setting D", "8 experts of 106M"),
            "tissue2024-e": Published(dict(L0=2.788, A=0.906, alpha=0.416, C=0.254, momentum=0.999),
                                      "arXiv:2408.11029, setting E", "1.7B, peak 6e-4"),
            "bloom-176b": Published(dict(L0=1.918, A=0.688, alpha=0.523, C=1.832, momentum=0.999),
                                    "arXiv:2408.11029", "a public curve"),
            "olmo-1b": Published(dict(L0=2.152, A=1.067, alpha=0.556, C=0.205, momentum=0.999),
                                 "arXiv:2408.11029", "a public curve, 2T tokens"),
        },
        notes=(
            "The area and C are of raw learning rates: coefficients belong to one peak, batch and momentum. The paper "
            "counts its warm-up as run at the peak (--warmup flat). Any larger rate lowers the prediction: never "
            "extrapolate in the peak, and distrust updates at a rate of zero."
        ),
    )
)  # fmt: skip


def _annealing_n(
    x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, B: Array, beta: Array, C: Array, gamma: Array,
    momentum: Array,
) -> Array:  # fmt: skip
    drops, size = x["drops"], x["params"] / 1e6
    kept = -np.expm1(drops.pairs.steps * np.log(momentum))
    worth = (C / (1.0 - momentum)) * size**gamma
    return _trend(x, L0, A, alpha) + B * size**-beta - worth * drops.total(drops.pairs.drop * kept)


ANNEALING_N = _register(
    Law(
        name="annealing-n",
        aliases=("mtl-n",),
        title="Learning-rate annealing law of models of several sizes",
        source="Tissue et al. 2024, arXiv:2408.11029, section 4",
        family="curve",
        inputs=("step", "lr", "params"),
        params=(_L0, _A, _ALPHA, Param("B", "nats/token", (0.1, 20.0), "finite-model term at a million parameters"),
                Param("beta", "", (0.05, 0.6), "exponent of the size"),
                Param("C", "nats/token", (0.02, 5.0), "worth of a drop at a million parameters"),
                Param("gamma", "", (-0.2, 0.3), "exponent of the size in what a drop is worth", "real"), _MOMENTUM),
        formula=(
            "L0 + A * area**-alpha + B * (params / 1e6)**-beta"
            " - C * (params / 1e6)**gamma * sum(drop * (1 - momentum**steps) / (1 - momentum))"
        ),
        predict=_annealing_n,
        linear=("L0", "A", "B", "C"),
        priors={"momentum": Prior(0.999, 1.0), "gamma": Prior(0.0, 0.1), "beta": Prior(0.15, 0.5)},
        identifiability="As annealing; beta and B need three sizes or more, and trade off with L0.",
        published={
            "tissue2024-n-a": Published(
                dict(L0=1.504, A=0.440, alpha=0.546, B=3.067, beta=0.158, C=0.273, gamma=0.052, momentum=0.999),
                "arXiv:2408.11029, setting A", "85M to 904M without embeddings; that N counts millions is inferred"),
            "tissue2024-n-c": Published(
                dict(L0=1.412, A=0.921, alpha=0.761, B=2.562, beta=0.137, C=0.069, gamma=0.117, momentum=0.999),
                "arXiv:2408.11029, setting C", "19M to 1720M, peak 1.381e-3"),
        },
        notes="params counts the model without embeddings. See annealing.",
    )
)  # fmt: skip


def _power_gain(x: Mapping[str, Array], B: Array, C: Array, beta: Array, gamma: Array) -> Array:
    drops, pairs = x["drops"], x["drops"].pairs
    rate = np.log(np.maximum(pairs.lr, LEAST_RATE))
    gone = (1.0 + (C * np.exp(-gamma * rate)) * pairs.since) ** -beta
    return B * drops.total(pairs.drop * (1.0 - gone))


def _multi_power(x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, B: Array, C: Array) -> Array:
    drops, pairs = x["drops"], x["drops"].pairs
    scaled = pairs.since / np.sqrt(np.maximum(pairs.lr, LEAST_RATE))
    return _trend(x, L0, A, alpha) - B * drops.total(pairs.drop * (1.0 - 1.0 / np.sqrt(1.0 + C * scaled)))


def _multi_power_free(
    x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, B: Array, C: Array, beta: Array, gamma: Array
) -> Array:
    return _trend(x, L0, A, alpha) - _power_gain(x, B, C, beta, gamma)


_MPL_SOURCE = "Luo et al. 2025, arXiv:2503.12811, eq. 1-3"
_B = Param("B", "nats/token", (50.0, 2000.0), _GAIN)
_C = Param("C", "", (0.05, 20.0), "how fast a drop pays, for each unit of lr**-gamma times area")
_MPL_NOTES = (
    "B and C are of raw learning rates. The warm-up is an area of half its length times the peak, without drops; the "
    "coefficients of the authors' repository count its rises as drops below zero (--warmup included) and are low in L0 "
    "by .1. Any larger rate lowers the prediction: never extrapolate in the peak."
)
_MPL_BLIND = (
    "B, C and the exponents need a curve with a sudden drop and one without: from constant and cosine runs alone they "
    "trade off, and annealing is the safer law."
)
MULTI_POWER = _register(
    Law(
        name="multi-power",
        aliases=("mpl",),
        title="Multi-power law of loss curves, both exponents .5",
        source=_MPL_SOURCE,
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, _B, _C),
        formula="L0 + A * area**-alpha - B * sum(drop * (1 - (1 + C * since / lr**0.5)**-0.5))",
        predict=_multi_power,
        linear=("L0", "A", "B"),
        priors={
            "alpha": _KNOWN_ALPHA,
            "B": Prior(_WHOLE_POWER, _FALL_SD, per_peak=True),
            "C": Prior(1.5, 0.7),
        },
        identifiability=_MPL_BLIND,
        notes=_MPL_NOTES,
    )
)
MULTI_POWER_FREE = _register(
    Law(
        name="multi-power-free",
        aliases=("mpl-free",),
        title="Multi-power law of loss curves, exponents free",
        source=_MPL_SOURCE,
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, _B, _C, Param("beta", "", (0.2, 0.8), "exponent of how a drop pays", "between"),
                Param("gamma", "", (0.2, 0.8), "exponent of the learning rate in how fast", "between")),
        formula="L0 + A * area**-alpha - B * sum(drop * (1 - (1 + C * lr**-gamma * since)**-beta))",
        predict=_multi_power_free,
        linear=("L0", "A", "B"),
        identifiability=_MPL_BLIND + " A full fit goes to beta near zero and predicts worse than .5 held.",
        published={
            "luo2025-25m": Published(dict(L0=3.17, A=0.51, alpha=0.53, B=446.4, C=2.07, beta=0.41, gamma=0.52),
                                     "arXiv:2503.12811, table 7", "25M"),
            "luo2025-100m": Published(dict(L0=2.79, A=0.59, alpha=0.46, B=521.4, C=0.24, beta=0.60, gamma=0.65),
                                      "arXiv:2503.12811, table 7", "100M"),
            "luo2025-400m": Published(dict(L0=2.52, A=0.66, alpha=0.42, B=614.3, C=0.16, beta=0.88, gamma=0.56),
                                      "arXiv:2503.12811, table 7", "400M"),
        },
        notes=_MPL_NOTES,
    )
)  # fmt: skip
MULTI_POWER_BOX = _register(
    Law(
        name="multi-power-box",
        aliases=("mpl-box",),
        title="Multi-power law of loss curves, exponents within .4 to .8",
        source=_MPL_SOURCE,
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, _B, _C,
                Param("beta", "", (0.42, 0.78), "exponent of how a drop pays", "between", limits=(0.4, 0.8)),
                Param("gamma", "", (0.42, 0.78), "exponent of the learning rate in how fast", "between",
                      limits=(0.4, 0.8))),
        formula="L0 + A * area**-alpha - B * sum(drop * (1 - (1 + C * lr**-gamma * since)**-beta))",
        predict=_multi_power_free,
        linear=("L0", "A", "B"),
        identifiability=_MPL_BLIND,
        notes=_MPL_NOTES,
    )
)  # fmt: skip


def _multi_power_worth(
    x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, B: Array, C: Array, tilt: Array, fade: Array
) -> Array:
    drops, pairs = x["drops"], x["drops"].pairs
    scaled = pairs.since / np.sqrt(np.maximum(pairs.lr, LEAST_RATE))
    worth = (1.0 + tilt * (1.0 - 2.0 * pairs.share)) * pairs.area_then**-fade
    return _trend(x, L0, A, alpha) - B * drops.total(pairs.drop * worth * (1.0 - 1.0 / np.sqrt(1.0 + C * scaled)))


MULTI_POWER_WORTH = _register(
    Law(
        name="multi-power-worth",
        title="Multi-power law whose drops are worth more at low rates, and less the later they come",
        source=f"{_MPL_SOURCE}; that worth falls with time as in arXiv:2509.19189",
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, _B, _C,
                Param("tilt", "", (0.0, 0.4), "how much more a drop is worth at a rate of zero than at half the peak, "
                      "as a share", "real"),
                Param("fade", "", (0.0, 0.3), "exponent with which a drop is worth less the later it comes", "real")),
        formula=(
            "L0 + A * area**-alpha - B * sum(drop * (1 + tilt * (1 - 2 * share)) * area_then**-fade"
            " * (1 - (1 + C * since / lr**0.5)**-0.5))"
        ),
        predict=_multi_power_worth,
        linear=("L0", "A", "B"),
        priors={
            "alpha": _KNOWN_ALPHA,
            "B": Prior(0.16, _FALL_SD, per_peak=True),
            "C": Prior(1.5, 0.7),
            "tilt": Prior(0.2, 0.15),
            "fade": Prior(0.15, 0.08),
        },
        needs_priors=True,
        identifiability=(
            "tilt and fade show only where drops come at several rates and times, and are drawn to what six further "
            "curves of one 25M model showed; B and C as in multi-power."
        ),
        notes=(
            "share is the rate half way down a drop over the peak. Made here, not published: the priors of tilt and "
            "fade were chosen on the nine curves of arXiv:2503.12811's 25M model, and checked on its 100M model and on "
            "another family (docs/curves-accuracy.md). With both at zero it is multi-power."
        ),
    )
)  # fmt: skip


def _functional(
    x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, B: Array, c3: Array, C: Array, gamma: Array
) -> Array:
    drops, pairs = x["drops"], x["drops"].pairs
    worth = c3 + pairs.area_then**-alpha
    return _trend(x, L0, A, alpha) - B * drops.total(pairs.drop * worth * (1.0 - (1.0 + C * pairs.since) ** -gamma))


FUNCTIONAL = _register(
    Law(
        name="functional",
        aliases=("fsl",),
        title="Functional scaling law in its practical form",
        source="Li et al. 2025, arXiv:2509.19189, practical form",
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, Param("B", "nats/token", (1.0, 2000.0), _GAIN),
                Param("c3", "", (0.01, 100.0), "what of a drop's worth does not depend on when it comes"),
                Param("C", "1/area", (0.5, 200.0), "how fast a drop pays, for each unit of area"),
                Param("gamma", "", (0.2, 2.0), "exponent of how a drop pays")),
        formula="L0 + A * area**-alpha - B * sum(drop * (c3 + area_then**-alpha) * (1 - (1 + C * since)**-gamma))",
        predict=_functional,
        linear=("L0", "A"),
        priors={
            "alpha": _KNOWN_ALPHA,
            "B": Prior(0.16, 1.0, per_peak=True),
            "c3": Prior(1.0, 1.0),
            "C": Prior(50.0, 1.5),
            "gamma": Prior(0.5, 0.5),
        },
        needs_priors=True,
        identifiability=(
            "B, c3, C and gamma lie in flat directions, along which a free fit runs away: three schedules or more, and "
            "all of them are drawn to about 1, .5 and what whole falls are worth."
        ),
        notes=(
            "alpha is the paper's s, A its c1, B its c2, C its c4. The area counts the warm-up, without which the law "
            "fits poorly; with it c3 mostly outweighs area**-alpha, and the law is the multi-power law with gamma 0."
        ),
    )
)  # fmt: skip


def _forward(x: Mapping[str, Array], L0: Array, A: Array, alpha: Array, C: Array) -> Array:
    return _trend(x, L0, A, alpha) - C * x["moment"]


FORWARD_MOMENTUM = _register(
    Law(
        name="forward-momentum",
        title="Forward-momentum law of annealing",
        source="arXiv:2512.13705, with its code",
        family="curve",
        inputs=("step", "lr"),
        params=(_L0, _A, _ALPHA, Param("C", "nats/token", (1e-4, 1.0), "worth of a unit of forward momentum")),
        formula="L0 + A * area**-alpha - C * moment",
        predict=_forward,
        linear=("L0", "A", "C"),
        identifiability="C shows only where the learning rate falls.",
        notes=(
            "moment is the sum of Adam-like steps (.9, .999, with bias correction) over the falls of the learning rate "
            "in pieces of 100 updates, m / (sqrt(1e5 * v + 1e-8) + 1e-8): its size depends on those pieces. The "
            "paper's size term B * N**-b is a constant at one size, part of L0. Fitted to log loss as the others; the "
            "paper took the plain residual."
        ),
    )
)
