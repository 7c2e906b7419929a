"""Laws on the public tables that they were published with: what bench/catalogue.py fits, scores and times."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .case import Case

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "case"))


def cases() -> list[Case]:
    """Every case of every family, in the order of the files' names."""
    return [case for module in MODULES for case in import_module(f"bench.cases.{module}").CASES]


__all__ = ["Case", "cases"]
