"""What the figures draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scaling_lab.engine.result import Fit
from scaling_lab.show import curves


def test_the_frontier_is_the_closed_form_optimum(chinchilla: Fit) -> None:
    flops = np.geomspace(1e18, 1e24, 7)
    v = chinchilla.values
    ratio = (v["alpha"] * v["A"] / (v["beta"] * v["B"])) ** (1 / (v["alpha"] + v["beta"]))
    best = ratio * (flops / 6) ** (v["beta"] / (v["alpha"] + v["beta"]))
    found = curves.frontier(chinchilla, flops)
    assert found is not None
    np.testing.assert_allclose(found["params"], best, rtol=1e-5)
    np.testing.assert_allclose(6 * found["params"] * found["tokens"], flops, rtol=1e-9)


def test_a_law_without_a_best_size_has_no_frontier(chinchilla: Fit) -> None:
    params = dict(chinchilla.params)
    params["B"] = replace(params["B"], value=0.0)
    assert curves.frontier(replace(chinchilla, params=params), np.array([1e20])) is None


def test_few_sizes_are_classes_of_their_own_and_many_are_gathered() -> None:
    few = np.repeat([1e7, 1e8, 1e9], 4)
    np.testing.assert_allclose([c.params for c in curves.size_classes(few)], [1e7, 1e8, 1e9])
    many = curves.size_classes(np.geomspace(1e7, 1e10, 50))
    assert len(many) == 6
    assert sum(c.rows.sum() for c in many) == 50
    assert len(curves.size_classes(np.full(5, 1e8))) == 1


def test_a_running_median_follows_a_trend_and_keeps_silent_on_few_points() -> None:
    x = np.geomspace(1, 1e6, 80)
    at, middle = curves.running_median(x, np.log(x))
    np.testing.assert_allclose(middle, np.log(at), atol=0.1)
    assert len(curves.running_median(x[:20], x[:20])[0]) == 0
    assert len(curves.running_median(np.full(80, 2.0), x)[0]) == 0


def test_each_kind_of_law_has_its_axis(chinchilla: Fit, hestness: Fit) -> None:
    both = curves.abscissa(chinchilla)
    assert (both.name, both.kind) == ("flops", "frontier")
    # The axis counts 6ND, whatever the table calls its compute.
    place = both.of({"params": [1e9], "tokens": [1e10], "flops": [1.0], "run_id": ["a"]})
    assert place is not None
    np.testing.assert_allclose(place, 6e19)
    one = curves.abscissa(hestness)
    assert (one.name, one.kind) == ("tokens", "curve")
    assert one.of({"params": [1e9]}) is None
