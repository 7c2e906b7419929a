"""extrapolate on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.decide.test_extrapolate import planted

from .test_commands import lab  # noqa: F401  (a fixture)

POW3 = ("--family", "lc:pow3", "--family", "lc:exp3")


@pytest.fixture
def curve(tmp_path: Path) -> str:
    path = tmp_path / "curve.csv"
    planted(1e-3).to_csv(path, index=False)
    return str(path)


def test_it_prints_what_is_ahead_and_every_family(lab, curve: str, tmp_path: Path) -> None:  # noqa: F811
    figure = tmp_path / "ahead.png"
    done = lab("extrapolate", curve, "--to-step", "30K", "--to", "40K", *POW3, "--plot", str(figure))
    assert done.code == 0
    assert "step 30K" in done.out
    assert "lc:pow3" in done.out
    assert figure.read_bytes()[:4] == b"\x89PNG"
    meta = json.loads((tmp_path / "ahead.png.meta.json").read_text())
    assert list(meta["made_by"]["inputs"]) == [curve]
    found = lab("extrapolate", curve, "--to-step", "30K", "--to", "40K", *POW3, "--json").json
    assert [p["at"] for p in found["points"]] == [30_000, 40_000]
    low, high = found["points"][0]["interval"]
    assert low < found["points"][0]["value"] < high
    assert f"{found['points'][0]['value']:.2f}" in done.out
    assert np.sum([f["weight"] for f in found["families"]]) == pytest.approx(1.0)


def test_it_says_when_to_stop_and_what_was_smoothed(lab, curve: str) -> None:  # noqa: F811
    done = lab("extrapolate", curve, "--to-step", "20K", *POW3, "--stop", "0.02", "--smooth", "gaussian:3")
    assert done.code == 0
    assert "could have been stopped at step" in done.out
    assert "note: the loss is smoothed: gaussian:3" in done.err
    never = lab("extrapolate", curve, "--to-step", "90K", *POW3, "--stop", "1e-9")
    assert "not at rest within 1e-09 nats" in never.out


def test_faults_are_one_line(lab, curve: str, tmp_path: Path) -> None:  # noqa: F811
    cases = [
        (("extrapolate", curve), 2, "--to-step 72000"),
        (("extrapolate", curve, "--to-step", "10K"), 2, "already reaches step 20K"),
        (("extrapolate", curve, "--to-step", "30K", "--smooth", "mean:3"), 2, "smoothing"),
        (("extrapolate", curve, "--to-step", "30K", "--family", "lc:pow9"), 2, "did you mean 'lc:pow"),
        (("extrapolate", curve, "--to-step", "30K", "--plot", "a.gif"), 2, ".svg"),
        (("extrapolate", curve, "--to-step", "30K", "--x", "tokens"), 1, "take --x step"),
    ]
    for arguments, code, says in cases:
        done = lab(*arguments)
        assert (done.code, says in done.err) == (code, True), (arguments, done.err)
        assert done.err.count("error:") == 1
        assert not done.out


def test_a_decay_fails_where_it_is_asked_to(lab, tmp_path: Path) -> None:  # noqa: F811
    rows = planted(1e-3)
    rows.loc[60:, "lr"] = np.linspace(3e-4, 3e-5, 40)
    path = tmp_path / "decay.csv"
    rows.to_csv(path, index=False)
    done = lab("extrapolate", str(path), "--to-step", "30K", *POW3, "--fail-on", "rate-moves")
    assert done.code == 4
    assert "warning SL485" in done.err
