"""Laws of one size, of a model's shape, of over-training and of contexts, and what follows from them in closed form."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..quantities import quantity
from .base import Budget, Law, Param, Power, Prior, Published, Rule, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any
Floats = NDArray[np.float64]

# A PF-day in FLOP, which Kaplan's compute is counted in.
PF_DAY = 8.64e19

# As in surfaces.py: E of repeated public fits lies between .2 and 2, exponents between .08 and .7.
_E = Param("E", "nats/token", (0.1, 5.0), "loss left when every size is infinite")
_FLOOR_PRIOR = Prior(0.70, 0.3, of_lowest=True)
_EXPONENT_PRIOR = Prior(0.35, 0.35)
_ONE_RATIO = (
    "Runs that all have one ratio of tokens to params can't tell the finite-model term from the finite-data term: vary "
    "the ratio at fixed compute, or the tokens at fixed size."
)

# --------------------------------------------------------------------------------------- Kaplan: one size, no floor


def _kaplan(name: str, title: str, size: str, symbol: str, published: Published, start: tuple[float, float]) -> Law:
    scale, exponent = f"{symbol}_c", f"alpha_{symbol}"

    def predict(x: dict[str, Array], **params: Array) -> Array:
        return np.exp(params[exponent] * (np.log(params[scale]) - np.log(x[size])))

    return register(
        Law(
            name=name,
            title=title,
            source="Kaplan et al. 2020, arXiv:2001.08361",
            family="size",
            identifiability=f"Two parameters of a straight line in logarithms: {size} must have two values or more.",
            inputs=(size,),
            params=(
                Param(scale, quantity(size).unit, start, f"{size} at which the loss would be 1 nat/token"),
                Param(exponent, "", (0.01, 0.6), f"exponent in {size}"),
            ),
            formula=f"({scale} / {size})**{exponent}",
            predict=predict,
            published={"kaplan2020": published},
            notes=(
                "No floor, so it is too hopeful far outside its data (the paper expects a break near 1e12 params or "
                "tokens and 1e4 PF-days). Constants of this law, of kaplan-nd and of the step form are separate fits: "
                "never mix them."
            ),
        )
    )


KAPLAN_N = _kaplan(
    "kaplan-n",
    "Kaplan, loss of converged models in model size",
    "params",
    "N",
    Published(
        dict(N_c=8.8e13, alpha_N=0.076),
        "arXiv:2001.08361, eq. 1.1 and Table 5",
        "N without embeddings: pass --params-column params_nonembed",
    ),
    (1e8, 1e18),
)
KAPLAN_D = _kaplan(
    "kaplan-d",
    "Kaplan, loss of large models stopped early in data",
    "tokens",
    "D",
    Published(dict(D_c=5.4e13, alpha_D=0.095), "arXiv:2001.08361, eq. 1.2", "WebText2 tokens, early stopping"),
    (1e8, 1e18),
)
KAPLAN_C = _kaplan(
    "kaplan-c",
    "Kaplan, loss in compute at one batch size",
    "flops",
    "C",
    Published(
        dict(C_c=1.6e7 * PF_DAY, alpha_C=0.057),
        "arXiv:2001.08361, Table 5 (1.6e7 PF-days of 8.64e19 FLOP)",
        "C of non-embedding parameters, 6*N*B*S; the naive law at a fixed batch",
    ),
    (1e15, 1e33),
)
KAPLAN_CMIN = _kaplan(
    "kaplan-cmin",
    "Kaplan, loss in the least compute that reaches it",
    "flops",
    "C",
    Published(
        dict(C_c=3.1e8 * PF_DAY, alpha_C=0.050),
        "arXiv:2001.08361, eq. 1.3 (3.1e8 PF-days of 8.64e19 FLOP)",
        "flops are C_min = C / (1 + B/B_crit(L)): compute as it would be at a batch far below the critical one",
    ),
    (1e15, 1e33),
)


def overfitting(params: Array, tokens: Array, N_c: float, D_c: float, alpha_N: float, alpha_D: float) -> Array:
    """By what share the loss of `kaplan-nd` lies above that of unlimited data (arXiv:2001.08361, section 4.2).

    N without embeddings. The four constants are those of kaplan-nd.
    """
    size = (np.asarray(params, dtype=float) / N_c) ** (alpha_N / alpha_D)
    return np.expm1(alpha_D * np.log1p(size * D_c / np.asarray(tokens, dtype=float)))


# ---------------------------------------------------------------------------------------------- Hestness: three regions


def _regions(size: str, name: str) -> Law:
    def predict(x: dict[str, Array], plateau: Array, gamma: Array, m_0: Array, beta: Array) -> Array:
        # The share of the way from best guess to floor that is still to go, without overflow on either side.
        left = 0.5 * (1.0 + np.tanh(0.5 * beta * (np.log(x[size]) - np.log(m_0))))
        return gamma + (plateau - gamma) * left

    unit = quantity(size).unit
    return Law(
        name=name,
        title=f"Hestness' three regions, in {size}: best guess, power law, floor",
        source="Hestness et al. 2017, arXiv:1712.00409 (the regions; how they join is this project's choice)",
        family="size",
        identifiability=(
            "Each region shows only its own parameters: without runs near the best guess plateau and m_0 trade off "
            "(one power law has but their product), without runs near the floor gamma and beta do."
        ),
        inputs=(size,),
        params=(
            Param(
                "plateau", "nats/token", (1.0, 15.0), "loss of the best guess: ln(vocabulary) where nothing is learnt"
            ),
            Param("gamma", "nats/token", (1e-2, 5.0), "loss that does not fall any more"),
            Param("m_0", unit, (1e1, 1e12), f"{size} at which half of the way is done", along=size),
            Param("beta", "", (-1.5, -0.02), "exponent of the power-law region, below zero", domain="negative"),
        ),
        formula=f"gamma + (plateau - gamma) / (1 + ({size} / m_0)**-beta)",
        predict=predict,
        linear=("plateau", "gamma"),
        over=_regions_over,
        notes=(
            "1/reducible = 1/(plateau - gamma) + 1/(alpha * m**beta) with alpha = (plateau - gamma) * m_0**-beta: the "
            "sum of inverses joins best guess and power law smoothly with no parameter more. Hold the best guess with "
            "--fix plateau=10.82, ln of a vocabulary of 50257, where no run shows it."
        ),
    )


@functools.cache
def _regions_over(inputs: tuple[str, ...]) -> Law:
    return _regions(inputs[0], f"hestness-regions@{inputs[0]}")


HESTNESS_REGIONS = register(_regions("tokens", "hestness-regions"))


def _growth(x: dict[str, Array], alpha_s: Array, beta_p: Array) -> Array:
    return np.exp(np.log(alpha_s) + beta_p * np.log(x["tokens"]))


HESTNESS_GROWTH = register(
    Law(
        name="hestness-growth",
        title="Hestness, size of the model that fits a training set best",
        source="Hestness et al. 2017, arXiv:1712.00409",
        family="size",
        identifiability="Two parameters of a straight line in logarithms: tokens must have two values or more.",
        inputs=("tokens",),
        target="params",
        params=(
            Param("alpha_s", "params", (1e-4, 1e8), "parameters for a training set of one token"),
            Param("beta_p", "", (0.3, 1.1), "exponent: how fast the best model grows with data"),
        ),
        formula="alpha_s * tokens**beta_p",
        predict=_growth,
        notes=(
            "Give one row for each training set: its best model (laws.sizes.lower_envelope finds them). The paper's "
            "exponents, read in a secondary note: word language models .69 (2-layer LSTM, RHN) and .78 (4-layer LSTM), "
            "characters .78 (SGD) and .92 (Adam), ImageNet .573; its coefficients were not read."
        ),
    )
)


def lower_envelope(size: Sequence[float] | Floats, loss: Sequence[float] | Floats) -> NDArray[np.intp]:
    """Indices of the runs of least loss at each distinct size, smallest size first: what a law of one size describes.

    Runs that some fixed capacity held back would bend a fitted exponent towards zero. Raises BadInput where the two
    differ in length or one is not finite.
    """
    at, y = np.asarray(size, dtype=float), np.asarray(loss, dtype=float)
    if at.shape != y.shape or at.ndim != 1 or not (np.isfinite(at).all() and np.isfinite(y).all()):
        raise BadInput("an envelope needs as many finite sizes as losses", fix="leave runs without a loss out")
    order = np.lexsort((y, at))
    first = np.ones(len(order), dtype=bool)
    first[1:] = at[order][1:] != at[order][:-1]
    return np.asarray(order[first])


# ----------------------------------------------------------------------------------------------------- over-training


def _overtrain(x: dict[str, Array], E: Array, a: Array, b: Array, eta: Array) -> Array:
    c, m = np.log(x["flops"]), np.log(x["tokens_per_param"])
    return E + a * np.exp(eta * (m - c)) + b * np.exp(-eta * (m + c))


def _of_params_and_tokens(point: Mapping[str, Array]) -> dict[str, Array]:
    """Gadre's inputs of a model of params on tokens."""
    n, d = point["params"], point["tokens"]
    return {"flops": 6.0 * n * d, "tokens_per_param": d / n}


OVERTRAIN = register(
    Law(
        name="overtrain",
        title="Gadre, loss of over-trained models in compute and tokens per parameter",
        source="Gadre et al. 2024, arXiv:2403.08540, eq. 4",
        family="size",
        identifiability="Runs at one ratio of tokens to params can't tell a from b: give two ratios or more.",
        inputs=("flops", "tokens_per_param"),
        params=(
            _E,
            Param("a", "nats/token", (1e0, 1e5), "finite-model term at C = 1, M = 1"),
            Param("b", "nats/token", (1e0, 1e5), "finite-data term at C = 1, M = 1"),
            Param("eta", "", (0.02, 0.5), "exponent in compute at a fixed ratio"),
        ),
        formula="E + (a * tokens_per_param**eta + b * tokens_per_param**-eta) * flops**-eta",
        predict=_overtrain,
        linear=("E", "a", "b"),
        powers=(
            Power("E"),
            Power("a", lambda x: x["tokens_per_param"] / x["flops"], "eta"),
            Power("b", lambda x: x["tokens_per_param"] * x["flops"], "eta", -1),
        ),
        priors={"E": _FLOOR_PRIOR, "eta": Prior(0.175, 0.35)},
        budget=Budget(inputs=_of_params_and_tokens),
        published={
            "gadre2024-c4": Published(
                dict(E=1.508, a=141.28, b=189.52, eta=0.12124), "arXiv:2403.08540, C4, loss on C4 validation"
            ),
            "gadre2024-redpajama": Published(
                dict(E=1.837, a=212.24, b=366.69, eta=0.13643), "arXiv:2403.08540, RedPajama, loss on C4 validation"
            ),
            "gadre2024-refinedweb": Published(
                dict(E=1.734, a=157.0, b=246.0, eta=0.127),
                "arXiv:2403.08540, RefinedWeb, loss on C4 validation",
                "rounded: alpha = 2*eta = .2544 is printed beside it",
            ),
        },
        notes=(
            "chinchilla-tied in other coordinates: alpha = 2*eta, A = a/6**eta, B = b/6**eta. N counts embeddings. "
            "Where the table has params and tokens, flops and tokens_per_param follow from them. Not to be trusted "
            "below 10 tokens per parameter."
        ),
    )
)


# ----------------------------------------------------------------------------------------------------------- Farseer


def _farseer(
    x: dict[str, Array],
    s: Array,
    q: Array,
    S: Array,
    B: Array,
    b: Array,
    Q: Array,
    A: Array,
    a: Array,
    E: Array,
    N_0: Array,
) -> Array:
    n, d = np.log(x["params"] / N_0), np.log(x["tokens"])
    return np.exp(s * np.exp(q * n) + S) + np.exp(B * np.exp(b * n) + Q - d * np.exp(A * np.exp(a * n) + E))


FARSEER = register(
    Law(
        name="farseer",
        title="Farseer: data coefficient and exponent that change with model size",
        source="Predictable Scale II, arXiv:2506.10972, section 3",
        family="size",
        identifiability=(
            "Nine parameters: three curves in params (floor, coefficient and exponent of the data term), each with "
            "three. Fewer than four sizes, or than three token counts at each size, can't tell them; and where a curve "
            "is about a power law its exponent goes to zero against its scale, which the law's priors hold."
        ),
        inputs=("params", "tokens"),
        params=(
            Param("s", "", (-1.5, 1.5), "scale of the floor's logarithm at N_0", domain="real"),
            Param("q", "", (-0.4, 0.4), "how the floor's logarithm grows with params", domain="real"),
            Param("S", "", (-2.0, 2.0), "the floor's logarithm without its scale", domain="real"),
            Param("B", "", (2.0, 20.0), "scale of the data coefficient's logarithm at N_0"),
            Param("b", "", (-0.3, -0.01), "how that logarithm shrinks with params", domain="negative"),
            Param("Q", "", (-10.0, 5.0), "the data coefficient's logarithm without its scale", domain="real"),
            Param("A", "", (-3.0, -0.1), "scale of the data exponent's logarithm at N_0", domain="negative"),
            Param("a", "", (0.01, 0.4), "how that logarithm falls with params"),
            Param("E", "", (-2.0, 2.0), "the data exponent's logarithm without its scale", domain="real"),
            Param("N_0", "params", (1e7, 1e11), "model size at the centre of the table", reference="params"),
        ),
        formula="exp(s * (params / N_0)**q + S)"
        " + exp(B * (params / N_0)**b + Q) * tokens**-exp(A * (params / N_0)**a + E)",
        predict=_farseer,
        needs_priors=True,
        # About the published exponents, as wide as the three of them differ in size from one another; the scales are
        # those of the published law at a billion parameters (-.70, 11.1, -1.59).
        priors={
            "q": Prior(0.17, 0.15),
            "b": Prior(-0.10, 0.5),
            "a": Prior(0.12, 0.5),
            "s": Prior(-0.7, 0.7),
            "B": Prior(11.0, 0.5),
            "A": Prior(-1.6, 0.5),
        },
        published={
            "farseer2025": Published(
                dict(s=-0.021, q=0.169, S=-0.091, B=88.01, b=-0.1, Q=-6.287, A=-0.124, a=0.123, E=0.424, N_0=1.0),
                "arXiv:2506.10972, eq. 15",
                "loss in bits per character; too rounded to allocate with: no floor is left as both sizes grow",
            )
        },
        notes=(
            "N_0 is the geometric mean of the table's params, held: with N_0 = 1 the letters are the paper's. Keep "
            "predictions within ten times the fitted sizes: as params grow without end the law has no floor."
        ),
    )
)


# ------------------------------------------------------------------------------------------------- average parameters


def _sum_of_powers(
    sizes: tuple[str, ...], coefficients: tuple[str, ...], exponents: tuple[str, ...]
) -> Callable[..., Array]:
    def predict(x: dict[str, Array], E: Array, **params: Array) -> Array:
        out = E
        for size, coefficient, exponent in zip(sizes, coefficients, exponents, strict=True):
            out = out + params[coefficient] * x[size] ** -params[exponent]
        return out

    return predict


def _powers(sizes: tuple[str, ...], coefficients: tuple[str, ...], exponents: tuple[str, ...]) -> tuple[Power, ...]:
    terms = zip(sizes, coefficients, exponents, strict=True)
    return (Power("E"), *(Power(c, size, e, -1) for size, c, e in terms))


def _additive(
    name: str,
    title: str,
    source: str,
    terms: Sequence[tuple[str, str, str]],
    identifiability: str,
    notes: str,
    published: dict[str, Published] | None = None,
    priors: dict[str, Prior] | None = None,
    budget: Budget | None = None,
) -> Law:
    """A floor and a falling power of each input; `terms` are (input, coefficient, exponent)."""
    sizes, coefficients, exponents = (tuple(column) for column in zip(*terms, strict=True))
    return register(
        Law(
            name=name,
            title=title,
            source=source,
            family="size",
            identifiability=identifiability,
            inputs=sizes,
            params=(
                _E,
                *(Param(c, "nats/token", (1e-2, 1e7), f"term of {s} at {s} = 1") for s, c, _ in terms),
                *(Param(e, "", (0.05, 1.5), f"exponent of {s}") for s, _, e in terms),
            ),
            formula=" + ".join(["E", *(f"{c} / {s}**{e}" for s, c, e in terms)]),
            predict=_sum_of_powers(sizes, coefficients, exponents),
            linear=("E", *coefficients),
            powers=_powers(sizes, coefficients, exponents),
            published=published or {},
            priors=priors or {},
            notes=notes,
            budget=budget,
        )
    )


AVG_PARAMS = _additive(
    "avg-params",
    "Chinchilla in the parameters averaged over training, for dense and pruned runs alike",
    "Jin et al. 2025, arXiv:2501.12486",
    (("params_average", "A", "alpha"), ("tokens", "B", "beta")),
    _ONE_RATIO.replace("params", "params_average"),
    "params_average is the mean over training of the parameters that are not pruned; accounting.average_params "
    "computes it from a schedule. Compute is about 6 * params_average * tokens; a dense run is its own average, and "
    "the law is then chinchilla. No coefficients were printed where it was read. At one average the schedule still "
    "moves the loss: trust it near good schedules (pruning from 25 % to 75 % of compute).",
    priors={"E": _FLOOR_PRIOR, "alpha": _EXPONENT_PRIOR, "beta": _EXPONENT_PRIOR},
    budget=Budget(
        size="params_average",
        per_token=lambda x: 6.0 * x["params_average"],
        per_served=None,
        says="6*params_average*tokens",
        note="the model that is served is smaller than its average over training, and dense runs are their own average",
    ),
)

# ------------------------------------------------------------------------------------------------------ width and depth

_SHAPES = (
    "Shapes on one line (depth in proportion to width, say) can't tell the terms apart: vary width at one depth and "
    "depth at one width."
)
_GEMSTONES = "McLeish et al. 2025 (Gemstones), arXiv:2502.06857"


def _gemstones(p: Sequence[float], a: Sequence[float], e0: float) -> dict[str, float]:
    """Their logarithms of coefficients as this law's, in the order width, depth, params, tokens."""
    named = dict(E=exp(e0)) | {c: exp(v) for c, v in zip(("A_w", "A_d", "A", "B"), a, strict=True)}
    return named | dict(zip(("alpha_w", "alpha_d", "alpha", "beta"), p, strict=True))


GEMSTONES = _additive(
    "gemstones",
    "Gemstones, loss in width, depth, params and tokens",
    _GEMSTONES,
    (
        ("width", "A_w", "alpha_w"),
        ("depth", "A_d", "alpha_d"),
        ("params", "A", "alpha"),
        ("tokens", "B", "beta"),
    ),
    f"{_SHAPES} params is nearly width**2 * depth: its term is told only by shapes where the vocabulary matters.",
    "The prescription moves a lot with the runs that are selected (shapes, tokens above 100B, cooled down or not).",
    {
        "gemstones2025-hot": Published(
            _gemstones(
                (0.24469, 0.38715, 0.50008, 0.47611),
                (1.45201, -0.07810, 7.97003, 10.05943),
                0.39246,
            ),
            "authors' code, constant learning rate, Huber 1e-4 on log loss",
            "log-coefficients 1.45201, -.0781, 7.97003, 10.05943, e0 .39246; vocabulary 50304",
        ),
        "gemstones2025-cooled": Published(
            _gemstones(
                (0.30147, 0.36555, 0.50550, 0.46702),
                (1.63757, -0.02549, 7.86534, 9.98382),
                0.41952,
            ),
            "authors' code, cooled-down ends, Huber 1e-4 on log loss",
            "log-coefficients 1.63757, -.02549, 7.86534, 9.98382, e0 .41952; vocabulary 50304",
        ),
    },
)
GEMSTONES_WD = _additive(
    "gemstones-wd",
    "Gemstones, loss in width, depth and tokens",
    _GEMSTONES,
    (("width", "A_w", "alpha_w"), ("depth", "A_d", "alpha_d"), ("tokens", "B", "beta")),
    f"{_SHAPES} Runs that all have one ratio of tokens to params tell the data term only by the law's form.",
    "Without a term of params: for the choice of a shape at given tokens.",
)
WIDTH_DEPTH = _additive(
    "width-depth",
    "Loss in width and depth at one ratio of tokens to params",
    f"{_GEMSTONES}, without its terms of params and tokens",
    (("width", "A_w", "alpha_w"), ("depth", "A_d", "alpha_d")),
    _SHAPES,
    "For grids of shapes all trained at one ratio of tokens to params: the data term is in both of its terms.",
)


# --------------------------------------------------------------------------------------------- contexts and streams


def _context(x: dict[str, Array], alpha: Array, beta: Array, gamma: Array) -> Array:
    return gamma + np.exp(beta * (np.log(alpha) - np.log(x["seq_len"])))


_XIONG = "arXiv:2309.16039, Llama-2 with long contexts, {}; read in one survey table"

CONTEXT = register(
    Law(
        name="context",
        title="Loss in the length of the context",
        source="Xiong et al. 2023, arXiv:2309.16039",
        family="size",
        identifiability=(
            "alpha and beta are strongly correlated, and both with gamma over a short range: give four lengths or more "
            "over a factor of ten, and read the curve rather than its parameters."
        ),
        inputs=("seq_len",),
        params=(
            Param("alpha", "tokens", (1e-3, 1e4), "context length at which the reducible loss is 1 nat/token"),
            Param("beta", "", (0.05, 1.5), "exponent: how well the model uses long contexts"),
            Param("gamma", "nats/token", (1e-1, 5.0), "loss at a context without end"),
        ),
        formula="(alpha / seq_len)**beta + gamma",
        predict=_context,
        linear=("gamma",),
        published={
            f"xiong2023-{size}": Published(
                dict(alpha=alpha, beta=beta, gamma=gamma), _XIONG.format(size), f"trained up to {longest} tokens"
            )
            for size, alpha, beta, gamma, longest in (
                ("7b", 25.4, 0.45, 1.56, 32768),
                ("13b", 19.5, 0.48, 1.45, 32768),
                ("34b", 17.7, 0.50, 1.41, 16384),
                ("70b", 17.9, 0.51, 1.35, 16384),
            )
        },
        notes="One model, many context lengths; params and tokens are no part of it. Doubling the context multiplies "
        "the reducible loss by 2**-beta.",
    )
)


def _parallel(x: dict[str, Array], E: Array, A: Array, alpha: Array, k: Array) -> Array:
    return E + np.exp(alpha * (np.log(A) - np.log(x["params"]) - np.log1p(k * np.log(x["streams"]))))


PARALLEL = register(
    Law(
        name="parallel",
        title="Loss in params and parallel streams",
        source="Chen et al. 2025 (ParScale), arXiv:2505.10475, as restated for SLDBench, arXiv:2507.21184",
        family="size",
        identifiability="k shows only in runs of several streams, and only beside runs of one stream at like sizes.",
        inputs=("params", "streams"),
        params=(
            _E,
            Param("A", "params", (1e4, 1e12), "model size at which one stream's reducible loss is 1 nat/token"),
            Param("alpha", "", (0.05, 0.8), "exponent in model size"),
            Param("k", "", (1e-2, 3.0), "what an e-fold of streams is worth, as a share of the params"),
        ),
        formula="E + (A / (params * (k * log(streams) + 1)))**alpha",
        predict=_parallel,
        linear=("E",),
        rules=(Rule(lambda x: x["streams"] >= 1, "streams is less than 1: a plain model has one"),),
        notes="At one token budget. P streams are worth 1 + k*ln(P) times the params. No coefficients were found in a "
        "source that could be checked.",
    )
)
