"""The page: one file, the answer first, every number the engine's, everything from outside escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.backtest import Backtest
from scaling_lab.engine.predict import Predictions, predict
from scaling_lab.engine.result import Fit
from scaling_lab.errors import UsageError
from scaling_lab.quantities import format_quantity
from scaling_lab.show import report, terminal, words

HOSTILE = "<script>alert('1')</script>"


@pytest.fixture
def words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their figures, for tests that read the text only: drawing is nine tenths of the time."""
    for name in ("loss_against_compute", "residuals", "backtest"):
        monkeypatch.setattr(report.plot, name, lambda *_: "<svg></svg>")


class Page(HTMLParser):
    """The tags, what they would load, and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on")

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def without_footer(html: str) -> str:
    return html[: html.index('<footer id="made-by">')]


def answer_of(html: str) -> str:
    found = re.search(r'<div class="answer">(.*?)</div>', html, re.S)
    assert found
    return found[1].replace("\u00a0", " ")


def test_a_page_is_one_file_that_loads_nothing(tmp_path: Path, chinchilla: Fit, scored: Backtest) -> None:
    path = report.write_report(tmp_path / "r.html", [chinchilla], backtests=[scored])
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    # The only script is a record in JSON, which no browser runs.
    assert re.findall(r"<script[^>]*>", html) == ['<script type="application/json">']
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", html)
    assert page.tags.count("svg") == 3
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.usefixtures("words_alone")
def test_the_answer_is_what_predict_says(chinchilla: Fit, asked: Predictions) -> None:
    html = report.html([chinchilla], predictions=asked)
    low, high = float(asked.low[0]), float(asked.high[0])
    answer = answer_of(html)
    first = answer.split("</p>")[0]
    assert f"{asked.value[0]:.3f} nats/token" in first
    assert f"{low:.3f} to {high:.3f}" in first
    assert "<h1>What loss will 7B parameters trained on 1.4T tokens reach?</h1>" in html
    assert words.outside(asked.outside[0]) in answer
    assert "No backtest was made" in answer


def test_the_answer_comes_before_the_figures(chinchilla: Fit, scored: Backtest, asked: Predictions) -> None:
    html = report.html([chinchilla], backtests=[scored], predictions=asked)
    order = ['class="answer"', "<svg", "Backtest: ", "Parameters</h3>", "what was dropped and why", "How to reproduce"]
    assert [html.index(part) for part in order] == sorted(html.index(part) for part in order)


@pytest.mark.parametrize(("off", "verdict"), [(0.0, "inside the interval"), (1.0, "outside the interval")])
@pytest.mark.usefixtures("words_alone")
def test_a_measured_run_is_judged(chinchilla: Fit, asked: Predictions, off: float, verdict: str) -> None:
    measured = {"run_id": HOSTILE, "loss": float(asked.value[0]) + off}
    html = report.html([chinchilla], predictions=asked, measured=measured)
    assert verdict in answer_of(html)
    assert HOSTILE not in html
    assert "&lt;script&gt;alert" in answer_of(html)


@pytest.mark.usefixtures("words_alone")
def test_a_measurement_of_another_point_is_not_compared(chinchilla: Fit, asked: Predictions) -> None:
    measured = {"run_id": "other", "params": 1e9, "tokens": 1e10, "loss": 2.9}
    answer = answer_of(report.html([chinchilla], predictions=asked, measured=measured))
    assert "other" not in answer


@pytest.mark.usefixtures("words_alone")
def test_names_from_outside_are_escaped(chinchilla: Fit) -> None:
    hostile = replace(
        chinchilla,
        notes=(HOSTILE,),
        rows={**chinchilla.rows, "dropped": {HOSTILE: 2}},
        inputs={**chinchilla.inputs, "params": {**chinchilla.inputs["params"], "column": HOSTILE, "counts": HOSTILE}},
        made_by={**chinchilla.made_by, "command": HOSTILE, "inputs": {f"/x/{HOSTILE}.csv": HOSTILE}},
    )
    html = report.html([hostile], question=HOSTILE, title=HOSTILE)
    assert "<script>" not in html
    assert Page(html).tags.count("script") == 1


def test_same_inputs_same_bytes_but_for_the_footer(chinchilla: Fit, asked: Predictions) -> None:
    one, two = (report.html([chinchilla], predictions=asked) for _ in range(2))
    assert without_footer(one) == without_footer(two)
    assert chinchilla.made_by["time"] not in without_footer(one)


@pytest.mark.usefixtures("words_alone")
def test_rows_inputs_and_parameters_are_accounted_for(chinchilla: Fit) -> None:
    text = Page(report.html([chinchilla])).words
    assert "30 of 32 rows used; left out: 1 by --where, 1 (loss missing)" in text
    assert "flops" in text
    for name, estimate in chinchilla.params.items():
        assert estimate.ci is not None
        assert name in text
        assert f"{estimate.ci[0]:.5g} to {estimate.ci[1]:.5g}" in text
    for key, row in chinchilla.entry.published.items():
        assert key in text
        assert row.source in text
    for sha in chinchilla.made_by["inputs"].values():
        assert sha in text


@pytest.mark.usefixtures("words_alone")
def test_warnings_are_shown_with_their_codes(warned: Fit) -> None:
    found = predict(warned, {"params": 1e11, "tokens": 1e13})
    html = report.html([warned], predictions=found)
    box = html[html.index('class="warnings"') : html.index("<main>")]
    for notice in (*warned.warnings, *found.warnings):
        assert notice.code in box
    assert {"SL201", "SL401"} <= set(re.findall(r"SL\d+", box))


@pytest.mark.usefixtures("words_alone")
def test_a_fit_without_bootstrap_says_that_its_intervals_are_narrow(bare: Fit) -> None:
    text = Page(report.html([bare])).words
    assert "no bootstrap was made" in text
    assert "no interval" in text


@pytest.mark.usefixtures("words_alone")
def test_one_input_and_no_compute(hestness: Fit) -> None:
    found = predict(hestness, [{"tokens": t} for t in (1e12, 1e13, 2e13, 4e13)])
    text = Page(report.html([hestness], predictions=found)).words
    assert "4 points" in text
    assert text.count("outside the fitted range") >= 4


def test_a_large_table_stays_a_small_page(crowded: Fit) -> None:
    many = predict(crowded, [{"params": n, "tokens": 1e12} for n in np.geomspace(1e9, 1e11, 500)])
    html = report.html([crowded], predictions=many)
    assert len(html.encode()) < 2_000_000
    assert "300 further points" in html


@pytest.mark.usefixtures("words_alone")
def test_several_fits_are_compared_first(chinchilla: Fit, hestness: Fit, scored: Backtest) -> None:
    html = report.html([chinchilla, hestness], backtests=[scored])
    assert scored.laws[0].law in answer_of(html).split("</p>")[0]
    assert html.index("The laws side by side") < html.index('id="fit-0"') < html.index('id="fit-1"')
    assert {"#fit-0", "#fit-1"} <= set(Page(html).loads)
    row = re.search(r'<tr><th><a href="#fit-0">chinchilla</a>.*?</tr>', html, re.S)
    assert row
    figures = next(s for s in scored.laws if s.law == "chinchilla")
    assert words.percent(chinchilla.metrics.mape) in row[0]
    # Held-out figures stand beside a fit only if they are of the same table.
    same = set(figures.fit.made_by["inputs"].values()) == set(chinchilla.made_by["inputs"].values())
    assert (words.percent(figures.metrics.mape) in row[0]) == same


@pytest.mark.usefixtures("words_alone")
def test_without_a_backtest_no_law_is_called_best(chinchilla: Fit, hestness: Fit) -> None:
    answer = answer_of(report.html([chinchilla, hestness]))
    assert "does not say that it predicts best" in answer


@pytest.mark.usefixtures("words_alone")
def test_an_allocation_is_told_and_tabled(chinchilla: Fit) -> None:
    split = allocate(chinchilla, 1e23)
    html = report.html([chinchilla], allocation=split)
    assert "How should 1e23 FLOP be split" in html
    assert words.amount("params", split.params.value) in answer_of(html)
    assert "tokens per parameter" in html


@pytest.mark.usefixtures("words_alone")
def test_a_backtest_names_failures_and_left_out_runs(chinchilla: Fit, scored: Backtest) -> None:
    odd = replace(
        scored,
        failed={"kaplan-nd": f"no start {HOSTILE}"},
        split={**scored.split, "left_out": {"checkpoints of test runs": 3}},
    )
    html = report.html([chinchilla], backtests=[odd])
    assert "kaplan-nd could not be fitted" in html
    assert "3 checkpoints of test runs" in html
    assert "<script>" not in html


def test_no_fit_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least one fit"):
        report.html([])


@pytest.mark.usefixtures("words_alone")
def test_a_fit_read_back_from_its_file_gives_the_same_page(tmp_path: Path, chinchilla: Fit) -> None:
    read = Fit.load(chinchilla.save(tmp_path / "fit.json"))
    assert without_footer(report.html([read])) == without_footer(report.html([chinchilla]))


def test_the_index_links_to_files_only_and_puts_failures_first(tmp_path: Path) -> None:
    entries: list[Any] = [
        report.Entry("good", "chinchilla", link="jobs/a b.html", numbers={"error": "0.5 %"}),
        report.Entry(HOSTILE, status="failed", link="javascript:alert(1)", message="t.csv, line 3: not a number"),
    ]
    html = report.write_index(tmp_path / "index.html", entries).read_text()
    page = Page(html)
    assert page.loads == ["javascript%3Aalert%281%29", "jobs/a%20b.html"]
    assert html.index("t.csv, line 3") < html.index("0.5 %")
    assert "<script>" not in html
    assert "1 report made, 1 failed" in page.words


@pytest.mark.usefixtures("words_alone")
def test_an_allocation_without_draws_shows_no_interval(bare: Fit) -> None:
    split = allocate(bare, 1e22)
    size = format_quantity(split.params.value)
    text = " ".join(Page(report.html([bare], allocation=split)).text)
    assert f"{size} parameters and " in text
    assert f"{size} to {size}" not in text
    rows = [line.split() for line in terminal.allocation(split).splitlines()]
    assert ["parameters", size, "-"] in rows
    assert report.plot.draw_allocations([split])
