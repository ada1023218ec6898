"""The page that MLflow opens on: learning curves, grouped by method, on axes that fit the metric.

MLflow keeps a saved view of an experiment as a tag: JSON with a name and the page's state, which
is JSON again, deflated and in base64. This format is not documented, so a page that cannot read
it shows MLflow's own defaults.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any
from urllib.parse import urlencode

from bench.harness.core.metrics import is_share
from bench.harness.store.mlflow.colors import GROUP_TAG

VIEW_KEY = "bench"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
_OURS, _THEIRS, _SYSTEM = "bench-curves", "bench-model-metrics", "bench-system-metrics"


def view_tag(metric: str, log: bool | None = None) -> str:
    """Return the tag's value for a protocol's metric, with or without its `train_`.

    `log` says whether the metric has logarithmic axes; None: if its name is not that of a share.
    """
    short = metric.removeprefix("train_")
    scale = "log" if (not is_share(short) if log is None else log) else "linear"
    state = {
        # Comparisons are runs of the same experiment, and tuning is not the result.
        "searchFilter": "tags.`bench.kind` = 'trial' AND tags.`bench.purpose` = 'reported'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "selectedColumns": [
            "tags.`bench.method`",
            "tags.`bench.seed`",
            f"metrics.`train_{short}`",
            f"metrics.`test_{short}`",
            "metrics.`gradients`",
            "metrics.`seconds`",
        ],
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": GROUP_TAG}],
        },
        "useGroupedValuesInCharts": True,
        "compareRunCharts": [
            _chart("train", short, scale),
            _chart("train", short, scale, by="seconds"),
            _chart("test", short, scale),
            _chart("train", short, scale, by="gradients"),
        ],
        "compareRunSections": [
            _section(_OURS, "Learning curves"),
            # The page takes the last two sections for its own two.
            _section(_THEIRS, "Model metrics"),
            _section(_SYSTEM, "System metrics"),
        ],
    }
    packed = base64.b64encode(zlib.compress(_json(state).encode())).decode()
    return _json(
        {"name": "Learning curves", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
    )


def view_path(experiment_id: str | None) -> str:
    """Return the address below the server's: an experiment's prepared view, or the start."""
    if experiment_id is None:
        return "/#/experiments?" + urlencode({"workflowType": "machine_learning"})
    query = {
        "viewStateShareKey": VIEW_KEY,
        "compareRunsMode": "CHART",
        "workflowType": "machine_learning",
    }
    return f"/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": uuid == _OURS,
        "columns": 2 if uuid == _OURS else 3,
        "isReordered": False,
        "deleted": False,
        "isGenerated": uuid != _OURS,
    }


def _chart(data: str, short: str, scale: str, by: str = "") -> dict[str, Any]:
    """Return a chart by updates, or by another metric, whose axis is always linear there."""
    metric = f"{data}_{short}"
    against = {"": "updates", "gradients": "gradient-equivalents"}.get(by, by)
    of = "training" if data == "train" else data
    title = f"{short.replace('_', ' ')} on {of} data, by {against}"
    return {
        "uuid": f"bench-{metric}-{by or 'updates'}",
        "type": "LINE",
        "metricSectionId": _OURS,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": title,
        # MLflow 3.17 shows that title only where this is set, and then reads no metric for the
        # horizontal axis; so the other charts keep the metric's name as their title.
        **({} if by else {"nodeLevelSystemMetricConfiguration": {}}),
        "lineSmoothness": 0,
        "scaleType": scale,
        "xAxisScaleType": "linear" if by else "log",
        "xAxisKey": "metric" if by else "step",
        "selectedXAxisMetricKey": by,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }
