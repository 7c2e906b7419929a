"""A sweep's folder on disk: what each run has reached, and the lock that keeps a second process out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import BadInput
from .plan import RunPlan, Sweep

STATUS_SCHEMA = "scaling-lab/sweep/1"
CHECKPOINT = "checkpoint.pt"
PROGRESS = "progress.json"
RECORD = "record.json"
FAILURE = "failure.json"
IDENTITY = "sweep.json"
LOCK = "lock"

State = Literal["done", "running", "failed", "waiting"]


@dataclass(frozen=True)
class RunStatus:
    """How far one run is. A diverged run is done; an interrupted one waits."""

    plan: RunPlan
    state: State
    tokens: int
    loss: float | None
    status: str = ""  # of the record: done or diverged
    reason: str = ""  # of a failure


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, None where there is no such file; raises BadInput on a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        raise BadInput(f"can't be read ({fault})", file=str(path), fix="delete it to make it again") from fault
    if not isinstance(found, dict):
        raise BadInput("is not a JSON object", file=str(path), fix="delete it to make it again")
    return found


def read_record(sweep: Sweep, plan: RunPlan) -> dict[str, Any] | None:
    """The record of a finished run, None before that."""
    return read_json(sweep.out / plan.run_id / RECORD)


def sweep_status(sweep: Sweep) -> list[RunStatus]:
    """Where each run of the sweep stands, in the sweep's order."""
    current = running_run(sweep.out)
    return [_run_status(sweep, plan, current) for plan in sweep.plans]


def _run_status(sweep: Sweep, plan: RunPlan, current: str | None) -> RunStatus:
    record = read_record(sweep, plan)
    if record is not None:
        return RunStatus(plan, "done", record["tokens"], record["loss"], status=record["status"])
    folder = sweep.out / plan.run_id
    progress = read_json(folder / PROGRESS) or {"tokens": 0, "loss": None}
    failure = read_json(folder / FAILURE)
    state: State = "running" if current == plan.run_id else "failed" if failure else "waiting"
    return RunStatus(plan, state, progress["tokens"], progress["loss"], reason=failure["error"] if failure else "")


def status_json(sweep: Sweep) -> dict[str, Any]:
    """The status as scripts read it (schema scaling-lab/sweep/1)."""
    runs = sweep_status(sweep)
    states = [run.state for run in runs]
    counts = {state: states.count(state) for state in ("done", "running", "failed", "waiting")}
    return {
        "schema": STATUS_SCHEMA,
        "name": sweep.name,
        "out": str(sweep.out),
        "runs": {"total": len(runs), **counts, "diverged": sum(run.status == "diverged" for run in runs)},
        "flops": {
            "planned": sweep.flops,
            "spent": sum(run.plan.flops * run.tokens / run.plan.tokens for run in runs),
        },
        "each": [
            {
                "run_id": run.plan.run_id,
                "state": run.state,
                "status": run.status or None,
                "tokens": run.tokens,
                "loss": run.loss,
                "reason": run.reason or None,
            }
            for run in runs
        ],
    }


class SweepLock:
    """The hold that one process has on a sweep's folder; the system lets go of it when the process dies, however."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, run_id: str | None) -> None:
        """Writes who holds the folder and which run is in training."""
        content = json.dumps({"pid": os.getpid(), "host": platform.node(), "run_id": run_id}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


@contextlib.contextmanager
def lock_folder(out: Path) -> Iterator[SweepLock]:
    """Holds the sweep's folder; raises BadInput where another process trains in it or it can't be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as fault:
        raise BadInput(
            f"the sweep's folder can't be written ({fault.strerror or fault})",
            file=str(out),
            fix="choose another --out",
        ) from fault
    try:
        if not _try_lock(descriptor):
            raise BadInput(
                f"another process ({_holder(out / LOCK)}) trains this sweep",
                file=str(out),
                fix="wait for it, or use another --out folder",
            )
        lock = SweepLock(descriptor)
        lock.say(None)
        yield lock
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    # `proxy status` holds a shared lock for an instant while it looks; three tries tell it from a trainer.
    for _ in range(3):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text())
        return f"pid {held['pid']} on {held['host']}"
    except (OSError, ValueError, KeyError):
        return "unknown pid"


def running_run(out: Path) -> str | None:
    """The run that a living process trains in this folder now; None where nobody holds the lock."""
    try:
        descriptor = os.open(out / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        held = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
        return held.get("run_id")
    finally:
        os.close(descriptor)
