"""What a case is: a law, the rows it is fitted to, and the split on which its extrapolation is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Case:
    """A law on a table.

    `table` reads the public table under a folder into canonical columns. `train` and `test` are pandas queries on it,
    or say which rows (n,) of it; the fit of all rows is of train and test together. `objective`, `delta` and `fix` are
    those of the law's own paper. `reference` is the MAE on the test side that shared reference figures have, `explain`
    why ours differs from it by more than 5 %. `published` names the coefficients of the law's entry whose objective on
    all rows is compared with ours, on `published_rows` of the table where they are not all rows.
    """

    row: str
    law: str
    table: Callable[[Path], pd.DataFrame]
    train: str | Callable[[pd.DataFrame], Any]
    test: str | Callable[[pd.DataFrame], Any]
    objective: Literal["huber", "l2", "l1"] = "huber"
    delta: float = 1e-3
    fix: Mapping[str, float] = field(default_factory=dict)
    published: str | None = None
    published_rows: str | None = None
    reference: float | None = None
    explain: str = ""
