"""A world for each law: parameters to plant, a design that tells them, and one that can't."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .world import World

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "world"))
WORLDS: dict[str, World] = {
    world.law: world for module in MODULES for world in import_module(f"{__name__}.{module}").WORLDS
}

__all__ = ["WORLDS", "World"]
