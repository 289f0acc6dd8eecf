"""A real Prometheus reads what we serve, and every panel of the Grafana dashboards finds data in it (of a simulated engine; of a real server:
tests/integration/test_dashboards.py)."""

import json
import pathlib
import subprocess
import sys

import pytest

from demo import demo, fetch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from prometheus import CONFIG, GRAFANA, boards, panels_without_data, prometheus, queries, query, wait_for_scrapes  # noqa: E402

DASHBOARDS = {name: json.loads((GRAFANA / f"dashboards/{name}.json").read_text()) for name in boards.BOARDS}
METRICS = queries.read_metrics(queries.METRICS.read_text())
KNOWN = {name for name, _, _ in METRICS.values()}


def test_promtool_has_nothing_to_say():
    with demo("--warm=120") as (url, _):
        text = fetch(url + "/metrics")
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_promtool_would_speak():
    bad = "# HELP precis_things Things.\n# TYPE precis_things counter\nprecis_things 1\n"
    assert subprocess.run(["promtool", "check", "metrics"], input=bad, capture_output=True, text=True).stderr


def test_configuration_is_valid():
    subprocess.run(["promtool", "check", "config", str(CONFIG)], check=True, capture_output=True)


def test_rules_hold_their_tests():
    subprocess.run(["promtool", "check", "rules", str(CONFIG.parent / "rules.yml")], check=True, capture_output=True)
    subprocess.run(["promtool", "test", "rules", str(CONFIG.parent / "rules_test.yml")], check=True, capture_output=True)
    assert queries.names_in((CONFIG.parent / "rules.yml").read_text()) <= KNOWN


def test_dashboards_are_up_to_date():
    subprocess.run([sys.executable, str(GRAFANA / "make_dashboard.py"), "--check"], check=True)


def test_dashboards_show_every_metric_and_no_other():
    assert len(METRICS) == queries.METRICS.read_text().count("  X(")
    shown = set()
    for board in DASHBOARDS.values():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                shown |= queries.names_in(target["expr"])
    assert shown == KNOWN


def test_a_query_of_an_unknown_metric_is_refused():
    with pytest.raises(KeyError):
        queries.Queries(METRICS).rate("NoSuchMetric")
    with pytest.raises(ValueError, match="precis_ready|Ready"):
        queries.Queries(METRICS).rate("Ready")


def differences(given, kept, path=""):
    """Where `kept` lacks or changes something of `given`."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from differences(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key} is unknown"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for i, (a, b) in enumerate(zip(given, kept)):
            yield from differences(a, b, f"{path}[{i}]")
    elif given != kept:
        yield f"{path}: {given!r} became {kept!r}"


def unknown_to_grafana(board):
    """What Grafana's published schema (its types for Python, of Grafana 10) does not know of a dashboard: keys that reading it would lose."""
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard
    plugins.register_default_plugins()
    return list(differences(board, json.loads(encoder.JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))))


@pytest.mark.parametrize("name", boards.BOARDS)
def test_dashboards_fit_grafanas_schema(name):
    assert unknown_to_grafana(DASHBOARDS[name]) == []


@pytest.mark.parametrize("change", [lambda b: b.update(colour="red"), lambda b: b["panels"][1].update(gridpos={}),
                                    lambda b: b["panels"][1]["options"].update(legends={}),
                                    lambda b: b["panels"][1]["fieldConfig"]["defaults"].update(units="s")])
def test_the_schema_would_speak(change):
    board = json.loads(json.dumps(DASHBOARDS["precis-backends"]))
    change(board)
    assert len(unknown_to_grafana(board)) == 1


@pytest.mark.parametrize("name", boards.BOARDS)
def test_panels_do_not_overlap(name):
    cells, ids = set(), set()
    for panel in DASHBOARDS[name]["panels"]:
        grid = panel["gridPos"]
        own = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not own & cells and grid["x"] + grid["w"] <= 24 and panel["id"] not in ids, panel["title"]
        cells |= own
        ids.add(panel["id"])


def test_every_panel_finds_data(tmp_path):
    with demo("--warm=5") as (url, _), prometheus(tmp_path, url.removeprefix("http://")) as server:
        wait_for_scrapes(server, 20)
        assert panels_without_data(server) == []
        groups = json.loads(fetch(f"{server}/api/v1/rules"))["data"]["groups"]
        assert [r["name"] for g in groups for r in g["rules"] if r["health"] == "err"] == []
        assert {r["name"] for g in groups for r in g["rules"] if r.get("state") == "firing"} >= {"PrecisExperimentStopped"}
        # Prometheus' own arithmetic on what it read.
        assert query(server, 'sum(rate(precis_generation_tokens_total[1m]))')[0] > 10
        p99 = query(server, 'histogram_quantile(0.99, sum by (le) (rate(gen_ai_server_request_duration_seconds_bucket[1m])))')[0]
        assert 0.3 < p99 < 30
