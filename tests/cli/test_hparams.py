"""hparams on the command line: each question, its JSON, its figure, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scaling_lab.files import sha256_file, to_json
from scaling_lab.laws.hyper import RULES
from tests.decide.test_hparams import bowls
from tests.laws.worlds import WORLDS

from .test_commands import lab  # noqa: F401  (a fixture)


def test_every_rule_in_text_and_json(lab) -> None:  # noqa: F811
    asked = ("hparams", "--params", "1B", "--tokens", "100B", "--loss", "2.5")
    text = lab(*asked)
    assert text.code == 0
    for name in RULES:
        assert name in text.out
    words = " ".join(text.out.split())
    assert "hp:step-law 1.63e-3 1.11M 541 non-vocabulary" in words
    assert "2.55M (critical)" in words
    assert "1.4 to 2.8 times" in words
    assert "1.3 to 2.9 times" in words
    assert "none is averaged" in words
    assert "needs --batch-tokens" in words
    assert "SL455" in text.err
    assert "SL456" in text.err
    found = lab(*asked, "--json").json
    assert found["schema"] == "scaling-lab/hparams/1"
    step = found["rules"][0]
    assert step["rule"] == "hp:step-law"
    assert step["lr"]["value"] == pytest.approx(1.6325e-3, rel=1e-4)
    assert step["batch_tokens"]["value"] == pytest.approx(1.1077e6, rel=1e-4)
    assert step["counts"] == "non-vocabulary"
    assert step["outside"] == {}
    assert found["rules"][1]["outside"] == {"flops": pytest.approx(30)}
    assert found["spread"]["lr"]["ratio"] == pytest.approx(6.116, rel=1e-3)
    assert json.loads(to_json(found)) == found


def test_one_rule_and_conditions(lab) -> None:  # noqa: F811
    asked = ("hparams", "--params", "7B", "--tokens", "1.4T", "--law", "step-law")
    found = lab(*asked, "--json").json
    assert [each["rule"] for each in found["rules"]] == ["hp:step-law"]
    assert found["rules"][0]["lr"]["value"] == pytest.approx(9.166e-4, rel=1e-4)
    assert found["rules"][0]["outside"] == {
        "params_nonvocab": pytest.approx(7e9 / 1073741824),
        "tokens": pytest.approx(14),
    }
    assert lab(*asked, "--fail-on", "SL456").code == 4
    assert lab(*asked, "--fail-on", "SL457").code == 0


def test_the_figure(lab, tmp_path: Path) -> None:  # noqa: F811
    picture = tmp_path / "hp.svg"
    done = lab("hparams", "--params", "400M", "--tokens", "20B", "--batch-tokens", "0.5M", "--plot", str(picture))
    assert done.code == 0
    drawn = picture.read_text()
    for name in ("hp:step-law", "hp:power (muP base)", "hp:moonlight (second-hand)"):
        assert name in drawn
    assert (tmp_path / "hp.svg.meta.json").exists()
    assert lab("hparams", "--params", "400M", "--plot", str(picture)).code == 2


def test_fits_of_ones_own(lab, tmp_path: Path) -> None:  # noqa: F811
    paths = []
    for name in ("hp:step-law", "hp:step-law-batch"):
        table, out = tmp_path / f"{name[3:]}.csv", tmp_path / f"{name[3:]}.json"
        WORLDS[name].table(noise=0.05).to_csv(table, index=False)
        done = lab("fit", name, str(table), "--objective", "l2", "--bootstrap", "60", "--out", str(out))
        assert done.code == 0, done.err
        paths.append(str(out))
    asked = ("hparams", "--params", "1B", "--tokens", "100B", "--law", "hp:step-law", "--fit", paths[0])
    text = lab(*asked, "--fit", paths[1], "--plot", str(tmp_path / "own.png"))
    assert text.code == 0, text.err
    assert "your hp:step-law" in text.out
    mine = lab(*asked, "--json").json["rules"][-1]
    assert mine["origin"] == "fit"
    assert mine["lr"]["ci"][0] < mine["lr"]["value"] < mine["lr"]["ci"][1]
    assert mine["batch_tokens"] is None


def test_a_grids_fit_carries_both_laws(lab, tmp_path: Path) -> None:  # noqa: F811
    grid = Path(__file__).resolve().parents[2] / "examples" / "lr_batch_grid.csv"
    out = str(tmp_path / "step.json")
    done = lab("fit", "step-law", str(grid), "--bootstrap", "60", "--out", out)
    assert done.code == 0, done.err
    mine = lab("hparams", "--params", "1B", "--tokens", "20B", "--fit", out, "--json").json["rules"][-1]
    assert mine["counts"] == "non-embedding"
    assert mine["lr"]["value"] > 0
    assert mine["batch_tokens"]["value"] > 0


def test_carried_to_another_horizon(lab, tmp_path: Path) -> None:  # noqa: F811
    found = lab("hparams", "--lr", "3e-4", "--from-tokens", "100B", "--to-tokens", "1T", "--json").json
    assert found["schema"] == "scaling-lab/lr-horizon/1"
    assert found["value"] == pytest.approx(3e-4 * 10**-0.32)
    assert found["interval"] is None
    text = lab("hparams", "--lr", "3e-4", "--from-tokens", "100B", "--to-tokens", "1T")
    assert "becomes 1.44e-4" in " ".join(text.out.split())
    assert "to tokens 1.25 times above 800B" in text.err
    table, out = tmp_path / "sweep.csv", str(tmp_path / "horizon.json")
    bowls(0.002).to_csv(table, index=False)
    swept = lab("hparams", "--lr-sweep", str(table), "--draws", "100", "--out", out)
    assert swept.code == 0, swept.err
    assert f"saved to {out}" in swept.out
    assert "note: all at one batch, batch_tokens = 524,288" in swept.err
    assert json.loads(Path(out).read_text())["made_by"]["inputs"] == {str(table): sha256_file(table)}
    asked = ("hparams", "--lr", "3e-4", "--from-tokens", "20B", "--to-tokens", "80B", "--fit", out)
    own = lab(*asked, "--json").json
    assert own["interval"][0] < own["value"] < own["interval"][1]
    assert "your fit of hp:bjorck" in lab(*asked).out


def test_carried_to_another_batch(lab) -> None:  # noqa: F811
    asked = ("hparams", "--lr", "3e-4", "--from-batch", "512seq", "--to-batch", "2048seq")
    found = lab(*asked, "--noise-scale", "8192seq", "--json").json
    assert (found["linear"], found["root"]) == (pytest.approx(1.2e-3), pytest.approx(6e-4))
    assert found["by_noise"] == pytest.approx(3e-4 * (1 + 16) / (1 + 4))
    text = lab(*asked)
    assert "1.20e-3" in text.out
    assert "not verified" in " ".join(text.out.split())


def test_the_mup_table(lab) -> None:  # noqa: F811
    asked = ("hparams", "--mup", "--from-width", "256", "--to-width", "4096", "--lr", "0.01")
    found = lab(*asked, "--json").json
    assert found["schema"] == "scaling-lab/mup/1"
    rows = {(r["optimizer"], r["tensor"]): r for r in found["tensors"]}
    assert rows["adam", "hidden matrices"]["lr_value"] == pytest.approx(6.25e-4)
    text = lab(*asked, "--from-depth", "8", "--to-depth", "32")
    assert "x 0.0625" in text.out
    assert "6.25e-4" in text.out
    assert "residual branches x 0.5" in text.out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--params", "0", "--tokens", "1B"), "--params 0 is not a number above zero"),
        (("--params", "7B", "--tokens", "0"), "--tokens 0 is not a number above zero"),
        (("--params", "7B", "--loss", "-1"), "--loss -1 is not a number above zero"),
        (("--params", "7B", "--law", "hp:porain"), "did you mean 'hp:porian'"),
        (("--params", "7B", "--params-count", "nonvocab"), "is not NAME=NUMBER"),
        (("--params", "7B", "--batch-tokens", "4M", "--batch-sequences", "512", "--seq-len", "2048"), "one of the two"),
        (("--mup", "--from-width", "0", "--to-width", "4096"), "--from-width 0 is not a number above zero"),
        (("--mup", "--from-width", "256"), "give --to-width too"),
        (("--mup", "--from-width", "256", "--to-width", "512", "--tokens", "1B"), "--tokens does not go with --mup"),
        (("--lr", "3e-4", "--from-tokens", "1B"), "give --to-tokens too"),
        (("--from-tokens", "1B", "--to-tokens", "2B"), "give --lr too"),
        (("--lr", "3e-4", "--from-batch", "512seq", "--to-batch", "4Mtok"), "different units"),
        (
            ("--lr", "3e-4", "--from-tokens", "1B", "--to-tokens", "2B", "--from-batch", "512"),
            "--from-batch does not go with --from-tokens",
        ),
        (("--params", "7B", "--lr", "3e-4"), "--lr is no part of this question"),
        (("--params", "7B", "--to-width", "4096"), "it goes with --mup"),
        ((), "give what is to be trained"),
    ],
)
def test_questions_that_make_no_sense_end_with_2_and_one_line(lab, asked: tuple[str, ...], says: str) -> None:  # noqa: F811
    done = lab("hparams", *asked)
    assert done.code == 2
    assert says in done.err
    assert done.err.startswith("error: ")
    assert done.out == ""


def test_faults_of_files_end_with_1(lab, tmp_path: Path) -> None:  # noqa: F811
    missing = lab("hparams", "--params", "7B", "--tokens", "1T", "--fit", str(tmp_path / "none.json"))
    assert missing.code == 1
    assert "no such file" in missing.err
    table = tmp_path / "two.csv"
    both = bowls()
    both.loc[::2, "batch_tokens"] = 2**20
    both.to_csv(table, index=False)
    several = lab("hparams", "--lr-sweep", str(table))
    assert several.code == 1
    assert f"{table}, column batch_tokens: the rows are of 2 batches" in several.err
