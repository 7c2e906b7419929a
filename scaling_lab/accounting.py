"""Parameters and training FLOPs of a decoder-only transformer's shape, under each convention that the field uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import BadInput, nearest


@dataclass(frozen=True)
class Shape:
    """A transformer's shape: what is needed to count it.

    `mlp_width` is the hidden width of the MLP; a `gated` MLP (SwiGLU) has three matrices, a plain one two. A `tied`
    head shares the embedding's matrix. `norm_weights` is the count per channel: 1 RMSNorm, 2 LayerNorm, 0 none.
    """

    vocab_size: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    tied: bool = True
    gated: bool = True
    norm_weights: int = 1
    biases: bool = False
    positions: int = 0  # rows of a learned position embedding

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.width, self.depth, self.heads, self.mlp_width) < 1:
            raise BadInput("vocab_size, width, depth, heads and mlp_width must all be at least 1")
        if self.width % self.heads:
            raise BadInput(
                f"heads = {self.heads} doesn't divide width = {self.width}",
                fix=f"take heads from {[h for h in range(1, self.width + 1) if self.width % h == 0]}",
            )

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True)
class Counts:
    """Parameters of one model under each convention; the names are those of the table columns."""

    params: int
    params_nonembed: int
    params_nonembed_head: int
    params_vocab: int
    params_nonvocab: int


def parameters(shape: Shape) -> Counts:
    """The parameters of `shape`, counted once each.

    `params_nonembed` leaves out vocabulary, head and position embeddings (Kaplan); `params_nonembed_head` adds one
    head matrix, tied or not (Porian); `params_vocab` is the embedding, and the head where it is another matrix.
    """
    width, hidden = shape.width, shape.mlp_width
    attention = 4 * width * width + (4 * width if shape.biases else 0)
    mlp = (3 if shape.gated else 2) * width * hidden
    mlp_biases = ((2 if shape.gated else 1) * hidden + width) if shape.biases else 0
    norms = shape.norm_weights * width
    body = shape.depth * (attention + mlp + mlp_biases + 2 * norms) + norms
    matrix = shape.vocab_size * width
    vocab = matrix if shape.tied else 2 * matrix
    positions = shape.positions * width
    return Counts(
        params=body + vocab + positions,
        params_nonembed=body,
        params_nonembed_head=body + matrix,
        params_vocab=vocab,
        params_nonvocab=body + positions,
    )


def six_nd(params: Any, tokens: Any) -> Any:
    """Training compute as 6 * params * tokens, in floating point: as integers it overflows above 9.2e18 in silence."""
    return 6.0 * params * tokens


# Tokens for each character of English text at a vocabulary of V: a * ln(V)**2 + b * ln(V) + c, and the vocabulary
# beyond which it is held (Tao et al. 2024, arXiv:2407.13623; sail-sg/scaling-with-vocab).
TOKENS_PER_CHARACTER = (0.00639222, -0.15811069, 1.20470122)
LARGEST_VOCABULARY = 200_000.0

# Widths of models by their non-vocabulary parameters: the first whose size is not exceeded (the same source).
WIDTHS = (
    (5e7, 512),
    (2e8, 768),
    (5e8, 1024),
    (1e9, 1536),
    (2e9, 2048),
    (5e9, 3200),
    (1e10, 4096),
    (2e10, 5120),
    (5e10, 6048),
    (1e11, 8192),
    (2e11, 12288),
    (5e11, 16384),
    (1e12, 20480),
)
WIDEST = 24576


def tokens_per_character(vocab_size: Any) -> Any:
    """Tokens for each character at vocabularies of any shape, held beyond LARGEST_VOCABULARY.

    Raises BadInput below one token.
    """
    a, b, c = TOKENS_PER_CHARACTER
    sizes = np.asarray(vocab_size, dtype=float)
    if not (sizes >= 1).all():
        raise BadInput(f"vocab_size = {np.min(sizes):g} is no vocabulary", fix="give the number of tokens in it")
    log_v = np.log(np.minimum(sizes, LARGEST_VOCABULARY))
    return a * log_v * log_v + b * log_v + c


def unigram_loss(counts: Any, model: Any = None) -> float:
    """Nats/token that a unigram model loses on a text with so many of each token (V,).

    `model` are the counts (V,) of the text that the unigram model was made from; without them it is the same text.
    Raises BadInput where a token of the text has no chance under the model.
    """
    of = np.asarray(counts, dtype=float)
    by = of if model is None else np.asarray(model, dtype=float)
    if of.ndim != 1 or of.shape != by.shape:
        raise BadInput(f"token counts have shapes {of.shape} and {by.shape}", fix="give one count for each token")
    for values in (of, by):
        if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
            raise BadInput("token counts must be zero or above, and not all zero")
    seen = of > 0
    if (by[seen] == 0).any():
        token = int(np.flatnonzero(seen & (by == 0))[0])
        raise BadInput(f"token {token} is in the text but not in the unigram model's", fix="count the text itself too")
    return float(-np.sum(of[seen] / of.sum() * np.log(by[seen] / by.sum())))


def unigram_normalised_loss(loss: Any, counts: Any, model: Any = None) -> Any:
    """Loss in nats/token minus that of a unigram model on the same tokens: comparable across vocabularies, below zero.

    `counts` and `model` as in unigram_loss (Tao et al. 2024, arXiv:2407.13623).
    """
    return np.asarray(loss, dtype=float) - unigram_loss(counts, model)


def width_of(params_nonvocab: float) -> int:
    """The width that models of so many non-vocabulary parameters have in the source above."""
    if not params_nonvocab > 0:
        raise BadInput(f"params_nonvocab = {params_nonvocab:g} is no size", fix="give a count above zero, as 7B")
    return next((width for most, width in WIDTHS if params_nonvocab <= most), WIDEST)


def flops_vocabulary(params_nonvocab: Any, vocab_size: Any, width: Any, characters: Any) -> Any:
    """Training compute 6 * (N_nv + V * width) * H * f(V) of H characters: the vocabulary matrix counted once."""
    params = np.asarray(params_nonvocab, dtype=float) + np.asarray(vocab_size, dtype=float) * width
    return six_nd(params, characters * tokens_per_character(vocab_size))


def tokens_per_param(params: Any, tokens: Any) -> Any:
    """Training tokens for each parameter, in floating point."""
    return tokens / (1.0 * params)


# Vocabulary and position parameters of Kaplan's models, for each cube root of the others (Pearce & Song 2024,
# arXiv:2406.12907, and its code).
EMBEDDING_SHARE = 47491.0


def total_from_nonembed(params_nonembed: Any) -> Any:
    """All parameters of models shaped like Kaplan's, from those without embeddings: N + 47491 * N**(1/3)."""
    size = np.asarray(params_nonembed, dtype=float)
    if not (size > 0).all():
        raise BadInput(f"params_nonembed = {np.min(size):g} is no size", fix="give counts above zero, as 7B")
    return size + EMBEDDING_SHARE * np.cbrt(size)


# The mean of a pruning ramp over its steps, as a share of the way from the final size up to the dense one: a straight
# line, and N_1 + (N_0 - N_1)(1 - u)**3.
PRUNING_RAMPS = {"linear": 1 / 2, "cubic": 1 / 4}


def average_params(
    dense: float,
    final: float,
    *,
    start: float = 0.25,
    end: float = 0.75,
    ramp: str = "cubic",
    measured: str = "steps",
) -> float:
    """Parameters averaged over the steps of a pruned training run: dense, then a ramp down, then constant.

    The ramp runs from share `start` to share `end` of the run, `measured` in steps, or in compute, of which a step
    takes in proportion to the parameters it still has. Source: Jin et al. 2025, arXiv:2501.12486. Raises BadInput for
    what can't be such a schedule.
    """
    if ramp not in PRUNING_RAMPS:
        raise BadInput(f"no ramp {ramp!r}", fix=nearest(ramp, PRUNING_RAMPS))
    if measured not in ("steps", "compute"):
        raise BadInput(f"a schedule is not measured in {measured!r}", fix="give steps or compute")
    if not 0 < final <= dense < np.inf:
        raise BadInput(f"dense = {dense:g} and final = {final:g}: pruning leaves some, and no more than there were")
    if not 0 <= start <= end <= 1:
        raise BadInput(f"start = {start:g} and end = {end:g} must be shares of the run, the first no later")
    shares = np.array([start, end - start, 1 - end])
    sizes = np.array([dense, final + (dense - final) * PRUNING_RAMPS[ramp], final])
    if measured == "steps":
        return float(shares @ sizes)
    # A share of compute takes share * average / size of the steps, and those add up to one.
    return float(1.0 / np.sum(shares / sizes))


# What follows from params and tokens where a table or a point has no value of it, and how that is written.
DERIVED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "flops": (six_nd, "6*params*tokens"),
    "tokens_per_param": (tokens_per_param, "tokens/params"),
}


def flops_6nd(shape: Shape, context: int) -> float:
    """6 per parameter and token, every parameter counted."""
    return 6.0 * parameters(shape).params


def flops_kaplan(shape: Shape, context: int) -> float:
    """6 per non-embedding parameter and token: no vocabulary, no head, no attention over the context (2001.08361)."""
    return 6.0 * parameters(shape).params_nonembed


def flops_kaplan_context(shape: Shape, context: int) -> float:
    """Kaplan's count with its attention term: 3·(2·N_nonembed + 2·depth·context·width) per token (2001.08361, §2.1)."""
    return 3.0 * (2 * parameters(shape).params_nonembed + 2 * shape.depth * context * shape.width)


def flops_palm(shape: Shape, context: int) -> float:
    """6N + 12·depth·heads·head_width·context per token, N without learned positions (2204.02311, appendix B)."""
    counted = parameters(shape).params - shape.positions * shape.width
    return 6.0 * counted + 12.0 * shape.depth * shape.heads * shape.head_width * context


def flops_chinchilla(shape: Shape, context: int) -> float:
    """Three forward passes, each matrix product counted, the embedding as one too (2203.15556, appendix F); per token.

    A gated MLP has three matrices where the paper's has two. Biases and norms are left out, as there.
    """
    width, keys = shape.width, shape.heads * shape.head_width
    embedding = 2 * shape.vocab_size * width
    attention = 2 * 3 * width * keys + 2 * context * keys + 3 * shape.heads * context + 2 * context * keys
    dense = 2 * (3 if shape.gated else 2) * width * shape.mlp_width
    layer = attention + 2 * keys * width + dense
    logits = 2 * width * shape.vocab_size
    return 3.0 * (embedding + shape.depth * layer + logits)


FLOPS_PER_TOKEN: dict[str, Callable[[Shape, int], float]] = {
    "6nd": flops_6nd,
    "kaplan": flops_kaplan,
    "kaplan-context": flops_kaplan_context,
    "palm": flops_palm,
    "chinchilla": flops_chinchilla,
}


def training_flops(shape: Shape, tokens: float, context: int, convention: str = "6nd") -> float:
    """FLOPs of training (forward and backward, nothing recomputed) on `tokens` in sequences of `context` tokens."""
    if convention not in FLOPS_PER_TOKEN:
        raise BadInput(f"no FLOP convention {convention!r}", fix=nearest(convention, FLOPS_PER_TOKEN))
    return FLOPS_PER_TOKEN[convention](shape, context) * tokens
