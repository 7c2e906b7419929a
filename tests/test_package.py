"""The wheel is whole: it carries the data that ships, and the demo runs from it far from a checkout, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def test_the_demo_runs_from_the_wheel_without_torch(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import scaling_lab; print(scaling_lab.__file__, file=sys.stderr)\n"
        "sys.argv = ['scaling-lab', 'demo', '--out', 'page', '--json']\n"
        "from scaling_lab.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    assert str(site) in done.stderr
    printed = json.loads(done.stdout)
    assert len(printed["summary"]) == 5
    assert Path(tmp_path, printed["report"]).read_text().lower().startswith("<!doctype html>")
    assert {p.name for p in (tmp_path / "page").iterdir()} == {
        "report.html",
        "fit.json",
        "backtest.json",
        "predict.json",
    }


def test_the_wheel_holds_templates_and_data_and_no_tests(site: Path) -> None:
    names = {str(p.relative_to(site)) for p in site.rglob("*") if p.is_file()}
    assert "scaling_lab/_data/proxy_stdlib/runs.csv" in names
    assert "scaling_lab/_data/proxy_stdlib/SWEEP.toml" in names
    assert any(name.endswith(".j2") for name in names)
    assert not any(name.startswith(("tests", "bench")) for name in names)
