from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest

from bench.harness.core.records import Certificate
from bench.harness.report.files import to_text
from bench.harness.report.page.page import BACKGROUNDS, ReportData, page
from bench.harness.report.style import GRAPHICS, contrast
from bench.harness.report.table import claim
from tests.harness.report.conftest import PROTOCOL

HOSTILE = "<script>alert(1)</script>\u202e</style>{{ 7*7 }}"
VOID = {"meta", "img", "input", "link", "br"}


class Read(HTMLParser):
    """What a browser without scripts and styles makes of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.tags, self.scripts = [], [], [], []
        # Where a label may be broken it is one text all the same.
        self.feed(text.replace("<wbr>", ""))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
        elif data.strip() and "style" not in self.open:
            self.texts.append((self.open[-1], " ".join(data.split())))

    def after(self, tag, count):
        """The texts that follow the first one in this element."""
        first = [where for where, _ in self.texts].index(tag)
        return [text for _, text in self.texts[first + 1 : first + 1 + count]]

    @property
    def words(self):
        return " ".join(text for _, text in self.texts)


@pytest.fixture
def made(compared):
    """Return a function that makes the page of a comparison, and what was read of it."""

    def make(*methods, change=None, open_reason=None, contexts=None, **given):
        summary, trials, measurements = compared(*methods, **given)
        if change is not None:
            summary, trials = change(summary, trials)
        recorded = ReportData(summary, trials, measurements, contexts or {}, {}, open_reason)
        text = page(recorded)
        return summary, text, Read(text)

    return make


def test_verdict_comes_first_and_then_the_table(made):
    summary, _, read = made("nag", "hf", published=0.096)
    pair = summary["pairs"][0]
    said, evidence = read.after("h1", 2)
    assert (
        said == "nag is better than hf in training squared error" and f"n={pair['n']}" in evidence
    )
    low, high = pair["ratio"]["low"], pair["ratio"]["high"]
    assert f"{low:.3g} to {high:.3g}" in evidence and f"p={pair['p']:.2g} (Holm)" in evidence
    assert [text for tag, text in read.texts if tag == "h2"] == [
        *("Results", "Learning curves", "Time to targets", "Hyperparameters and tuning"),
        *("Hessian-free diagnostics", "Certificate", "Commands"),
    ]
    assert "0.096" in read.words and "preset paper" in read.words
    assert f"{summary['methods'][0]['final']['mean']:.3g}" in read.words


def test_many_pairs_are_a_matrix_whose_cells_lead_to_the_evidence(made):
    summary, _, read = made("sgd", "cm", "nag", "hf", seeds=10)
    first, evidence = read.after("h1", 2)
    assert " in training squared error" in first and "of 6 pairs one is better" in evidence
    links = [attrs["href"] for tag, attrs in read.tags if "#pair-" in attrs.get("href", "")]
    items = {a["id"]: a["class"] for tag, a in read.tags if tag == "li" and "id" in a}
    assert sorted(links) == sorted(f"#{id}" for id in [*items, *items]) and len(items) == 6
    for pair in summary["pairs"]:
        assert claim(pair, summary) in read.words
        assert f"× {pair['ratio']['value']:#.3g}" in read.words
    # While trials are missing there is no verdict, and so no matrix.
    _, _, unfinished = made("sgd", "cm", "nag", "hf", open_reason="2 trials are missing.")
    assert unfinished.after("h1", 2) == ["No verdict yet.", "2 trials are missing."]
    assert "#pair-0" not in {attrs.get("href") for _, attrs in unfinished.tags}


def test_every_section_is_linked_and_every_table_has_a_caption(made):
    _, text, read = made("nag", "hf")
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in read.tags if tag == "a"]
    assert len(links) > 5 and {link.removeprefix("#") for link in links} <= set(ids)
    count = {tag: sum(each == tag for each, _ in read.tags) for tag in ("table", "caption")}
    assert count["table"] == count["caption"] > 5
    assert all("scope" in attrs for tag, attrs in read.tags if tag == "th")
    assert all(attrs.get("alt") for tag, attrs in read.tags if tag == "img")
    assert text.startswith('<!doctype html>\n<html lang="en">')


def test_nothing_comes_from_elsewhere_and_only_own_scripts_run(made):
    _, _, read = made("nag")
    for _, attrs in read.tags:
        assert not {"srcset", "onclick", "onload"} & attrs.keys()
        assert str(attrs.get("src", "data:")).startswith("data:")
        assert str(attrs.get("href", "#")).startswith("#")
    (policy,) = (a["content"] for t, a in read.tags if t == "meta" and "http-equiv" in a)
    packed = next(text for attrs, text in read.scripts if attrs.get("id") == "plotly")
    plotly = gzip.decompress(base64.b64decode(packed))
    assert plotly == files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    run = [text for attrs, text in read.scripts if "type" not in attrs]
    assert len(run) == 1
    allowed = re.findall("'(sha256-[^']+)'", policy)
    for source, digest in zip((run[0].encode(), plotly), allowed, strict=True):
        assert digest == f"sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode()}"
    assert policy.startswith("default-src 'none';") and "unsafe-inline' 'sha" not in policy


def test_hostile_texts_are_shown_and_do_nothing(made):
    def change(summary, trials):
        for row in summary["methods"]:
            row["method"] = HOSTILE
            row["hyperparameters"] = {HOSTILE: HOSTILE}
            row["tuning"] = {
                "trials": 2,
                "chosen": {},
                "expected_best": [2.0, 1.0],
                "points": [
                    {"hyperparameters": {"x": HOSTILE * n}, "values": [1.0], "seeds": [1]}
                    for n in (1, 2)
                ],
                "edges": [{"name": HOSTILE, "value": 1.0, "side": "largest", "tried": [0.5, 1.0]}],
            }
        summary["profiles"]["methods"] = {HOSTILE: summary["profiles"]["methods"]["nag"]}
        summary["pairs"] = [p | {"a": HOSTILE, "b": HOSTILE} for p in summary["pairs"]]
        summary["notes"] = [HOSTILE]
        summary["reproduce"] = summary["protocol"]["data"] = HOSTILE
        certificate = Certificate(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, HOSTILE)
        changed = [
            replace(t, method=HOSTILE, reason=HOSTILE, certificate=certificate) for t in trials
        ]
        return summary, changed

    contexts = {HOSTILE: {HOSTILE: {HOSTILE: HOSTILE}}}
    _, text, read = made("nag", "hf", change=change, contexts=contexts, open_reason=None)
    assert "\u202e" not in text and "49" not in [t for _, t in read.texts]
    assert sum("type" not in attrs for attrs, _ in read.scripts) == 1
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert read.words.count(shown) > 15
    for attrs, inside in read.scripts:
        if attrs.get("type") == "application/json":
            assert "<" not in inside
            json.loads(inside)


def test_one_method_has_its_figure_in_place_of_a_verdict(made):
    summary, _, read = made("nag", seeds=1)
    claim, evidence = read.after("h1", 2)
    mean = summary["methods"][0]["final"]["mean"]
    assert claim == f"nag alone: {mean:#.3g} squared error on training data"
    assert evidence.startswith("n=1; there is no other method")


def test_why_there_is_no_verdict_is_said_first(made):
    def change(summary, trials):
        return summary | {"pairs": [], "targets": []}, trials

    _, _, read = made("nag", change=change, open_reason="The comparison is running.")
    assert read.after("h1", 2) == ["No verdict yet.", "The comparison is running."]
    assert "Time to targets" not in read.words


def test_without_trials_there_is_a_page(made):
    def change(summary, trials):
        return summary | {"methods": [], "pairs": [], "profiles": {"methods": {}}}, []

    assert made("nag", change=change)[2].after("h1", 1) == ["No verdict."]


def test_diverged_trials_are_said_to_be(made):
    gone = {("hf", seed) for seed in range(6)}
    summary, _, read = made("nag", "hf", diverged=gone)
    assert "diverged" in read.words
    # They are infinitely bad in the median, not left out of it.
    assert "diverged (diverged to diverged)" in read.words
    assert summary["methods"][1]["final"]["mean"] is None


def test_comparisons_of_an_earlier_version(made):
    def change(summary, trials):
        summary = json.loads(json.dumps(summary))
        del summary["profiles"]
        for row in summary["methods"]:
            for trial in row["trials"]:
                del trial["diagnostics"]
            for time in [row["time_to_target"], *row["times_to_targets"]]:
                time.pop("restricted_mean", None), time.pop("horizon", None)
        for pair in summary["pairs"]:
            pair.pop("seeds_to_decide", None)
        return summary, trials

    _, _, read = made("nag", "hf", change=change)
    assert "Time to targets" in read.words
    assert "Restricted mean" not in read.words and "Profile" not in read.words


def test_curves_and_targets_have_their_figures_in_tables(made, compared):
    _, _, read = made("nag", "hf")
    _, trials, measurements = compared("nag", "hf")
    taken = [measurements[t.id][5] for t in trials if t.method == "nag"]
    values = [m.train_metric for m in taken]
    middle, low, high = (float(f"{f(values):.3g}") for f in (np.median, min, max))
    cells = [text for tag, text in read.texts if tag == "td"]
    found = [c for c in cells if re.fullmatch(r"\S+ \(\S+ to \S+\)", c)]
    assert any(
        [float(x.replace(",", "")) for x in re.split(r" \(| to |\)", c)[:3]] == [middle, low, high]
        for c in found
    )
    assert "6 of 6" in cells and "100%" in [t for tag, t in read.texts if tag == "th"]


@pytest.mark.parametrize("status", ["diverged", "budget", "running"])
def test_only_a_trial_that_diverged_is_counted_where_it_did_not_get(compared, status):
    summary, trials, measurements = compared("nag", "hf")
    first = next(n for n, trial in enumerate(trials) if trial.method == "nag")
    trials[first] = replace(trials[first], status=status)
    measurements[trials[first].id] = measurements[trials[first].id][:2]
    words = Read(page(ReportData(summary, trials, measurements, {}, {}, None))).words
    assert (" to diverged)" in words) == (status == "diverged")


def test_heat_map_has_published_values_beside(made):
    def change(summary, trials):
        points = [
            {"hyperparameters": {"lr": lr, "mu_max": mu}, "values": [lr, 2 * mu], "seeds": [7, 8]}
            for lr in (0.1, 0.01) for mu in (0.9, 0.99)
        ]  # fmt: skip
        edge = {"name": "lr", "value": 0.1, "side": "largest", "tried": [0.01, 0.1]}
        summary["methods"][0]["tuning"] = {
            "trials": 8, "chosen": points[0]["hyperparameters"], "points": points, "edges": [edge],
        }  # fmt: skip
        return summary, trials

    summary, text, read = made("nag", change=change)
    heat = text[text.index('<table class="heat">') :]
    rows = Read(heat[: heat.index("</table>") + len("</table>")])
    assert [t for _, t in rows.texts[1:]] == [
        *("μ_max", "ε = 0.1", "ε = 0.01", "Published", "preset paper"),
        # The worse of the two seeds.
        *("0.9", "1.80", "chosen", "1.80", "0.16"),
        *("0.99", "1.98", "1.98", "0.096"),
    ]
    said = "lr=0.1 is at the upper end of the 2 values tried, 0.01 to 0.1; values beyond it may be"
    assert f"nag: {said} better." in read.words
    # The table in the terminal has the same words.
    assert said in " ".join(to_text(summary).split())
    assert "Published: Sutskever et al. 2013, Table 1" in read.words


def test_points_of_other_hyperparameters_are_a_table_best_first(made):
    def change(summary, trials):
        points = [
            {"hyperparameters": {"lr": 0.1, "lam": lam}, "values": [value], "seeds": [7]}
            for lam, value in ((1.0, 3.0), (2.0, None), (4.0, 2.0))
        ]
        summary["methods"][0]["tuning"] = {"trials": 3, "chosen": {}, "points": points}
        return summary, trials

    _, text, read = made("hf", change=change)
    assert '<table class="heat">' not in text
    start = [text for _, text in read.texts].index("Value")
    found = [text for _, text in read.texts[start : start + 8]]
    assert found == ["Value", "lam", "2", "4", "3", "1", "diverged", "2"]


def test_methods_of_one_name_make_a_heat_map_of_what_is_reported(made):
    def change(summary, trials):
        for row, lr in zip(summary["methods"], (0.1, 0.2), strict=True):
            row["hyperparameters"] = {"lr": lr}
        return summary, trials

    _, text, read = made("nag", "nag[lr=0.2]", change=change)
    assert "nag: training squared error, mean over its seeds" in read.words
    assert '<table class="heat">' in text


def test_same_report_is_the_same_file(made):
    assert made("nag")[1] == made("nag")[1]


def test_id_date_and_figures_are_at_the_top(made):
    def change(summary, trials):
        begun = datetime(2026, 11, 30, 8, 30)
        ended = begun + timedelta(minutes=75)
        return summary, [replace(t, started=begun, ended=ended) for t in trials]

    summary, text, read = made("nag", "hf", change=change)
    top = [
        words
        for _, words in Read(text[text.index("<header>") : text.index("<nav")] + "</header>").texts
    ]
    assert top[:3] == [
        "Comparison",
        summary["comparison"],
        "· trained 2026-11-30 08:30 to 09:45 UTC",
    ]
    for row in summary["methods"]:
        at = top.index(row["method"])
        assert top[at + 1 : at + 3] == [
            f"{value:#.3g}".rstrip(".")
            for value in (row["final"]["mean"], row["final"]["test"]["mean"])
        ]
    assert "trained" not in made("nag")[2].words


def test_digests_are_folded_away(made):
    _, text, _ = made("nag", "hf", contexts={"c" * 64: {"threads": 1}})
    folded = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
    words = Read(folded).words
    for digest in (PROTOCOL.data_digest, PROTOCOL.key, "key0", "source", f"{0:032x}"):
        assert digest in Read(text).words or digest == f"{0:032x}"
        assert digest not in words.split(), digest


def test_colours_can_be_seen_on_bright_and_on_dark_pages(made):
    _, text, _ = made("nag", "hf")
    css = text[text.index("<style>") : text.index("</style>")]
    dark = r"@media screen and \(prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}\s*\}"
    bright, darker = re.sub(dark, "", css, flags=re.S), "".join(re.findall(dark, css, flags=re.S))
    for scheme, background in BACKGROUNDS.items():
        written = bright if scheme == "bright" else bright + darker
        found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", written))
        assert found["page"] == background
        texts = [found[name] for name in ("ink", "quiet", "link", "better", "equal", "open")]
        for behind in (found["page"], found["raised"]):
            assert min(contrast(shade, behind) for shade in texts) >= 4.5
        methods = [shade for name, shade in found.items() if re.fullmatch("m[0-9a-f]{6}", name)]
        assert len(methods) == 10
        assert min(contrast(shade, background) for shade in methods) >= GRAPHICS


def test_a_label_may_be_broken_between_its_values_and_nowhere_else_is_it_changed(made):
    hostile = "torch.optim.Muon[on=hidden,lr=0.02]+<b>&amp;"

    def renamed(summary, trials):
        summary["methods"][0]["method"] = hostile
        return summary, [replace(t, method=hostile) if t.method == "nag" else t for t in trials]

    _, text, read = made("nag", "hf", change=renamed)
    broken = "torch.<wbr>optim.<wbr>Muon<wbr>[on=hidden,<wbr>lr=0.02]+<wbr>&lt;b&gt;&amp;amp;</th>"
    # The table at a glance, the results, the targets, the hyperparameters and the trials.
    assert text.count(broken) >= 5 and ("b", {}) not in read.tags
    assert [text for tag, text in read.texts if tag == "th"].count(hostile) >= 5
