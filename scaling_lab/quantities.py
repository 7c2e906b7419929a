"""Every column that a table may have: its name, unit, meaning and other names; and numbers as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from .errors import BadInput

Domain = Literal["positive", "nonnegative", "share", "part", "real", "text"]


@dataclass(frozen=True)
class Quantity:
    """A column: canonical name, unit, meaning, the names it is also known by, and which values are possible."""

    name: str
    unit: str
    meaning: str
    aliases: tuple[str, ...] = ()
    domain: Domain = "positive"
    counts: str = ""  # for parameter counts: what is counted


def _table(*rows: Quantity) -> dict[str, Quantity]:
    return {row.name: row for row in rows}


QUANTITIES: dict[str, Quantity] = _table(
    Quantity("run_id", "", "one training run; rows that share it are not independent", ("run", "run_name"), "text"),
    Quantity(
        "params",
        "count",
        "all parameters N",
        ("params_total", "N", "n_params", "num_params", "parameter_count", "total_params", "parameters", "model_size"),
        counts="total",
    ),
    Quantity(
        "params_nonembed",
        "count",
        "parameters without embeddings and output head",
        ("params_non_embedding", "n_params_non_embedding", "N_no_emb", "params_body"),
        counts="non-embedding",
    ),
    Quantity(
        "params_nonembed_head",
        "count",
        "parameters without embeddings, with the output head",
        ("params_nonembed_plus_head", "params_nonembed_with_head"),
        counts="non-embedding plus head",
    ),
    Quantity("params_nonvocab", "count", "parameters outside the vocabulary matrices", counts="non-vocabulary"),
    Quantity("params_vocab", "count", "vocabulary parameters (embedding and head)", counts="vocabulary"),
    Quantity("params_active", "count", "parameters active per token", ("params_active_precise",), counts="active"),
    Quantity("params_dense", "count", "parameters of the dense model behind a sparse one", counts="dense"),
    Quantity("params_average", "count", "parameters averaged over training", counts="average"),
    Quantity(
        "tokens",
        "count",
        "training tokens seen D",
        (
            "D",
            "train_tokens",
            "training_tokens",
            "n_tokens",
            "num_tokens",
            "total_tokens",
            "tokens_seen",
            "n_tokens_seen",
            "num_input_tokens_seen",
            "throughput/total_tokens",
            "throughput/total tokens",
            "train/tokens",
            "Trained Tokens",
        ),
    ),
    Quantity("unique_tokens", "count", "distinct training tokens U", ("U",)),
    Quantity("characters", "count", "training characters seen", ("chars",)),
    Quantity("epochs", "passes", "passes over the unique tokens", ("epoch",), "nonnegative"),
    Quantity(
        "flops",
        "FLOP",
        "training compute C",
        ("C", "FLOPs", "FLOP", "compute", "total_flos", "total_training_flops", "training_flops", "Training FLOP"),
    ),
    # A validation loss comes first: where a log has both, it is the one that a law is about.
    Quantity(
        "loss",
        "nats/token",
        "validation loss: final in a runs table, current in a curves table",
        (
            "val_loss",
            "valid_loss",
            "validation_loss",
            "eval_loss",
            "final_loss",
            "val/loss",
            "eval/loss",
            "validation_metrics/loss",
            "L",
            "train_loss",
            "train/loss",
            "lm loss",
            "lm_loss",
            "train/CE loss",
            "train/CrossEntropyLoss",
            "loss_metrics/global_avg_loss",
        ),
    ),
    Quantity(
        "step",
        "steps",
        "optimizer steps taken",
        ("_step", "global_step", "iteration", "iter", "trainer/global_step", "Step"),
        "nonnegative",
    ),
    Quantity(
        "lr",
        "",
        "learning rate at the step",
        (
            "learning_rate",
            "train/lr",
            "train/learning_rate",
            "optim/learning_rate",
            "optim/LR (group 0)",
            "optim/learning_rate_group0",
            "learning-rate",
            "lr-AdamW",
        ),
        "nonnegative",
    ),
    Quantity("min_steps", "steps", "steps that training would have taken at an endless batch S_min", ("S_min",)),
    Quantity("steps_since", "steps", "steps since something was learnt best"),
    Quantity("lr_max", "", "peak learning rate", ("peak_lr", "max_lr", "learning_rate_peak")),
    Quantity("warmup_steps", "steps", "steps of learning-rate warm-up", (), "nonnegative"),
    Quantity("batch_tokens", "tokens", "tokens in one optimizer step", ("batch_size_in_tokens", "tokens_per_step")),
    Quantity("batch_sequences", "sequences", "sequences in one optimizer step"),
    Quantity("critical_batch_tokens", "tokens", "critical batch size", ("B_crit", "bcrit")),
    Quantity("seq_len", "tokens", "tokens in one sequence", ("context_length", "block_size", "seq_length")),
    Quantity("schedule", "", "name of the learning-rate schedule", ("schedule_name",), "text"),
    Quantity("seed", "", "random seed of the run", (), "real"),
    Quantity("vocab_size", "count", "vocabulary size V", ("V", "n_vocab")),
    Quantity("width", "", "model width", ("d_model", "hidden_size", "model_dim")),
    Quantity("depth", "layers", "transformer layers", ("n_layer", "n_layers", "num_hidden_layers")),
    Quantity("heads", "", "attention heads", ("n_head", "n_heads")),
    Quantity("experts", "count", "experts of a mixture; 1 is a dense model", ("n_experts", "num_experts")),
    Quantity("sparsity", "share", "share of weights removed, or of experts not used for a token", (), "share"),
    Quantity("granularity", "", "how many times finer the experts are than a dense layer's width"),
    Quantity("streams", "count", "parallel streams of one model", ("n_streams",)),
    Quantity("tokens_per_param", "tokens/param", "training tokens for each parameter M", ("token_multiplier", "M")),
    Quantity("examples", "count", "examples in the training set", ("train_examples", "n_examples")),
    Quantity("samples", "count", "training samples seen, repeated ones each time", ("samples_seen",)),
    Quantity("unique_samples", "count", "distinct training samples: the size of a pool", ("pool_samples",)),
    Quantity("ratio", "share", "share of the mixture that is the corpus whose loss is predicted", (), "share"),
    Quantity("learnability", "", "how easily a domain is learnt: K of the cross-domain D-CPT law", ()),
    Quantity("datastore_tokens", "count", "tokens that a retrieval datastore holds", (), "nonnegative"),
    Quantity("pretrain_tokens", "count", "tokens of pre-training behind a fine-tuned model", ()),
    Quantity("growth_tokens", "count", "tokens before a small model is stacked into the large one", ()),
    Quantity(
        "loss_unigram_norm",
        "nats/token",
        "loss minus that of a unigram model on the same tokens: comparable across vocabularies, below zero",
        ("unigram_normalised_loss", "unigram_normalized_loss"),
        "real",
    ),
    Quantity("source_loss", "nats/token", "loss on another corpus, or of the models of another one", ()),
    Quantity("bpb", "bits/byte", "bits per byte of a text, or of the right answer", ("bits_per_byte",)),
    Quantity("accuracy", "share", "share of a task's items that are right", ("acc",), "share"),
    Quantity(
        "error", "share", "share of a task's items that are wrong, or the mean of several tasks", ("err",), "share"
    ),
    Quantity("pass_rate", "share", "chance that one sampled answer is right", ("pass_until",), "share"),
    Quantity("retention", "share", "share of a gain in log probability that is left; 1 is all of it", (), "real"),
    Quantity("logprob", "nats", "log probability of a probe's target", ("log_prob", "log_probability"), "real"),
    Quantity("injection", "", "1 where a probe's text is trained on at the step, 0 elsewhere", (), "nonnegative"),
    Quantity("grad_sq_small", "", "squared norm of the gradient over a small batch (mean over ranks)"),
    Quantity("grad_sq_big", "", "squared norm of the gradient over the whole batch"),
    Quantity("bleu", "BLEU", "BLEU score of translations", (), "nonnegative"),
)

# The share of one source in a training mixture: w_NAME, as many columns as there are sources.
SHARE_PREFIX = "w_"


def quantity(name: str) -> Quantity:
    """What is known of a column: that of the table above, the share of a source, or a size of no unit above zero."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    if name.startswith(SHARE_PREFIX):
        return Quantity(name, "share", f"share of {name.removeprefix(SHARE_PREFIX)} in the mixture", domain="share")
    return Quantity(name, "", f"column {name}", domain="positive")


# How a value of each domain is told from one that is none.
DOMAINS = {
    "positive": "above zero",
    "nonnegative": "zero or above",
    "share": "between 0 and 1",
    "part": "above 0 and at most 1",
    "real": "at all",
}


ALIASES: dict[str, str] = {
    alias: quantity.name for quantity in QUANTITIES.values() for alias in (quantity.name, *quantity.aliases)
}

_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"\s*([-+]?(?:\d{1,3}(?:,\d{3})+|\d[\d_]*|)(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*([kKmMbBgGtT]?)\s*")


def parse_number(text: str | float) -> float:
    """The number that `text` writes: 7e9, 7B, 350M, 1.4T, 512K, 491,520; raises ValueError on anything else.

    K, M, B (or G) and T are 1e3, 1e6, 1e9 and 1e12, in either case; what is not finite (nan, inf, 1e999) is no number.
    """
    if isinstance(text, (int, float)):
        value = float(text)
    else:
        match = _NUMBER.fullmatch(text)
        if match is None or not any(c.isdigit() for c in match[1].lower().partition("e")[0]):
            raise ValueError(f"{text!r} is not a number")
        value = float(match[1].replace(",", "").replace("_", "")) * _SUFFIX[match[2].lower()]
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def parse_assignments(text: str) -> dict[str, float]:
    """The named numbers of `params=7B,tokens=1.4T` under canonical names; raises BadInput on another form."""
    values: dict[str, float] = {}
    for part in re.split(r",(?=\s*[^\d\s])", text):
        name, equals, number = part.partition("=")
        name = ALIASES.get(name.strip(), name.strip())
        if not equals or not re.fullmatch(r"[^\W\d][\w/. -]*", name):
            raise BadInput(f"{part!r} is not NAME=NUMBER", fix="write it as params=7B,tokens=1.4T")
        if name in values:
            raise BadInput(f"{name} is given twice in {text!r}", fix="give each name once")
        try:
            values[name] = parse_number(number)
        except ValueError as fault:
            raise BadInput(f"{name}={number.strip()!r} is not a number", fix="write it as 7e9, 7B or 1.4T") from fault
    return values


def format_quantity(value: float) -> str:
    """A count as people write it, to three digits: 7B, 1.4T; beyond 1e15 in powers of ten."""
    rounded = float(f"{value:.3g}")
    for suffix, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if scale <= abs(rounded) < 1e15:
            return f"{rounded / scale:.3g}{suffix}"
    return f"{value:.4g}"
