"""Peak learning rate and batch size: the published rules, each of one or two laws with its conventions and range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import UsageError, nearest
from .base import Law, Param, Power, Published, register

Array = Any

KAPLAN = "Kaplan et al. 2020, arXiv:2001.08361"
DEEPSEEK = "DeepSeek-AI 2024, arXiv:2401.02954, section 3"
PORIAN = "Porian et al. 2024, arXiv:2406.19146"
MINICPM = "Hu et al. 2024 (MiniCPM), arXiv:2404.06395"
STEP = "Li et al. 2025 (Step Law), arXiv:2503.04715"
BJORCK = "Bjorck et al. 2024, arXiv:2409.19913"
MOONLIGHT = "Liu et al. 2025 (Moonlight), arXiv:2502.16982"
MEITUAN = "Su et al. 2024 (Unraveling the Mystery of Scaling Laws), arXiv:2403.06563"
POWER = "Shen et al. 2024 (Power scheduler), arXiv:2408.13359"
PORIAN_READ = f"{PORIAN}, as tabulated by {STEP}, table 1"

_ONE_VALUE = "Runs of one {0} fit any exponent: give optima over a factor of ten in {0} or more."
_BOTH = (
    "Optima at one ratio of tokens to params can't tell the two exponents apart: vary the tokens at fixed size. scale "
    "and the exponents are strongly correlated: judge predictions, never a lone exponent."
)
_OPTIMA = (
    "Rows are optima, one for each {0}, not runs. They lie on a grid and scatter by a cell: least squares "
    "(--objective l2) is what the papers minimise, and what the scatter of such rows asks for."
)


# ------------------------------------------------------------------------------------------------- laws of one input


def _power_of(name: str) -> Callable[..., Array]:
    def power(x: Mapping[str, Array], scale: Array, alpha: Array) -> Array:
        return scale * x[name] ** alpha

    return power


def _power_law(
    name: str,
    title: str,
    source: str,
    target: str,
    of: str,
    scale: tuple[float, float],
    alpha: tuple[float, float],
    published: Mapping[str, Published] | None = None,
    notes: str = "",
    aliases: tuple[str, ...] = (),
) -> Law:
    """The law `target = scale * of**alpha`, with the ranges that starts of the two are drawn from."""
    what = "peak learning rate" if target == "lr_max" else "best batch"
    unit = "" if target == "lr_max" else "tokens"
    return register(
        Law(
            name=name,
            title=title,
            source=source,
            family="hyperparameter",
            target=target,
            inputs=(of,),
            params=(
                Param("scale", unit, scale, f"{what} at {of} = 1"),
                Param("alpha", "", alpha, f"exponent of {of}", domain="real"),
            ),
            formula=f"scale * {of}**alpha",
            predict=_power_of(of),
            linear=("scale",),
            powers=(Power("scale", of, "alpha"),),
            published=published or {},
            identifiability=_ONE_VALUE.format(of),
            notes=f"{notes} {_OPTIMA.format(of)}".strip(),
            aliases=aliases,
        )
    )


_power_law(
    "hp:step-law-batch",
    "Batch for a number of tokens (Step Law)",
    STEP,
    "batch_tokens",
    "tokens",
    (1e-4, 1e4),
    (0.1, 1.0),
    {
        "li2025": Published(
            dict(scale=0.58, alpha=0.571),
            STEP,
            "final LR fixed at 1e-5; over the authors' 1,000 bootstrap fits alpha is .571 +- .019",
        )
    },
    "In tokens; the paper's sequences have 2,048.",
)
_power_law(
    "hp:deepseek",
    "Peak learning rate for a compute budget (DeepSeek LLM)",
    DEEPSEEK,
    "lr_max",
    "flops",
    (1e-2, 1e1),
    (-0.4, 0.1),
    {"deepseek2024": Published(dict(scale=0.3118, alpha=-0.1250), DEEPSEEK, "Step Law's table misprints .3188")},
    "flops are M * tokens, M the non-embedding FLOPs per token: 72*depth*width^2 + 12*depth*width*seq_len.",
)
_power_law(
    "hp:deepseek-batch",
    "Batch for a compute budget (DeepSeek LLM)",
    DEEPSEEK,
    "batch_tokens",
    "flops",
    (1e-3, 1e3),
    (0.1, 0.7),
    {"deepseek2024": Published(dict(scale=0.2920, alpha=0.3271), DEEPSEEK)},
    "flops as in `hp:deepseek`.",
)
register(
    Law(
        name="deepseek-tokens",
        title="Best tokens for a compute budget (DeepSeek LLM)",
        source=DEEPSEEK,
        family="size",
        target="tokens",
        inputs=("flops",),
        params=(
            Param("scale", "tokens", (1e-3, 1e3), "best tokens at flops = 1"),
            Param("alpha", "", (0.2, 0.8), "exponent of flops", domain="real"),
        ),
        formula="scale * flops**alpha",
        predict=_power_of("flops"),
        linear=("scale",),
        powers=(Power("scale", "flops", "alpha"),),
        published={
            "second-hand": Published(
                dict(scale=5.8316, alpha=0.4757),
                DEEPSEEK,
                "second-hand: read in six texts that agree, not in the paper",
            )
        },
        identifiability=_ONE_VALUE.format("flops"),
        notes=(
            "flops are M * tokens as in `hp:deepseek`, so the best model has M = flops / tokens non-embedding FLOPs "
            "per token. Better data ask for the larger model: the exponent of M is .450 on the authors' early data, "
            f".524 on their current data and .578 on OpenWebText2 (second-hand). {_OPTIMA.format('budget')}"
        ),
    )
)
_power_law(
    "hp:porian",
    "Peak learning rate for a compute-optimal model (Porian)",
    PORIAN,
    "lr_max",
    "params_nonembed_head",
    (1e-2, 1e2),
    (-0.8, 0.1),
    {"porian2024": Published(dict(scale=3.7, alpha=-0.36), PORIAN_READ)},
    "Of models trained on about 20 tokens per parameter; N counts the output head and no input embedding.",
)
_power_law(
    "hp:porian-batch",
    "Batch for a compute-optimal model (Porian)",
    PORIAN,
    "batch_tokens",
    "params_nonembed_head",
    (1e-3, 1e3),
    (0.2, 1.2),
    {
        "porian2024": Published(
            dict(scale=0.7576, alpha=0.703), PORIAN_READ, "the unit is not printed; tokens by their magnitude"
        )
    },
    "As `hp:porian`.",
)
_power_law(
    "hp:kaplan-batch",
    "Critical batch at a loss (Kaplan)",
    f"{KAPLAN}, section 5.3",
    "batch_tokens",
    "loss",
    (1e6, 1e10),
    (-9.0, -2.0),
    {
        "kaplan2020": Published(dict(scale=2e8, alpha=-1 / 0.21), f"{KAPLAN}, section 5.3", "B* = 2e8, alpha_B = .21"),
        "kaplan2020-4.8": Published(dict(scale=2.1e8, alpha=-4.8), f"{KAPLAN}, section 5.3", "the same law as 4.8"),
    },
    "The critical batch is what time and compute trade evenly at; it is no optimum of the loss and lies far above one "
    "for large models. N does not enter. Step Law's table misprints 2e18.",
    aliases=("hp:openai-batch",),
)
_power_law(
    "hp:minicpm-batch",
    "Batch that spends fewest tokens to a loss (MiniCPM)",
    f"{MINICPM}, section 3",
    "batch_tokens",
    "loss",
    (1e6, 1e12),
    (-10.0, -2.0),
    {"minicpm2024": Published(dict(scale=1.21e9, alpha=-6.24), f"{MINICPM}, section 3", "loss on C4")},
    "Its peak learning rate is .01 at any size, under muP. Step Law's table misprints 2e18.",
    aliases=("hp:minicpm",),
)
_power_law(
    "hp:moonlight",
    "Peak learning rate for a compute budget (AdamW baseline of Moonlight)",
    MOONLIGHT,
    "lr_max",
    "flops",
    (1e-4, 1e0),
    (-0.4, 0.1),
    notes="Its coefficients were read in a secondary text only, so none are given as published.",
)
_power_law(
    "hp:moonlight-batch",
    "Batch for a compute budget (AdamW baseline of Moonlight)",
    MOONLIGHT,
    "batch_tokens",
    "flops",
    (1e-4, 1e1),
    (0.1, 0.7),
    notes="Its coefficients were read in a secondary text only, so none are given as published.",
)
_power_law(
    "hp:meituan",
    "Peak learning rate at a loss (Unraveling the Mystery of Scaling Laws)",
    MEITUAN,
    "lr_max",
    "loss",
    (1e-6, 1e0),
    (-4.0, 8.0),
    notes="The authors leave the constants to be fitted.",
)
_power_law(
    "hp:meituan-batch",
    "Batch at a loss (Unraveling the Mystery of Scaling Laws)",
    MEITUAN,
    "batch_tokens",
    "loss",
    (1e6, 1e10),
    (-9.0, -2.0),
    notes="The authors leave the constants to be fitted; alpha is -1 / alpha_B of the paper.",
)


# -------------------------------------------------------------------------------------------------- laws of their own


def _kaplan(x: Mapping[str, Array], intercept: Array, fall: Array) -> Array:
    return intercept - fall * np.log(x["params_nonembed"])


def _not_above_zero(x: Mapping[str, Any], values: Mapping[str, float]) -> list[str]:
    size = np.atleast_1d(np.asarray(x["params_nonembed"], dtype=float))
    wrong = np.atleast_1d(_kaplan({"params_nonembed": size}, **values)) <= 0
    last = float(np.exp(values["intercept"] / values["fall"]))
    return [f"the law reaches a learning rate of zero at N = {last:.3g}: none holds beyond"] if wrong.any() else []


KAPLAN_LR = register(
    Law(
        name="hp:kaplan",
        title="Peak learning rate that falls with the logarithm of the size (Kaplan)",
        source=f"{KAPLAN}, appendix D.1",
        family="hyperparameter",
        target="lr_max",
        residual="plain",
        inputs=("params_nonembed",),
        params=(
            Param("intercept", "", (1e-4, 1e-1), "peak learning rate at N = 1"),
            Param("fall", "", (1e-6, 5e-3), "how far it falls for each factor e of size"),
        ),
        formula="intercept - fall * log(params_nonembed)",
        predict=_kaplan,
        cautions=_not_above_zero,
        identifiability=_ONE_VALUE.format("params_nonembed"),
        published={
            "kaplan2020": Published(
                dict(intercept=3.239e-3, fall=1.395e-4), f"{KAPLAN}, appendix D.1", "N below 1e10; WebText2, Adam"
            )
        },
        notes=f"The law is zero at N = 1.2e10. {_OPTIMA.format('size')}",
        aliases=("hp:openai",),
    )
)


def _sized(size: str) -> Callable[..., Array]:
    def law(x: Mapping[str, Array], scale: Array, alpha: Array, beta: Array) -> Array:
        return scale * x[size] ** alpha * x["tokens"] ** beta

    return law


def _exponents(size: str) -> tuple[Param, Param, Param]:
    return (
        Param("scale", "", (1e-4, 1e5), f"peak learning rate at {size} = tokens = 1"),
        Param("alpha", "", (-1.2, 0.2), f"exponent of {size}", domain="real"),
        Param("beta", "", (-0.8, 0.8), "exponent of tokens", domain="real"),
    )


STEP_LAW = register(
    Law(
        name="hp:step-law",
        title="Peak learning rate for a size and tokens, the batch at its own best (Step Law)",
        source=STEP,
        family="hyperparameter",
        target="lr_max",
        inputs=("params_nonvocab", "tokens"),
        params=_exponents("params_nonvocab"),
        formula="scale * params_nonvocab**alpha * tokens**beta",
        predict=_sized("params_nonvocab"),
        linear=("scale",),
        identifiability=_BOTH,
        published={
            "li2025": Published(
                dict(scale=1.79, alpha=-0.713, beta=0.307),
                STEP,
                "final LR fixed at 1e-5; over the authors' 1,000 bootstrap fits ln(scale) is .586 +- .624, alpha -.713 "
                "+- .030, beta .307 +- .019",
            )
        },
        notes=(
            "It rises with the tokens because the batch grows with them; at a fixed batch another rule has it fall "
            "(`hp:bjorck`). The schedule ends at a fixed learning rate of 1e-5; where it ends at a tenth of the peak, "
            f"the best peak is lower and the best batch larger. {_OPTIMA.format('size and tokens')}"
        ),
    )
)

BJORCK_LAW = register(
    Law(
        name="hp:bjorck",
        title="Peak learning rate for a size and tokens at a fixed batch (token horizon)",
        source=BJORCK,
        family="hyperparameter",
        target="lr_max",
        inputs=("params", "tokens"),
        params=_exponents("params"),
        formula="scale * params**alpha * tokens**beta",
        predict=_sized("params"),
        linear=("scale",),
        identifiability=_BOTH,
        notes=(
            "The paper's exponents are alpha = -.23 and beta = -.32 (beta varies with the size); its scale could not "
            "be read with its units, so it is a relative rule: `scaling-lab hparams --lr --from-tokens --to-tokens`. "
            f"All rows must be of one batch. {_OPTIMA.format('size and tokens')}"
        ),
        aliases=("hp:microsoft",),
    )
)


def _power(x: Mapping[str, Array], a: Array, b: Array) -> Array:
    return a * x["batch_sequences"] * x["tokens"] ** b


POWER_LAW = register(
    Law(
        name="hp:power",
        title="Peak learning rate for a batch and tokens under muP (Power scheduler)",
        source=POWER,
        family="hyperparameter",
        target="lr_max",
        inputs=("batch_sequences", "tokens"),
        params=(
            Param("a", "", (1e-2, 1e2), "learning rate for each sequence of the batch at one token"),
            Param("b", "", (-1.0, 0.1), "exponent of tokens", domain="real"),
        ),
        formula="a * batch_sequences * tokens**b",
        predict=_power,
        linear=("a",),
        identifiability="Runs of one number of tokens fit any b: give optima over a factor of ten in tokens or more.",
        published={
            "measured": Published(dict(a=4.6, b=-0.51), POWER, "over the three sizes"),
            "schedule": Published(dict(a=4.0, b=-0.51), POWER, "what the paper trains with, held at .02 at most"),
            "12M": Published(dict(a=4.34, b=-0.507), POWER, "12M parameters"),
            "36M": Published(dict(a=4.86, b=-0.513), POWER, "36M parameters"),
            "121M": Published(dict(a=4.46, b=-0.508), POWER, "121M parameters"),
        },
        notes=(
            "Sequences of 4,096 tokens; warm-up, constant, then decay over the last tenth. The learning rate is muP's "
            "base rate, for a base width of 256. As a schedule the same curve is followed over the tokens seen so far. "
            f"{_OPTIMA.format('batch and tokens')}"
        ),
    )
)


# ------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Setting:
    """How a rule sets the learning rate or the batch: by a row of a law's coefficients, or one value for all.

    `read` are coefficients that were read in a secondary text only, where the law has none published. `most` is where
    the rule's authors hold it. A `critical` batch is no optimum.
    """

    law: str = ""
    row: str = ""
    read: Mapping[str, float] = field(default_factory=dict)
    constant: float | None = None
    most: float | None = None
    kind: Literal["optimal", "critical"] = "optimal"


@dataclass(frozen=True)
class HyperRule:
    """A published rule for peak learning rate and batch, with what its numbers mean.

    `counts` is the column of N that it counts, empty where N does not enter. `within` maps quantities to the range it
    was fitted on (None: open), `fitted` says the same in words with the recipe, and `note` what a reader must know.
    A rule under muP gives a base learning rate. `regret` are mean and largest loss in excess of the best cell, of the
    cell nearest the rule's on Step Law's 17 released grids.
    """

    name: str
    title: str
    source: str
    counts: str
    lr: Setting | None
    batch: Setting | None
    fitted: str
    note: str = ""
    within: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    mup: bool = False
    secondary: bool = False
    relative: bool = False
    regret: tuple[float, float] | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plateau:
    """By what factor a learning rate or a batch moves, from least to most, within a share `loss` of the lowest loss."""

    lr: tuple[float, float]
    batch: tuple[float, float]
    loss: float
    source: str


@dataclass(frozen=True)
class Horizon:
    """lr2 = lr1 * (tokens1 / tokens2)**exponent at fixed size and batch, with the range it was fitted on."""

    exponent: float
    source: str
    params: tuple[float, float]
    tokens: tuple[float, float]
    batch_tokens: float
    fitted: str


BJORCK_HORIZON = Horizon(
    exponent=0.32,
    source=BJORCK,
    params=(50e6, 2.7e9),
    tokens=(25e9, 800e9),
    batch_tokens=0.5e6,
    fitted="GPT-3 shapes of 50M to 2.7B parameters, 25B to 800B tokens, batch 0.5M tokens throughout, cosine",
)

# Tokens of the sequences that the Power scheduler counts a batch in.
POWER_SEQUENCE = 4096

# Within .25 % of the lowest loss at a fixed size and tokens, the other of the two at its best: highest over lowest
# value, the narrowest and the widest of the 17 grids that Step Law released (arXiv:2503.04715).
PLATEAU = Plateau(lr=(1.4, 2.8), batch=(1.3, 2.9), loss=0.0025, source=STEP)

RULES: dict[str, HyperRule] = {
    rule.name: rule
    for rule in (
        HyperRule(
            "hp:step-law",
            "Step Law",
            STEP,
            "params_nonvocab",
            Setting("hp:step-law", "li2025"),
            Setting("hp:step-law-batch", "li2025"),
            "215M to 1.07B non-vocabulary parameters, 4B to 100B tokens (the released dense grids); AdamW, cosine to a "
            "fixed final LR of 1e-5, sequences of 2,048",
            "rises with tokens because its batch does; at a fixed batch hp:bjorck has it fall. Ending at a tenth of "
            "the peak instead, the best LR is lower and the best batch larger",
            {"params_nonvocab": (214663680, 1073741824), "tokens": (4e9, 1e11)},
            regret=(0.00096, 0.0031),
        ),
        HyperRule(
            "hp:deepseek",
            "DeepSeek LLM",
            DEEPSEEK,
            "",
            Setting("hp:deepseek", "deepseek2024"),
            Setting("hp:deepseek-batch", "deepseek2024"),
            "1e17 to 2e19 FLOP; AdamW, multi-step schedule (31.6 % of the peak from 80 % on, 10 % from 90 %)",
            "its C is M*tokens with M the non-embedding FLOPs per token: give --flops, or --width, --depth and "
            "--seq-len; else 6*params*tokens stands in",
            {"flops": (1e17, 2e19)},
            regret=(0.0076, 0.011),
        ),
        HyperRule(
            "hp:porian",
            "Porian et al.",
            PORIAN_READ,
            "params_nonembed_head",
            Setting("hp:porian", "porian2024"),
            Setting("hp:porian-batch", "porian2024"),
            "25M to 110M parameters (used to 900M) of 20 tokens each; AdamW, constant or cosine",
            "for compute-optimal training alone, about 20 tokens per parameter; batch in tokens by its magnitude",
            {"params_nonembed_head": (2.5e7, 1.1e8), "tokens_per_param": (20.0, 20.0)},
            regret=(0.0074, 0.020),
        ),
        HyperRule(
            "hp:kaplan",
            "Kaplan et al. (OpenAI)",
            KAPLAN,
            "params_nonembed",
            Setting("hp:kaplan", "kaplan2020"),
            Setting("hp:kaplan-batch", "kaplan2020", kind="critical"),
            "non-embedding parameters below 1e10; WebText2, Adam",
            "its batch is the critical one, an upper end for parallel training and no optimum of the loss",
            {"params_nonembed": (None, 1e10)},
            regret=(0.049, 0.089),
            aliases=("hp:openai",),
        ),
        HyperRule(
            "hp:minicpm",
            "MiniCPM",
            MINICPM,
            "",
            Setting(constant=0.01),
            Setting("hp:minicpm-batch", "minicpm2024"),
            "batch: 9M, 30M and 170M parameters, C4 loss, cosine; LR: 40M to 2.1B parameters under muP",
            "one LR for all sizes, which is muP's base rate; its batch takes fewest tokens to a loss on C4",
            {"params": (40e6, 2.1e9)},
            mup=True,
        ),
        HyperRule(
            "hp:power",
            "Power scheduler",
            POWER,
            "",
            Setting("hp:power", "measured", most=0.02),
            None,
            "12M, 36M and 121M parameters, batches of 16 to 512 sequences of 4,096 tokens; muP, warm-up, constant, "
            "then decay",
            "LR for a batch that is given, as measured (a = 4.6; the authors' schedule has a = 4 and never goes above "
            ".02, where this is held too); muP's base rate, for a base width of 256",
            {"params": (12e6, 121e6), "batch_sequences": (16, 512)},
            mup=True,
        ),
        HyperRule(
            "hp:bjorck",
            "Bjorck et al. (Microsoft)",
            BJORCK,
            "params",
            Setting("hp:bjorck"),
            None,
            BJORCK_HORIZON.fitted,
            "a relative rule: it carries your LR at one number of tokens to another at a fixed batch (--lr, "
            "--from-tokens, --to-tokens)",
            {"params": BJORCK_HORIZON.params, "tokens": BJORCK_HORIZON.tokens},
            relative=True,
            aliases=("hp:microsoft",),
        ),
        HyperRule(
            "hp:moonlight",
            "Moonlight, AdamW baseline",
            MOONLIGHT,
            "",
            Setting("hp:moonlight", read=dict(scale=0.0127, alpha=-0.057)),
            Setting("hp:moonlight-batch", read=dict(scale=0.0065, alpha=0.4138)),
            "not known",
            "read in a secondary text only: shown, and left out of the spread",
            secondary=True,
        ),
        HyperRule(
            "hp:meituan",
            "Mystery of Scaling Laws (MeiTuan)",
            MEITUAN,
            "",
            Setting("hp:meituan"),
            Setting("hp:meituan-batch"),
            "nothing: the authors leave the constants to be fitted",
            "fit hp:meituan and hp:meituan-batch to optima of your own, and give them with --fit",
        ),
    )
}


def deepseek_flops_per_token(width: float, depth: float, seq_len: float) -> float:
    """DeepSeek's M: non-embedding training FLOPs for each token, the attention over seq_len tokens counted."""
    return 72.0 * depth * width * width + 12.0 * depth * width * seq_len


def get_rule(name: str) -> HyperRule:
    """The rule of that name or alias, with or without `hp:`; raises UsageError naming the nearest."""
    known = {alias: rule for rule in RULES.values() for alias in (rule.name, *rule.aliases)}
    asked = name if name.startswith("hp:") else f"hp:{name}"
    if asked not in known:
        raise UsageError(f"no rule for learning rate and batch is named {name!r}; {nearest(asked, known)}")
    return known[asked]
