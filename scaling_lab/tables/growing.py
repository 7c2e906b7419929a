"""A text table that is still being written: its whole lines so far, each byte read once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import BadInput
from .formats import Content

# So many bytes before the last place read tell whether the file is still the one that was read.
WITNESS = 256


class Growing:
    """A CSV, TSV or JSONL file that another process appends to.

    A last line without its end is left for the next look. Where the file was replaced, cut short or rewritten it is
    read again from its beginning, and `restarts` says how often that happened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.restarts = 0
        self._read = bytearray()
        self._file: tuple[int, int] | None = None

    def look(self) -> Content | None:
        """The whole lines so far; None where the header is not yet followed by a row. Raises BadInput."""
        try:
            with open(self.path, "rb") as stream:
                about = os.fstat(stream.fileno())
                now = (about.st_dev, about.st_ino)
                if self._file is not None and (now != self._file or not self._continues(stream, about.st_size)):
                    self.restarts += 1
                    self._read.clear()
                self._file = now
                stream.seek(len(self._read))
                self._read += stream.read()
        except FileNotFoundError:
            if self._file is None:
                raise BadInput("no such file", file=str(self.path), fix="check the path") from None
            # A file that is being replaced is gone for a moment; what was read of it still holds.
        except (OSError, ValueError) as fault:
            why = getattr(fault, "strerror", None) or fault
            raise BadInput(f"can't be read ({why})", file=str(self.path), fix="check the path") from None
        if self._read[:2] == b"\x1f\x8b" or self._read[:4] == b"PAR1":
            raise BadInput("can't be followed", file=str(self.path), fix="a growing file is plain CSV, TSV or JSONL")
        whole = bytes(self._read[: self._read.rfind(b"\n") + 1])
        lines = sum(bool(line.strip()) for line in whole.split(b"\n", 3)[:3])
        if lines < (1 if whole.lstrip()[:1] == b"{" else 2):
            return None
        return Content(str(self.path), whole, hashlib.sha256(whole).hexdigest())

    def _continues(self, stream: BinaryIO, size: int) -> bool:
        """Whether the file still begins and goes on with what was read of it."""
        read = len(self._read)
        if size < read:
            return False
        for place in (0, max(0, read - WITNESS)):
            length = min(WITNESS, read - place)
            stream.seek(place)
            if stream.read(length) != self._read[place : place + length]:
                return False
        return True
