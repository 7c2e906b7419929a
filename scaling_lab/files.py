"""Files written whole or not at all, each with a record of what made it."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import __version__
from .errors import BadInput


def sha256_bytes(content: bytes) -> str:
    """The hex sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes beside `path`, then renames, so that no reader sees half a file; raises BadInput where it can't."""
    path = Path(path)
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; give the one that stays the permissions of an ordinary new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except OSError as fault:
        raise BadInput(
            f"can't be written ({fault.strerror or fault})", file=str(path), fix="choose another path with --out"
        ) from fault
    finally:
        if beside is not None and os.path.exists(beside):
            os.unlink(beside)
    return path


def write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Writes UTF-8 text whole or not at all."""
    return write_bytes(path, content.encode("utf-8"))


def check_writable(path: str | os.PathLike[str] | None) -> None:
    """Raises BadInput before long work starts, where its result could not be written to `path`; None passes."""
    if path is None:
        return
    target = Path(path)
    if target.is_dir():
        raise BadInput("is a folder, not a file", file=str(path), fix="name a file in it")
    folder = target.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadInput("can't be written (no such folder or no permission)", file=str(path), fix="choose another place")


def plain(value: Any) -> Any:
    """The same value in JSON's own types; NaN and infinities, which JSON lacks, become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text that any parser accepts (no NaN, no infinity)."""
    text = json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    # Half a surrogate pair, as in a file name that is not UTF-8, can't be written as it is.
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


def made_by(**inputs: str) -> dict[str, Any]:
    """What made a file: version, command line, sha256 of each input, and (left out of comparisons) time and host."""
    return {
        "version": __version__,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "",
        "inputs": inputs,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "python": platform.python_version(),
    }


def write_meta(path: str | os.PathLike[str], schema: str, inputs: dict[str, str], **more: Any) -> Path:
    """Writes NAME.meta.json beside a CSV or an image, whose formats have no room for the record."""
    record = {"schema": schema, "file": Path(path).name, "sha256": sha256_file(path), **more}
    record["made_by"] = made_by(**inputs)
    return write_text(f"{os.fspath(path)}.meta.json", to_json(record, indent=1) + "\n")
