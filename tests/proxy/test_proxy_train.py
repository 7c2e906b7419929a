"""One run: the model's count and gradients, a falling loss, the same numbers again, divergence, resumption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the trainer needs torch: pip install 'scaling-lab[proxy]'")

from scaling_lab.accounting import Shape, parameters  # noqa: E402
from scaling_lab.errors import BadInput, Stopped  # noqa: E402
from scaling_lab.proxy.data import read_corpus  # noqa: E402
from scaling_lab.proxy.folder import CHECKPOINT, RECORD  # noqa: E402
from scaling_lab.proxy.model import Decoder, rotary_table, rotate  # noqa: E402
from scaling_lab.proxy.plan import RunPlan, read_sweep  # noqa: E402
from scaling_lab.proxy.train import (  # noqa: E402
    Session,
    Trainer,
    evaluation_steps,
    make_optimizer,
    resolve_device,
    train_run,
)
from scaling_lab.schedules import SCHEDULES, Schedule  # noqa: E402


@pytest.fixture
def plan(write_sweep: Callable[..., Path]) -> RunPlan:
    return read_sweep(write_sweep(tokens="[2560]")).plans[1]


@pytest.fixture
def session(plan: RunPlan, tmp_path: Path) -> Session:
    return Session(read_corpus("corpus", tmp_path), "cpu")


def stop_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(steps + 1))
    return lambda: next(asked) == steps


def numbers(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "made_by"}


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_as_accounted_and_each_gets_a_gradient(tied: bool) -> None:
    shape = Shape(256, 16, 2, 2, 48, tied=tied)
    model = Decoder(shape, 16, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters(shape).params
    model.loss(torch.randint(0, 256, (2, 17))).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_a_new_model_knows_nothing_and_sees_no_future() -> None:
    model = Decoder(Shape(256, 32, 2, 4, 88), 16, seed=0)
    tokens = torch.randint(0, 256, (2, 17), generator=torch.Generator().manual_seed(0))
    assert model.loss(tokens).item() == pytest.approx(np.log(256) + 0.5, abs=0.3)  # logits of variance 1
    changed = tokens.clone()
    changed[:, 9:] = 0
    torch.testing.assert_close(model(tokens[:, :16])[:, :9], model(changed[:, :16])[:, :9])


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    rotary = rotary_table(12, 8)
    x = torch.randn(8, generator=torch.Generator().manual_seed(0)).expand(1, 1, 12, 8)
    turned = rotate(x, rotary)[0, 0]
    torch.testing.assert_close(turned.norm(dim=-1), x[0, 0].norm(dim=-1))
    products = turned @ turned.T
    torch.testing.assert_close(products[0, 5], products[6, 11])


def test_optimizer_covers_all_and_decays_matrices_alone(plan: RunPlan) -> None:
    model = Decoder(plan.shape, plan.seq_len, 0)
    decayed, kept = make_optimizer(model, plan).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) == 4 * plan.depth
    assert len(kept["params"]) == 1 + 2 * plan.depth + 1


def test_loss_falls_and_the_record_tells_all(plan: RunPlan, session: Session, tmp_path: Path) -> None:
    record = train_run(plan, tmp_path / "run", session)
    curve = record["curve"]
    assert curve[0]["loss"] > 5
    assert record["loss"] == curve[-1]["loss"] < curve[0]["loss"] - 1
    assert [point["step"] for point in curve] == sorted(evaluation_steps(plan.steps, 5, "log"))
    assert curve[-1]["tokens"] == plan.tokens == record["tokens"]
    assert record["flops"] == 6 * record["counts"]["params"] * plan.tokens
    assert record["corpus"]["sha256"] == session.corpus.sha256
    assert record["corpus"]["python"]
    assert record["made_by"]["wall_s"] > 0
    assert [path.name for path in (tmp_path / "run").iterdir()] == [RECORD]


def test_same_plan_same_numbers_another_seed_others(plan: RunPlan, session: Session, tmp_path: Path) -> None:
    first = train_run(plan, tmp_path / "a", session)
    assert numbers(train_run(plan, tmp_path / "b", session)) == numbers(first)
    assert train_run(replace(plan, seed=1), tmp_path / "c", session)["loss"] != first["loss"]
    assert train_run(replace(plan, data_seed=1), tmp_path / "d", session)["loss"] != first["loss"]


@pytest.mark.parametrize("steps", [0, 1, 13, 39])
def test_stopped_and_resumed_is_the_uninterrupted_run(
    plan: RunPlan, session: Session, tmp_path: Path, steps: int
) -> None:
    whole = train_run(plan, tmp_path / "whole", session)
    folder = tmp_path / "stopped"
    with pytest.raises(Stopped, match=f"at step {steps} of 40"):
        train_run(plan, folder, replace(session, should_stop=stop_after(steps)))
    assert not (folder / RECORD).exists()
    assert numbers(train_run(plan, folder, session)) == numbers(whole)
    assert not (folder / CHECKPOINT).exists()


def test_a_checkpoint_of_another_corpus_or_a_damaged_one_is_refused(
    plan: RunPlan, session: Session, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train_run(plan, tmp_path / "run", replace(session, should_stop=stop_after(2)))
    other = replace(session, corpus=replace(session.corpus, sha256="0" * 64))
    with pytest.raises(BadInput, match="of another corpus"):
        train_run(plan, tmp_path / "run", other)
    checkpoint = tmp_path / "run" / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(BadInput, match=r"can't be read .*delete it to start this run again"):
        train_run(plan, tmp_path / "run", session)


def test_a_diverged_run_is_a_run(plan: RunPlan, session: Session, tmp_path: Path) -> None:
    wild = replace(plan, lr=1e30, grad_clip=1e30, warmup_steps=0)
    record = train_run(wild, tmp_path / "run", session)
    assert (record["status"], record["loss"]) == ("diverged", None)
    assert record["tokens"] < wild.tokens
    assert (tmp_path / "run" / RECORD).exists()
    assert all(np.isfinite(point["loss"]) for point in record["curve"])


def test_a_gradient_longer_than_the_clip_is_cut_to_it(plan: RunPlan, session: Session) -> None:
    trainer = Trainer(replace(plan, grad_clip=1e-3), session)
    trainer.step()
    norm = torch.stack([parameter.grad.norm() for parameter in trainer.model.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_rates_of_the_updates_are_the_schedules(plan: RunPlan, session: Session) -> None:
    trainer = Trainer(plan, session)
    for expected in trainer.rates[:5]:
        trainer.step()
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {expected}
    assert trainer.rates[plan.warmup_steps - 1] == plan.lr


@pytest.mark.parametrize("name", [*SCHEDULES, "two-stage:switch=20,second=0.25", "cosine-power:p0=2"])
def test_a_run_logs_the_rates_of_its_schedule(name: str, plan: RunPlan, session: Session, tmp_path: Path) -> None:
    chosen = replace(plan, schedule=name, warmup_steps=0 if name == "cyclic" else plan.warmup_steps)
    record = train_run(chosen, tmp_path / "run", session)
    steps = [point["step"] for point in record["curve"]]
    assert steps[-1] == chosen.steps == 40
    settings = {"batch": 4, "seq_len": 16} if name == "power" else {}
    given = {"floor": 0.1, "settings": settings, "lr_max": 0.01}
    schedule = Schedule.parse(name, total=40, warmup_steps=chosen.warmup_steps, **given)
    assert [point["lr"] for point in record["curve"]] == schedule.at(steps).tolist()
    assert record["status"] == "done"


def test_bf16_trains_close_to_fp32(plan: RunPlan, session: Session, tmp_path: Path) -> None:
    exact = train_run(plan, tmp_path / "fp32", session)
    rounded = train_run(replace(plan, precision="bf16"), tmp_path / "bf16", session)
    assert rounded["precision"] == "bf16"
    assert rounded["loss"] != exact["loss"]
    assert rounded["loss"] == pytest.approx(exact["loss"], abs=0.1)


@pytest.mark.parametrize("spacing", ["log", "even"])
@pytest.mark.parametrize(("total", "points"), [(1, 5), (3, 16), (1000, 1), (1000, 16)])
def test_evaluations_end_with_the_run(total: int, points: int, spacing: str) -> None:
    steps = evaluation_steps(total, points, spacing)
    assert max(steps) == total
    assert min(steps) >= 1
    assert len(steps) <= points


def test_device_auto_and_missing_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(BadInput, match="no CUDA device"):
        resolve_device("cuda")
    with pytest.raises(BadInput, match="no device 'tpu'"):
        resolve_device("tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_trains_like_the_cpu(plan: RunPlan, session: Session, tmp_path: Path) -> None:
    cpu = train_run(replace(plan, precision="fp32"), tmp_path / "cpu", session)
    cuda = train_run(replace(plan, precision="fp32"), tmp_path / "cuda", replace(session, device="cuda"))
    assert cuda["loss"] == pytest.approx(cpu["loss"], abs=0.01)
    assert train_run(plan, tmp_path / "bf16", replace(session, device="cuda"))["precision"] == "bf16"
