"""A real Prometheus reads what we serve, and every panel of the Grafana dashboard finds data in it."""

import contextlib
import json
import pathlib
import subprocess
import sys
import time
import urllib.parse

import pytest

from demo import demo, fetch, free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
GRAFANA = ROOT / "deploy/grafana"
CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
sys.path.insert(0, str(GRAFANA))
import make_dashboard  # noqa: E402


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
    names = set(make_dashboard.re.findall(r"\b(?:precis|gen_ai)_[a-z0-9_]+", (CONFIG.parent / "rules.yml").read_text()))
    known = {name for name, _, _ in make_dashboard.read_metrics(make_dashboard.METRICS.read_text()).values()}
    assert {n for n in names if n not in known and n.removesuffix("_bucket").removesuffix("_count") not in known} == set()


def test_dashboard_is_up_to_date():
    subprocess.run([sys.executable, str(GRAFANA / "make_dashboard.py"), "--check"], check=True)


def test_dashboard_shows_every_metric():
    text = (GRAFANA / "dashboard.json").read_text()
    metrics = make_dashboard.read_metrics(make_dashboard.METRICS.read_text())
    assert len(metrics) == make_dashboard.METRICS.read_text().count("  X(")
    assert [name for name, _, _ in metrics.values() if name not in text] == []


@contextlib.contextmanager
def prometheus(target, folder):
    config = CONFIG.read_text().replace("127.0.0.1:9464", target).replace("15s", "1s").replace("5s", "1s").replace("4s", "1s")
    assert target in config and "1s" in config
    (folder / "prometheus.yml").write_text(config)
    (folder / "rules.yml").write_text((CONFIG.parent / "rules.yml").read_text())
    port = free_port()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                    f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def query(server, expression):
    answer = json.loads(fetch(f"{server}/api/v1/query?query={urllib.parse.quote(expression)}"))
    assert answer["status"] == "success", answer
    return [float(r["value"][1]) for r in answer["data"]["result"]]


def wait_for_scrapes(server, count, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if query(server, "count_over_time(precis_ready[5m])")[:1] >= [count]:
                return
        time.sleep(0.5)
    pytest.fail(f"Prometheus made less than {count} scrapes in {seconds} s")


def panel_queries():
    for panel in json.loads((GRAFANA / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m")
            for name in ("instance", "model", "backend"):
                expression = expression.replace("$" + name, ".*")
            assert "$" not in expression
            yield panel["title"], expression


def test_every_panel_finds_data(tmp_path):
    with demo("--warm=5") as (url, _), prometheus(url.removeprefix("http://"), tmp_path) as server:
        wait_for_scrapes(server, 20)
        empty = [(title, e) for title, e in panel_queries() if all(v != v for v in query(server, e))]
        assert empty == []
        groups = json.loads(fetch(f"{server}/api/v1/rules"))["data"]["groups"]
        assert [r["name"] for g in groups for r in g["rules"] if r["health"] == "err"] == []
        assert {r["name"] for g in groups for r in g["rules"] if r.get("state") == "firing"} >= {"PrecisExperimentStopped"}
        # Prometheus' own arithmetic on what it read.
        assert query(server, 'sum(rate(precis_generation_tokens_total[1m]))')[0] > 10
        p99 = query(server, 'histogram_quantile(0.99, sum by (le) (rate(gen_ai_server_request_duration_seconds_bucket[1m])))')[0]
        assert 0.3 < p99 < 30
