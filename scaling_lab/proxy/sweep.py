"""A sweep trained to its end, one run after another, going on where an earlier process stopped."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from .. import files
from ..errors import BadInput, FinishedWithFailures, MissingExtra, Stopped
from .data import Corpus, read_corpus
from .folder import FAILURE, IDENTITY, SweepLock, lock_folder, read_json, read_record
from .plan import RunPlan, Sweep


@dataclass(frozen=True)
class Watcher:
    """What is told of a sweep while it trains; `trained` is false for a run that was finished before."""

    started: Callable[[RunPlan], None] = lambda plan: None
    stepped: Callable[[RunPlan, int, float | None], None] = lambda plan, step, loss: None
    finished: Callable[[RunPlan, dict[str, Any], bool], None] = lambda plan, record, trained: None
    failed: Callable[[RunPlan, str], None] = lambda plan, reason: None


def run_sweep(sweep: Sweep, *, device: str | None = None, threads: int = 0, watcher: Watcher | None = None) -> None:
    """Trains every run that has no record yet and writes its record.

    Raises BadInput where the folder is held or of another corpus, Stopped on SIGINT or SIGTERM with everything saved,
    and FinishedWithFailures when all were tried and some failed.
    """
    watcher = watcher or Watcher()
    try:
        from .train import Session, resolve_device
    except ModuleNotFoundError as fault:
        raise MissingExtra("torch", "proxy", "scaling-lab proxy") from fault
    resolved = resolve_device(device or sweep.device)
    with lock_folder(sweep.out) as lock, stop_on_signals() as should_stop:
        corpus = read_corpus(sweep.corpus, sweep.file.parent)
        check_corpus(sweep.out, corpus)
        session = Session(corpus, resolved, threads, sweep.checkpoint_seconds, should_stop)
        failures = [plan for plan in sweep.plans if not _run_one(sweep, plan, session, lock, watcher)]
    if failures:
        names = ", ".join(plan.run_id for plan in failures[:3]) + (", …" if len(failures) > 3 else "")
        raise FinishedWithFailures(
            f"{len(failures)} of {len(sweep.plans)} runs failed ({names}); `proxy status` says why; run again"
        )


def _run_one(sweep: Sweep, plan: RunPlan, session: Any, lock: SweepLock, watcher: Watcher) -> bool:
    """Whether the run is finished; a fault in it is written to its folder and the sweep goes on."""
    from .train import train_run

    record = read_record(sweep, plan)
    if record is not None:
        watcher.finished(plan, record, False)
        return True
    folder = sweep.out / plan.run_id
    lock.say(plan.run_id)
    watcher.started(plan)
    try:
        record = train_run(plan, folder, replace(session, on_step=lambda step, loss: watcher.stepped(plan, step, loss)))
    except Stopped as fault:
        raise Stopped(f"{fault}; the same command resumes") from fault
    except Exception as fault:
        reason = " ".join(f"{type(fault).__name__}: {fault}".split())
        failure = {"run_id": plan.run_id, "error": reason, "traceback": traceback.format_exc()}
        files.write_text(folder / FAILURE, files.to_json(failure, indent=1) + "\n")
        watcher.failed(plan, reason)
        return False
    (folder / FAILURE).unlink(missing_ok=True)
    watcher.finished(plan, record, True)
    return True


def check_corpus(out: Path, corpus: Corpus) -> None:
    """Writes which corpus this folder is of, or raises BadInput where it is another: its runs would not compare."""
    known = read_json(out / IDENTITY)
    if known is None:
        files.write_text(out / IDENTITY, files.to_json({"corpus": corpus.describe()}, indent=1) + "\n")
    elif known["corpus"]["sha256"] != corpus.sha256:
        before = known["corpus"]
        raise BadInput(
            f"its runs were trained on corpus {before['name']} {before['sha256'][:12]} (Python {before['python']}), "
            f"but {corpus.name} is now {corpus.sha256[:12]} (Python {corpus.python})",
            file=str(out),
            fix="use that Python, or another --out folder",
        )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """A function that turns true on SIGINT or SIGTERM; a second signal acts as it always would.

    Outside the main thread, where Python allows no handlers, it stays false.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
