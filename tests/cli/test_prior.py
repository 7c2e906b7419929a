"""fit --prior on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import chinchilla_table

from .test_commands import lab  # noqa: F401  (a fixture)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    chinchilla_table(0.002, 1).to_csv(tmp_path / "old.csv", index=False)
    chinchilla_table(0.004, 2).iloc[::4].to_csv(tmp_path / "new.csv", index=False)
    return str(tmp_path / "old.csv"), str(tmp_path / "new.csv")


def test_a_fit_says_what_was_lent(lab, tables: tuple[str, str], tmp_path: Path) -> None:  # noqa: F811
    old, new = tables
    assert lab("fit", "chinchilla", old, "--bootstrap", "20", "--out", str(tmp_path / "old.json")).code == 0
    text = lab(
        "fit", "chinchilla", new, "--bootstrap", "20", "--prior", str(tmp_path / "old.json"), "--prior-sd", "0.1"
    )
    assert text.code == 0
    assert "alpha is drawn to" in text.out.replace("\n", " ")
    found = lab("fit", "chinchilla", new, "--bootstrap", "20", "--prior", str(tmp_path / "old.json"), "--json")
    lent = found.json["prior"]["params"]
    assert set(lent) == {"alpha", "beta"}
    assert 0 < lent["alpha"]["share"] < 1


def test_options_that_do_not_go_together(lab, tables: tuple[str, str], tmp_path: Path) -> None:  # noqa: F811
    old, new = tables
    assert lab("fit", "chinchilla", new, "--prior-sd", "0.1").code == 2
    lab("fit", "chinchilla", old, "--bootstrap", "0", "--out", str(tmp_path / "old.json"))
    both = lab("fit", "chinchilla", new, "--prior", str(tmp_path / "old.json"), "--sensitivity")
    assert both.code == 2
    missing = lab("fit", "chinchilla", new, "--prior", str(tmp_path / "no.json"))
    assert missing.code == 1
