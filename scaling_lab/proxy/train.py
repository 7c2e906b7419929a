"""One training run from its plan: a record and a curve, resumable at any step."""

from __future__ import annotations

import hashlib
import io
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..errors import BadInput, Stopped
from .data import VOCAB_SIZE, Bytes, Corpus, TrainingStream, held_out_sequences
from .folder import CHECKPOINT, PROGRESS, RECORD
from .model import Decoder
from .plan import FLOPS_CONVENTION, RunPlan

RECORD_SCHEMA = "scaling-lab/run/1"
# Assumes: a larger model repays more threads. Measured only on two busy cores, where two threads were slower than one:
# 0.80 x at 167k parameters, 0.85 x at 627k, 0.87 x at 1.8M.
ONE_THREAD_BELOW_PARAMS = 1_000_000
VALIDATION_BATCH = 32  # sequences at once; the mean does not depend on it beyond rounding


@dataclass
class RunState:
    """All that a run needs to go on from a step, besides the weights and the optimizer."""

    step: int = 0
    train_loss_sum: float = 0.0
    train_loss_steps: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0  # of every thread, validation included: what the run cost on a machine shared with others
    validation_s: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Session:
    """What a run is trained with and told, none of which enters its plan."""

    corpus: Corpus
    device: str
    threads: int = 0  # 0: one for small models, every core for larger
    checkpoint_seconds: float = 30.0
    should_stop: Callable[[], bool] = lambda: False
    on_step: Callable[[int, float | None], None] = lambda step, loss: None


def resolve_device(asked: str) -> str:
    """`cuda` or `cpu`; `auto` is CUDA where there is one. Raises BadInput where CUDA is asked for and missing."""
    if asked not in ("auto", "cpu", "cuda"):
        raise BadInput(f"no device {asked!r}", fix="take auto, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise BadInput("no CUDA device is available to torch", fix="use --device cpu, or auto")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def choose_threads(plan: RunPlan) -> int:
    """One thread for a small model, every core that this process may use for a larger one."""
    if plan.counts.params < ONE_THREAD_BELOW_PARAMS:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def evaluation_steps(total: int, points: int, spacing: str) -> set[int]:
    """The steps after which the held-out loss is taken: at most `points` of them, the last step always among them."""
    first = max(1, total // 100)
    spaced = np.geomspace(first, total, points) if spacing == "log" else np.linspace(total / points, total, points)
    return {*(max(1, round(step)) for step in spaced[:-1].tolist()), total}


def derived_seed(purpose: str, seed: int) -> int:
    """A 63-bit seed for one purpose of a run."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{seed}".encode()).digest()[:8], "big") >> 1


class Trainer:
    """A model, its optimizer and its place in the data; `train_run` drives it."""

    def __init__(self, plan: RunPlan, session: Session) -> None:
        self.plan, self.device = plan, session.device
        self.bf16 = plan.precision == "bf16" or (plan.precision == "auto" and session.device == "cuda")
        self.model = Decoder(plan.shape, plan.seq_len, derived_seed("init", plan.seed)).to(session.device)
        self.optimizer = make_optimizer(self.model, plan)
        self.rates = plan.learning_rates.updates().tolist()  # plain numbers: the optimizer keeps them in its checkpoint
        self.stream = TrainingStream(session.corpus, plan.seq_len, plan.data_seed)
        self.held_out_NT = held_out_sequences(session.corpus, plan.seq_len, plan.validation_sequences)
        self.evaluations = evaluation_steps(plan.steps, plan.curve_points, plan.curve_spacing)
        self.state = RunState()
        # Stays on the device, so that a step need not wait for its own loss.
        self.train_loss_sum = torch.zeros((), dtype=torch.float64, device=session.device)

    def advance(self) -> bool:
        """One update and, where one is due, a point of the curve; False where a loss is not finite."""
        state, finite = self.state, True
        began, cpu_began = time.perf_counter(), time.process_time()
        self.step()
        if state.step in self.evaluations:
            synchronise(self.device)
            trained = time.perf_counter()
            finite = self.evaluate()
            state.validation_s += time.perf_counter() - trained
            state.wall_s += trained - began
        else:
            state.wall_s += time.perf_counter() - began
        state.cpu_s += time.process_time() - cpu_began
        return finite

    def step(self) -> None:
        """One update on the next batch."""
        plan, state = self.plan, self.state
        sequences = plan.batch_tokens // plan.seq_len
        with self._autocast():
            loss = self.model.loss(self._on_device(self.stream.read(state.step * sequences, sequences)))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if state.step == 0:
            missing = [name for name, parameter in self.model.named_parameters() if parameter.grad is None]
            assert not missing, f"no gradient for {missing}"
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), plan.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[state.step]
        self.optimizer.step()
        self.train_loss_sum += loss.detach()
        state.step += 1
        state.train_loss_steps += 1

    def evaluate(self) -> bool:
        """Adds a point to the curve; False, and no point, where a loss is not finite."""
        state = self.state
        train_loss = self.train_loss_sum.item() / state.train_loss_steps
        loss = self._held_out_loss()
        self.train_loss_sum.zero_()
        state.train_loss_steps = 0
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            return False
        state.curve.append(
            {
                "step": state.step,
                "tokens": state.step * self.plan.batch_tokens,
                "lr": self.rates[state.step - 1],
                "loss": loss,
                "train_loss": train_loss,
            }
        )
        return True

    def save(self, folder: Path, corpus_sha256: str) -> None:
        """Writes the checkpoint, and beside it what `proxy status` reads."""
        self.state.train_loss_sum = self.train_loss_sum.item()
        content = io.BytesIO()
        torch.save(
            {
                "corpus": corpus_sha256,
                "state": asdict(self.state),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            content,
        )
        files.write_bytes(folder / CHECKPOINT, content.getvalue())
        latest = self.state.curve[-1]["loss"] if self.state.curve else None
        progress = {"step": self.state.step, "tokens": self.state.step * self.plan.batch_tokens, "loss": latest}
        files.write_text(folder / PROGRESS, files.to_json(progress) + "\n")

    def load(self, folder: Path, corpus_sha256: str) -> None:
        """Goes back to the checkpoint in `folder`, if there is one."""
        path = folder / CHECKPOINT
        if not path.exists():
            return
        try:
            saved = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.state = RunState(**saved["state"])
        except Exception as fault:  # torch raises what it likes on a damaged file
            raise BadInput(
                f"the checkpoint can't be read ({type(fault).__name__})",
                file=str(path),
                fix="delete it to start this run again",
            ) from fault
        if saved["corpus"] != corpus_sha256:
            raise BadInput("the checkpoint is of another corpus", file=str(path), fix="use another --out folder")
        self.train_loss_sum.fill_(self.state.train_loss_sum)

    def _held_out_loss(self) -> float:
        batches = np.array_split(self.held_out_NT, -(-len(self.held_out_NT) // VALIDATION_BATCH))
        total = 0.0
        with torch.no_grad(), self._autocast():
            for batch in batches:
                total += self.model.loss(self._on_device(batch)).item() * len(batch)
        return total / len(self.held_out_NT)

    def _on_device(self, windows: Bytes) -> Tensor:
        return torch.from_numpy(windows.astype(np.int64)).to(self.device, non_blocking=True)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, dtype=torch.bfloat16) if self.bf16 else nullcontext()


def make_optimizer(model: torch.nn.Module, plan: RunPlan) -> torch.optim.Optimizer:
    """AdamW over every parameter; weight decay on the matrices of blocks and head, not on embedding or norms."""
    decayed: list[Tensor] = []
    kept: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim == 2 and not name.startswith("embedding") else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.lr, betas=(plan.beta1, plan.beta2), fused=True)
    covered = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert covered == {id(parameter) for parameter in model.parameters()}, "the optimizer misses parameters"
    return optimizer


def train_run(plan: RunPlan, folder: Path, session: Session) -> dict[str, Any]:
    """Trains the run to its end, from the checkpoint in `folder` if there is one, and returns the record it wrote.

    Raises Stopped, everything saved, when `should_stop` turns true. The clock counts training steps alone.
    """
    threads = session.threads or choose_threads(plan)
    torch.set_num_threads(threads)
    trainer = Trainer(plan, session)
    trainer.load(folder, session.corpus.sha256)
    state = trainer.state
    diverged, saved_at = False, time.monotonic()
    while state.step < plan.steps and not diverged:
        if session.should_stop():
            trainer.save(folder, session.corpus.sha256)
            raise Stopped(f"stopped in run {plan.run_id} at step {state.step} of {plan.steps}, everything saved")
        diverged = not trainer.advance()
        session.on_step(state.step, state.curve[-1]["loss"] if state.curve else None)
        if time.monotonic() - saved_at >= session.checkpoint_seconds and state.step < plan.steps and not diverged:
            trainer.save(folder, session.corpus.sha256)
            saved_at = time.monotonic()
    record = make_record(trainer, session, diverged, threads)
    files.write_text(folder / RECORD, files.to_json(record, indent=1) + "\n")
    # A kill -9 in the middle of a write leaves the half beside its place; the sweep's lock says that nobody writes now.
    halves = [path for name in (RECORD, CHECKPOINT, PROGRESS) for path in folder.glob(f".{name}.*")]
    for leftover in (folder / CHECKPOINT, folder / PROGRESS, *halves):
        leftover.unlink(missing_ok=True)
    return record


def synchronise(device: str) -> None:
    """Waits for the device's queue, so that a clock reads finished work."""
    if device == "cuda":
        torch.cuda.synchronize()


def make_record(trainer: Trainer, session: Session, diverged: bool, threads: int) -> dict[str, Any]:
    """What stays of a run: plan, counts, compute, loss, curve, corpus and, under made_by, machine and times."""
    plan, state = trainer.plan, trainer.state
    tokens = state.step * plan.batch_tokens
    return {
        "schema": RECORD_SCHEMA,
        "run_id": plan.run_id,
        "status": "diverged" if diverged else "done",
        "loss": None if diverged else state.curve[-1]["loss"],
        "step": state.step,
        "tokens": tokens,
        "epochs": tokens / trainer.stream.unique_tokens,
        "unique_tokens": min(tokens, trainer.stream.unique_tokens),
        "flops": plan.flops * tokens / plan.tokens,
        "flops_convention": FLOPS_CONVENTION,
        "vocab_size": VOCAB_SIZE,
        "counts": asdict(plan.counts),
        "precision": "bf16" if trainer.bf16 else "fp32",
        "plan": asdict(plan),
        "corpus": session.corpus.describe(),
        "curve": state.curve,
        "made_by": {
            **files.made_by(corpus=session.corpus.sha256),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if session.device == "cuda" else "cpu",
            "threads": threads,
            "wall_s": round(state.wall_s, 3),
            "cpu_s": round(state.cpu_s, 3),
            "validation_s": round(state.validation_s, 3),
        },
    }
