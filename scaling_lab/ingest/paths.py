"""The logs that the command line names: files, folders and globs, each once and in order."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, nearest


@dataclass(frozen=True)
class Source:
    """A path to read; `asked` says that the user named it, rather than a folder or a glob that it lies in."""

    path: str
    asked: bool


def expand(paths: Iterable[str], claimed: Callable[[Path], bool], exclude: Iterable[str] = ()) -> list[Source]:
    """The sources under the paths: files by name, in folders whatever a reader claims; raises BadInput for none."""
    found: dict[str, Source] = {}
    left_out = {str(Path(path).resolve()) for path in exclude}
    for path in paths:
        for source in _under(str(path), claimed):
            place = source.path if source.path == "-" else str(Path(source.path).resolve())
            if place not in left_out:
                found.setdefault(place, source)
            elif source.asked:
                raise BadInput("is named as a log and as an output", file=source.path, fix="choose another --out")
    if not found:
        raise BadInput("no log there", file=", ".join(map(str, paths)), fix="name the log's own file to have it read")
    return list(found.values())


def _under(path: str, claimed: Callable[[Path], bool]) -> list[Source]:
    if path == "-" or Path(path).is_file():
        return [Source(path, True)]
    if Path(path).is_dir():
        return [Source(path, True)] if claimed(Path(path)) else _in_folder(Path(path), claimed)
    matches = sorted(glob.glob(path, recursive=True), key=_natural)
    if not matches:
        beside = [str(p) for p in Path(path).parent.iterdir()] if Path(path).parent.is_dir() else []
        close = nearest(path, beside) if 0 < len(beside) <= 200 else ""
        raise BadInput("no such file", file=path, fix=close if "did you" in close else "check the path")
    sources = [source for match in matches for source in _under(match, claimed)]
    return [Source(source.path, False) for source in sources]


def _in_folder(folder: Path, claimed: Callable[[Path], bool]) -> list[Source]:
    """What readers claim below a folder; hidden files and the records that this tool writes beside tables are none."""
    found: list[Source] = []
    for path in sorted(folder.iterdir(), key=lambda p: _natural(p.name)):
        if path.name.startswith(".") or path.name.endswith(".meta.json"):
            continue
        if claimed(path):
            found.append(Source(str(path), False))
        elif path.is_dir() and not path.is_symlink():
            found += _in_folder(path, claimed)
    return found


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A sort key that puts part-2 before part-10."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def distinct_names(paths: Iterable[str]) -> dict[str, str]:
    """{path: name} with the file's name without its endings, and as many of its folders as tell the paths apart."""
    paths = list(dict.fromkeys(paths))
    parts = {path: (*Path(path).parts[:-1], _stem(Path(path).name)) for path in paths}
    names: dict[str, str] = {}
    for path in paths:
        depth = 1
        while depth < len(parts[path]) and any(
            parts[other][-depth:] == parts[path][-depth:] for other in paths if other != path
        ):
            depth += 1
        names[path] = "/".join(part for part in parts[path][-depth:] if part != "/")
    alike = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {path: f"{name}{_endings(path)}" if name in alike else name for path, name in names.items()}


def _stem(name: str) -> str:
    return re.sub(r"(?i)(\.(csv|tsv|jsonl|ndjson|json|parquet|txt|log))?(\.gz)?$", "", name) or name


def _endings(path: str) -> str:
    return Path(path).name.removeprefix(_stem(Path(path).name))
