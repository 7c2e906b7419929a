"""A corpus of a few kilobytes and a sweep of runs that train in a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SWEEP = """
[sweep]
name = "tiny"
corpus = "corpus"
checkpoint_seconds = {checkpoint_seconds}

[train]
seq_len = 16
batch_tokens = 64
lr = {lr}
validation_sequences = 8
curve_points = 5

[grid]
sizes = [{{ width = 8, depth = 1, heads = 2 }}, {{ width = 16, depth = 2, heads = 2 }}]
tokens = {tokens}
{more}
"""


@pytest.fixture
def write_corpus() -> Callable[..., None]:
    """A function that writes sixty short files of a language of ten words, so that there is something to learn."""

    def write(folder: Path, seed: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        words = ["def", "return", "self", "import", "if", "else", "x", "y", "None", "\n"]
        for index in range(60):
            chosen = rng.choice(words, size=80)
            (folder / f"file{index:02d}.txt").write_text(f"# {index}\n" + " ".join(chosen))

    return write


@pytest.fixture
def write_sweep(tmp_path: Path, write_corpus: Callable[..., None]) -> Callable[..., Path]:
    """A function that writes the tiny corpus and a SWEEP.toml over it."""

    def write(
        *, lr: str = "0.01", tokens: str = "[640, 1280]", more: str = "", checkpoint_seconds: float = 30.0
    ) -> Path:
        write_corpus(tmp_path / "corpus")
        file = tmp_path / "SWEEP.toml"
        file.write_text(SWEEP.format(lr=lr, tokens=tokens, more=more, checkpoint_seconds=checkpoint_seconds))
        return file

    return write
