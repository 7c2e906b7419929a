"""SWEEP.toml to plans: what is read, what a run is called, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling_lab.errors import BadInput
from scaling_lab.proxy.plan import read_sweep


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "SWEEP.toml"
    file.write_text(text)
    return file


ONE = """
[[run]]
width = 16
depth = 2
heads = 2
tokens = "64K"
lr = 0.01
"""


def test_grid_is_the_product_of_sizes_tokens_rates_and_seeds(write_sweep: Callable[..., Path]) -> None:
    sweep = read_sweep(write_sweep(more='lrs = [0.01, 0.02, "3e-2"]\nseeds = [0, 1]'))
    assert len(sweep.plans) == 2 * 2 * 3 * 2
    assert len({plan.run_id for plan in sweep.plans}) == 24
    assert {plan.lr for plan in sweep.plans} == {0.01, 0.02, 0.03}
    assert sweep.flops == sum(6 * plan.counts.params * plan.tokens for plan in sweep.plans)


def test_a_runs_own_settings_win_over_its_size_and_the_defaults(tmp_path: Path) -> None:
    text = """
    [train]
    lr = 0.01
    weight_decay = 0.2
    batch_tokens = 512
    [grid]
    sizes = [{width = 16, depth = 2, heads = 2, lr = 0.02}]
    tokens = ["10K"]
    role = "fit"
    [[run]]
    width = 16
    depth = 2
    heads = 2
    tokens = 10_000
    seed = 7
    weight_decay = 0.0
    role = "held-out"
    """
    sweep = read_sweep(write(tmp_path, text))
    grid, run = sweep.plans
    assert (grid.lr, grid.weight_decay, grid.seed) == (0.02, 0.2, 0)
    assert (run.lr, run.weight_decay, run.seed, run.data_seed) == (0.01, 0.0, 7, 7)
    assert grid.tokens == 20 * 512  # to whole steps
    assert [sweep.roles[plan.run_id] for plan in sweep.plans] == ["fit", "held-out"]
    assert sweep.out == Path("runs/SWEEP")


def test_learning_rate_by_rule(tmp_path: Path) -> None:
    rule = "lr = { coefficient = 8.0, params_power = -0.5, tokens_power = -0.25 }"
    plan = read_sweep(write(tmp_path, ONE.replace("lr = 0.01", rule))).plans[0]
    assert plan.lr == pytest.approx(8 * plan.counts.params**-0.5 * plan.tokens**-0.25, rel=1e-3)


def test_role_and_where_it_runs_do_not_enter_the_run_id(tmp_path: Path) -> None:
    before = read_sweep(write(tmp_path, ONE))
    after = read_sweep(write(tmp_path, "[sweep]\nname='other'\ndevice='cpu'\n" + ONE + "role = 'held-out'"), out="x")
    assert before.plans == after.plans
    assert after.out == Path("x")


def test_warmup_as_share_and_as_steps(tmp_path: Path) -> None:
    assert read_sweep(write(tmp_path, ONE)).plans[0].warmup_steps == 6  # a tenth of 62
    assert read_sweep(write(tmp_path, ONE + "warmup_steps = 3")).plans[0].warmup_steps == 3
    assert read_sweep(write(tmp_path, ONE + "warmup = 0")).plans[0].warmup_steps == 0
    in_train = "[train]\nwarmup_steps = 3\n" + ONE
    assert read_sweep(write(tmp_path, in_train)).plans[0].warmup_steps == 3
    assert read_sweep(write(tmp_path, in_train + "warmup = 0.5")).plans[0].warmup_steps == 31


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sweep\n", r"line 1: not valid TOML"),
        ("[sweep]\nname = 'a'\nname = 'b'\n", r"line 3: not valid TOML"),
        ("[sweep]\nname = 'a'\n", r"no runs"),
        ("[sweeps]\nname = 'a'\n", r"unknown key 'sweeps' in the file; did you mean 'sweep'"),
        (
            "[train]\nbatch_token = 5\n" + ONE,
            r"line 2: unknown key 'batch_token' in \[train\]; did you mean 'batch_tokens'",
        ),
        (ONE + "widht = 3", r"line 8: unknown key 'widht' in \[\[run\]\]; did you mean 'width'"),
        (ONE.replace("heads = 2", "heads = 3"), r"line 5: .*heads = 3 doesn't divide width = 16"),
        (ONE.replace("heads = 2", "heads = 16"), r"width / heads = 1 is odd"),
        (ONE.replace('"64K"', '"200"'), r"line 6: .*200 tokens are too few for one step of 1024 tokens"),
        (ONE.replace('"64K"', '"many"'), r"line 6: tokens = 'many' is not a number"),
        (ONE.replace('"64K"', "true"), r"tokens = True is not a number"),
        (ONE.replace("lr = 0.01", "lr = -1"), r"lr = -1 must be above 0"),
        (ONE.replace("lr = 0.01", "lr = nan"), r"lr = nan is not a number"),
        (ONE.replace("lr = 0.01", ""), r"\[\[run\]\] 1 has no lr"),
        (ONE.replace("lr = 0.01", "lr = {params_power = 1}"), r"no coefficient"),
        (ONE.replace("depth = 2", "depth = 1.5"), r"depth = 1.5 is not a whole number"),
        (ONE + "schedule = 'cosin'", r"'cosin' is not known; did you mean 'cosine'"),
        (ONE + "schedule = 'file:lr.csv'", r"'file:lr.csv' is a file, and a plan holds all"),
        (ONE + "schedule = 'cosine:floor=0.5'", r"'floor' is no setting of cosine; its own settings are: none; lr,"),
        (ONE + "schedule = 'rex:d=2'", r"line 8: \[\[run\]\] 1: rex: d = 2 must be finite and lie in 0"),
        (ONE + "schedule = 'exp'\nfloor = 0.0", r"line 8: \[\[run\]\] 1: exp decays exponentially"),
        (ONE + "precision = 'fp8'", r"precision = 'fp8' is not known"),
        (ONE + "batch_tokens = 1000", r"batch_tokens = 1000 is no multiple of seq_len = 128"),
        (ONE + "warmup_steps = 62", r"62 warm-up steps leave nothing of 62 steps"),
        (ONE + "beta2 = 1.0", r"beta2 = 1.0 must be at least 0 and below 1"),
        (ONE + "tied = 1", r"tied = 1 is neither true nor false"),
        (ONE + ONE, r"\[\[run\]\] 2 repeats another run"),
        ("run = 3\n", r"run is not a list of tables"),
        ("[grid]\ntokens = [1000]\n", r"\[grid\] needs a list of sizes"),
        ("[grid]\ntokens = [1000]\nsizes = [3]\n", r"sizes is not a list of tables"),
        ("[sweep]\nname = '../x'\n" + ONE, r"line 2: name = '../x' can't be the name of a folder"),
        ("[sweep]\nout = 3\n" + ONE, r"out = 3 is not a text"),
        ("[sweep]\ncorpus = ''\n" + ONE, r"corpus = '' is not a text"),
        ("train = 3\n" + ONE, r"train is not a table"),
        ("[grid]\nsizes = [{width = 8, depth = 1, heads = 2, lr = 0.1}]\n", r"\[grid\] needs a list of tokens"),
        ("[sweep]\ndevice = 'tpu'\n" + ONE, r"device = 'tpu' is not known"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        read_sweep(write(tmp_path, text))
    assert "SWEEP.toml" in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        read_sweep(tmp_path / "missing.toml")
    with pytest.raises(BadInput, match="can't be read"):
        read_sweep(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_sweep(tmp_path / "binary.toml")
