from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench.harness.report import hf_plots
from tests.harness.report.test_plots import has_color, pixels

PANELS = ["damping", "reduction", "CG", "decrease", "rate", "evaluations"]


@pytest.fixture
def panels(monkeypatch):
    """The axes of the last picture, by the first word of their titles."""
    drawn = {}

    def keep(figure: Figure, path):
        drawn.update({a.get_title().split()[0]: a for a in figure.axes}, figure=figure)

    monkeypatch.setattr(hf_plots, "save", keep)
    return drawn


def marked(axes, marker):
    """Where a panel has this marker."""
    return [line.get_xydata() for line in axes.lines if line.get_marker() == marker and len(
        line.get_xydata()
    )]  # fmt: skip


def told(measurements, trial, index, **diagnostics):
    """Change what one measurement of a trial tells; None: what it does not."""
    m = measurements[trial.id][index]
    now = {k: v for k, v in {**m.diagnostics, **diagnostics}.items() if v is not None}
    measurements[trial.id][index] = replace(m, diagnostics=now)
    return m.ledger.gradients


def test_picture(compared, tmp_path):
    _, trials, measurements = compared("hf", "hf[lam=1]", seeds=3)
    path = tmp_path / "diagnostics.png"
    hf_plots.diagnostics(trials, measurements, path)
    image = pixels(path)
    assert image.shape == (836, 1540, 3)
    assert has_color(image, "hf")
    for row in np.array_split(image, 2):
        for panel in np.array_split(row, 3, axis=1):
            assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 20


def test_lines_and_seeds(compared, panels, tmp_path):
    _, trials, measurements = compared("hf", "hfm", seeds=6)
    hf_plots.diagnostics(trials, measurements, tmp_path / "unused.png")
    assert list(panels)[:6] == PANELS
    lines = panels["damping"].lines
    solid = [line for line in lines if line.get_linestyle() == "-"]
    assert len(solid) == 12
    # A seed has its own shade, and every line begins with the first update.
    assert len({line.get_color() for line in solid}) == 12
    assert {len(line.get_xdata()) for line in solid} == {12}
    assert [text.get_text() for text in panels["figure"].legends[0].texts] == ["hf", "hfm"]
    assert {0.25, 0.75} <= {y for line in panels["reduction"].lines for y in line.get_ydata()}
    styles = [line.get_linestyle() for line in panels["decrease"].lines]
    assert (styles.count("-"), styles.count("--")) == (12, 12)
    assert panels["decrease"].get_yscale() == panels["damping"].get_yscale() == "log"


def test_what_went_wrong_is_marked(compared, panels, tmp_path):
    _, trials, measurements = compared("hf", seeds=1)
    (trial,) = trials
    rose = told(measurements, trial, 3, rho=None)
    rejected = told(measurements, trial, 5, rate=0.0, decrease=0.0)
    taken = told(measurements, trial, 7, decrease=-0.5)
    off = told(measurements, trial, 9, rho=40.0)
    hf_plots.diagnostics(trials, measurements, tmp_path / "unused.png")
    assert marked(panels["reduction"], "v")[0][:, 0].tolist() == [rose]
    assert marked(panels["reduction"], "^")[0][:, 0].tolist() == [off]
    low, high = panels["reduction"].get_ylim()
    assert (low, high) == hf_plots.RHO_SHOWN
    assert marked(panels["rate"], "x")[0].tolist() == [[rejected, 0.0]]
    assert marked(panels["damping"], "x")[0].tolist() == [[rejected, 45 / 1.5**5]]
    assert marked(panels["decrease"], "x")[0][:, 0].tolist() == [rejected]
    assert marked(panels["decrease"], "v")[0][:, 0].tolist() == [taken]
    legend = [text.get_text() for text in panels["figure"].legends[0].texts]
    assert legend == [
        "hf", "step rejected (rate 0)", "below the axis: ρ = −∞, or no decrease",
    ]  # fmt: skip


def test_next_to_nothing_to_draw(compared, tmp_path):
    _, trials, measurements = compared("hf", seeds=3)
    one, none, zero = (trial.id for trial in trials)
    measurements[one], measurements[none] = measurements[one][:2], measurements[none][:1]
    for index in range(1, 13):
        told(measurements, trials[2], index, **{"lambda": 0.0, "rate": 0.0, "decrease": 0.0})
    for some in (trials, trials[1:], trials[1:2]):
        hf_plots.diagnostics(some, measurements, tmp_path / "diagnostics.png")
        assert pixels(tmp_path / "diagnostics.png").min() == 0
    assert hf_plots.reports_damping(measurements[one])
    assert not hf_plots.reports_damping(measurements[none])
