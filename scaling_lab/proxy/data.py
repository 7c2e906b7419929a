"""The corpus of a proxy sweep as bytes: which files, which are held out, and the order in which they are read."""

from __future__ import annotations

import hashlib
import platform
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, nearest

Bytes = NDArray[np.uint8]

VOCAB_SIZE = 256
SEPARATOR = 0  # ends every document; no text file holds it
HELD_OUT_SHARE = 0.1

# What a distribution packages apart, patches, generates or leaves out, and tests and tables (encodings, pydoc_data):
# without them one Python version gives the same corpus on most machines, and near-copies don't straddle the split.
_SKIPPED_FOLDERS = frozenset(
    {
        "site-packages",
        "dist-packages",
        "__pycache__",
        "lib-dynload",
        "test",
        "tests",
        "idle_test",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "distutils",
        "ensurepip",
        "macholib",
        "msilib",
        "pydoc_data",
        "encodings",
        "sysconfig",
    }
)
_SKIPPED_FILES = re.compile(
    r"(_sysconfig.*|sitecustomize|usercustomize|site|sysconfig|_distutils_system_mod|turtle|_ios_support|_android_support)\.py"
)


@dataclass(frozen=True)
class Corpus:
    """Documents by name, split into training and held-out by the hash of each one's content."""

    name: str
    sha256: str
    train: tuple[bytes, ...] = field(repr=False)
    held_out: tuple[bytes, ...] = field(repr=False)
    python: str = field(default_factory=platform.python_version)

    @cached_property
    def train_bytes(self) -> int:
        """Bytes in the training part, separators included."""
        return sum(len(document) + 1 for document in self.train)

    def describe(self) -> dict[str, str | int]:
        """What a record says of the corpus."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "python": self.python,
            "train_files": len(self.train),
            "train_bytes": self.train_bytes,
            "held_out_files": len(self.held_out),
            "held_out_bytes": sum(len(document) + 1 for document in self.held_out),
        }


def stdlib_folder() -> Path:
    """Where this Python keeps its standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _stdlib_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).parts
        skipped = _SKIPPED_FOLDERS.intersection(parts[:-1]) or parts[0].startswith("config-")
        if not skipped and not _SKIPPED_FILES.fullmatch(path.name):
            yield path


def _read_documents(root: Path, files: Iterator[Path]) -> dict[str, bytes]:
    # Windows installs the same files with other line ends.
    documents = {path.relative_to(root).as_posix(): path.read_bytes().replace(b"\r\n", b"\n") for path in files}
    return {name: documents[name] for name in sorted(documents) if documents[name]}


def _is_held_out(content: bytes) -> bool:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") < HELD_OUT_SHARE * 2**64


def read_corpus(name: str, base: Path = Path()) -> Corpus:
    """The corpus `stdlib`, or every file below the folder `name` (relative to `base`).

    sha256 is over the sorted names and contents. A content that occurs twice is kept once, under its first name.
    """
    if name == "stdlib":
        root = stdlib_folder()
        documents = _read_documents(root, _stdlib_files(root))
    else:
        root = base / name
        if not root.is_dir():
            raise BadInput(f"corpus {name!r} is neither 'stdlib' nor a folder", fix=nearest(name, ["stdlib"]))
        documents = _read_documents(root, (path for path in root.rglob("*") if path.is_file()))
    digest = hashlib.sha256()
    for title, content in documents.items():
        digest.update(f"{title}\0{len(content)}\0".encode() + content)
    unique = tuple(dict.fromkeys(documents.values()))
    train = tuple(content for content in unique if not _is_held_out(content))
    held_out = tuple(content for content in unique if _is_held_out(content))
    if not train or not held_out:
        raise BadInput(f"corpus {name!r} has {len(unique)} distinct files, too few to hold some out", fix="add files")
    return Corpus(name, digest.hexdigest(), train, held_out)


def _joined(documents: list[bytes]) -> Bytes:
    return np.frombuffer(b"".join(document + bytes([SEPARATOR]) for document in documents), dtype=np.uint8)


def _windows(stream: Bytes, seq_len: int) -> Bytes:
    # Windows overlap by one byte, so that each byte but the first is a target once.
    count = (len(stream) - 1) // seq_len
    starts = np.arange(count)[:, None] * seq_len
    return stream[starts + np.arange(seq_len + 1)]


class TrainingStream:
    """The training sequences in the order that a data seed gives: the same for every run of that seed and length.

    Files are shuffled once, joined and cut into windows of seq_len + 1 bytes; each epoch shuffles the windows anew.
    A position is the count of sequences read so far, all that a checkpoint needs.
    """

    def __init__(self, corpus: Corpus, seq_len: int, data_seed: int) -> None:
        order = np.random.default_rng([data_seed, 0]).permutation(len(corpus.train))
        self.windows_NT = _windows(_joined([corpus.train[i] for i in order]), seq_len)
        self.data_seed = data_seed
        if not len(self.windows_NT):
            raise BadInput(f"corpus {corpus.name!r} is shorter than one sequence of {seq_len} bytes")

    @property
    def unique_tokens(self) -> int:
        """Targets in one epoch."""
        return len(self.windows_NT) * (self.windows_NT.shape[1] - 1)

    def read(self, position: int, count: int) -> Bytes:
        """`count` sequences from `position` on, shape (count, seq_len + 1)."""
        size = len(self.windows_NT)
        parts = []
        while count:
            epoch, start = divmod(position, size)
            taken = self._order(epoch)[start : start + count]
            parts.append(self.windows_NT[taken])
            position, count = position + len(taken), count - len(taken)
        return np.concatenate(parts)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if getattr(self, "_epoch", None) != epoch:
            self._permutation = np.random.default_rng([self.data_seed, 1, epoch]).permutation(len(self.windows_NT))
            self._epoch = epoch
        return self._permutation


def held_out_sequences(corpus: Corpus, seq_len: int, count: int) -> Bytes:
    """`count` windows spread evenly over the held-out files, shape (count, seq_len + 1); the same for every run."""
    documents = sorted(corpus.held_out, key=lambda content: hashlib.sha256(content).digest())
    windows_NT = _windows(_joined(documents), seq_len)
    if len(windows_NT) < count:
        raise BadInput(
            f"corpus {corpus.name!r} holds out {len(windows_NT)} sequences of {seq_len} bytes, fewer than "
            f"validation_sequences = {count}",
            fix="lower validation_sequences or take a larger corpus",
        )
    return windows_NT[np.linspace(0, len(windows_NT) - 1, count).round().astype(np.int64)]
