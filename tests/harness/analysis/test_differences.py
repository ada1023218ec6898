"""What tells the trials of a comparison apart besides their methods: a sentence each, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.harness.analysis.differences import differences
from bench.harness.core.records import Certificate, TrialRecord
from tests.harness.analysis.test_summary import summary, trial

MADE = Certificate("t" * 64, "m" * 64, "p" * 64, {}, "bench run")
HERE = {"threads": 1, "versions": {"torch": "2.13.0", "bench": "0.1.0"}}


def trials(**changes: Any) -> dict[str, list[TrialRecord]]:
    """Two methods under two seeds, certified alike; `nag` or `hf` have what is given changed."""
    found = {}
    for place, method in enumerate(("nag", "hf")):
        mine = [trial(10 * place + seed, method, seed, 0.1) for seed in (0, 1)]
        made = replace(MADE, **changes) if method == "hf" else MADE
        found[method] = [replace(t, certificate=made) for t in mine]
    return found


def changed(of: TrialRecord, digest: str | None = None, **changes: Any) -> TrialRecord:
    """The trial with another certificate, and so, where it is said, another source."""
    assert of.certificate is not None
    made = replace(of.certificate, **changes)
    return replace(of, certificate=made, source_digest=digest or of.source_digest)


def contexts(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"context": HERE, "other": {**HERE, **changes}}


def elsewhere(by_method: dict[str, list[TrialRecord]]) -> dict[str, list[TrialRecord]]:
    """The trials of hf ran in another context."""
    hf = [replace(t, context_digest="other") for t in by_method["hf"]]
    return {**by_method, "hf": hf}


def test_what_is_equal_is_not_said() -> None:
    assert differences(trials(), {"context": HERE}) == []
    assert differences(trials(), {}) == []
    # Methods differ in their own source, as they must; commands and seed plans do, too.
    own = trials(method_source="n" * 64, command="bench run again", seeds={"root": 1})
    assert differences({**own, "hf": [replace(t, source_digest="o") for t in own["hf"]]}, {}) == []


def test_the_source_of_a_method() -> None:
    by_method = trials()
    by_method["nag"][1] = changed(by_method["nag"][1], "o", method_source="n" * 64)
    assert differences(by_method, {}) == [
        "nag: its trials ran from different sources of the method."
    ]


@pytest.mark.parametrize("of", ["one trial", "a method"])
def test_the_source_of_the_problem(of: str) -> None:
    by_method = trials()
    later = by_method["hf"][1:] if of == "one trial" else by_method["hf"]
    edited = [changed(t, "o", problem_source="q" * 64) for t in later]
    by_method["hf"][-len(later) :] = edited
    before = "nag, hf" if of == "one trial" else "nag"
    assert differences(by_method, {}) == [
        f"The source of the problem differs: pppppppp ({before}), qqqqqqqq (hf)."
    ]


def test_initial_parameters() -> None:
    assert differences(trials(theta="u" * 64), {}) == [
        "The methods have different initial parameters, so pairing by seed is less effective: seed "
        "0, 1. With seed 0 the digests are tttttttt (nag), uuuuuuuu (hf)."
    ]
    by_method = trials()
    by_method["hf"][1] = changed(by_method["hf"][1], theta="u" * 64)
    (said,) = differences(by_method, {})
    assert "seed 1. With seed 1 the digests" in said
    # Under different seeds they differ, as they must.
    for mine in by_method.values():
        mine[1] = changed(mine[1], theta="v" * 64)
    assert differences(by_method, {}) == []


def test_versions_by_name_and_method() -> None:
    other = {"versions": {"torch": "2.14.0", "bench": "0.1.0", "numba": "1.0"}}
    assert differences(elsewhere(trials()), contexts(**other)) == [
        "The version of torch differs: 2.13.0 (nag), 2.14.0 (hf).",
        "The trials ran under different conditions (versions), so their seconds are not ranked.",
    ]


def test_contexts_name_their_fields() -> None:
    both = contexts(threads=2, fleet_rows=3)
    assert differences(elsewhere(trials()), both) == [
        "The trials ran under different conditions (threads), so their seconds are not ranked."
    ]
    # What is not known of a context is not made up.
    for known in ({}, {"context": HERE}):
        assert differences(elsewhere(trials()), known) == [
            "The trials ran under different conditions, so their seconds are not ranked."
        ]
    # Nor of what an earlier version of bench left out.
    assert differences(elsewhere(trials()), {"context": {}, "other": HERE})[-1:] == [
        "The trials ran under different conditions, so their seconds are not ranked."
    ]


def test_trials_of_earlier_versions_are_passed_over() -> None:
    by_method = trials(theta="u" * 64, problem_source="q" * 64)
    old = {m: [replace(t, certificate=None) for t in mine] for m, mine in by_method.items()}
    assert differences(old, {}) == []
    assert differences({**by_method, "nag": old["nag"]}, {}) == []
    # Of two sources it is known that they differ, and not in what.
    mixed = [changed(by_method["hf"][0]), replace(old["hf"][1], source_digest="o")]
    for mine in (mixed, [old["hf"][0], mixed[1]]):
        assert differences({"nag": old["nag"], "hf": mine}, {}) == [
            "hf: its trials ran from different sources of method or problem."
        ]


def test_methods_without_an_outcome_have_no_sources() -> None:
    assert differences({"nag": [], "hf": []}, {}) == []
    failed = [replace(trial(s, "nag", s, None), status="failed") for s in (0, 1)]
    assert summary(failed)["notes"] == [
        "nag: 2 of 2 trials have no outcome (2 failed), so they are left out."
    ]


def test_they_stand_beside_the_verdict() -> None:
    by_method = elsewhere(trials(theta="u" * 64))
    plain = summary([t for mine in by_method.values() for t in mine], contexts=contexts(threads=2))
    assert [note.partition(",")[0] for note in plain["notes"]] == [
        "The methods have different initial parameters",
        "The trials ran under different conditions (threads)",
    ]
