import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from bench.harness.report import plots
from bench.harness.report.style import GRAPHICS, colors, contrast, readable, spread_ticks


def pixels(path):
    return imread(path)[..., :3]


def has_color(image, name):
    wanted = [int(plots.color(name)[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return (np.abs(image - wanted).max(axis=-1) < 0.01).sum() > 50


def test_learning_curves(compared, tmp_path):
    methods = ("sgd", "nag", "nag[lr=0.02]", "hf")
    summary, trials, measurements = compared(*methods, diverged={("sgd", 1), ("hf", 0)})
    path = tmp_path / "curves.png"
    plots.learning_curves(summary, trials, measurements, path)
    image = pixels(path)
    assert image.shape == (594, 1650, 3)
    assert all(has_color(image, name) for name in ("sgd", "nag", "hf"))
    for panel in np.array_split(image, 3, axis=1):
        assert has_color(panel, "nag")


def test_learning_curves_where_there_is_little_to_draw(compared, tmp_path):
    summary, trials, measurements = compared("nag", "hf", diverged={("hf", s) for s in range(6)})
    for trial in trials[:6]:
        measurements[trial.id] = measurements[trial.id][:1]
    plots.learning_curves(summary, trials, measurements, tmp_path / "curves.png")
    assert has_color(pixels(tmp_path / "curves.png"), "hf")
    plots.learning_curves(summary, trials, {}, tmp_path / "empty.png")
    assert pixels(tmp_path / "empty.png").min() == 0


def test_learning_curves_of_a_metric_where_higher_is_better(compared, tmp_path):
    summary, trials, measurements = compared("nag", diverged={("nag", 0)})
    summary["protocol"]["direction"], summary["scale"] = "higher", "plain"
    plots.learning_curves(summary, trials, measurements, tmp_path / "curves.png")
    assert has_color(pixels(tmp_path / "curves.png"), "nag")


def test_reconstructions(tmp_path):
    images = np.random.default_rng(0).random((8, 16, 16))
    path = tmp_path / "images.png"
    plots.reconstructions(images, [("nag\n0.096", images * 0.5), ("hf\n0.11", images)], path)
    image = pixels(path)
    assert image.shape[1] > image.shape[0] > 200
    assert len(np.unique(image)) > 50
    # All rows share the originals' grey scale: halved images are darker.
    rows = [image[i * 88 + 30 : i * 88 + 90, -600:].mean() for i in range(3)]
    assert rows[1] < 0.8 * rows[0] and rows[2] == pytest.approx(rows[0], rel=0.1)


def test_groups_of_reconstructions_have_heads(tmp_path):
    images = np.random.default_rng(0).random((4, 8, 8))
    for name, heads in (("plain", ()), ("headed", (("training cases", 2), ("test cases", 2)))):
        plots.reconstructions(images, [("nag", images)], tmp_path / f"{name}.png", heads)
    plain, headed = (pixels(tmp_path / f"{name}.png") for name in ("plain", "headed"))
    assert headed.shape[0] > plain.shape[0] and headed.shape[1] == plain.shape[1]
    # Something is written above the images.
    assert headed[:40].min() < 0.5 < plain[:12].min()


def test_colors_are_fixed_and_told_apart():
    known = [plots.color(name) for name in ("sgd", "cm", "nag", "hf", "hfm")]
    assert known == ["#e69f00", "#56b4e9", "#0072b2", "#d55e00", "#009e73"]
    other = plots.color("torch.optim.AdamW")
    assert other not in known and other == plots.color("torch.optim.AdamW")


def test_import_leaves_matplotlib_as_it_is():
    code = """
import sys, matplotlib
settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}
before = settings()
import bench.harness.report.plots, bench.harness.report.hf_plots
assert before == settings()
assert not {"matplotlib.pyplot", "torch"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_profiles(compared, tmp_path):
    summary, trials, _ = compared("nag", "hf", seeds=2)
    plots.profiles(summary, trials, tmp_path / "profiles.png")
    image = pixels(tmp_path / "profiles.png")
    for panel in np.array_split(image, 3, axis=1):
        assert has_color(panel, "nag") and has_color(panel, "hf")
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for file in files:
        plots.profiles(summary, trials, file)
    # The same figure is the same file.
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_text().count(plots.color("hf")) >= 3


@pytest.mark.parametrize(
    "limits",
    [
        (1e4, 4e4),
        (9_500, 10_500),
        (1, 9.9),
        (0.9, 11),
        (3e-3, 8e-3),
        (1, 1e9),
        (1e-12, 1e12),
        (5, 6),
    ],
)
@pytest.mark.parametrize("which", ["x", "y"])
def test_numbers_along_an_axis_do_not_overlap(limits, which):
    figure = Figure(figsize=(4.2, 2.5), dpi=110)
    axes = figure.subplots()
    axes.plot(limits, limits)
    for name in ("x", "y"):
        getattr(axes, f"set_{name}scale")("log")
        getattr(axes, f"set_{name}lim")(limits)
    axis = axes.xaxis if which == "x" else axes.yaxis
    spread_ticks(axis)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [
        label.get_window_extent(canvas.get_renderer())
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        if (label := tick.label1).get_text() and label.get_visible()
        and limits[0] <= tick.get_loc() <= limits[1]
    ]  # fmt: skip
    assert 2 <= len(shown) <= 7
    boxes = sorted(shown, key=lambda box: box.x0 if which == "x" else box.y0)
    assert all(
        (a.x1 < b.x0) if which == "x" else (a.y1 < b.y0)
        for a, b in zip(boxes, boxes[1:], strict=False)
    )


def test_every_colour_can_be_seen_on_bright_and_on_dark_pages():
    for background in ("#ffffff", "#14171b"):
        shown = [readable(shade, background) for shade in colors()]
        assert min(contrast(shade, background) for shade in shown) >= GRAPHICS
        # They are told apart as before.
        assert len(set(shown)) == len(shown)
        for one, other in combinations(shown, 2):
            assert np.abs(np.subtract(to_rgb(one), to_rgb(other))).max() > 0.1, (one, other)


def test_a_share_has_a_linear_axis_whatever_is_compared(compared):
    summary, trials, measurements = compared("nag")
    assert summary["scale"] == "log"
    for metric, scale in (("train_zero_one_loss", "linear"), ("train_squared_error", "log")):
        summary["protocol"]["metric"] = metric
        figure = plots.learning_curves_figure(summary, trials, measurements)
        assert {axes.get_yscale() for axes in figure.axes} == {scale}
