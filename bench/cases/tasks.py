"""Laws of tasks on tables of scores: each step by itself. Two-step predictions are in bench/tasks.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from scaling_lab.decide.tasks import checkpoints, final_means

from .case import Case

Reader = Callable[[Path], pd.DataFrame]
# The seven tasks of the ladder's paper beside MMLU, by the halves that its authors take.
TASKS = (
    "hellaswag_val",
    "arc_easy_test",
    "arc_challenge_test",
    "piqa_val",
    "csqa_val",
    "openbookqa_test",
    "socialiqa_val",
)
ERRORS = {"c4_original": "c4", "rpj": "redpajama"}


def gadre(corpus: str) -> Reader:
    """Reader of the paper's six points, and the larger or longer runs that it predicts."""

    def read(folder: Path) -> pd.DataFrame:
        models = pd.read_csv(folder / "gadre" / "models.csv").query(f"train_data == '{corpus}'")
        models = models.rename(columns={"params_total": "params", "loss_c4_val": "loss", "err_avg_17": "error"})
        multiplier = models.token_multiplier
        small = (multiplier == 20) & (models.params < 2e9) | (multiplier == 320) & (models.params < 2e7)
        large = (multiplier >= 80) & (models.params > 1e9) | (models.params > 5e9)
        models = models.assign(fitted=small.astype(int))[small | large]
        return models[["params", "tokens", "flops", "loss", "error", "fitted"]].reset_index(drop=True)

    return read


def ladder(folder: Path, task: str) -> pd.DataFrame:
    """The curves of all runs with the bits per byte and the accuracy of a task."""
    curves = pd.read_csv(folder / "olmo_ladder" / "curves.csv.gz")
    names = {"params_nonembed_with_head": "params", f"bpb_{task}": "bpb", f"acc_{task}": "accuracy"}
    return curves.rename(columns=names)[["run_id", "size", "step", "params", "tokens", "flops", "bpb", "accuracy"]]


def finals(task: str) -> Reader:
    """Reader of a ladder's runs, each as the mean of its last five rows."""
    return lambda folder: final_means(ladder(folder, task), ["bpb", "accuracy"])


def stages(task: str) -> Reader:
    """Reader of a ladder's checkpoints as the second step takes them."""
    return lambda folder: checkpoints(ladder(folder, task), ["bpb", "accuracy"])


def two_losses(source: str, target: str) -> Reader:
    """Reader of a ladder's final runs with their losses on two corpora."""

    def read(folder: Path) -> pd.DataFrame:
        final = pd.read_csv(folder / "olmo_ladder" / "final.csv")
        columns = {f"loss_{source}": "source_loss", f"loss_{target}": "loss"}
        return final.rename(columns=columns)[["run_id", "size", "source_loss", "loss"]]

    return read


SMALL, LARGE = "size != '1B'", "size == '1B'"

CASES = [
    *(
        Case(
            f"gadre {corpus} err_avg_17: small + 1.4B M=20 -> larger, at measured loss",
            "err-loss",
            gadre(corpus),
            "fitted == 1",
            "fitted == 0",
            objective="l2",
            published=published,
            published_rows="fitted == 1",
        )
        for corpus, published in ERRORS.items()
    ),
    *(
        Case(f"olmo_ladder {task} bpb: 190M-760M -> 1B", law, finals(task), SMALL, LARGE)
        for task in TASKS
        for law in ("ladder-bpb", "ladder-bpb-tied", "ladder-flops")
    ),
    *(
        Case(
            f"olmo_ladder {task} accuracy at measured bpb: 190M-760M -> 1B",
            "ladder",
            stages(task),
            SMALL,
            LARGE,
            objective="l2",
            fix={"b": 1.0},
        )
        for task in TASKS[:3]
    ),
    *(
        Case(
            f"olmo_ladder {task} accuracy by compute: 190M-760M -> 1B",
            "acc-flops",
            finals(task),
            SMALL,
            LARGE,
            objective="l2",
        )
        for task in TASKS
    ),
    *(
        Case(
            f"olmo_ladder c4_en to {target}: 190M-760M -> 1B", "loss-to-loss", two_losses("c4_en", target), SMALL, LARGE
        )
        for target in ("pile", "wikitext_103", "dolma_stack")
    ),
]
