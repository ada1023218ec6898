"""A night as JUnit XML for CI servers: one suite per problem, one case per metric."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from bench.harness.core.records import NightMetric, NightRecord
from bench.harness.core.text import REPLACEMENT, visible
from bench.harness.nightly.table import by_problem, describe, verdict

_NO_CHARACTERS = re.compile("[\ufffe\uffff]")
"""Characters that XML 1.0 §2.2 forbids, besides control characters and lone surrogates."""


def to_junit(night: NightRecord) -> str:
    """Return a night's metrics as test cases.

    A finding in either direction is a failure. A metric that is new or not judged is skipped, with
    the reason. If the night failed, an additional case is an error.
    """
    cases = [(_text(problem), [_case(night, m) for m in ms]) for problem, ms in by_problem(night)]
    if night.status in ("failed", "running") or night.reason:
        cases.append((_text(night.suite), [_failed(night)]))
    every = [case for _, some in cases for case in some]
    root = ET.Element("testsuites", {"name": _text(night.suite)} | _counts(every))
    if night.ended is not None:
        root.set("time", f"{max((night.ended - night.created).total_seconds(), 0):.0f}")
    for name, some in cases:
        where = {
            "timestamp": f"{night.created:%Y-%m-%dT%H:%M:%S}",
            "hostname": _text(str(night.info.get("host", ""))),
        }
        suite = ET.SubElement(root, "testsuite", {"name": name} | _counts(some) | where)
        suite.append(_properties(night))
        suite.extend(some)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True).decode() + "\n"


def _case(night: NightRecord, metric: NightMetric) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=_text(f"{night.suite}.{metric.problem}"),
        name=_text(f"{metric.method}: {metric.metric}"),
    )
    if metric.is_finding:
        said = _text(describe(metric))
        ET.SubElement(case, "failure", type=metric.state, message=said).text = said
    elif metric.state != "same":
        ET.SubElement(case, "skipped", message=_text(f"{metric.state}: {metric.reason}"))
    return case


def _failed(night: NightRecord) -> ET.Element:
    case = ET.Element("testcase", classname=_text(night.suite), name="the whole night")
    said = _text(night.reason or verdict(night))
    ET.SubElement(case, "error", type=night.status, message=said).text = said
    return case


def _counts(cases: Sequence[ET.Element]) -> dict[str, str]:
    kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counted = {
        name: sum(case.find(kind) is not None for case in cases) for name, kind in kinds.items()
    }
    return {name: str(count) for name, count in ({"tests": len(cases)} | counted).items()}


def _properties(night: NightRecord) -> ET.Element:
    values = {
        "night": night.uuid,
        "suite": night.suite,
        "suite_digest": night.suite_digest,
        "baseline": night.baseline,
        "commit": night.commit or "",
        "status": night.status,
    }
    properties = ET.Element("properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=_text(value))
    return properties


def _text(text: str) -> str:
    return _NO_CHARACTERS.sub(REPLACEMENT, visible(text))
