#!/usr/bin/env python3
"""Writes the Grafana dashboard from the metric list, server/metrics/metric_names.h.

  make_dashboard.py            # writes deploy/grafana/dashboard.json
  make_dashboard.py --check    # exit status 1 if the committed file is out of date

A panel names its metrics by the identifiers of metric_names.h, so that a metric that is renamed or removed can't
leave an empty panel behind.
"""

import argparse
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
METRICS = ROOT / "server/metrics/metric_names.h"
OUTPUT = pathlib.Path(__file__).resolve().parent / "dashboard.json"
RATE = "$__rate_interval"
ENTRY = re.compile(r'X\((\w+), "(\w+)", k(Counter|Gauge|Histogram), k(Request|Backend|Process)\b')


def read_metrics(text):
    """{identifier: (name, type, scope)}"""
    # The macro's line ends are no part of an entry.
    return {m[1]: (m[2], m[3], m[4]) for m in ENTRY.finditer(text.replace("\\\n", "\n"))}


class Queries:
    """PromQL over the metrics, filtered by the dashboard's variables."""

    def __init__(self, metrics):
        self.metrics = metrics

    def series(self, metric, kind, suffix="", where=""):
        name, actual, scope = self.metrics[metric]
        if actual != kind:
            raise ValueError(f"{metric} is a {actual}, not a {kind}")
        filters = ['instance=~"$instance"']
        if scope == "Request":
            filters += ['model=~"$model"', 'attention_backend=~"$backend"']
        if where:
            filters.append(where)
        return f"{name}{suffix}{{{','.join(filters)}}}"

    def rate(self, metric, by, where=""):
        return f"sum by ({by}) (rate({self.series(metric, 'Counter', where=where)}[{RATE}]))"

    def gauge(self, metric, by, where=""):
        return f"sum by ({by}) ({self.series(metric, 'Gauge', where=where)})"

    def peak(self, metric, by, where=""):
        return f"max by ({by}) ({self.series(metric, 'Gauge', where=where)})"

    def trough(self, metric, by, where=""):
        return f"min by ({by}) ({self.series(metric, 'Gauge', where=where)})"

    def quantile(self, q, metric, by, where=""):
        buckets = self.series(metric, "Histogram", "_bucket", where)
        return f"histogram_quantile({q}, sum by (le, {by}) (rate({buckets}[{RATE}])))"

    def mean(self, metric, by, where=""):
        total, count = (self.series(metric, "Histogram", s, where) for s in ("_sum", "_count"))
        return f"sum by ({by}) (rate({total}[{RATE}])) / sum by ({by}) (rate({count}[{RATE}]))"


BACKEND, ARM = "attention_backend", "experiment, arm"
IN_EXPERIMENT = 'experiment!="none"'
LEGENDS = {BACKEND: "{{attention_backend}}", ARM: "{{experiment}} / {{arm}}"}


def panel(title, unit, *targets, stacked=False, signed=False, width=8, help=""):
    """targets: (query, legend)"""
    return {"title": title, "unit": unit, "targets": targets, "stacked": stacked, "signed": signed, "width": width, "help": help}


def latency_panels(q, by, where=""):
    legend = LEGENDS[by]
    rows = [("RequestDuration", "Request latency"), ("TimeToFirstToken", "Time to first token")]
    panels = [panel(f"{title} p{round(100 * level)}", "s", (q.quantile(level, metric, by, where), legend))
              for metric, title in rows for level in (0.5, 0.95, 0.99)]
    panels.append(panel("Time per output token p95", "s", (q.quantile(0.95, "TimePerOutputToken", by, where), legend)))
    panels.append(panel("Between two tokens p99", "s", (q.quantile(0.99, "InterTokenLatency", by, where), legend)))
    panels.append(panel("Memory of a request p95", "bytes", (q.quantile(0.95, "RequestPeakMemory", by, where), legend),
                        help="KV cache and attention workspace that a request held at most."))
    return panels


def experiment_panels(q):
    by, legend = "experiment, arm, outcome, statistic", "{{experiment}} / {{arm}} {{outcome}} {{statistic}}"
    primary = 'outcome="total_seconds",statistic="p50"'
    quality = 'outcome=~"error|thumbs|edit_ratio|score"'
    lift = [(q.peak(metric, by, primary), f"{{{{experiment}}}} / {{{{arm}}}} {name}")
            for metric, name in (("ExperimentLow", "at least"), ("ExperimentLift", "lift"), ("ExperimentHigh", "at most"))]
    return [
        panel("Lift of the median total time, always-valid interval", "percentunit", *lift, signed=True,
              help="Below zero: faster than the control. The interval holds however often one looks."),
        panel("Lift of errors and quality", "percentunit", (q.peak("ExperimentLift", by, quality), legend), signed=True,
              help="Differences to the control; a score's in its own unit."),
        panel("p-values after Holm", "none", (q.trough("ExperimentPValue", by), legend)),
        panel("Sample ratio p-value", "none", (q.trough("ExperimentSampleRatio", "experiment"), "{{experiment}}"),
              help="Below 0.001 the arms don't have the units that they should have: don't trust the comparison."),
        panel("Units", "short", (q.peak("ExperimentUnits", ARM), LEGENDS[ARM])),
        panel("Stopped", "bool", (q.peak("ExperimentStopped", "experiment, arm, guardrail"), "{{experiment}} / {{arm}} by {{guardrail}}")),
        panel("Outcomes recorded per second", "short", (q.rate("ExperimentOutcomes", "experiment, arm, outcome"), LEGENDS[ARM] + " {{outcome}}")),
        panel("Shadow pairs per second", "short", (q.rate("ShadowPairs", "experiment, arm, result"), LEGENDS[ARM] + " {{result}}")),
        panel("Tokens that agree in a shadow pair, mean", "percentunit", (q.mean("ShadowAgreement", ARM), LEGENDS[ARM])),
        panel("First token that differs, median", "short", (q.quantile(0.5, "ShadowDivergence", ARM), LEGENDS[ARM])),
        panel("Experiment files read", "short", (q.rate("ExperimentReloads", "result"), "{{result}}")),
    ]


def rows(q):
    """[(title, panels)]: the dashboard."""
    backend = LEGENDS[BACKEND]
    return [
        ("Latency and memory by attention backend", latency_panels(q, BACKEND)),
        ("Latency and memory by experiment arm", latency_panels(q, ARM, IN_EXPERIMENT) + [
            panel("Assignments per second", "reqps", (q.rate("ExperimentAssignments", "experiment, arm, reason"),
                                                      "{{experiment}} / {{arm}} ({{reason}})")),
            panel("Requests per second by arm", "reqps", (q.rate("Requests", ARM, IN_EXPERIMENT), LEGENDS[ARM])),
            panel("Tokens per second by arm", "short", (q.rate("GenerationTokens", ARM, IN_EXPERIMENT), LEGENDS[ARM]))]),
        ("Experiments: what they found", experiment_panels(q)),
        ("Traffic", [
            panel("Tokens per second", "short", (q.rate("GenerationTokens", BACKEND), backend), stacked=True),
            panel("Prompt tokens per second", "short", (q.rate("PromptTokens", BACKEND), backend), stacked=True,
                  help="Counted when a request ends."),
            panel("Requests per second by result", "reqps", (q.rate("Requests", "grpc_code"), "{{grpc_code}}"),
                  stacked=True),
            panel("Refused per second", "reqps", (q.rate("RequestsRejected", "reason"), "{{reason}}")),
            panel("Cancelled per second", "reqps", (q.rate("RequestsCancelled", "stage"), "{{stage}}")),
            panel("Cancellation until memory is free p95", "s", (q.quantile(0.95, "CancelLatency", "stage"), "{{stage}}"))]),
        ("Queue and batch", [
            panel("Waiting by priority", "short", (q.gauge("RequestsWaiting", "priority"), "{{priority}}"), stacked=True),
            panel("Running", "short", (q.gauge("RequestsRunning", BACKEND), backend), stacked=True),
            panel("Time in the queue p95", "s", (q.quantile(0.95, "RequestQueue", BACKEND), backend)),
            panel("Prefill and decode of a request p95", "s",
                  (q.quantile(0.95, "RequestPrefill", BACKEND), "prefill " + backend),
                  (q.quantile(0.95, "RequestDecode", BACKEND), "decode " + backend)),
            panel("Sequences in a step, mean", "short", (q.mean("BatchSize", "phase"), "{{phase}}")),
            panel("Tokens in a step, mean", "short", (q.mean("BatchTokens", "phase"), "{{phase}}")),
            panel("Step p95", "s", (q.quantile(0.95, "StepDuration", "phase, composition"), "{{phase}}, {{composition}}")),
            panel("Attention in a step, mean", "s", (q.mean("AttentionKernel", "attention_backend, phase"),
                                                     backend + ", {{phase}}"), help="On sampled steps."),
            panel("Preemptions per second", "short", (q.rate("Preemptions", BACKEND), backend))]),
        ("Memory and KV cache", [
            panel("Memory by kind", "bytes", (q.gauge("MemoryBytes", "kind"), "{{kind}}"), stacked=True),
            panel("KV cache by backend", "bytes", (q.gauge("MemoryBytes", BACKEND, 'kind="kv"'), backend), stacked=True),
            panel("Largest attention workspace", "bytes",
                  (q.peak("MemoryPeakBytes", BACKEND, 'kind="attention_workspace",attention_backend!="none"'), backend)),
            panel("KV cache use", "percentunit", (q.peak("KvCacheUtilization", "instance"), "{{instance}}")),
            panel("Largest memory by kind", "bytes",
                  (q.peak("MemoryPeakBytes", "kind", 'attention_backend="none"'), "{{kind}}")),
            panel("Prefix cache hits", "percentunit",
                  (f'{q.rate("PrefixCacheHits", BACKEND)} / {q.rate("PrefixCacheQueries", BACKEND)}', backend)),
            panel("Document tokens left out per second", "short", (q.rate("TruncatedTokens", BACKEND), backend))]),
        ("Server", [
            panel("Ready", "bool", (q.peak("Ready", "instance"), "{{instance}}")),
            panel("Draining", "bool", (q.peak("Draining", "instance"), "{{instance}}")),
            panel("Configuration and build", "short",
                  (q.peak("ConfigGeneration", "instance"), "configuration on {{instance}}"),
                  (q.gauge("BuildInfo", "version, commit, isa"), "{{version}} {{commit}} {{isa}}"),
                  (q.gauge("CacheConfigInfo", "model, checkpoint, num_blocks"), "{{model}} {{checkpoint}} {{num_blocks}} blocks"))]),
    ]


def panel_json(spec, identifier, x, y):
    custom = {"lineWidth": 2, "fillOpacity": 25 if spec["stacked"] else 0, "showPoints": "never",
              "stacking": {"mode": "normal" if spec["stacked"] else "none"}}
    return {
        "id": identifier, "type": "timeseries", "title": spec["title"], "description": spec["help"],
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": spec["width"], "h": 8},
        "fieldConfig": {"defaults": {"unit": spec["unit"], **({} if spec["signed"] else {"min": 0}), "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [{"refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend}
                    for i, (expr, legend) in enumerate(spec["targets"])],
    }


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {"query": query, "refId": name}, "refresh": 2, "includeAll": True, "allValue": ".*", "multi": True,
            "current": {"text": "All", "value": "$__all"}, "sort": 1}


def dashboard(metrics):
    panels, identifier, y = [], 0, 0
    for title, specs in rows(Queries(metrics)):
        identifier += 1
        panels.append({"id": identifier, "type": "row", "title": title, "collapsed": False,
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y, x = y + 1, 0
        for spec in specs:
            if x + spec["width"] > 24:
                x, y = 0, y + 8
            identifier += 1
            panels.append(panel_json(spec, identifier, x, y))
            x += spec["width"]
        y += 8
    requests, ready = metrics["Requests"][0], metrics["Ready"][0]
    return {
        "uid": "precis", "title": "Precis", "tags": ["precis"], "schemaVersion": 38, "version": 1, "editable": True,
        "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser", "graphTooltip": 1,
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("instance", "Server", f"label_values({ready}, instance)"),
            variable("model", "Model", f"label_values({requests}, model)"),
            variable("backend", "Backend", f"label_values({requests}, attention_backend)")]},
        "annotations": {"list": []}, "links": [], "panels": panels,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is out of date")
    arguments = parser.parse_args()
    text = json.dumps(dashboard(read_metrics(METRICS.read_text())), indent=1) + "\n"
    if not arguments.check:
        OUTPUT.write_text(text)
        return 0
    if not OUTPUT.exists() or OUTPUT.read_text() != text:
        print(f"{OUTPUT} is out of date: run deploy/grafana/make_dashboard.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
