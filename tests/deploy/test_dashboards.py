"""The dashboards and the alerts, against the metrics that the service and Ray really have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from tests.serving.conftest import ABOUT
from tests.serving.services import LocalClient, some_contents

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
FUNCTIONS = {"sum", "avg", "max", "rate", "increase", "histogram_quantile", "or", "unless", "offset"}
OF_PROMETHEUS = {"up": {"job", "instance"}}
BY_THE_SCRAPER = {"job", "instance"}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    for path in DASHBOARDS:
        dashboard = read(path)
        yield from (target["expr"] for panel in panels(dashboard) for target in panel["targets"])
        queries = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
        for query in queries:
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
            assert found is not None, query
            yield f"sum by ({found[2]}) ({found[1]})"
    for group in yaml.safe_load((DEPLOY / "compose" / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


EXPRESSIONS = sorted(set(expressions()))


def metrics_in(expression: str) -> set[str]:
    """Names outside strings, selectors, ranges and lists of labels that are no functions."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)|\boffset \w+", " ", bare)
    return set(re.findall(r"[A-Za-z_]\w*", bare)) - FUNCTIONS


def labels_in(expression: str) -> set[str]:
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = [label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")]
    return {*selected, *grouped}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric of the service, by the name that Ray's agent gives it.

    Ray prefixes ``ray_``, and appends ``_total`` to every counter that does not end so; the parts of a histogram are
    counters for Ray.
    """
    folder = tmp_path_factory.mktemp("dashboards") / "bundle"
    write_bundle(str(folder), some_contents(1), ABOUT)
    meters = Meters()
    with LocalClient(web_app(Live.of({"main": str(folder)}), meters=meters)) as client:
        client.post("/v1/recommend", json={"user_id": "u1"})
        meters.count_reload("main", "1", is_loaded=True)
        meters.overlap.labels("shadow").observe(0.5)
        meters.feedback.labels("stored").inc()
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            suffix = "" if family.type == "gauge" or sample.name.endswith("_total") else "_total"
            found.setdefault(f"ray_{sample.name}{suffix}", set()).update(sample.labels)
    return found


@cache
def sources_of_ray() -> tuple[str, bytes]:
    """What in Ray defines metrics: the agent and Serve as text, and the core as its binaries."""
    root = Path(ray.__file__).parent
    files = [root / "dashboard/modules/reporter/reporter_agent.py", *sorted((root / "serve/_private").glob("*.py"))]
    binaries = [root / "_raylet.so", root / "core/src/ray/raylet/raylet", root / "core/src/ray/gcs/gcs_server"]
    return "".join(map(Path.read_text, files)), b"".join(path.read_bytes() for path in binaries if path.exists())


def ray_has(word: str) -> bool:
    text, binary = sources_of_ray()
    return f'"{word}"' in text or b"\0" + word.encode() + b"\0" in binary


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_every_label_exists(exported: dict[str, set[str]], expression: str) -> None:
    labels = labels_in(expression) - BY_THE_SCRAPER
    names = metrics_in(expression)
    assert names
    for name in names:
        if name.startswith("ray_hnlm_"):
            assert name in exported
            assert labels <= exported[name], name
        elif name not in OF_PROMETHEUS:
            assert name.startswith("ray_")
            bare = name.removeprefix("ray_")
            assert ray_has(bare) or ray_has(bare.removesuffix("_total")), name
            assert all(map(ray_has, labels)), labels


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    rules = [{"record": f"r{n}", "expr": one.replace("$__rate_interval", "1m")} for n, one in enumerate(EXPRESSIONS)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("values", ["_x20 1x20", "0x10 1x30"], ids=["the first count", "one more"])
def test_a_refused_bundle_is_told_the_first_time_too(tmp_path: Path, values: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    series = {"series": 'ray_hnlm_reloads_total{name="shop", outcome="refused"}', "values": values}
    labels = {"name": "shop"}
    summary = "The bundle shop on the shelf cannot be loaded, the one before is still served."
    told: dict[str, Any] = {"eval_time": "24m" if "_" in values else "14m", "alertname": "BundleRefused"}
    told["exp_alerts"] = [{"exp_labels": labels, "exp_annotations": {"summary": summary}}]
    quiet = {"eval_time": "39m", "alertname": "BundleRefused", "exp_alerts": []}
    test = {"interval": "1m", "input_series": [series], "alert_rule_test": [told, quiet]}
    content = {"rule_files": [str(DEPLOY / "compose" / "alerts.yml")], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yml")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_comparison_finds_what_does_not_exist(exported: dict[str, set[str]]) -> None:
    expression = 'sum by (rote) (rate(ray_hnlm_request_total{route="x"}[5m])) / ray_nodes_cpu'
    assert metrics_in(expression) == {"ray_hnlm_request_total", "ray_nodes_cpu"}
    assert labels_in(expression) == {"rote", "route"}
    assert "ray_hnlm_request_total" not in exported
    assert not ray_has("nodes_cpu")
    assert ray_has("node_cpu_utilization")


def test_every_metric_of_the_service_is_shown(exported: dict[str, set[str]]) -> None:
    shown = set[str]().union(*map(metrics_in, EXPRESSIONS))
    families = {re.sub(r"_(bucket|sum|count)_total$", "", name) for name in exported if "_created" not in name}
    assert families == {re.sub(r"_(bucket|sum|count)_total$", "", name) for name in shown if "hnlm" in name}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    dashboard = read(path)
    assert dashboard["uid"] == path.stem
    assert dashboard["title"]
    assert dashboard["description"]
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) - {"__rate_interval"}
    assert used == set(variables)
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_a_place_of_their_own(path: Path) -> None:
    places = [(panel["id"], panel["gridPos"]) for panel in read(path)["panels"]]
    assert len({number for number, _ in places}) == len(places)
    for _, place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for (_, one), (_, other) in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def test_there_are_two_dashboards_with_names_of_their_own() -> None:
    assert [path.stem for path in DASHBOARDS] == ["hnlm-ray", "hnlm-service"]
    assert len({read(path)["title"] for path in DASHBOARDS}) == 2
