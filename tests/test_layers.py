"""The house keeps its shape: imports point down, and the command line stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "scaling_lab"
# Each room may import the rooms before it. proxy stands beside engine and sees nothing above tables.
FLOORS = [
    ["__init__", "errors"],
    ["quantities", "files", "accounting", "autolrs", "smoothing", "schedule_kinds"],
    ["domains", "schedules"],
    ["histories"],
    ["tables"],
    ["laws", "ingest"],
    ["engine"],
    ["decide"],
    ["show"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
HEIGHT = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms} | {"proxy": 5}


def imports(path: Path) -> list[str]:
    """The rooms of scaling_lab that a file imports, anywhere in it."""
    package = ("scaling_lab", *path.relative_to(PACKAGE).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            names = [f"{base}.{node.module}" if node.module and base else node.module or base]
            if names[0] == "scaling_lab":
                names = [f"scaling_lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [name.split(".")[1] for name in names if name.startswith("scaling_lab.")]
    return [room if room in HEIGHT else "__init__" for room in found]


def test_imports_point_down() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imports(path):
            allowed = other == room or HEIGHT[other] < HEIGHT[room]
            if room == "proxy":
                allowed = other == room or HEIGHT[other] <= HEIGHT["tables"]
            # The package's own front door names what lies behind it, lazily; only the command line may reach proxy.
            if room == "__init__" or (other == "proxy" and room == "cli"):
                allowed = True
            elif other == "proxy":
                allowed = room == "proxy"
            if not allowed:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong, wrong


def importers_of(module: str) -> set[str]:
    rooms = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.split(".")[0] == module for name in names):
                rooms.add(str(path.relative_to(PACKAGE)))
    return rooms


def test_torch_and_matplotlib_have_one_door_each() -> None:
    doors = importers_of("torch")
    assert {path.split("/")[0] for path in doors - {"engine/solve_cuda.py"}} <= {"proxy"}
    assert importers_of("matplotlib") <= {"show/plot.py"}


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = ("torch", "matplotlib", "pandas", "scipy", "numpy")
    code = f"import sys, scaling_lab.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
