"""What the dashboards show: panels by rows."""

BACKEND, ARM = "attention_backend", "experiment, arm"
IN_EXPERIMENT = 'experiment!="none"'
LEGENDS = {BACKEND: "{{attention_backend}}", ARM: "{{experiment}} / {{arm}}"}
FAILED = 'grpc_code=~"INTERNAL|UNAVAILABLE|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED"'
VERSUS_STANDARD = "{numerator} / on () group_left () max ({standard})"


def panel(title, unit, *targets, kind="timeseries", stacked=False, signed=False, width=8, help=""):
    """targets: (query, legend)"""
    return {"title": title, "unit": unit, "targets": targets, "kind": kind, "stacked": stacked, "signed": signed,
            "width": width, "help": help}


def stat(title, unit, query, help=""):
    return panel(title, unit, (query, title), kind="stat", width=3, help=help)


def bars(title, unit, *targets, help=""):
    return panel(title, unit, *targets, kind="bargauge", width=6, help=help)


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
        panel("Experiment files read", "short", (q.rate("ExperimentReloads", "result"), "{{result}}")),
    ]


def shadow_panels(q):
    return [
        panel("Shadow pairs per second", "short", (q.rate("ShadowPairs", "experiment, arm, result"), LEGENDS[ARM] + " {{result}}")),
        panel("Tokens that agree in a shadow pair, mean", "percentunit", (q.mean("ShadowAgreement", ARM), LEGENDS[ARM])),
        panel("First token that differs, median", "short", (q.quantile(0.5, "ShadowDivergence", ARM), LEGENDS[ARM]))]


def optional(q, name, make):
    """make(identifier), if this build has the metric."""
    identifier = q.id_of(name)
    return [make(identifier)] if identifier else []


def energy_panels(q, by):
    """Energy and power: panels appear with their metrics, and have data where a GPU is."""
    legend = LEGENDS[by]
    return optional(q, "precis_request_energy_joules", lambda m: panel(
        "Energy of a request p95 (estimate)", "joule", (q.quantile(0.95, m, by), legend), help="Only where a GPU is."))


def gpu_panels(q):
    one = "{{instance}} {{gpu_uuid}}"
    made = []
    for name, title, unit, kind in (("precis_gpu_power_watts", "GPU power", "watt", "Gauge"),
                                    ("precis_gpu_energy_joules_total", "GPU energy per second", "watt", "Counter"),
                                    ("precis_gpu_utilization_ratio", "GPU utilisation", "percentunit", "Gauge"),
                                    ("precis_gpu_memory_used_bytes", "GPU memory in use", "bytes", "Gauge"),
                                    ("precis_gpu_memory_total_bytes", "GPU memory", "bytes", "Gauge")):
        make = q.rate if kind == "Counter" else q.gauge
        made += optional(q, name, lambda m, make=make, title=title, unit=unit: panel(
            title, unit, (make(m, "instance, gpu_uuid"), one), help="Only where a GPU is."))
    return made


def overview(q):
    backend = LEGENDS[BACKEND]
    return [
        ("Now", [
            stat("Servers ready", "short", q.gauge("Ready")),
            stat("Requests per second", "reqps", q.rate("Requests")),
            stat("Failed", "percentunit", q.share(q.rate("Requests", where=FAILED), q.rate("Requests")),
                 help="Share of calls that the server failed: internal, unavailable, exhausted, past the deadline."),
            stat("Latency p95", "s", q.quantile(0.95, "RequestDuration")),
            stat("First token p95", "s", q.quantile(0.95, "TimeToFirstToken")),
            stat("Tokens per second", "short", q.rate("GenerationTokens")),
            stat("Waiting", "short", q.gauge("RequestsWaiting")),
            stat("Fullest KV cache", "percentunit", q.peak("KvCacheUtilization"))]),
        ("Traffic", [
            panel("Tokens per second", "short", (q.rate("GenerationTokens", BACKEND), backend), stacked=True),
            panel("Prompt tokens per second", "short", (q.rate("PromptTokens", BACKEND), backend), stacked=True,
                  help="Counted when a request ends."),
            panel("Requests per second by result", "reqps", (q.rate("Requests", "grpc_code"), "{{grpc_code}}"), stacked=True),
            panel("Request latency", "s", *[(q.quantile(level, "RequestDuration"), f"p{round(100 * level)}") for level in (0.5, 0.95, 0.99)]),
            panel("Time to first token", "s", *[(q.quantile(level, "TimeToFirstToken"), f"p{round(100 * level)}") for level in (0.5, 0.95, 0.99)]),
            panel("Between two tokens", "s", *[(q.quantile(level, "InterTokenLatency"), f"p{round(100 * level)}") for level in (0.5, 0.95, 0.99)]),
            panel("Refused per second", "reqps", (q.rate("RequestsRejected", "reason"), "{{reason}}")),
            panel("Cancelled per second", "reqps", (q.rate("RequestsCancelled", "stage"), "{{stage}}")),
            panel("Cancellation until memory is free p95", "s", (q.quantile(0.95, "CancelLatency", "stage"), "{{stage}}"))]),
        ("Servers", [
            panel("Ready", "bool", (q.peak("Ready", "instance"), "{{instance}}")),
            panel("Draining", "bool", (q.peak("Draining", "instance"), "{{instance}}")),
            panel("Configuration and build", "short",
                  (q.peak("ConfigGeneration", "instance"), "configuration on {{instance}}"),
                  (q.gauge("BuildInfo", "version, commit, isa"), "{{version}} {{commit}} {{isa}}"),
                  (q.gauge("CacheConfigInfo", "model, checkpoint, num_blocks"), "{{model}} {{checkpoint}} {{num_blocks}} blocks"),
                  help="Servers that differ in configuration or build are a roll-out under way.")]),
    ]


def backends(q):
    backend = LEGENDS[BACKEND]
    median = q.quantile(0.5, "RequestDuration", BACKEND)
    standard = q.quantile(0.5, "RequestDuration", "", 'attention_backend="standard"')
    return [
        ("Side by side", [
            bars("Request latency p50", "s", (median, backend)),
            bars("First token p50", "s", (q.quantile(0.5, "TimeToFirstToken", BACKEND), backend)),
            bars("Memory of a request, mean", "bytes", (q.mean("RequestPeakMemory", BACKEND), backend)),
            bars("Latency p50 over that of standard", "none",
                 (VERSUS_STANDARD.format(numerator=median, standard=standard), backend),
                 help="Below 1: faster. Different users ask for different backends; an experiment compares like with like."),
            *energy_panels(q, BACKEND)]),
        ("Latency and memory of requests", latency_panels(q, BACKEND)),
        ("Where the time and memory go", [
            panel("Time in the queue p95", "s", (q.quantile(0.95, "RequestQueue", BACKEND), backend)),
            panel("Prefill and decode of a request p95", "s",
                  (q.quantile(0.95, "RequestPrefill", BACKEND), "prefill " + backend),
                  (q.quantile(0.95, "RequestDecode", BACKEND), "decode " + backend)),
            panel("Attention in a step, mean", "s", (q.mean("AttentionKernel", "attention_backend, phase"), backend + ", {{phase}}"),
                  help="On sampled steps."),
            panel("KV cache by backend", "bytes", (q.gauge("MemoryBytes", BACKEND, 'kind="kv"'), backend), stacked=True),
            panel("Largest attention workspace", "bytes",
                  (q.peak("MemoryPeakBytes", BACKEND, 'kind="attention_workspace",attention_backend!="none"'), backend)),
            panel("Running", "short", (q.gauge("RequestsRunning", BACKEND), backend), stacked=True)]),
    ]


def experiments(q):
    return [
        ("What they found", experiment_panels(q)),
        ("Shadow", shadow_panels(q)),
        ("Latency and memory by arm", latency_panels(q, ARM, IN_EXPERIMENT)),
        ("Traffic by arm", [
            panel("Assignments per second", "reqps", (q.rate("ExperimentAssignments", "experiment, arm, reason"),
                                                      "{{experiment}} / {{arm}} ({{reason}})")),
            panel("Requests per second by arm", "reqps", (q.rate("Requests", ARM, IN_EXPERIMENT), LEGENDS[ARM])),
            panel("Tokens per second by arm", "short", (q.rate("GenerationTokens", ARM, IN_EXPERIMENT), LEGENDS[ARM])),
            *energy_panels(q, ARM)]),
    ]


def capacity(q):
    backend, server = LEGENDS[BACKEND], "{{instance}}"
    return [
        ("Queue: what to scale on", [
            panel("Waiting by server", "short", (q.gauge("RequestsWaiting", "instance"), server),
                  help="The autoscaler's signal: what waits, not how busy a processor is."),
            panel("Waiting by priority", "short", (q.gauge("RequestsWaiting", "priority"), "{{priority}}"), stacked=True),
            panel("Time in the queue p95 by server", "s", (q.quantile(0.95, "RequestQueue", "instance"), server)),
            panel("Running by server", "short", (q.gauge("RequestsRunning", "instance"), server)),
            panel("Tokens per second by server", "short", (q.rate("GenerationTokens", "instance"), server)),
            panel("Refused per second by server", "reqps", (q.rate("RequestsRejected", "instance, reason"), server + " {{reason}}"))]),
        ("Steps", [
            panel("Sequences in a step, mean", "short", (q.mean("BatchSize", "phase"), "{{phase}}")),
            panel("Tokens in a step, mean", "short", (q.mean("BatchTokens", "phase"), "{{phase}}")),
            panel("Step p95", "s", (q.quantile(0.95, "StepDuration", "phase, composition"), "{{phase}}, {{composition}}"))]),
        ("Memory and KV cache", [
            panel("KV cache use", "percentunit", (q.peak("KvCacheUtilization", "instance"), server)),
            panel("Preemptions per second", "short", (q.rate("Preemptions", BACKEND), backend)),
            panel("Prefix cache hits", "percentunit",
                  (f'{q.rate("PrefixCacheHits", BACKEND)} / {q.rate("PrefixCacheQueries", BACKEND)}', backend)),
            panel("Memory by kind", "bytes", (q.gauge("MemoryBytes", "kind"), "{{kind}}"), stacked=True),
            panel("Largest memory by kind", "bytes", (q.peak("MemoryPeakBytes", "kind", 'attention_backend="none"'), "{{kind}}")),
            panel("Document tokens left out per second", "short", (q.rate("TruncatedTokens", BACKEND), backend)),
            *gpu_panels(q)]),
    ]


# file name: (title, what it is for, rows)
BOARDS = {
    "precis-overview": ("Precis: overview", "Is the service well?", overview),
    "precis-backends": ("Precis: attention backends", "Attention backends side by side: latency, memory and, on a GPU, energy.", backends),
    "precis-experiments": ("Precis: experiments", "What experiments found, and the traffic of their arms.", experiments),
    "precis-capacity": ("Precis: capacity", "What waits, what fills up, when to add a server.", capacity),
}
