"""Laws of downstream tasks: from loss to error, from pre-training tokens to BLEU, from model size to a pass rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .base import Law, Param, Power, Prior, Published, register

Array = Any

GADRE = "Gadre et al. 2024, arXiv:2403.08540"
LADDER = "Bhagia et al. 2024, arXiv:2412.04403"
ISIK = "Isik et al. 2024, arXiv:2402.04177"

# A drop of BLEU between two amounts of pre-training that a law which rises can't have: twice the largest error that the
# paper's fits have where the law holds (.061 BLEU), so that two points may lie out of order by chance.
DIP = 0.122


def _outside(law: Callable[..., Any], what: str) -> Callable[[Mapping[str, Any], Mapping[str, float]], Sequence[str]]:
    """What predictions of a share of a law must be told with: values below 0 or above 1."""

    def told(x: Mapping[str, Any], values: Mapping[str, float]) -> Sequence[str]:
        found = np.asarray(law({name: np.asarray(v, dtype=float) for name, v in x.items()}, **values))
        wrong = (found < 0) | (found > 1)
        return (
            [f"{what} of {found[wrong].flat[0]:.3g} is predicted, where it lies between 0 and 1"] if wrong.any() else []
        )

    return told


# ------------------------------------------------------------------------------------------------- loss to a share


def _err_loss(x: dict[str, Array], eps: Array, k: Array, gamma: Array) -> Array:
    return eps - k * np.exp(-gamma * x["loss"])


ERR_LOSS = register(
    Law(
        name="err-loss",
        title="Average task error that falls with the exponential of the loss",
        source=f"{GADRE}, eq. 5",
        family="task",
        target="error",
        residual="plain",
        identifiability=(
            "Models of nearly one loss fit any eps and gamma: give losses at least a nat apart, the lowest of them of "
            "a model that is well above chance, and all of one evaluation set."
        ),
        inputs=("loss",),
        params=(
            Param("eps", "share", (0.3, 1.2), "error of a model of very high loss: that of guessing"),
            Param("k", "share", (1e-1, 1e2), "how far the error would fall at loss 0"),
            Param("gamma", "token/nat", (0.05, 4.0), "how fast the error falls with the loss"),
        ),
        formula="eps - k * exp(-gamma * loss)",
        predict=_err_loss,
        linear=("eps", "k"),
        cautions=_outside(_err_loss, "an error"),
        published={
            "c4": Published(
                dict(eps=0.850, k=2.08, gamma=0.756), f"{GADRE}, C4 models", "loss on C4's validation set; 17 tasks"
            ),
            "redpajama": Published(
                dict(eps=0.857, k=2.21, gamma=0.715),
                f"{GADRE}, RedPajama models",
                "loss on C4's validation set; 17 tasks",
            ),
            "refinedweb": Published(
                dict(eps=0.865, k=2.21, gamma=0.707),
                f"{GADRE}, RefinedWeb models",
                "loss on C4's validation set; 17 tasks",
            ),
        },
        notes=(
            "Of the mean over a suite of tasks: single tasks are predicted far worse. The paper adds one larger run "
            "(1.4B at 20 tokens per parameter) to the small ones of the loss, without which its error about triples. "
            "Its objective is least squares of the error (--objective l2)."
        ),
    )
)


def _sigmoid(x: dict[str, Array], a: Array, k: Array, L_0: Array, b: Array) -> Array:
    # a / (1 + exp(-z)), which overflows for no z.
    return b + 0.5 * a * (1.0 + np.tanh(0.5 * k * (x["bpb"] - L_0)))


LADDER_LAW = register(
    Law(
        name="ladder",
        title="Task accuracy as a sigmoid of bits per byte of the right answer (step 2 of a model ladder)",
        source=f"{LADDER}, step 2",
        family="task",
        target="accuracy",
        residual="plain",
        identifiability=(
            "Models on one side of the middle L_0 tell neither the far end of the sigmoid nor its height: give "
            "checkpoints of all stages (`scaling-lab checkpoints` smooths them as the paper does), and hold the far "
            "end at the best possible score, --fix b=1, where the paper adds a point of bpb 0 and that accuracy."
        ),
        inputs=("bpb",),
        params=(
            Param(
                "a", "share", (-0.95, -0.2), "minus how far the accuracy rises", domain="between", limits=(-1.0, 0.0)
            ),
            Param("k", "byte/bit", (0.5, 30.0), "steepness"),
            Param("L_0", "bits/byte", (0.3, 3.0), "bits per byte at half of the rise"),
            Param("b", "share", (0.5, 0.99), "accuracy at bpb far below L_0", domain="between", limits=(0.0, 1.0)),
        ),
        formula="a / (1 + exp(-k * (bpb - L_0))) + b",
        predict=_sigmoid,
        cautions=_outside(_sigmoid, "an accuracy"),
        notes=(
            "Step 1 is `ladder-bpb`; `predict STEP1.json --then STEP2.json` goes through both. The bounds of a and b "
            "are the paper's, and so is its objective, least squares of the accuracy (--objective l2)."
        ),
    )
)

_E = Param("E", "bits/byte", (1e-2, 2.0), "bits per byte left at infinite model and data")
_ALPHA = Param("alpha", "", (0.02, 1.2), "exponent of the finite-model term")
_BETA = Param("beta", "", (0.02, 1.2), "exponent of the finite-data term")
# The same knowledge as of a loss: bits per byte of an answer are a loss in another unit.
_FLOOR_PRIOR = Prior(0.70, 0.3, of_lowest=True)
_EXPONENT_PRIOR = Prior(0.35, 0.35)
_ONE_RATIO = (
    "Runs that all have one ratio of tokens to params can't tell the finite-model term from the finite-data term: vary "
    "the ratio at fixed compute, or the tokens at fixed size."
)


def _ladder_bpb(x: dict[str, Array], E: Array, A: Array, B: Array, alpha: Array, beta: Array) -> Array:
    return E + A * x["params"] ** -alpha + B * x["tokens"] ** -beta


def _ladder_bpb_tied(x: dict[str, Array], E: Array, A: Array, B: Array, alpha: Array) -> Array:
    return _ladder_bpb(x, E, A, B, alpha, alpha)


def _in_model_and_data(
    name: str, title: str, source: str, predict: Callable[..., Any], model: Param, data: Param, notes: str
) -> Law:
    """Step 1 in params and tokens, whose exponents `model` and `data` may be one and the same."""
    exponents = tuple(dict.fromkeys((model, data)))
    return register(
        Law(
            name=name,
            title=title,
            source=source,
            family="task",
            target="bpb",
            identifiability=_ONE_RATIO,
            inputs=("params", "tokens"),
            params=(
                _E,
                Param("A", "bits/byte", (1e-1, 1e5), "finite-model term at N = 1"),
                Param("B", "bits/byte", (1e-1, 1e6), "finite-data term at D = 1"),
                *exponents,
            ),
            formula=f"E + A / params**{model.name} + B / tokens**{data.name}",
            predict=predict,
            linear=("E", "A", "B"),
            powers=(Power("E"), Power("A", "params", model.name, -1), Power("B", "tokens", data.name, -1)),
            priors={"E": _FLOOR_PRIOR} | {exponent.name: _EXPONENT_PRIOR for exponent in exponents},
            notes=notes,
        )
    )


LADDER_BPB = _in_model_and_data(
    "ladder-bpb",
    "Bits per byte of the right answer in model and data (step 1 of a model ladder)",
    f"{LADDER}, step 1",
    _ladder_bpb,
    _ALPHA,
    _BETA,
    "The form of `chinchilla` for another target. N counts the output head and no input embedding: "
    "--params-column params_nonembed_head. The paper takes the mean of a run's last five evaluations as its final one "
    "(decide.tasks.final_means).",
)
_BOTH = Param("alpha", "", (0.02, 1.2), "exponent of both terms")
LADDER_BPB_TIED = _in_model_and_data(
    "ladder-bpb-tied",
    "Bits per byte of the right answer in model and data, one exponent for both",
    f"{LADDER}, step 1, alpha = beta",
    _ladder_bpb_tied,
    _BOTH,
    _BOTH,
    "Steadier than `ladder-bpb` on ladders of a few sizes.",
)


def _ladder_flops(x: dict[str, Array], E: Array, A: Array, alpha: Array) -> Array:
    return E + A * x["flops"] ** -alpha


LADDER_FLOPS = register(
    Law(
        name="ladder-flops",
        title="Bits per byte of the right answer in compute (step 1 of a model ladder, FLOPs only)",
        source=f"{LADDER}, FLOPs-only variant; form as in repository allenai/OLMo-ladder, src/fitting/step1_flops.py",
        family="task",
        target="bpb",
        identifiability="Two budgets fit a floor and an exponent of any value: give four or more, over a wide range.",
        inputs=("flops",),
        params=(_E, Param("A", "bits/byte", (1e0, 1e9), "finite-compute term at C = 1"), _ALPHA),
        formula="E + A / flops**alpha",
        predict=_ladder_flops,
        linear=("E", "A"),
        powers=(Power("E"), Power("A", "flops", "alpha", -1)),
        priors={"E": _FLOOR_PRIOR, "alpha": Prior(0.18, 0.5)},
        notes="Of runs whose params and tokens keep one ratio; a run that is trained longer lies off the law.",
    )
)


def _acc_flops(x: dict[str, Array], at: Array, slope: Array, C_0: Array) -> Array:
    return at + slope * np.log(x["flops"] / C_0)


ACC_FLOPS = register(
    Law(
        name="acc-flops",
        title="Task accuracy as a line in the logarithm of compute",
        source="This project, as what a two-step prediction must beat; no paper's law",
        family="task",
        target="accuracy",
        residual="plain",
        identifiability="Budgets all alike tell no slope: give runs over a factor of ten or more.",
        inputs=("flops",),
        params=(
            Param("at", "share", (0.05, 0.95), "accuracy at C_0"),
            Param("slope", "share", (-0.1, 0.2), "rise of the accuracy for each factor e of compute", domain="real"),
            Param("C_0", "FLOP", (1e17, 1e24), "compute at the centre of the table", reference="flops"),
        ),
        formula="at + slope * log(flops / C_0)",
        predict=_acc_flops,
        linear=("at",),
        cautions=_outside(_acc_flops, "an accuracy"),
        notes=(
            "For steps of about a factor ten, where it often beats the two steps of a ladder; a line knows neither "
            "chance nor 1. Fit it to the largest runs alone: --where 'flops > ...'."
        ),
    )
)


# ------------------------------------------------------------------------------------------------------ fine-tuning


def _bleu_log(x: dict[str, Array], A: Array, alpha: Array, beta: Array) -> Array:
    return (np.log(A) + alpha * np.log(x["pretrain_tokens"])) ** beta


def _misaligned(x: Mapping[str, Any], y: Any) -> str:
    """Why BLEU y (n,) at amounts of pre-training can't follow a law that rises with them; empty where it can."""
    tokens = np.unique(x["pretrain_tokens"])
    means = np.array([np.mean(y[x["pretrain_tokens"] == amount]) for amount in tokens])
    fall = np.maximum.accumulate(means) - means
    if not len(means) or fall.max() <= DIP:
        return ""
    worst = int(np.argmax(fall))
    top = int(np.argmax(means[: worst + 1]))
    return (
        f"bleu falls from {means[top]:.4g} at pretrain_tokens = {tokens[top]:.3g} to {means[worst]:.4g} at "
        f"{tokens[worst]:.3g}: the pre-training data are not aligned with the task, and the log law, which only rises, "
        "does not hold; cross-entropy may improve all the while, so it is no proxy"
    )


BLEU_LOG = register(
    Law(
        name="bleu-log",
        title="BLEU after fine-tuning as a power of the logarithm of pre-training tokens",
        source=f"{ISIK}, eq. 1",
        family="task",
        target="bleu",
        identifiability=(
            "Over a small range of pre-training the three parameters make one line: give amounts over a factor of a "
            "hundred. A law for each fine-tuning set and language pair."
        ),
        inputs=("pretrain_tokens",),
        params=(
            Param("A", "1/token^alpha", (1e-8, 1e8), "scale of the tokens; A * tokens**alpha must be above 1"),
            Param("alpha", "", (0.02, 2.0), "exponent of the tokens"),
            Param("beta", "", (0.2, 4.0), "power of the logarithm"),
        ),
        formula="log(A * pretrain_tokens**alpha)**beta",
        predict=_bleu_log,
        misfit=_misaligned,
        notes=(
            "Refused where BLEU falls as pre-training grows: such data are misaligned with the task (`decide.tasks."
            "alignment_score`). The paper takes Huber with delta 0.1 (--delta 0.1). Tokens seen without repetition."
        ),
    )
)


def _xent_power(x: dict[str, Array], E: Array, A: Array, alpha: Array) -> Array:
    return E + A * x["pretrain_tokens"] ** -alpha


XENT_POWER = register(
    Law(
        name="xent-power",
        title="Cross-entropy after fine-tuning as a power of pre-training tokens",
        source=f"{ISIK}, eq. 2",
        family="task",
        identifiability="Two amounts of pre-training fit a floor and an exponent of any value: give four or more.",
        inputs=("pretrain_tokens",),
        params=(
            Param("E", "nats/token", (0.05, 5.0), "loss left after any amount of pre-training"),
            Param("A", "nats/token", (1e-1, 1e8), "reducible loss at one token"),
            Param("alpha", "", (0.02, 1.2), "exponent of the tokens"),
        ),
        formula="E + A / pretrain_tokens**alpha",
        predict=_xent_power,
        linear=("E", "A"),
        powers=(Power("E"), Power("A", "pretrain_tokens", "alpha", -1)),
        priors={"E": _FLOOR_PRIOR, "alpha": Prior(0.25, 0.6)},
        notes="It may fall smoothly where BLEU does not rise: no proxy for the score of the task.",
    )
)


# --------------------------------------------------------------------------------------- pass rates, other losses


def _task_law(x: dict[str, Array], c: Array, alpha: Array) -> Array:
    return np.exp(-c * x["params"] ** -alpha)


TASK_LAW = register(
    Law(
        name="task-law",
        title="Chance that one sampled answer is right, in model size",
        source="Hu et al. 2023 (PassUntil), arXiv:2310.03262",
        family="task",
        target="pass_rate",
        identifiability="Two sizes near each other tell no exponent: give four or more, over a factor of ten.",
        inputs=("params",),
        params=(
            Param("c", "", (1e0, 1e7), "minus the log pass rate at N = 1: grows with the answer's length"),
            Param("alpha", "", (0.02, 1.2), "exponent of the loss per token in model size"),
        ),
        formula="exp(-c * params**-alpha)",
        predict=_task_law,
        notes=(
            "log(-log pass_rate) is a line in log params. Only where a guess is never right (no multiple choice). Pass "
            "rates are (r - 1)/(K - 1) for r >= 2 successes in K draws (decide.tasks.pass_rate); a model that had none "
            "is censored, not missing: `scaling-lab emergence` uses the counts, this fit can't. Fit each item's law "
            "and average the predictions, where the items differ much."
        ),
    )
)


def _loss_to_loss(x: dict[str, Array], E: Array, K: Array, E_0: Array, kappa: Array) -> Array:
    return E + K * (x["source_loss"] - E_0) ** kappa


LOSS_TO_LOSS = register(
    Law(
        name="loss-to-loss",
        title="Loss on one corpus as a shifted power of the loss on another",
        source="Brandfonbrener et al. 2024, arXiv:2411.12925 (shifted power law; no coefficients are taken from it)",
        family="task",
        identifiability=(
            "Over a small range of source losses the power is a line, and K, E_0 and kappa can't be told apart: give "
            "runs down to losses near the floor, or hold E_0 at the floor of the source's own law with --fix."
        ),
        inputs=("source_loss",),
        params=(
            Param("E", "nats/token", (0.05, 5.0), "loss on the target corpus where the source's is at its floor"),
            Param("K", "", (1e-2, 1e2), "scale between the reducible losses"),
            Param("E_0", "nats/token", (0.05, 3.0), "floor of the loss on the source corpus"),
            Param("kappa", "", (0.2, 4.0), "power between the reducible losses"),
        ),
        formula="E + K * (source_loss - E_0)**kappa",
        predict=_loss_to_loss,
        linear=("E", "K"),
        notes=(
            "The two losses are of one model on two corpora, or of two models of one compute. A point below E_0 has no "
            "value. `predict SOURCE.json --then THIS.json --feeds source_loss` goes on from a law of the source loss."
        ),
    )
)
