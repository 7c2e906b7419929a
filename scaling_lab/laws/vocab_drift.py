"""The law of vocabulary with a data term that drifts with model and vocabulary: the choice of laws draws on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Law, Param, Prior, register
from .vocabulary import VOCAB

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any


def _vocab_drift(x: dict[str, Array], E: Array, A1: Array, A2: Array, B: Array, **p: Array) -> Array:
    n = np.log(x["params_nonvocab"] / p["N_0"])
    v = np.log(x["params_vocab"] / p["V_0"])
    d = np.log(x["tokens"] / p["D_0"])
    data = B * np.exp(-p["kappa"] * n - p["nu"] * v - (p["beta"] + p["mu"] * n) * d)
    return A1 * np.exp(-p["alpha"] * n) + A2 * np.exp(-p["alpha2"] * v) + data - E


VOCAB_DRIFT = register(
    Law(
        name="vocab-drift",
        title="Scaling law with vocabulary whose data term drifts with model and vocabulary",
        source="This project; Tao et al. 2024, arXiv:2407.13623, approach 3, is beta = alpha, kappa = mu = nu = 0",
        family="vocabulary",
        target=VOCAB.target,
        residual=VOCAB.residual,
        inputs=VOCAB.inputs,
        params=(
            VOCAB.param("E"),
            Param("A1", "nats/token", (1e-2, 5.0), "finite-model term at N_0"),
            Param("A2", "nats/token", (1e-2, 5.0), "finite-vocabulary term at V_0"),
            Param("B", "nats/token", (1e-2, 5.0), "finite-data term at N_0, V_0 and D_0"),
            VOCAB.param("alpha"),
            VOCAB.param("alpha2"),
            Param("beta", "", (0.12, 0.95), "exponent of the finite-data term at N_0", "between", limits=(0.1, 1.0)),
            Param("kappa", "", (-0.2, 0.2), "exponent in model size of the finite-data term", domain="real"),
            Param("mu", "", (-0.1, 0.1), "growth of beta with the logarithm of model size", domain="real"),
            Param("nu", "", (-0.2, 0.2), "exponent in vocabulary of the finite-data term", domain="real"),
            Param("N_0", "params", (1e6, 1e11), "model size at the centre of the table", reference="params_nonvocab"),
            Param("V_0", "params", (1e6, 1e10), "vocabulary at the centre of the table", reference="params_vocab"),
            Param("D_0", "tokens", (1e7, 1e12), "tokens at the centre of the table", reference="tokens"),
        ),
        formula="A1 * (params_nonvocab / N_0)**-alpha + A2 * (params_vocab / V_0)**-alpha2"
        " + B * (params_nonvocab / N_0)**-kappa * (params_vocab / V_0)**-nu"
        " * (tokens / D_0)**-(beta + mu * log(params_nonvocab / N_0)) - E",
        predict=_vocab_drift,
        linear=("E", "A1", "A2", "B"),
        # The bends as those of `drift` are held, that of the vocabulary like that of the model size.
        priors={
            **VOCAB.priors,
            "beta": VOCAB.priors["alpha"],
            "kappa": Prior(0.0, 0.1),
            "mu": Prior(0.0, 0.05),
            "nu": Prior(0.0, 0.1),
        },
        rules=VOCAB.rules,
        identifiability=VOCAB.identifiability,
        notes=(
            "Four parameters more than `vocab`: small tables can't tell them without priors, which `fit auto` has. On "
            "the paper's table fits of `vocab` miss by a curve in size and data, which this takes up. N_0, V_0 and D_0 "
            "are geometric means of the table's, held."
        ),
    )
)
