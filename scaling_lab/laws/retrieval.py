"""A law of the loss of a language model that reads from a datastore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Budget, Law, Param, Prior, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any

# Parameters of the retriever that embeds the datastore once (Contriever; Shao et al. 2024, arXiv:2407.12854, App. B.4).
RETRIEVER_PARAMS = 177e6


def datastore_flops(point: Mapping[str, Array]) -> Array:
    """Compute that embedding a datastore takes: a forward pass of the retriever over datastore_tokens."""
    return 2.0 * RETRIEVER_PARAMS * point["datastore_tokens"]


def _datastore(
    x: Mapping[str, Array], E: Array, A: Array, B: Array, alpha: Array, beta: Array, kappa: Array, S_0: Array
) -> Array:
    size, data = A * np.exp(-alpha * np.log(x["params"])), B * np.exp(-beta * np.log(x["tokens"]))
    return E + size + data - kappa * np.log1p(x["datastore_tokens"] * (1.0 / S_0))


DATASTORE = register(
    Law(
        name="datastore",
        title="Chinchilla with a retrieval datastore (a form of our own)",
        source=(
            "own form: no law is published; facts and cost from Shao et al. 2024, arXiv:2407.12854, sections 3 to 5 "
            "and App. B.4"
        ),
        family="data",
        identifiability=(
            "Without runs at several datastore sizes kappa and S_0 show nothing; where every datastore is far larger "
            "than S_0, S_0 only shifts E (a run without a datastore, 0 tokens, tells them apart). Runs of one ratio of "
            "tokens to params can't tell the finite-model term from the finite-data term."
        ),
        inputs=("params", "tokens", "datastore_tokens"),
        params=(
            Param("E", "nats/token", (0.1, 5.0), "loss left at infinite model and data, without a datastore"),
            Param("A", "nats/token", (1e0, 1e5), "finite-model term at N = 1"),
            Param("B", "nats/token", (1e0, 1e6), "finite-data term at D = 1"),
            Param("alpha", "", (0.05, 1.2), "exponent of the finite-model term"),
            Param("beta", "", (0.05, 1.2), "exponent of the finite-data term"),
            Param("kappa", "nats/token", (1e-3, 0.2), "fall of the loss for each factor e of a large datastore"),
            Param("S_0", "tokens", (1e6, 1e12), "datastore size from which on it helps"),
        ),
        formula="E + A / params**alpha + B / tokens**beta - kappa * log(1 + datastore_tokens / S_0)",
        predict=_datastore,
        linear=("E", "A", "B", "kappa"),
        # Exponents as for chinchilla. LM loss fell without visible saturation up to 1.4e12 tokens, by .09 to .16 nats
        # (perplexity 4.09 to 3.50, 7.18 to 6.57) from none to all.
        priors={
            "E": Prior(0.70, 0.3, of_lowest=True),
            "alpha": Prior(0.35, 0.35),
            "beta": Prior(0.35, 0.35),
            "kappa": Prior(0.02, 1.5),
            "S_0": Prior(1e9, 3.0),
        },
        budget=Budget(
            fixed=datastore_flops,
            further=("datastore_tokens",),
            free=("datastore_tokens",),
            says="6*params*tokens + 2*177e6*datastore_tokens",
            note="a datastore is embedded once, by a retriever of 177M parameters; serving costs nothing more here",
        ),
        notes=(
            "Ours, not published: the loss has no floor in the datastore, so never extrapolate far beyond the largest "
            "one that was tried. Count raw pool tokens, before filters."
        ),
    )
)
