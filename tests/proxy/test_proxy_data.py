"""The corpus: which files, the split, and the order of the training stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scaling_lab.errors import BadInput
from scaling_lab.proxy import data


@pytest.fixture
def corpus(tmp_path: Path, write_corpus: Callable[..., None]) -> data.Corpus:
    write_corpus(tmp_path / "corpus")
    return data.read_corpus("corpus", tmp_path)


def test_stdlib_is_this_pythons_own_source_without_tests_and_tables() -> None:
    names = {path.relative_to(data.stdlib_folder()).as_posix() for path in data._stdlib_files(data.stdlib_folder())}
    assert {"argparse.py", "json/decoder.py", "asyncio/tasks.py"} <= names
    banned = ("site-packages/", "test/", "encodings/", "tkinter/", "_sysconfigdata", "sitecustomize.py")
    assert not [name for name in names if name.startswith(banned) or "/test/" in name]


def test_stdlib_holds_a_tenth_of_its_files_out() -> None:
    corpus = data.read_corpus("stdlib")
    share = len(corpus.held_out) / (len(corpus.held_out) + len(corpus.train))
    assert 0.04 < share < 0.2
    assert corpus.train_bytes > 3_000_000
    assert corpus.sha256 == data.read_corpus("stdlib").sha256


def test_split_goes_by_content_alone(tmp_path: Path, corpus: data.Corpus) -> None:
    assert not set(corpus.train) & set(corpus.held_out)
    for path in list((tmp_path / "corpus").iterdir()):
        path.rename(path.with_name("renamed_" + path.name))
    renamed = data.read_corpus("corpus", tmp_path)
    assert renamed.held_out == corpus.held_out
    assert renamed.sha256 != corpus.sha256


def test_copies_count_once_and_line_ends_are_one(tmp_path: Path, corpus: data.Corpus) -> None:
    first = sorted((tmp_path / "corpus").iterdir())[0]
    (tmp_path / "corpus" / "zz_copy.txt").write_bytes(first.read_bytes().replace(b"\n", b"\r\n"))
    again = data.read_corpus("corpus", tmp_path)
    assert (again.train, again.held_out) == (corpus.train, corpus.held_out)


def test_an_epoch_reads_every_window_once_and_the_next_in_another_order(corpus: data.Corpus) -> None:
    stream = data.TrainingStream(corpus, seq_len=16, data_seed=3)
    size = len(stream.windows_NT)
    first, second = stream.read(0, size), stream.read(size, size)
    order = np.lexsort(first.T)
    np.testing.assert_array_equal(first[order], second[np.lexsort(second.T)])
    assert (first != second).any()
    assert stream.unique_tokens == size * 16


def test_reads_in_pieces_are_the_stream_across_the_end_of_an_epoch(corpus: data.Corpus) -> None:
    whole = data.TrainingStream(corpus, 16, 0)
    size = len(whole.windows_NT)
    pieces = data.TrainingStream(corpus, 16, 0)
    joined = np.concatenate([pieces.read(position, 4) for position in range(size - 6, size + 6, 4)])
    np.testing.assert_array_equal(joined, whole.read(size - 6, 12))


def test_windows_overlap_by_one_so_every_byte_is_a_target(corpus: data.Corpus) -> None:
    windows = data._windows(np.arange(50, dtype=np.uint8), 16)
    np.testing.assert_array_equal(windows[:, 1:].ravel(), np.arange(1, 49))
    assert set(data.TrainingStream(corpus, 16, 0).windows_NT.ravel()) <= set(range(256))


def test_data_seed_alone_sets_the_order(corpus: data.Corpus) -> None:
    same, other = data.TrainingStream(corpus, 16, 0), data.TrainingStream(corpus, 16, 1)
    np.testing.assert_array_equal(data.TrainingStream(corpus, 16, 0).read(0, 8), same.read(0, 8))
    assert (same.read(0, 8) != other.read(0, 8)).any()


def test_held_out_sequences_are_fixed_and_enough(corpus: data.Corpus) -> None:
    np.testing.assert_array_equal(data.held_out_sequences(corpus, 16, 8), data.held_out_sequences(corpus, 16, 8))
    with pytest.raises(BadInput, match="fewer than validation_sequences = 100000"):
        data.held_out_sequences(corpus, 16, 100_000)


def test_a_missing_or_tiny_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'stdlib'"):
        data.read_corpus("stdlb", tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("abc")
    with pytest.raises(BadInput, match="1 distinct files, too few"):
        data.read_corpus("one", tmp_path)
