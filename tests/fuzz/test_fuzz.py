"""Bad tables end in a sound fit or in one clear line; so do damaged fits. `make soak` asks this of thousands."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .damage import Damaged, damaged, run_damaged, sound_fits
from .run import run_case
from .tables import Case, case_of, cases

# Nothing is made smaller (see tables.cases), and every run of the tests asks the same.
SAME = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# Seconds of processor time: far more than any example takes, far less than a search that does not end.
LONGEST = 30.0


@SAME
@pytest.mark.timeout(900)  # about half a minute on quiet cores
@given(case=cases(quick=True))
def test_a_bad_table_ends_in_a_fit_or_in_one_line(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "bad-tables"
    folder.mkdir(exist_ok=True)
    assert run_case(case, folder).cpu < LONGEST


@pytest.fixture(scope="module")
def fits() -> dict[str, str]:
    return sound_fits()


def test_a_damaged_fit_ends_in_an_answer_or_in_one_line(fits: dict[str, str], tmp_path: Path) -> None:
    @SAME
    @given(case=damaged(fits))
    def one(case: Damaged) -> None:
        run_damaged(case, tmp_path)

    one()


def test_the_cases_hold_every_kind_of_end(tmp_path: Path) -> None:
    """A fuzz whose tables are all refused, or all sound, would test little."""
    ends = {run_case(case_of(random.Random(seed), quick=True), tmp_path).end for seed in range(50)}
    assert {"fit", "BadInput", "UsageError", "NotEnoughData"} <= ends
