"""Laws of steps: the loss after so many of them, and what is remembered so many later."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Law, Param, Published, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any


def _kaplan_steps(x: Mapping[str, Array], N_c: Array, alpha_N: Array, S_c: Array, alpha_S: Array) -> Array:
    return (N_c / x["params_nonembed"]) ** alpha_N + (S_c / x["min_steps"]) ** alpha_S


KAPLAN_STEPS = register(
    Law(
        name="kaplan-steps",
        title="Kaplan, loss in model size and least steps",
        source="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.6; Su et al. 2024, arXiv:2403.06563",
        family="curve",
        inputs=("params_nonembed", "min_steps"),
        params=(
            Param("N_c", "params", (1e8, 1e18), "scale of the finite-model term"),
            Param("alpha_N", "", (0.01, 0.6), "exponent in model size, trained to the end"),
            Param("S_c", "steps", (1e1, 1e6), "scale of the unfinished-training term"),
            Param("alpha_S", "", (0.2, 2.0), "exponent in steps"),
        ),
        formula="(N_c / params_nonembed)**alpha_N + (S_c / min_steps)**alpha_S",
        predict=_kaplan_steps,
        identifiability=(
            "N_c and alpha_N show only over several sizes, S_c and alpha_S only over steps at which the training is "
            "unfinished; runs of one ratio of steps to size blur the two terms."
        ),
        published={
            "kaplan2020": Published(
                dict(N_c=6.5e13, alpha_N=0.077, S_c=2.1e3, alpha_S=0.76),
                "arXiv:2001.08361, Table 3",
                "all points after the warm-up; N 768 to 1.5e9 without embeddings, WebText2, vocabulary of 50257, "
                "cosine to zero. Never mix with the constants of Tables 2 and 5",
            )
        },
        notes=(
            "min_steps are the steps that training would take at an endless batch, S / (1 + B_crit(L) / B); where the "
            "critical batch size is known, --map min_steps='step / (1 + 2e8 * loss**(-1 / 0.21) / batch_tokens)' makes "
            "them. `scaling-lab trajectory` solves the law at any batch size and estimates its constants from small "
            "runs with that of the batch. There is no floor, so the law is too hopeful far outside its data, and "
            "nothing of a learning-rate schedule: points of a curve before its decay lie above it."
        ),
    )
)


def _retention(name: str, elapsed: str) -> Law:
    def predict(x: Mapping[str, Array], R_0: Array, a: Array) -> Array:
        return R_0 - a * np.log10(x[elapsed])

    return Law(
        name=name,
        title="What is left of a learnt fact (forgetting curve)",
        source="Chang et al. 2024, arXiv:2406.11813, with the code of kaistAI/factual-knowledge-acquisition",
        family="curve",
        target="retention",
        inputs=(elapsed,),
        params=(
            Param("R_0", "share", (0.0, 2.0), f"share left at one of {elapsed}", domain="real"),
            Param("a", "share/decade", (0.0, 1.0), f"share lost as {elapsed} grow tenfold", domain="real"),
        ),
        formula=f"R_0 - a * log10({elapsed})",
        predict=predict,
        residual="plain",
        over=_retention_over,
        identifiability=f"R_0 and a are one combination at a single value of {elapsed}.",
        notes=(
            "A share of the gain in log probability, 1 where nothing is lost, below zero where the fact is less likely "
            "than before it was seen. It is forgotten, R = 0, after 10**(R_0 / a), which lies far outside most probes. "
            "Points of one probe are not independent: give run_id, or take `scaling-lab retention`, which makes the "
            "table from a log of probes. The paper's slopes are of least squares: --objective l2."
        ),
    )


@functools.cache
def _retention_over(inputs: tuple[str, ...]) -> Law:
    return _retention(f"retention@{inputs[0]}", inputs[0])


RETENTION = register(_retention("retention", "steps_since"))
