"""What the documents say is what the project does: the catalogue, the README's commands, the examples."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def test_the_catalogue_page_is_the_registry() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_catalogue.py"))["page"]()
    assert (ROOT / "docs" / "laws.md").read_text(encoding="utf-8") == made, "run python docs/make_catalogue.py"


def blocks(name: str) -> list[tuple[str, str]]:
    """(command, expected output) of the console blocks of a document, in order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            while command.endswith("\\"):
                more, _, output = output.partition("\n")
                command = command[:-1] + more.strip()
            found.append((command, output))
    return found


def same(got: str, want: str) -> bool:
    """Whether texts agree, numbers to 3 % (another machine's libm moves the last printed digits)."""
    words_got, words_want = NUMBER.sub("#", got).split(), NUMBER.sub("#", want).split()
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (got, want)]
    return words_got == words_want and all(
        abs(a - b) <= 0.03 * max(abs(a), abs(b)) + 0.02 for a, b in zip(*numbers, strict=True)
    )


DOCUMENTS = [
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```console\n" in path.read_text(encoding="utf-8")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of examples/, where a reader would try the commands."""
    place = tmp_path / "work"
    shutil.copytree(ROOT / "examples", place)
    return place


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_the_document_prints_what_it_says(document: str, folder: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }
    ran = 0
    for command, output in blocks(document):
        if not command.startswith("scaling-lab"):
            continue
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=folder, env=environment)
        assert done.returncode == 0, (command, done.stderr)
        if output.strip():
            assert same(done.stdout, output), f"{command}\n--- printed\n{done.stdout}\n--- document\n{output}"
        ran += 1
    assert ran >= (8 if document == "README.md" else 1)


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_every_example_runs(script: Path, folder: Path) -> None:
    done = subprocess.run([sys.executable, str(folder / script.name)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("script", "count"),
    [("make_tables", 7), ("make_mixture_tables", 4), ("make_grid_tables", 1), ("make_batch_tables", 5)],
)
def test_the_example_tables_are_what_their_script_makes(script: str, count: int, tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "examples" / f"{script}.py"))["main"](tmp_path)
    made = sorted(tmp_path.rglob("*.csv"))
    assert len(made) == count
    for path in made:
        assert path.read_bytes() == (ROOT / "examples" / path.relative_to(tmp_path)).read_bytes(), path.name


def test_every_toml_of_the_examples_is_toml() -> None:
    for path in (ROOT / "examples").glob("*.toml"):
        tomllib.loads(path.read_text())


def test_nothing_names_the_public_tables_rows_or_a_private_place() -> None:
    """Paths of the machines it was written on have no place in the project."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".j2", ""} and path.is_file() and path != Path(__file__):
            assert "/work/" not in path.read_text(encoding="utf-8"), name
