"""The loss over size, data, learning rate and batch at once: a floor that falls, and a bowl whose bottom moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Bowls, Budget, Law, Param, Published, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any
# Where the coefficients are those of: about the middle of the grids that the form was designed on.
N_0, D_0 = 5e8, 2e10


def _best(n: Array, d: Array, p: Mapping[str, Array]) -> tuple[Array, Array]:
    """The logarithms of the best peak learning rate and of the best batch at log sizes and tokens (n,)."""
    return np.log(p["lr_0"]) + p["lr_n"] * n + p["lr_d"] * d, np.log(p["batch_0"]) + p["batch_d"] * d


def _linex(height: Array, slope: Array, way: Array) -> Array:
    """Varian's LINEX: half of height * way**2 where the slope is small, steeper on the side of the slope's sign."""
    if np.all(slope == 0):
        return 0.5 * height * way * way  # what it comes to, held there
    turn = slope * way
    # What is one number for each set of parameters is made first: a fit spends its time on what is one for each row.
    return (height / slope**2) * (np.expm1(turn) - turn)


def _logs(x: Mapping[str, Array]) -> tuple[Array, Array, Array, Array]:
    """Logarithms (n,) of size and tokens from the middle of the grids, of the learning rate and of the batch."""
    return np.log(x["params"] / N_0), np.log(x["tokens"] / D_0), np.log(x["lr_max"]), np.log(x["batch_tokens"])


def _surface(x: Mapping[str, Array], **p: Array) -> Array:
    n, d, lr, batch = _logs(x)
    best_lr, best_batch = _best(n, d, p)
    v = batch - best_batch
    u = lr - best_lr + p["tilt"] * v
    floor = p["E"] + p["A"] * np.exp(-p["alpha"] * n) + p["B"] * np.exp(-p["beta"] * d)
    return floor + _linex(p["C_lr"], p["skew_lr"], u) + _linex(p["C_batch"], p["skew_batch"], v)


def optimum_at(x: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Any, Any]:
    """The peak learning rate and the batch in tokens of the least loss, at params and tokens (n,).

    Parameters by name may be (B, 1); the answers are (n,) or (B, n).
    """
    lr, batch = _best(np.log(x["params"] / N_0), np.log(x["tokens"] / D_0), values)
    return np.exp(lr), np.exp(batch)


_V = "(log(batch_tokens / batch_0) - batch_d * log(tokens / 2e10))"
_U = f"(log(lr_max / lr_0) - lr_n * log(params / 5e8) - lr_d * log(tokens / 2e10) + tilt * {_V})"
HP_SURFACE = register(
    Law(
        name="hp-surface",
        title="Loss over size, tokens, peak learning rate and batch at once",
        source="designed for the grids of Li et al. 2025 (Step Law), arXiv:2503.04715; no paper has it",
        family="hyperparameter",
        inputs=("params", "tokens", "lr_max", "batch_tokens"),
        params=(
            Param("E", "nats/token", (0.3, 2.5), "loss left at infinite N and D"),
            Param("A", "nats/token", (0.05, 2.0), "what N = 5e8 leaves of the loss"),
            Param("alpha", "", (0.1, 0.8), "exponent of the size"),
            Param("B", "nats/token", (0.05, 2.0), "what D = 2e10 leaves of the loss"),
            Param("beta", "", (0.1, 0.8), "exponent of the tokens"),
            Param("lr_0", "", (1e-4, 1e-2), "best peak learning rate at N = 5e8, D = 2e10"),
            Param("lr_n", "", (-1.0, 0.3), "exponent of the size in it", domain="real"),
            Param("lr_d", "", (-0.5, 0.6), "exponent of the tokens in it", domain="real"),
            Param("batch_0", "tokens", (5e4, 5e6), "best batch at D = 2e10"),
            Param("batch_d", "", (0.0, 1.0), "exponent of the tokens in it", domain="real"),
            Param("C_lr", "nats/token", (0.003, 0.3), "how steeply the loss rises in log learning rate"),
            Param("skew_lr", "", (0.1, 1.5), "above zero: too high costs more than too low", domain="real"),
            Param("tilt", "", (-1.0, 0.5), "below zero: a larger batch bears a higher rate", domain="real"),
            Param("C_batch", "nats/token", (0.003, 0.3), "how steeply it rises in log batch, at the best rate"),
            Param("skew_batch", "", (0.1, 1.5), "above zero: too large costs more than too small", domain="real"),
        ),
        formula=(
            "E + A * (params / 5e8)**-alpha + B * (tokens / 2e10)**-beta"
            f" + C_lr * (exp(skew_lr * {_U}) - 1 - skew_lr * {_U}) / skew_lr**2"
            f" + C_batch * (exp(skew_batch * {_V}) - 1 - skew_batch * {_V}) / skew_batch**2"
        ),
        predict=_surface,
        linear=("E", "A", "B", "C_lr", "C_batch"),
        form=Bowls(
            (
                *("E", "A", "alpha", "B", "beta"),
                *("lr_0", "lr_n", "lr_d", "batch_0", "batch_d"),
                *("C_lr", "skew_lr", "tilt", "C_batch", "skew_batch"),
            ),
            _logs,
        ),
        # Runs a few tenths of a percent off tell where the bowls' bottom is, and noise between seeds is of that size.
        delta=3e-3,
        identifiability=(
            "Each (params, tokens) needs a grid of rates and batches round its optimum: with one batch for each number "
            "of tokens what a batch costs is one with what tokens bring, and with one rate nothing of it is seen. "
            "Sizes and tokens must vary apart, or lr_n and lr_d (and alpha and beta) trade off; two sizes leave E and "
            "alpha to each other. The skews show only in cells far from the optimum."
        ),
        budget=Budget(further=("lr_max", "batch_tokens"), free=("lr_max", "batch_tokens")),
        published={
            "step-law-grids": Published(
                dict(
                    E=float(np.exp(0.515)),
                    A=float(np.exp(-1.108)),
                    alpha=0.404,
                    B=float(np.exp(-1.180)),
                    beta=0.302,
                    lr_0=float(np.exp(-6.498)),
                    lr_n=-0.418,
                    lr_d=0.360,
                    batch_0=float(np.exp(13.028)),
                    batch_d=0.645,
                    C_lr=float(np.exp(-2.76) * 0.738**2),
                    skew_lr=0.738,
                    tilt=-0.392,
                    C_batch=float(np.exp(-1.794) * 0.427**2),
                    skew_batch=0.427,
                ),
                "a fit to the released dense grids of arXiv:2503.04715; no paper",
                "1,269 runs with N <= 430M, Huber 0.003 on log loss, runs more than 25 % above their grid's best left "
                "out",
            )
        },
        notes=(
            "u and v, the ways from the best rate and batch, are natural logarithms; C/2 is the rise at u = 1 of a "
            "bowl without skew. fit and backtest leave diverged runs out, counted, with --drop-above 25%. The count of "
            "params is the table's; the published coefficients are of non-embedding ones, a cosine to a fixed last "
            "rate of 1e-5 and AdamW."
        ),
    )
)
