"""Counts of parameters and FLOPs against values worked by hand or certified elsewhere."""

from __future__ import annotations

import pytest

from scaling_lab.accounting import FLOPS_PER_TOKEN, Shape, flops_chinchilla, flops_palm, parameters, training_flops
from scaling_lab.errors import BadInput

# width 4, depth 2, mlp 8, vocabulary 10: a layer is 4·16 attention + 3·4·8 MLP + 2·4 norms = 168; body 2·168 + 4 = 340.
TINY = Shape(vocab_size=10, width=4, depth=2, heads=2, mlp_width=8)


def test_parameters_by_hand() -> None:
    counts = parameters(TINY)
    assert counts.params_nonembed == 340
    assert counts.params_vocab == 40
    assert counts.params == 380
    assert counts.params_nonembed_head == 380
    assert counts.params_nonvocab == 340


def test_untied_head_counts_twice_in_the_vocabulary_and_once_with_the_body() -> None:
    counts = parameters(Shape(10, 4, 2, 2, 8, tied=False))
    assert (counts.params, counts.params_vocab, counts.params_nonembed_head) == (420, 80, 380)


def test_gpt2_small_has_its_124_439_808_parameters() -> None:
    gpt2 = Shape(50257, 768, 12, 12, 3072, gated=False, norm_weights=2, biases=True, positions=1024)
    assert parameters(gpt2).params == 124_439_808
    assert parameters(gpt2).params_nonembed == 124_439_808 - 50257 * 768 - 1024 * 768


def test_flops_per_token_by_hand() -> None:
    context = 16
    per_token = {name: count(TINY, context) for name, count in FLOPS_PER_TOKEN.items()}
    assert per_token["6nd"] == 6 * 380
    assert per_token["kaplan"] == 6 * 340
    assert per_token["kaplan-context"] == 3 * (2 * 340 + 2 * 2 * 16 * 4)
    assert per_token["palm"] == 6 * 380 + 12 * 2 * 4 * 16
    # Embedding 80; a layer: QKV 96, logits 128, softmax 96, sum 128, out 32, MLP 192; head 80: all three times.
    assert per_token["chinchilla"] == 3 * (80 + 2 * (96 + 128 + 96 + 128 + 32 + 192) + 80)


def test_palm_leaves_learned_positions_out() -> None:
    shape = Shape(10, 4, 2, 2, 8, positions=16)
    assert flops_palm(shape, 16) == flops_palm(TINY, 16)


@pytest.mark.parametrize(
    ("width", "hidden", "heads", "depth", "ratio"),
    [(640, 2560, 10, 10, 1.675), (4096, 16384, 32, 48, 1.096), (8192, 32768, 64, 80, 1.046)],
)
def test_chinchilla_appendix_f_over_6n(width: int, hidden: int, heads: int, depth: int, ratio: float) -> None:
    shape = Shape(32_000, width, depth, heads, hidden, gated=False, norm_weights=0)
    assert flops_chinchilla(shape, 2048) / (6 * parameters(shape).params) == pytest.approx(ratio, abs=6e-4)


def test_training_flops_grow_with_tokens() -> None:
    assert training_flops(TINY, 1e6, 16) == 6 * 380 * 1e6
    assert training_flops(TINY, 1e6, 16, "kaplan") == 6 * 340 * 1e6


def test_faults_say_what_to_do() -> None:
    with pytest.raises(BadInput, match="heads = 3 doesn't divide width = 4; take heads from"):
        Shape(10, 4, 2, 3, 8)
    with pytest.raises(BadInput, match="at least 1"):
        Shape(10, 4, 0, 2, 8)
    with pytest.raises(BadInput, match="did you mean 'kaplan'"):
        training_flops(TINY, 1e6, 16, "kaplen")
