"""JOBS.toml: read whole before anything runs, each job's results in its own folder, failures named and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from scaling_lab.cli.batch import batch as command
from scaling_lab.decide.batch import Batch, Outcome, Writers, run_batch
from scaling_lab.decide.jobs import Split, read_jobs
from scaling_lab.engine.result import Fit
from scaling_lab.errors import BadInput, FinishedWithFailures, LabError

from .conftest import chinchilla_table

QUICK = "[defaults]\nstarts = 60\nbootstrap = 8\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes JOBS.toml beside two tables and returns its path."""
    chinchilla_table(noise=1e-3).to_csv(tmp_path / "a.csv", index=False)
    renamed = chinchilla_table(noise=1e-3, seed=1).rename(columns={"params": "size", "tokens": "D", "loss": "nll"})
    renamed.to_csv(tmp_path / "b.csv", index=False)

    def write_file(*jobs: str, head: str = QUICK) -> Path:
        path = tmp_path / "JOBS.toml"
        path.write_text(head + "".join(f"\n[[job]]\n{job.strip()}\n" for job in jobs))
        return path

    return write_file


A = 'name = "first"\ntable = "a.csv"\nlaws = ["chinchilla"]\nbacktest = false\n'
B = """
name = "second"
table = "b.csv"
map = { params = "size", loss = "nll" }
laws = ["hestness-flops", "chinchilla"]
backtest = { by = "D", test_fraction = 0.3 }
predict = ["params=70B,tokens=1.4T", "N=7B,D=2T"]
flops = "1e24"
where = "D > 1e9"
question = "How low?"
level = 0.8
"""


class Pages:
    """Writers that keep what they were given in place of drawing pages."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.indexes: list[list[str]] = []

    def report(self, path: Path, fits: Sequence[Fit], **more: Any) -> None:
        """Keeps a report's arguments and writes a file in its place."""
        self.reports.append({"path": path, "fits": fits, **more})
        path.write_text("page")

    def index(self, path: Path, outcomes: Sequence[Outcome]) -> None:
        """Keeps the statuses that the index would show."""
        self.indexes.append([outcome.status for outcome in outcomes])

    @property
    def writers(self) -> Writers:
        """The two as the batch takes them."""
        return Writers(self.report, self.index)


def run(path: Path, keep_going: bool = False) -> tuple[Batch, LabError | None, Pages]:
    """The batch of a file, its error and its pages."""
    pages = Pages()
    done, error = run_batch(read_jobs(path), pages.writers, keep_going=keep_going)
    return done, error, pages


# ------------------------------------------------------------------------------------------------------------ reading


def test_a_file_is_read_with_its_defaults(write: Write, tmp_path: Path) -> None:
    path = write(A, B, head='out = "results"\n[defaults]\nseed = 3\nstarts = 10\nlevel = 0.5\ndelta = 0.01\n')
    jobs = read_jobs(path)
    first, second = jobs.jobs
    assert jobs.out == tmp_path / "results"
    assert first.table == str(tmp_path / "a.csv"), "paths are taken from the file's folder"
    assert (first.settings.seed, first.settings.starts, first.settings.bootstrap, first.level) == (3, 10, 1000, 0.5)
    assert first.settings.objective.delta == 0.01
    assert (first.split, first.points, first.flops) == (None, (), None)
    assert second.split == Split("D", None, 0.3)
    assert second.mapping == {"params": "size", "loss": "nll"}
    assert second.points == ({"params": 7e10, "tokens": 1.4e12}, {"params": 7e9, "tokens": 2e12})
    assert (second.flops, second.level, second.question) == (1e24, 0.8, "How low?")
    assert read_jobs(path, "elsewhere").out == Path("elsewhere")
    assert read_jobs(write(A)).out == tmp_path / "JOBS-results"
    assert read_jobs(write(A.replace("backtest = false", ""))).jobs[0].split == Split()
    assert read_jobs(write(A.replace('["chinchilla"]', '"all"'))).jobs[0].laws == ("all",)


@pytest.mark.parametrize(
    ("line", "at", "says"),
    [
        ("lows = 1", 9, "lows is no key of a job; did you mean 'laws'?"),
        ("flops = -1", 9, "flops = -1 is not a number above zero"),
        ('flops = "lots"', 9, "flops = 'lots' is not 'lots' is not a number"),
        ("flops = true", 9, "is not a number, as 1e21 or '7B'"),
        ("seed = 1.5", 9, "is not a whole number"),
        ("starts = 0", 6, "--starts is at least 1"),
        ("bootstrap = -5", 9, "is not a whole number, not below zero"),
        ("where = 3", 9, "is not a text"),
        ('where = " "', 9, "is not a text"),
        ("drop_bad_rows = 1", 9, "is not true or false"),
        ("map = 3", 9, "is not a table of columns"),
        ("fix = { alpha = 'x' }", 9, "'x' is not a number"),
        ("fix = 0.5", 9, "is not a table of numbers"),
        ("fix = { alfa = 0.5 }", 6, "chinchilla has no parameter 'alfa'; did you mean 'alpha'?"),
        ('objective = "hubert"', 6, "no objective 'hubert'; known: huber, l2, l1"),
        ('resample = "cols"', 6, "no resampling of 'cols'"),
        ("delta = 0", 9, "is not a number above zero"),
        ("level = 1.5", 6, "a level of 1.5"),
        ("predict = []", 9, "is not a name or a list of names"),
        ('predict = ["params"]', 9, "is not NAME=NUMBER"),
        ("predict = [1]", 9, "is not a name or a list"),
    ],
)
def test_a_wrong_value_names_the_line_and_key(line: str, at: int, says: str, write: Write) -> None:
    with pytest.raises(BadInput) as caught:
        read_jobs(write(A + line))
    assert says in str(caught.value)
    assert caught.value.line == at + (0 if at == 6 else 1)
    assert str(caught.value.file).endswith("JOBS.toml")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("3", "is not false, or a table"),
        ("{ above = 1e21 }", "is not a table of by, test_above, test_fraction"),
        ("{ test_abov = 1e21 }", "did you mean 'test_above'?"),
        ("{ test_above = 1e21, test_fraction = 0.2 }", "one of test_above and test_fraction"),
        ("{ test_above = -1 }", "a number above zero"),
    ],
)
def test_a_wrong_split(value: str, says: str, write: Write) -> None:
    with pytest.raises(BadInput, match="backtest") as caught:
        read_jobs(write(A.replace("false", value)))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("jobs", "head", "says"),
    [
        ([], QUICK, r"has no \[\[job\]\]"),
        ([A], "laws = 3\n" + QUICK, r"line 1: laws is no key of the file; move it under \[defaults\] or \[\[job\]\]"),
        ([A], "ouput = 3\n" + QUICK, "ouput is no key of the file; did you mean 'out'?"),
        ([A], "out = 3\n" + QUICK, "out is the name of a folder"),
        ([A], '[defaults]\nname = "x"\n', "line 2: name can't be the same for every job"),
        ([A], "[defaults]\nnam = 1\n", "line 2: nam is no key of a job; did you mean 'name'"),
        ([A, A], QUICK, "line 12: name 'first' is used twice"),
        ([A, A.replace("first", "FIRST")], QUICK, "'FIRST' is used twice"),
        ([A.replace("first", "../x")], QUICK, "'../x' is no safe folder name"),
        ([A.replace("first", ".x")], QUICK, "no safe folder name"),
        ([A.replace("first", "x.")], QUICK, "no safe folder name"),
        ([A.replace("first", "a b")], QUICK, "no safe folder name"),
        ([A.replace("first", "index.html")], QUICK, "no safe folder name"),
        (['name = "x"\nlaws = "chinchilla"'], QUICK, "line 5: job 1 has no table; add table"),
        (['table = "a.csv"\nlaws = "chinchilla"'], QUICK, "job 1 has no name"),
        (['name = "x"\ntable = "a.csv"'], QUICK, "job 1 has no laws"),
        ([A.replace("chinchilla", "chinchila")], QUICK, "did you mean 'chinchilla'"),
        (["name = = 3"], QUICK, r"is not TOML \(.*line 6"),
    ],
)
def test_a_wrong_file(jobs: list[str], head: str, says: str, write: Write) -> None:
    with pytest.raises(BadInput, match=says):
        read_jobs(write(*jobs, head=head))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_jobs(tmp_path / "JOBS.toml")
    with pytest.raises(BadInput, match="can't be read"):
        read_jobs(tmp_path)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is not TOML"):
        read_jobs(tmp_path / "b.toml")


# ------------------------------------------------------------------------------------------------------------ running


def test_jobs_write_their_files(write: Write, tmp_path: Path) -> None:
    done, error, pages = run(write(A, B))
    assert error is None
    out = tmp_path / "JOBS-results"
    first, second = done.outcomes
    assert sorted(p.name for p in (out / "first").iterdir()) == ["fit-chinchilla.json", "report.html"]
    assert first.files == {"fit-chinchilla": "first/fit-chinchilla.json", "report": "first/report.html"}
    assert (first.status, first.best, first.laws[0]["mape"]) == ("done", None, None)
    assert set(second.files) == {"fit-chinchilla", "fit-hestness-flops", "backtest", "predict", "allocate", "report"}
    assert all((out / file).exists() for file in second.files.values())
    assert Fit.load(out / second.files["fit-chinchilla"]).law == "chinchilla"
    assert second.best == "chinchilla", "the law that the table was made by wins on its large runs"
    assert [law["law"] for law in second.laws] == ["chinchilla", "hestness-flops"]
    assert second.laws[0]["mape"] < second.laws[1]["mape"]
    assert second.rows["dropped"]["--where"] == 6
    assert "tokens is taken from column 'D'" in second.notes
    found = json.loads((out / "second" / "predict.json").read_text())
    assert (found["schema"], found["law"], len(found["points"])) == ("scaling-lab/predict/1", "chinchilla", 2)
    assert found["points"][0]["level"] == 0.8
    assert set(found["others"]) == {"hestness-flops"}
    assert json.loads((out / "second" / "backtest.json").read_text())["split"]["by"] == "tokens"
    assert json.loads((out / "second" / "allocate.json").read_text())["flops"] == 1e24
    assert pages.reports[1]["question"] == "How low?"
    assert pages.reports[1]["allocation"].law == pages.reports[1]["fits"][0].law == "chinchilla"
    assert len(pages.reports[1]["backtests"]) == 1
    assert pages.indexes == [["waiting", "waiting"], ["done", "waiting"], ["done", "done"]]
    made = json.loads((out / "batch.json").read_text())
    assert made["schema"] == "scaling-lab/batch/1"
    assert [job["status"] for job in made["jobs"]] == ["done", "done"]
    assert set(made["made_by"]["inputs"]) == {str(tmp_path / name) for name in ("JOBS.toml", "a.csv", "b.csv")}


def test_the_same_file_gives_the_same_numbers(write: Write, tmp_path: Path) -> None:
    path, found = write(A), []
    for _ in range(2):
        run(path)
        made = json.loads((tmp_path / "JOBS-results" / "batch.json").read_text())
        fit = json.loads((tmp_path / "JOBS-results" / "first" / "fit-chinchilla.json").read_text())
        found.append((made["jobs"], fit["params"], fit["draws"]))
    assert found[0] == found[1]


MISSING = A.replace("first", "none").replace("a.csv", "none.csv")


def test_the_first_failure_stops(write: Write, tmp_path: Path) -> None:
    done, error, pages = run(write(A, MISSING, B))
    assert error is not None
    assert error.exit_code == 1
    assert str(error).startswith("job 'none': ")
    assert "none.csv: no such file" in str(error)
    assert [o.status for o in done.outcomes] == ["done", "failed", "waiting"]
    assert pages.indexes[-1] == ["done", "failed", "waiting"]
    made = json.loads((tmp_path / "JOBS-results" / "batch.json").read_text())
    assert "no such file" in made["jobs"][1]["error"]
    assert not (tmp_path / "JOBS-results" / "none").exists()


def test_keep_going_runs_all(write: Write) -> None:
    done, error, _ = run(write(MISSING, A), keep_going=True)
    assert isinstance(error, FinishedWithFailures)
    assert error.exit_code == 5
    assert "1 of 2 jobs failed: none" in str(error)
    assert [o.status for o in done.outcomes] == ["failed", "done"]
    assert run(write(A), keep_going=True)[1] is None


def test_a_law_that_cannot_be_fitted_is_named(write: Write, tmp_path: Path) -> None:
    chinchilla_table().iloc[:4].to_csv(tmp_path / "few.csv", index=False)
    few = A.replace("a.csv", "few.csv").replace('["chinchilla"]', '["hestness", "chinchilla"]')
    done, error, _ = run(write(few))
    [outcome] = done.outcomes
    if error is None:
        assert [law["law"] for law in outcome.laws] == [*("hestness", "kaplan-d", "hestness-regions")]
        assert "4 usable rows" in outcome.failed_laws["chinchilla"]
    done, error, _ = run(write(A.replace("a.csv", "few.csv")))
    assert error is not None
    assert "4 usable rows" in str(error)


def test_a_backtest_that_cannot_be_made_says_how_to_do_without(write: Write) -> None:
    _, error, _ = run(write(A.replace("backtest = false", "backtest = { test_above = 1e40 }")))
    assert error is not None
    assert "job 'first': backtest: " in str(error)
    assert "backtest = false does without" in str(error)


def test_all_laws_of_a_table(write: Write) -> None:
    job = A.replace('["chinchilla"]', '"all"') + 'fix = { alpha = 0.34 }\nobjective = "l2"\n'
    path = write(job)
    # A parameter that not every law has can't be held in all of them.
    assert "has no parameter 'alpha'" in str(run(path)[1])
    no_params = A.replace('["chinchilla"]', '"all"').replace("a.csv", "c.csv")
    chinchilla_table().drop(columns="params").to_csv(path.parent / "c.csv", index=False)
    done, error, _ = run(write(no_params))
    assert error is None
    assert [law["law"] for law in done.outcomes[0].laws] == [*("hestness", "kaplan-d", "hestness-regions")]


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that runs the command in the test's folder."""
    app = typer.Typer()
    app.command()(command)
    app.command("other")(lambda: None)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["batch", *arguments])


def test_command(invoke: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    quick = B.replace(', "chinchilla"', "").replace('flops = "1e24"', "")
    write(A.replace("chinchilla", "hestness"), MISSING, quick)
    done = invoke("JOBS.toml", "--out", "here", "--keep-going")
    assert isinstance(done.exception, FinishedWithFailures)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("first   hestness        runs used 30")
    assert lines[1].startswith("none    failed: none.csv: no such file")
    assert "held-out error" in lines[2]
    assert lines[-1] == "index: here/index.html"
    assert "note: second: tokens is taken from column 'D'" in done.stderr
    index = (tmp_path / "here" / "index.html").read_text()
    assert 'href="second/report.html"' in index
    assert "no such file" in index
    assert "<svg" in (tmp_path / "here" / "second" / "report.html").read_text()


def test_command_json(invoke: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaling_lab.show.report.write_report", lambda path, fits, **more: path.write_text("page"))
    write(A)
    done = invoke("JOBS.toml", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["out"] == "JOBS-results"
    assert found["jobs"][0]["status"] == "done"


def test_the_example_of_the_manual_is_read(write: Write) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "batch.md").read_text(encoding="utf-8")
    path = write(head=text.split("```toml\n")[1].split("```")[0])
    web, every = read_jobs(path).jobs
    assert (web.split, web.flops, web.laws) == (Split("flops", 3e20), 1e23, ("chinchilla", "chinchilla-tied"))
    assert (every.split, every.laws, every.settings.bootstrap) == (None, ("all",), 200)
