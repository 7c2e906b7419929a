"""JOBS.toml, read and checked whole before any job runs."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.auto import check_settings
from ..engine.backtest import ALL, USUAL
from ..engine.blend import NAME
from ..engine.fit import Settings
from ..engine.solve import DELTA, Objective
from ..errors import BadInput, LabError, nearest
from ..files import sha256_bytes
from ..laws import get_law
from ..quantities import ALIASES, parse_assignments, parse_number

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?<!\.)")


@dataclass(frozen=True)
class Split:
    """How a backtest holds out the large runs; neither limit: the quarter of the rows with the largest `by`."""

    by: str | None = None
    test_above: float | None = None
    test_fraction: float | None = None


@dataclass(frozen=True)
class Job:
    """One table and what to make of it, in the words of the command line's options."""

    name: str
    table: str
    laws: tuple[str, ...]
    where: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    params_column: str | None = None
    drop_bad: bool = False
    settings: Settings = field(default_factory=Settings)
    split: Split | None = field(default_factory=Split)
    points: tuple[Mapping[str, float], ...] = ()
    flops: float | None = None
    level: float = 0.9
    question: str | None = None


@dataclass(frozen=True)
class Jobs:
    """The jobs of a file, the folder that their results go to, and the file's digest."""

    file: str
    sha256: str
    out: Path
    jobs: tuple[Job, ...]


# ---------------------------------------------------------------------------------------------------- values of keys


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a number, as 1e21 or '7B'")
    return parse_number(value)


def _positive(value: Any) -> float:
    if not _number(value) > 0:
        raise ValueError("a number above zero")
    return _number(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number, not below zero")
    return value


def _names(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("a name or a list of names")
    return tuple(names)


def _columns(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, (str, int, float)) for v in value.values()):
        raise ValueError("a table of columns, as { loss = 'val/loss' }")
    return {ALIASES.get(str(name), str(name)): str(column) for name, column in value.items()}


def _fixed(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("a table of numbers, as { alpha = 0.5 }")
    return {name: _number(number) for name, number in value.items()}


def _points(value: Any) -> tuple[dict[str, float], ...]:
    return tuple(parse_assignments(point) for point in _names(value))


def _split(value: Any) -> Split | None:
    if value is False or value is True:
        return Split() if value else None
    if not isinstance(value, dict):
        raise ValueError("false, or a table, as { by = 'flops', test_above = 1e21 }")
    stray = [key for key in value if key not in SPLIT]
    if stray:
        raise ValueError(f"a table of {', '.join(SPLIT)}; {nearest(stray[0], SPLIT)}")
    if "test_above" in value and "test_fraction" in value:
        raise ValueError("a table with one of test_above and test_fraction")
    return Split(**{key: SPLIT[key](item) for key, item in value.items()})


SPLIT: dict[str, Callable[[Any], Any]] = {"by": _text, "test_above": _positive, "test_fraction": _number}
KEYS: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "table": _text,
    "laws": _names,
    "where": _text,
    "map": _columns,
    "params_column": _text,
    "drop_bad_rows": _yes_or_no,
    "objective": _text,
    "delta": _positive,
    "starts": _count,
    "bootstrap": _count,
    "resample": _text,
    "fix": _fixed,
    "seed": _count,
    "backtest": _split,
    "predict": _points,
    "flops": _positive,
    "level": _number,
    "question": _text,
}
PLACES = {"out": "the folder for results", "defaults": "keys of every job", "job": "one job"}


# ----------------------------------------------------------------------------------------------------------- the file


def read_jobs(path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Jobs:
    """The jobs of JOBS.toml, paths taken from the file's own folder; raises BadInput naming the line and key."""
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8-sig")
        found = tomllib.loads(text)
    except FileNotFoundError:
        raise BadInput("no such file", file=name, fix="write one: docs/batch.md has an example") from None
    except OSError as fault:
        raise BadInput(f"can't be read ({fault.strerror})", file=name, fix="name a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise BadInput(f"is not TOML ({fault})", file=name, fix="docs/batch.md has an example") from None
    source = _Source(name, text)
    _check_shape(source, found)
    defaults = {key: source.value(None, key, value) for key, value in found.get("defaults", {}).items()}
    jobs = [source.job(number, defaults, given) for number, given in enumerate(found["job"], 1)]
    _check_names(source, jobs)
    folder = Path(out) if out is not None else Path(path).parent / _folder(source, found)
    return Jobs(name, sha256_bytes(content), folder, tuple(jobs))


def _folder(source: _Source, found: Mapping[str, Any]) -> str:
    out = found.get("out", f"{Path(source.name).stem}-results")
    if not isinstance(out, str) or not out.strip():
        raise source.fault(None, "out", "is the name of a folder")
    return out


def _check_shape(source: _Source, found: Mapping[str, Any]) -> None:
    for key in found:
        if key not in PLACES:
            close = "move it under [defaults] or [[job]]" if key in KEYS else nearest(key, PLACES)
            raise source.fault(None, key, "is no key of the file", close)
    jobs = found.get("job")
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in jobs):
        raise BadInput("has no [[job]]", file=source.name, fix="add [[job]] with name, table and laws")
    if not isinstance(found.get("defaults", {}), dict):
        raise source.fault(None, "defaults", "is a table of keys", "write it as [defaults]")
    if "name" in found.get("defaults", {}):
        raise source.fault(None, "name", "can't be the same for every job", "give it in each [[job]]")


def _check_names(source: _Source, jobs: list[Job]) -> None:
    seen: dict[str, str] = {}
    for number, job in enumerate(jobs, 1):
        if not SAFE_NAME.fullmatch(job.name) or job.name in ("index.html", "batch.json"):
            raise source.fault(number, "name", f"{job.name!r} is no safe folder name", "use letters, digits, . _ and -")
        if job.name.lower() in seen:
            raise source.fault(number, "name", f"{job.name!r} is used twice", "give each job a name of its own")
        seen[job.name.lower()] = job.name


def _check_law(name: str, settings: Settings) -> None:
    """Raises UsageError where no law has the name, or it has no such parameters to hold."""
    if name == NAME:
        check_settings(settings)
    elif name not in (ALL, USUAL):
        for parameter in settings.fix:
            get_law(name).param(parameter)
        get_law(name)


@dataclass(frozen=True)
class _Source:
    """The text of the file, to say where a fault stands."""

    name: str
    text: str

    def line(self, job: int | None, key: str) -> int | None:
        """The line of a key within a job, or of the job itself where the key is not there."""
        at, blocks = None, 0
        for number, line in enumerate(self.text.split("\n"), 1):
            if re.match(r"\s*\[\[\s*job\s*\]\]", line):
                blocks += 1
                at = number if blocks == job else at
            inside = job is None or blocks == job
            if inside and re.match(rf"\s*(\[+\s*(job\.|defaults\.)?)?[\"']?{re.escape(key)}[\"']?\s*[]=]", line):
                return number
        return at

    def fault(self, job: int | None, key: str, problem: str, fix: str = "docs/batch.md has an example") -> BadInput:
        """The error for one key."""
        return BadInput(f"{key} {problem}", file=self.name, line=self.line(job, key), fix=fix)

    def value(self, job: int | None, key: str, value: Any) -> Any:
        """A key's value as the job takes it; raises BadInput for an unknown key or a value of another kind."""
        if key not in KEYS:
            raise self.fault(job, key, "is no key of a job", nearest(key, KEYS))
        try:
            return KEYS[key](value)
        except LabError as fault:
            raise self.fault(job, key, f"= {value!r}: {fault}") from None
        except ValueError as fault:
            raise self.fault(job, key, f"= {value!r} is not {fault}") from None

    def job(self, number: int, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Job:
        """A job with the defaults filled in; raises BadInput where it says too little or what can't be."""
        said = dict(defaults) | {key: self.value(number, key, value) for key, value in given.items()}
        for key in ("name", "table", "laws"):
            if key not in said:
                raise BadInput(
                    f"job {number} has no {key}", file=self.name, line=self.line(number, key), fix=f"add {key}"
                )
        try:
            objective = Objective(said.get("objective", "huber"), said.get("delta", DELTA))
            plain = {key: said[key] for key in ("starts", "bootstrap", "resample", "fix", "seed") if key in said}
            settings = Settings(objective=objective, own_width="delta" not in said, **plain)
            laws = said["laws"]
            for law in laws:
                _check_law(law, settings)
            if not 0 < said.get("level", 0.9) < 1:
                raise LabError(f"a level of {said['level']:g} is not between 0 and 1")
        except LabError as fault:
            raise BadInput(f"job {said['name']!r}: {fault}", file=self.name, line=self.line(number, "name")) from None
        return Job(
            name=said["name"],
            table=str(Path(self.name).parent / said["table"]),
            laws=laws,
            where=said.get("where"),
            mapping=said.get("map", {}),
            params_column=said.get("params_column"),
            drop_bad=said.get("drop_bad_rows", False),
            settings=settings,
            split=said.get("backtest", Split()),
            points=said.get("predict", ()),
            flops=said.get("flops"),
            level=said.get("level", 0.9),
            question=said.get("question"),
        )
