"""A TOML file as typed values, with faults that name the file and the line."""

from __future__ import annotations

import contextlib
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import BadInput, nearest
from ..files import sha256_bytes
from ..quantities import parse_number


class Source:
    """The file being read: typed values out of its tables; every fault is a BadInput."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content = ""
        self.sha256 = ""

    def read(self) -> dict[str, Any]:
        try:
            raw = self.file.read_bytes()
            self.sha256 = sha256_bytes(raw)
            self.content = raw.decode("utf-8")
            return tomllib.loads(self.content)
        except OSError as fault:
            raise BadInput(f"can't be read ({fault.strerror or fault})", file=str(self.file)) from fault
        except UnicodeDecodeError as fault:
            raise BadInput("is not UTF-8 text", file=str(self.file), fix="give a SWEEP.toml") from fault
        except tomllib.TOMLDecodeError as fault:
            at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", str(fault))
            problem = str(fault)[: at.start()] if at else str(fault)
            line = int(at[1]) if at and at[1] else self.content.count("\n") + 1
            raise BadInput(f"not valid TOML: {problem}", file=str(self.file), line=line) from fault

    def fault(self, problem: str, key: str | None = None, fix: str = "") -> BadInput:
        return BadInput(problem, file=str(self.file), line=self._line(key), fix=fix)

    def _line(self, key: str | None) -> int | None:
        """The line of a key that stands once in the file; tomllib does not keep places."""
        if key is None:
            return None
        found = list(re.finditer(rf"(?:^|[{{,\s]){re.escape(key)}\s*=", self.content))
        return self.content.count("\n", 0, found[0].end()) + 1 if len(found) == 1 else None

    def check_keys(self, table: dict[str, Any], known: set[str], place: str) -> None:
        for key in table:
            if key not in known:
                raise self.fault(f"unknown key {key!r} in {place}", key, fix=nearest(key, known))

    def table(self, content: dict[str, Any], name: str, known: set[str]) -> dict[str, Any]:
        found = content.get(name, {})
        if not isinstance(found, dict):
            raise self.fault(f"{name} is not a table", name, fix=f"write [{name}]")
        self.check_keys(found, known, f"[{name}]")
        return found

    def entries(self, table: dict[str, Any], key: str, known: set[str], place: str) -> list[dict[str, Any]]:
        found = table.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.fault(f"{key} is not a list of tables", key)
        for item in found:
            self.check_keys(item, known, place)
        return found

    def listed(self, table: dict[str, Any], key: str) -> list[Any]:
        found = table.get(key)
        if not isinstance(found, list) or not found:
            raise self.fault(f"[grid] needs a list of {key}", key)
        return found

    def text(self, table: dict[str, Any], key: str, default: str) -> str:
        found = table.get(key, default)
        if not isinstance(found, str) or not found:
            raise self.fault(f"{key} = {found!r} is not a text", key)
        return found

    def choice(self, table: dict[str, Any], key: str, default: str, known: Iterable[str]) -> str:
        found = self.text(table, key, default)
        if found not in known:
            raise self.fault(f"{key} = {found!r} is not known", key, fix=nearest(found, known))
        return found

    def flag(self, table: dict[str, Any], key: str, default: bool) -> bool:
        found = table.get(key, default)
        if not isinstance(found, bool):
            raise self.fault(f"{key} = {found!r} is neither true nor false", key)
        return found

    def number(
        self,
        table: dict[str, Any],
        key: str,
        default: float | None = None,
        *,
        least: float | None = None,
        above: float | None = None,
        most: float | None = None,
        below: float | None = None,
    ) -> float:
        found = table.get(key, default)
        value = math.nan
        if isinstance(found, (str, int, float)) and not isinstance(found, bool):
            with contextlib.suppress(ValueError):
                value = parse_number(found)
        if not math.isfinite(value):
            raise self.fault(f"{key} = {found!r} is not a number", key)
        if (
            (least is not None and value < least)
            or (above is not None and value <= above)
            or (most is not None and value > most)
            or (below is not None and value >= below)
        ):
            limits = {"at least": least, "above": above, "at most": most, "below": below}
            wanted = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)
            raise self.fault(f"{key} = {found} must be {wanted}", key)
        return value

    def whole(self, table: dict[str, Any], key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self.number(table, key, default, least=least)
        if value != int(value):
            raise self.fault(f"{key} = {table[key]} is not a whole number", key)
        return int(value)
