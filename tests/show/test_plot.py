"""Figures as SVG: well formed, the same every time, and drawn for every kind of fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.backtest import Backtest
from scaling_lab.engine.predict import Predictions, predict
from scaling_lab.engine.result import Fit
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS
from scaling_lab.show import plot

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Profile:
    flops: float
    params: Any
    loss: Any
    minimum_params: float | None
    minimum_loss: float | None
    status: str


@dataclass(frozen=True)
class Profiles:
    profiles: tuple[Profile, ...]
    method: str = "akima"


def isoflop() -> Any:
    n = np.geomspace(1e7, 1e9, 7)
    bowl = 3.0 + 0.1 * np.log10(n / 1e8) ** 2
    return Profiles(
        (
            Profile(1e18, n, bowl, 1e8, 3.0, "used"),
            Profile(1e19, n, bowl - 0.3, 1e9, 2.8, "minimum at the edge"),
            Profile(1e20, n[:2], bowl[:2] - 0.6, None, None, "too few runs"),
        )
    )


def check(text: str) -> ElementTree.Element:
    """The parsed SVG, which carries a title and a description and loads nothing."""
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    for name in ("title", "desc"):
        assert (root.find(f"{SVG}{name}").text or "").strip()  # type: ignore[union-attr]
    links = [value for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    return root


def words_in(root: ElementTree.Element) -> str:
    return " ".join("".join(e.itertext()) for e in root.iter(f"{SVG}text"))


def test_every_figure_is_well_formed(chinchilla: Fit, scored: Backtest, asked: Predictions) -> None:
    measured = {"run_id": "seven", "params": 7e9, "tokens": 1.4e12, "loss": 1.98}
    drawn = words_in(check(plot.loss_against_compute(chinchilla, asked, measured)))
    for text in ("training compute C", "nats/token", "prediction, 90 % interval", "measured, not in the fit", "1B"):
        assert text in drawn
    assert "parameters N" in words_in(check(plot.residuals(chinchilla)))
    assert "held out" in words_in(check(plot.backtest(scored)))
    assert "minimum not used" in words_in(check(plot.profiles(isoflop())))
    check(plot.allocations([allocate(chinchilla, flops) for flops in (1e20, 1e21, 1e22)]))


def test_the_same_fit_gives_the_same_bytes(chinchilla: Fit, crowded: Fit) -> None:
    assert plot.loss_against_compute(chinchilla) == plot.loss_against_compute(chinchilla)
    assert plot.residuals(crowded) == plot.residuals(crowded)


def test_figures_of_one_page_share_no_id(chinchilla: Fit, hestness: Fit) -> None:
    pages = [plot.loss_against_compute(chinchilla), plot.residuals(chinchilla), plot.loss_against_compute(hestness)]
    ids = [found for page in pages for found in re.findall(r'\bid="([^"]*)"', page)]
    assert len(ids) == len(set(ids))


def test_one_input_needs_no_compute(hestness: Fit) -> None:
    found = predict(hestness, [{"tokens": 1e12}, {"tokens": 2e13}])
    assert "training tokens D" in words_in(check(plot.loss_against_compute(hestness, found)))
    assert "compute" not in words_in(check(plot.residuals(hestness)))


def test_fits_without_bootstrap_and_with_many_rows(bare: Fit, crowded: Fit) -> None:
    check(plot.loss_against_compute(bare))
    assert len(plot.loss_against_compute(crowded)) < 500_000
    assert len(plot.residuals(crowded)) < 800_000


def test_a_law_of_three_inputs_is_drawn_run_by_run(chinchilla: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict3(x: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
        return (E + A * x["params"] ** -alpha + B * x["tokens"] ** -beta) * x["epochs"] ** 0

    law = replace(chinchilla.entry, name="three", inputs=("params", "tokens", "epochs"), predict=predict3)
    monkeypatch.setitem(LAWS, "three", law)
    points = {**chinchilla.points, "epochs": np.linspace(1, 4, 30)}
    fit = replace(chinchilla, law="three", points=points)
    assert "three at each run" in words_in(check(plot.loss_against_compute(fit)))
    check(plot.residuals(fit))


def test_names_are_text_and_never_markup(chinchilla: Fit) -> None:
    points = dict(chinchilla.points)
    name = "損失 $x_1$ <b>"
    points[name] = points.pop("loss")
    fit = replace(chinchilla, target=name, points=points)
    assert name in words_in(check(plot.loss_against_compute(fit)))
    check(plot.residuals(fit))


def test_a_target_below_zero_has_a_linear_axis(chinchilla: Fit) -> None:
    params = {**chinchilla.params, "E": replace(chinchilla.params["E"], value=-3.0)}
    points = {**chinchilla.points, "loss": np.asarray(chinchilla.points["loss"]) - 4.8}
    draws = chinchilla.draws - np.array([4.8, 0, 0, 0, 0])
    objective = replace(chinchilla.objective, on="plain")
    fit = replace(chinchilla, params=params, points=points, draws=draws, objective=objective)
    check(plot.loss_against_compute(fit))
    check(plot.residuals(fit))


def test_what_the_description_says_is_what_was_predicted(chinchilla: Fit, asked: Predictions) -> None:
    spoken = check(plot.loss_against_compute(chinchilla, asked)).find(f"{SVG}desc")
    assert spoken is not None
    assert f"{asked.value[0]:.3f}" in (spoken.text or "")


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_figures_are_saved_whole(kind: str, tmp_path: Path, hestness: Fit) -> None:
    path = plot.save(plot.draw_loss(hestness), tmp_path / f"loss.{kind}")
    start = path.read_bytes()[:5]
    assert start.startswith({"svg": b"<svg ", "png": b"\x89PNG", "pdf": b"%PDF-"}[kind])
    assert path.read_bytes() == plot.save(plot.draw_loss(hestness), tmp_path / f"again.{kind}").read_bytes()


def test_svg_text_is_saved_as_svg_alone(tmp_path: Path, hestness: Fit) -> None:
    text = plot.loss_against_compute(hestness)
    assert plot.save(text, tmp_path / "loss.svg").read_text() == f"{text}\n"
    with pytest.raises(UsageError, match=r"\.svg"):
        plot.save(text, tmp_path / "loss.png")
    with pytest.raises(UsageError, match=r"\.pdf"):
        plot.save(plot.draw_loss(hestness), tmp_path / "loss.gif")


@pytest.mark.parametrize(("low", "high"), [(1e18, 1e22), (1.9, 3.6), (0.2, 40.0), (2.01, 2.03), (3e7, 2e8), (1, 1e30)])
def test_a_log_axis_has_a_few_labels(low: float, high: float) -> None:
    places = plot._ticks(low, high)
    assert 2 <= len(places) <= 9
    assert all(low <= p * (1 + 1e-9) and p <= high * (1 + 1e-9) for p in places)
