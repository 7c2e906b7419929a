"""Many tables, the same job: fit, backtest, predict and report for each, and one index over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..engine.auto import auto_rows, choice
from ..engine.backtest import Backtest, backtest, laws_of
from ..engine.blend import NAME
from ..engine.fit import fit_rows, law_rows
from ..engine.predict import Predictions, predict
from ..engine.result import Fit
from ..errors import DidNotConverge, FinishedWithFailures, LabError, NotEnoughData, NotIdentified
from ..files import made_by, to_json, write_text
from ..laws import Law
from ..tables import Table, read_table
from .allocate import Allocation, allocate
from .jobs import Job, Jobs

SCHEMA = "scaling-lab/batch/1"
# Refits of each training side, as the backtest command makes: intervals there need fewer than the final fit's.
BACKTEST_REFITS = 400
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `done`, `failed` or `waiting`; its laws best first, its files beside batch.json."""

    name: str
    table: str
    status: str
    laws: tuple[Mapping[str, Any], ...] = ()
    best: str | None = None
    rows: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    failed_laws: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The job's entry in batch.json."""
        return dict(vars(self))


@dataclass(frozen=True)
class Writers:
    """What writes pages, which this layer must not know: `report(path, fits, ...)` and `index(path, outcomes)`."""

    report: Callable[..., Any]
    index: Callable[[Path, Sequence[Outcome]], Any]


@dataclass(frozen=True)
class Batch:
    """The outcomes of a file's jobs, in its order."""

    jobs: Jobs
    outcomes: tuple[Outcome, ...]

    def to_dict(self) -> dict[str, Any]:
        """The contents of batch.json."""
        inputs = {outcome.table: outcome.sha256 for outcome in self.outcomes if outcome.sha256}
        return {
            "schema": SCHEMA,
            "jobs": [outcome.to_dict() for outcome in self.outcomes],
            "index": "index.html",
            "made_by": made_by(**{self.jobs.file: self.jobs.sha256, **inputs}),
        }


def run_batch(
    jobs: Jobs, writers: Writers, *, keep_going: bool = False, progress: Progress | None = None
) -> tuple[Batch, LabError | None]:
    """The outcome of every job, and the error that the batch ends with, if any.

    Before and after each job batch.json and index.html say how far the batch is. The first job that fails is the last
    one run, unless `keep_going`.
    """
    outcomes = [Outcome(job.name, job.table, "waiting") for job in jobs.jobs]
    error: LabError | None = None
    _write(Batch(jobs, tuple(outcomes)), writers)
    for at, job in enumerate(jobs.jobs):
        if progress:
            progress("jobs", at, len(outcomes))
        try:
            outcomes[at] = run_job(job, jobs.out, writers, progress)
        except LabError as fault:
            outcomes[at] = replace(outcomes[at], status="failed", error=str(fault))
            error = LabError(f"job {job.name!r}: {fault}")
        _write(Batch(jobs, tuple(outcomes)), writers)
        if error and not keep_going:
            break
    if progress:
        progress("jobs", len(outcomes), len(outcomes))
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    if keep_going and failed:
        where = jobs.out / "batch.json"
        error = FinishedWithFailures(f"{len(failed)} of {len(outcomes)} jobs failed: {', '.join(failed)}; see {where}")
    return Batch(jobs, tuple(outcomes)), error


def _write(batch: Batch, writers: Writers) -> None:
    writers.index(batch.jobs.out / "index.html", batch.outcomes)
    write_text(batch.jobs.out / "batch.json", to_json(batch.to_dict(), indent=1) + "\n")


# ------------------------------------------------------------------------------------------------------------ one job


def run_job(job: Job, out: str | os.PathLike[str], writers: Writers, progress: Progress | None = None) -> Outcome:
    """Fits, backtests, predicts and reports one table into OUT/NAME; raises LabError where that can't be done."""
    table = read_table(job.table, mapping=job.mapping, where=job.where, params_column=job.params_column)
    laws = laws_of(job.laws, table)
    fits, failed = _fits(job, laws, table, progress)
    test = _backtest(job, table, progress) if job.split else None
    ranked = _ranked(fits, test)
    predictions = {fit.law: predict(fit, job.points, job.level) for fit in ranked} if job.points else {}
    split = _allocation(ranked, job) if job.flops else None
    folder = Path(out) / job.name
    files = _save(folder, ranked, test, predictions, split)
    writers.report(
        folder / "report.html",
        ranked,
        backtests=[test] if test else [],
        question=job.question,
        predictions=predictions.get(ranked[0].law),
        allocation=split if split and split.law == ranked[0].law else None,
    )
    return Outcome(
        name=job.name,
        table=job.table,
        status="done",
        laws=tuple(_figures(fit, test) for fit in ranked),
        best=next((fit.law for scored in test.laws for fit in fits if scored.scores(fit)), None) if test else None,
        rows=dict(ranked[0].rows),
        files={**files, "report": f"{job.name}/report.html"},
        failed_laws={**failed, **(test.failed if test else {})},
        notes=tuple(dict.fromkeys(note for fit in ranked for note in fit.notes)),
        sha256=table.sha256,
    )


def _fits(job: Job, laws: Sequence[Law], table: Table, progress: Progress | None) -> tuple[list[Fit], dict[str, str]]:
    """A fit for each law, and why there is none for the others; raises where no law can be fitted."""
    fits: list[Fit] = []
    failed: dict[str, str] = {}
    for law in laws:
        rows = law_rows(law, table, drop_bad=job.drop_bad)
        own = replace(job.settings, objective=job.settings.objective_of(law))
        try:
            # What stands for auto has its name: the rows decide what it comes to.
            auto = law.name == NAME
            fits.append(auto_rows(choice(table), rows, own, progress) if auto else fit_rows(law, rows, own, progress))
        except (NotEnoughData, NotIdentified, DidNotConverge) as fault:
            if len(laws) == 1:
                raise
            failed[law.name] = str(fault)
        else:
            came_to = fits[-1].law
            if came_to != law.name and any(other.name == came_to for other in laws):
                failed[law.name] = f"too few rows to weigh laws: it came to {came_to}, which is made in any case"
                fits.pop()
    if not fits:
        raise LabError(f"no law could be fitted: {'; '.join(f'{law}: {why}' for law, why in failed.items())}")
    return fits, failed


def _backtest(job: Job, table: Table, progress: Progress | None) -> Backtest:
    assert job.split is not None
    try:
        return backtest(
            table,
            job.laws,
            by=job.split.by,
            test_above=job.split.test_above,
            test_fraction=job.split.test_fraction,
            level=job.level,
            drop_bad=job.drop_bad,
            settings=replace(job.settings, bootstrap=min(job.settings.bootstrap, BACKTEST_REFITS)),
            progress=progress,
        )
    except LabError as fault:
        raise LabError(f"backtest: {fault} (backtest = false does without one)") from None


def _ranked(fits: Sequence[Fit], test: Backtest | None) -> list[Fit]:
    """The fits, those with the lowest held-out error first; a law that the backtest could not score comes last."""
    found = test.laws if test else ()
    return sorted(fits, key=lambda fit: next((i for i, scored in enumerate(found) if scored.scores(fit)), len(found)))


def _allocation(ranked: Sequence[Fit], job: Job) -> Allocation:
    """The split of the budget by the best law that knows one; raises the best law's reason where none does."""
    first: LabError | None = None
    for fit in ranked:
        try:
            return allocate(fit, job.flops, level=job.level)
        except LabError as fault:
            first = first or fault
    assert first is not None
    raise first


def _figures(fit: Fit, test: Backtest | None) -> dict[str, Any]:
    """A law's line in batch.json: error on its own rows, error and coverage on held-out rows, warnings."""
    scored = next((s for s in test.laws if s.scores(fit)), None) if test else None
    return {
        "law": fit.law,
        "fit_mape": fit.metrics.mape,
        "mape": scored.metrics.mape if scored else None,
        "coverage": scored.coverage if scored else None,
        "warnings": [vars(notice) for notice in fit.warnings],
    }


def _save(
    folder: Path,
    ranked: Sequence[Fit],
    test: Backtest | None,
    predictions: Mapping[str, Predictions],
    split: Allocation | None,
) -> dict[str, str]:
    """Writes the job's JSON files and returns {what: path} relative to the batch's folder."""
    made = {f"fit-{fit.law}": fit.to_dict() for fit in ranked}
    if test:
        made["backtest"] = test.to_dict()
    if predictions:
        best, *others = predictions
        more = {law: predictions[law].to_dict()["points"] for law in others}
        made["predict"] = {**predictions[best].to_dict(), "law": best, "others": more}
    if split:
        made["allocate"] = split.to_dict()
    for what, found in made.items():
        write_text(folder / f"{what}.json", to_json({"made_by": ranked[0].made_by, **found}) + "\n")
    return {what: f"{folder.name}/{what}.json" for what in made}
