#!/usr/bin/env python3
"""Writes the Grafana dashboards (boards.py) over the metric list, server/metrics/metric_names.h.

  make_dashboard.py            # writes deploy/grafana/dashboards/*.json
  make_dashboard.py --check    # exit status 1 if the committed files are out of date
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from boards import BOARDS  # noqa: E402
from queries import METRICS, Queries, read_metrics  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parent / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def field_config(spec):
    defaults = {"unit": spec["unit"], **({} if spec["signed"] else {"min": 0})}
    if spec["kind"] == "timeseries":
        defaults["custom"] = {"lineWidth": 2, "fillOpacity": 25 if spec["stacked"] else 0, "showPoints": "never",
                              "stacking": {"mode": "normal" if spec["stacked"] else "none"}}
    return {"defaults": defaults, "overrides": []}


def options(kind):
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                       "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "textMode": "value"},
        "bargauge": {"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True},
    }[kind]


def panel_json(spec, identifier, x, y):
    return {
        "id": identifier, "type": spec["kind"], "title": spec["title"], "description": spec["help"], "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": spec["width"], "h": height(spec)},
        "fieldConfig": field_config(spec), "options": options(spec["kind"]),
        "targets": [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
                    for i, (expr, legend) in enumerate(spec["targets"])],
    }


def height(spec):
    return 4 if spec["kind"] == "stat" else 8


def place(rows):
    """Panels from left to right, row by row."""
    panels, identifier, y = [], 0, 0
    for title, specs in rows:
        identifier += 1
        panels.append({"id": identifier, "type": "row", "title": title, "collapsed": False,
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y, x = y + 1, 0
        for spec in specs:
            if x + spec["width"] > 24:
                x, y = 0, y + height(specs[0])
            identifier += 1
            panels.append(panel_json(spec, identifier, x, y))
            x += spec["width"]
        y += height(specs[-1])
    return panels


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE,
            "query": {"query": query, "refId": name}, "refresh": 2, "includeAll": True, "allValue": ".*", "multi": True,
            "current": {"text": "All", "value": "$__all"}, "sort": 1}


def dashboard(metrics, name):
    title, description, rows = BOARDS[name]
    requests, ready = metrics["Requests"][0], metrics["Ready"][0]
    return {
        "uid": name, "title": title, "description": description, "tags": ["precis"], "schemaVersion": 38, "version": 1,
        "editable": True, "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser", "graphTooltip": 1,
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("instance", "Server", f"label_values({ready}, instance)"),
            variable("model", "Model", f"label_values({requests}, model)"),
            variable("backend", "Backend", f"label_values({requests}, attention_backend)")]},
        "annotations": {"list": []},
        "links": [{"title": "Precis", "type": "dashboards", "tags": ["precis"], "asDropdown": False, "includeVars": True,
                   "keepTime": True, "icon": "dashboard", "tooltip": "", "targetBlank": False, "url": ""}],
        "panels": place(rows(Queries(metrics))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    arguments = parser.parse_args()
    metrics = read_metrics(METRICS.read_text())
    wanted = {FOLDER / f"{name}.json": json.dumps(dashboard(metrics, name), indent=1) + "\n" for name in BOARDS}
    if not arguments.check:
        FOLDER.mkdir(exist_ok=True)
        for file, text in wanted.items():
            file.write_text(text)
        return 0
    stale = [str(file) for file, text in wanted.items() if not file.exists() or file.read_text() != text]
    stale += [f"{file} (of no board)" for file in FOLDER.glob("*.json") if file not in wanted]
    if stale:
        print(f"out of date: {', '.join(stale)}: run deploy/grafana/make_dashboard.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
