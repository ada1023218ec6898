"""The result of a comparison as a table with verdicts, from the plain values of its summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench.harness.analysis.grids import Edge
from bench.harness.core.spec import problem_text
from bench.harness.core.text import all_visible
from bench.harness.report.commands import Command
from bench.harness.report.verdict_matrix import VerdictMatrix, best_first, verdict_matrix
from bench.optim.values import value_text

Plain = Mapping[str, Any]

_ABSENT = "–"
CURRENCY = {
    "gradients": "gradient-equivalents",
    "updates": "updates",
    "examples": "examples",
    "seconds": "seconds",
}
_STYLE = {"a better": "green", "b better": "green", "equivalent": "cyan"}


def render(summary: Plain, width: int | None = None) -> RenderableType:
    """Return header, table, hyperparameters, verdicts, notes and the command that repeats it.

    `summary` is version 1 of the comparison's JSON. `width` is in columns; None: the console's.
    """
    # Names may contain anything, and reports are read in terminals.
    summary = all_visible(summary)
    tables = [_table(summary, gap=gap) for gap in (1, 0)]
    results = Fitted(tables, [row["method"] for row in summary["methods"]])
    parts: list[RenderableType] = [
        header(summary["protocol"], facts(summary)),
        Text(),
        results,
        _legend(summary),
    ]
    parts += _restricted_means(summary)
    parts += [Text(), *_hyperparameters(summary)]
    if matrix := pair_matrix(summary):
        claim, evidence = matrix.headline(judged(summary)["words"])
        parts += [Text(), Text(f"{claim}. {evidence}".strip(), style="bold"), Text(), matrix]
    if summary["pairs"]:
        parts += [Text(), bullets("•", [verdict(pair, summary) for pair in summary["pairs"]])]
    if noted := notes(summary):
        parts += [Text(), bullets("note:", [Text(note, style="dim") for note in noted])]
    command = Command(summary["reproduce"])
    if command.exists:
        parts += [Text(), Text("Repeat with:", style="dim"), command]
    for part in summary.get("joined", ()):
        repeat = Text(f"Repeat {part['comparison']} with:", style="dim")
        parts += [Text(), repeat, Command(part["reproduce"])]
    body = Group(*parts)
    return body if width is None else Constrain(body, width)


def header(protocol: Plain, about: Iterable[str]) -> Text:
    """Return the problem and its data, and below them what there is to say about a result."""
    text = Text.assemble((title(protocol), "bold"))
    line = " · ".join(about)
    return text.append(f"  data: {protocol['data']}\n{line}", style="not bold")


def title(protocol: Plain) -> str:
    """Return the name of the problem with its parameters and preset."""
    problem = problem_text(protocol["problem"], protocol["parameters"])
    return f"{problem} / {protocol['preset']}"


def facts(summary: Plain) -> list[str]:
    """Return metric, budget, seeds, precision, and anytime or end-of-budget, of a comparison."""
    protocol = summary["protocol"]
    budget = protocol["budget"]
    seeds = sorted({trial["seed"] for row in summary["methods"] for trial in row["trials"]})
    return [
        f"{judged(summary)['words']}, {judged(summary)['direction']} is better",
        f"{number(budget['amount'])} {CURRENCY[budget['currency']]} per trial",
        f"{'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}",
        protocol["precision"],
        # Comparisons recorded by earlier versions of bench do not have it.
        *([summary["budget_end"]["kind"]] if "budget_end" in summary else []),
    ]


def judged(summary: Plain) -> Plain:
    """Return the judged metric: its name, its words, its data split and what is better.

    Earlier versions of bench judged the problem's metric on training data, and did not record it.
    """
    quantity = summary["protocol"]["metric"].removeprefix("train_")
    before = {
        "name": f"train_{quantity}",
        "words": f"training {_words(quantity)}",
        "split": "train",
        "quantity": quantity,
        "direction": summary["protocol"]["direction"],
    }
    found: Plain = summary.get("metric") or before
    return found


class Fitted:
    """A table as the console's width allows: the first of several, or a block for each row.

    They have the same rows, and `names` in the first column.
    """

    def __init__(self, tables: Sequence[Table], names: Sequence[str]) -> None:
        self._tables = tables
        # A name may be folded, but not into pieces that nobody can read.
        self._least = min(_NAME, max(map(len, names), default=0))
        self._blocks = _blocks(self._tables[0])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(width=10_000)
        for table in self._tables:
            whole = Measurement.get(console, unlimited, table).maximum
            name = Measurement.get(console, unlimited, _only_names(table)).maximum
            if whole - name + min(name, self._least) <= options.max_width:
                yield table
                return
        yield self._blocks


_NAME = 16
"""Columns that the name of a method has at least in a table, if it is as long."""


def _only_names(table: Table) -> Table:
    names = Table(box=table.box, padding=(0, 0, 0, 0), pad_edge=False, show_edge=False)
    names.add_column("")
    for cell in table.columns[0].cells:
        names.add_row(cell)
    return names


def _blocks(table: Table) -> Group:
    """Return the rows of a table below each other: the whole name, then a line for each figure."""
    heads = [" ".join(str(column.header).split()).replace("- ", "") for column in table.columns]
    parts: list[RenderableType] = []
    for name, *figures in zip(*(list(column.cells) for column in table.columns), strict=True):
        grid = Table.grid(padding=(0, 1, 0, 0))
        for head, figure in zip(heads[1:], figures, strict=True):
            value, *below = str(figure).split("\n")
            grid.add_row(
                Text(f"  {head}", style="dim"), f"{value} ({', '.join(below)})" if below else value
            )
        parts += [name, grid]
    return Group(*parts)


def _table(summary: Plain, gap: int) -> Table:
    rows = summary["methods"]
    short = _words(judged(summary)["quantity"]).replace(" ", "\n")
    with_published = any(row["published"] is not None for row in rows)
    heads = [
        "method",
        "n",
        f"training\n{short}",
        f"test\n{short}",
        "updates",
        "gradient\nequiv.",
        "seconds",
        _target_head(summary),
    ]
    if with_published:
        heads.append("pub-\nlished")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    lines = max(head.count("\n") for head in heads)
    for i, head in enumerate(heads):
        # Heads are aligned at the bottom, cells at the top.
        head = "\n" * (lines - head.count("\n")) + head
        if i == 0:
            table.add_column(head, overflow="fold", min_width=6)
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        final, ledger = row["final"], row["ledger"]
        cells = [
            str(row["n"]),
            with_interval(final),
            mean_text(final["test"]),
            number(ledger["updates"]),
            number(ledger["gradients"]),
            "\n".join(seconds_of(ledger)),
            _reached(row["time_to_target"]),
        ]
        if with_published:
            cells.append(_ABSENT if row["published"] is None else f"{row['published']:g}")
        # Text, not str: rich would read a method's brackets as markup.
        table.add_row(Text(row["method"], style="bold"), *(Text(cell) for cell in cells))
    return table


def seconds_of(ledger: Plain) -> tuple[str, str]:
    """Return a trial's seconds, and what they are: alone, shared, or a share of its fleet's.

    Earlier versions of bench recorded only the fleet's.
    """
    fleet = ledger.get("fleet_seconds")
    if fleet is None:
        shared = ledger["seconds_are"] == "shared"
        told = number(ledger["seconds"])
        return (_ABSENT, f"of {told}") if shared else (told, "alone")
    share = number(ledger["seconds"])
    return share, ledger["seconds_are"] if share == number(fleet) else f"of {number(fleet)}"


def _legend(summary: Plain) -> Text:
    return Text(
        f"{means(summary)}, below it the 95 % t interval; updates, gradient-equivalents "
        'and seconds: mean per trial; of a fleet\'s seconds a trial has its share, and "of" tells '
        "the fleet's; time to: median over trials of the time to reach the target on training "
        "data, below it the number of trials that reached it",
        style="dim",
    )


def means(summary: Plain) -> str:
    """Return which mean each column of results shows.

    Earlier versions of bench took another mean for a method with a value that is not positive.
    """
    named = []
    for words, finals in (
        ("training", [row["final"] for row in summary["methods"]]),
        ("test", [row["final"]["test"] for row in summary["methods"]]),
    ):
        kinds = {final["scale"] for final in finals} - {None}
        by_name = {"log": "geometric mean", "plain": "arithmetic mean"}
        kind = " or ".join(by_name[scale] for scale in sorted(kinds)) or "mean"
        if len(kinds) > 1:
            kind += " where a value is not positive"
        named.append((words, kind))
    quantity = _words(judged(summary)["quantity"])
    (first, kind), (second, other) = named
    if kind == other or other == "mean":
        return f"{first} and {second} {quantity}: {kind} over n seeds"
    return f"{first} {quantity}: {kind} over n seeds; {second} {quantity}: {other} over n seeds"


def _restricted_means(summary: Plain) -> list[Text]:
    """Return each method's mean spending until the first target, limited to a horizon."""
    times = [(row["method"], row["time_to_target"]) for row in summary["methods"]]
    # Comparisons recorded by earlier versions of bench have no restricted mean.
    known = [(method, time) for method, time in times if time.get("horizon", {}).get("gradients")]
    if not any(time["reached"] and not time.get("refused") for _, time in known):
        return []
    within = number(known[0][1]["horizon"]["gradients"])
    means = [f"{method} {number(time['restricted_mean']['gradients'])}" for method, time in known]
    metric = _words(summary["protocol"]["metric"].removeprefix("train_"))
    line = (
        f"mean gradient-equivalents until the training {metric} was {_target(summary)}, where a "
        f"trial counts at most {within}: "
    )
    return [Text(line + ", ".join(means), style="dim")]


def _target_head(summary: Plain) -> str:
    return f"time to\n{_target(summary)}" if summary["targets"] else "time to"


def _target(summary: Plain) -> str:
    sign = "≤" if summary["protocol"]["direction"] == "lower" else "≥"
    return f"{sign} {number(summary['targets'][0])}"


def with_interval(final: Plain) -> str:
    """Return a mean with its interval on the next line, if there is one."""
    if final["low"] is None:
        return mean_text(final)
    return f"{mean_text(final)}\n{number(final['low'])}–{number(final['high'])}"


def mean_text(final: Plain) -> str:
    """Return a mean, or say that a trial diverged."""
    # Earlier versions of bench did not record how many trials diverged.
    gone = final.get("diverged", final["mean"] is None and final["values"])
    return "diverged" if gone else number(final["mean"])


def _reached(time: Plain) -> str:
    if time["target"] is None:
        return _ABSENT
    seconds = _ABSENT if time["seconds"] is None else f"{number(time['seconds'])} s"
    return f"{seconds}\n{time['reached']}/{time['of']}"


def _hyperparameters(summary: Plain) -> list[Text]:
    lines = []
    for row in summary["methods"]:
        values = ", ".join(f"{k}={hyperparameter(v)}" for k, v in row["hyperparameters"].items())
        tuning = row["tuning"]
        tail = f"; chosen with {tuning['trials']} tuning trials" if tuning["trials"] else ""
        name = Text(row["method"], style="bold")
        lines.append(name.append(f" ({row['backend']}) {values}{tail}", style="not bold dim"))
        lines += [Text(f"    {line}", style="dim") for line in _tuned(tuning)]
    return lines


def _tuned(tuning: Plain) -> Iterator[str]:
    """Yield the expected result of fewer tuning points, and the chosen values at an edge."""
    if curve := tuning.get("expected_best"):
        counts = [*(1 << i for i in range((len(curve) - 1).bit_length())), len(curve)]
        best = ", ".join(
            f"{number(curve[k - 1])} of {k} point{'s' if k > 1 else ''}" for k in counts
        )
        yield f"the best result to expect with fewer tuning points: {best}"
    for edge in tuning.get("edges", ()):
        yield Edge(**edge).advice


def pair_matrix(summary: Plain) -> VerdictMatrix | None:
    """Return the verdicts of all pairs as a matrix; None where a list of them is short."""
    metric = judged(summary)
    on_test = metric["split"] == "test"
    finals = [row["final"]["test"] if on_test else row["final"] for row in summary["methods"]]
    named = [row["method"] for row in summary["methods"]]
    means = [final["mean"] for final in finals]
    order = best_first(list(zip(named, means, strict=True)), metric["direction"])
    return verdict_matrix(summary["pairs"], order)


def verdict(pair: Plain, summary: Plain) -> Text:
    """Return a pair's verdict and its evidence as they are printed."""
    style = _STYLE.get(pair["verdict"], "yellow")
    return Text.assemble((claim(pair, summary), style), f": {evidence(pair, summary)}")


def claim(pair: Plain, summary: Plain) -> str:
    """Return a pair's verdict in words, with the metric and the data that it judges."""
    a, b, metric = pair["a"], pair["b"], judged(summary)["words"]
    return {
        "a better": f"{a} is better than {b} in {metric}",
        "b better": f"{b} is better than {a} in {metric}",
        "equivalent": f"{a} and {b} are equivalent in {metric}{_margin(pair, summary)}",
        "cannot tell": f"{a} and {b}: cannot tell which is better in {metric}",
        "too few seeds": f"{a} and {b}: too few seeds for a verdict on {metric}",
    }[pair["verdict"]]


def evidence(pair: Plain, summary: Plain) -> str:
    """Return the evidence for a pair's verdict: difference, interval, p, n and limitations."""
    figures = [f"p={pair['p']:.2g} (Holm)", f"n={pair['n']}"]
    winner = {"a better": pair["a"], "b better": pair["b"]}.get(pair["verdict"])
    if pair["difference"] is not None:
        figures.insert(0, _figure(pair, pair, judged(summary)["words"], winner))
    sentences = [f"{', '.join(figures)}."]
    if pair["reason"]:
        sentences.append(pair["reason"])
    # Comparisons recorded by earlier versions of bench have neither this nor cautions.
    other = pair.get("other_data")
    if other and other["contradicts"]:
        split = other["words"].partition(" ")[0]
        figure = _figure(pair, other, other["words"], other["better"])
        sentences.append(
            f"On {split} data it is the other way round: {other['better']} is better there by its "
            f"own interval, {figure}."
        )
    sentences += pair.get("cautions", ())
    if allowed := pair.get("allowed"):
        fields = " and ".join(_words(name) for name in allowed)
        verb = "differs" if len(allowed) == 1 else "differ"
        sentences.append(
            f"The two methods ran under different protocols: {fields} {verb}, which --allow "
            "permitted."
        )
    if pair["verdict"] == "cannot tell" and pair["smallest_detectable"] is not None:
        sentences.append(
            f"The smallest difference that {pair['n']} seeds detect with power 0.8 is "
            f"{_amount(pair['smallest_detectable'], pair['unit'])} (paired t approximation)."
        )
    # Comparisons recorded by earlier versions of bench do not have it.
    if seeds := pair.get("seeds_to_decide"):
        sentences.append(
            f"With the observed mean and spread, {number(seeds)} seeds would decide with power 0.8."
        )
    return " ".join(sentences)


def with_sentences(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary in which every pair has its claim and its evidence in words."""
    pairs = [
        {**pair, "claim": claim(pair, summary), "evidence": evidence(pair, summary)}
        for pair in summary["pairs"]
    ]
    return {**summary, "pairs": pairs}


def _figure(pair: Plain, found: Plain, words: str, first: str | None) -> str:
    """Write a ratio or a difference of means, the winner's first, and its interval."""
    a, b = pair["a"], pair["b"]
    turned = first == b
    one, other = (b, a) if turned else (a, b)
    if found["unit"] == "ratio":
        ends = [found["ratio"][name] for name in ("value", "low", "high")]
        value, low, high = ((None if v is None else 1 / v) for v in ends) if turned else ends
        sign, kind = "/", "geometric mean"
    else:
        ends = [found[name] for name in ("difference", "low", "high")]
        value, low, high = ((None if v is None else -v) for v in ends) if turned else ends
        sign, kind = "−", "arithmetic mean"
    if turned:
        low, high = high, low
    of = f"{kind} over {found['n']} seed{'s' if found['n'] > 1 else ''}"
    amount = number(value)
    if value is None:  # A ratio that no float holds.
        powers = found["difference"] / math.log(10) * (-1 if turned else 1)
        amount = f"10^{powers:.0f}"
    what = f"{words} of {one} {sign} that of {other} = {amount} ({of}"
    if low is None or high is None:
        return f"{what})"
    return f"{what}; 95 % {found['interval_kind']} interval {number(low)} to {number(high)})"


def _margin(pair: Plain, summary: Plain) -> str:
    if (summary["scale"] == "log" and pair["unit"] == "difference") or not summary["margin"]:
        return ""
    return f", within {_amount(summary['margin'], pair['unit'])}"


def _amount(value: float, unit: str) -> str:
    """Write a difference in words; a difference of logarithms is a factor."""
    if unit == "difference":
        return f"±{number(value)}"
    return f"a factor of {number(math.exp(value))}" if value < 700 else "more than any factor"


def notes(summary: Plain) -> list[str]:
    """Return notes on the figures, one sentence each."""
    noted = list(summary["notes"])
    if any(row["ledger"]["seconds_are"] == "shared" for row in summary["methods"]):
        noted.append(
            "Seconds that are not marked as alone were measured while other trials ran, so they "
            "are not ranked."
        )
    if summary["published_note"]:
        noted.append(summary["published_note"])
    if rule := summary.get("claim"):
        noted.append(
            f"This comparison belongs to claim {rule['claim']} of the paper, rule version "
            f"{rule['version']}, SHA-256 {rule['rule_digest']}."
        )
    return noted


def bullets(bullet: str, lines: Iterable[Text]) -> Table:
    """Return lines with a bullet before each."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row(Text(bullet, style="dim"), line)
    return grid


def number(value: float | None) -> str:
    """Write a number with 3 significant digits; whole numbers with separators.

    >>> number(0.09613), number(750000), number(1234.5), number(0.0000213), number(None)
    ('0.0961', '750,000', '1,234', '2.13e-05', '–')
    """
    if value is None:
        return _ABSENT
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    digits = f"{value:#.3g}"
    return digits if "e" in digits else digits.rstrip(".")


def _words(name: str) -> str:
    return name.replace("_", " ")


def hyperparameter(value: Any) -> str:
    """Return a hyperparameter as the command line takes it, with six digits of a number."""
    if isinstance(value, list | tuple):
        return f"({','.join(map(hyperparameter, value))})"
    return f"{value:g}" if isinstance(value, float) else value_text(value)


def ranges(seeds: list[int]) -> str:
    """Write the numbers 0, 1, 2, 5 as `0–2, 5`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
