"""How many tokens a batch may have before more of them buy little: critical and best batch sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Law, Param, Power, Published, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any

# Zhang et al. count batches in sequences of so many tokens: arXiv:2410.21676, section 2.
ZHANG_SEQUENCE = 512.0
# Their size in millions, D = 20 N: hlzhang109/critical-batch-size, plots/chinchilla.ipynb.
_ZHANG, _ZHANG_POWER, _TOKENS_PER_PARAM = 93.1968, 0.46828, 20.0
_ONE_PLACE = "two parameters of one power law: any single value of the input leaves them one combination"
_CRITICAL = (
    "A critical batch size bounds how far training can be spread over machines at little cost in tokens. It is not the "
    "batch of the lowest loss at a given number of tokens."
)


def _bcrit_loss(x: Mapping[str, Array], B_star: Array, alpha_B: Array) -> Array:
    return B_star * x["loss"] ** (-1.0 / alpha_B)


BCRIT_LOSS = register(
    Law(
        name="bcrit-loss",
        title="Critical batch size by the loss reached",
        source="Kaplan et al. 2020, arXiv:2001.08361, eq. 5.3; McCandlish et al. 2018, arXiv:1812.06162",
        family="hyperparameter",
        target="critical_batch_tokens",
        inputs=("loss",),
        params=(
            Param("B_star", "tokens", (1e5, 1e12), "critical batch at a loss of 1 nat per token"),
            Param("alpha_B", "", (0.03, 1.5), "inverse of the power of the loss"),
        ),
        formula="B_star * loss**(-1 / alpha_B)",
        predict=_bcrit_loss,
        linear=("B_star",),
        identifiability=f"B_star and alpha_B are {_ONE_PLACE} (losses of one level tell no exponent).",
        published={
            "kaplan2020": Published(
                dict(B_star=2e8, alpha_B=0.21),
                "arXiv:2001.08361, eq. 5.3",
                "WebText2, 1024 tokens of context; Table 5 prints B_star = 2.1e8. Goes with Table 3 (kaplan-steps)",
            )
        },
        notes=f"Doubles for each fall of the loss by 13 %, whatever the size of the model. {_CRITICAL}",
    )
)


def _minicpm_batch(x: Mapping[str, Array], b: Array, k: Array) -> Array:
    return b * x["loss"] ** -k


MINICPM_BATCH = register(
    Law(
        name="minicpm-batch",
        title="Batch that reaches a loss with the fewest tokens",
        source="Hu et al. 2024 (MiniCPM), arXiv:2404.06395, section 3",
        family="hyperparameter",
        target="batch_tokens",
        inputs=("loss",),
        params=(
            Param("b", "tokens", (1e5, 1e13), "best batch at a loss of 1 nat per token"),
            Param("k", "", (0.5, 20.0), "power of the loss"),
        ),
        formula="b * loss**-k",
        predict=_minicpm_batch,
        powers=(Power("b", "loss", "k", -1),),
        linear=("b",),
        identifiability=f"b and k are {_ONE_PLACE} (losses of one level tell no power).",
        published={
            "minicpm": Published(
                dict(b=1.21e9, k=6.24),
                "arXiv:2404.06395, section 3.3",
                "sizes of 9M, 30M and 170M, six batches each, C4, learning rate 0.01, cosine",
            )
        },
        notes=(
            "It makes tokens few, where a critical batch size (bcrit-loss) trades tokens against steps: the two are "
            "no estimates of one number. From parabolas of log tokens to a loss against log batch: `scaling-lab cbs "
            "--method optimum` draws them."
        ),
    )
)


def _cbs(size: str, name: str, title: str, published: Published) -> Law:
    def predict(x: Mapping[str, Array], c: Array, kappa: Array) -> Array:
        return c * (x[size] / 1e6) ** kappa

    return Law(
        name=name,
        title=title,
        source="Zhang et al. 2024, arXiv:2410.21676",
        family="hyperparameter",
        target="critical_batch_tokens",
        inputs=(size,),
        params=(
            Param("c", "tokens", (1e2, 1e7), f"critical batch at a million {size}"),
            Param("kappa", "", (0.02, 1.5), f"power of {size}"),
        ),
        formula=f"c * ({size} / 1e6)**kappa",
        predict=predict,
        powers=(Power("c", size, "kappa", unit=1e6),),
        linear=("c",),
        identifiability=f"c and kappa are {_ONE_PLACE} (runs of one value of {size} tell no power).",
        published={"zhang2024": published},
        notes=(
            f"In tokens; the paper counts sequences of {ZHANG_SEQUENCE:g} tokens, and N and D in millions. Its "
            "critical batch is where steps exceed linear scaling from 256 sequences by 20 %: a fifth of the batch that "
            f"takes twice the least steps (the kind of bcrit-loss), plus 307. {_CRITICAL}"
        ),
    )


CBS_PARAMS = register(
    _cbs(
        "params",
        "cbs-params",
        "Critical batch size by model size at 20 tokens for each parameter",
        Published(
            dict(c=_ZHANG * ZHANG_SEQUENCE, kappa=_ZHANG_POWER),
            "hlzhang109/critical-batch-size, plots/chinchilla.ipynb",
            "93.20 * (N in millions)**0.47 sequences of 512; sizes 85M to 1.2B on C4, constant rate with averaging, "
            "each trained to 20 tokens for each parameter. At one number of tokens it hardly grows with the size",
        ),
    )
)
CBS_TOKENS = register(
    _cbs(
        "tokens",
        "cbs-tokens",
        "Critical batch size by training tokens",
        Published(
            dict(c=_ZHANG * ZHANG_SEQUENCE * _TOKENS_PER_PARAM**-_ZHANG_POWER, kappa=_ZHANG_POWER),
            "arXiv:2410.21676, abstract and section 4, from the same runs at D = 20 N",
            "22.91 * (D in millions)**0.47 sequences of 512",
        ),
    )
)
