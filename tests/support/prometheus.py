"""A real Prometheus for tests, and the queries of the Grafana dashboards."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy/grafana"
CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
sys.path.insert(0, str(GRAFANA))
import boards  # noqa: E402
import queries  # noqa: E402


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prometheus(folder, *targets):
    """deploy/prometheus on these targets (HOST:PORT), scraping and evaluating every second; yields its URL."""
    listed = ", ".join(f'"{target}"' for target in targets)
    config = re.sub(r"(_interval|_timeout): \d+s", r"\1: 1s", CONFIG.read_text()).replace('"127.0.0.1:9464"', listed)
    assert targets[0] in config and config.count(": 1s") == 3
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
    """The values of an instant query."""
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
    raise AssertionError(f"Prometheus made less than {count} scrapes in {seconds} s")


def panel_queries():
    """(dashboard, panel's title, query with its variables filled in)"""
    for name in boards.BOARDS:
        for panel in json.loads((GRAFANA / f"dashboards/{name}.json").read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", "1m")
                for variable in ("instance", "model", "backend"):
                    expression = expression.replace("$" + variable, ".*")
                assert "$" not in expression
                yield name, panel["title"], expression


def panels_without_data(server):
    """(dashboard, title, query) of those that have nothing to draw, apart from what needs a GPU."""
    return [(name, title, e) for name, title, e in panel_queries()
            if not queries.ONLY_WITH_GPU.search(e) and all(v != v for v in query(server, e))]
