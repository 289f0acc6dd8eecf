#!/usr/bin/env python3
"""Logs a precis-eval study to Weights & Biases: scores and costs as the run's summary, tables, charts and the report.

    log_wandb.py study --mode=offline      # writes study/wandb; `wandb sync` sends it later
    log_wandb.py study --project=precis    # needs a login

Needs the packages wandb and pillow, and the files that `precis-eval report` wrote.
"""
import argparse
import json
import sys
from pathlib import Path


def scores_of(results):
    """{name: number} for the summary: quality/GROUP/SYSTEM/METRIC and cost/BACKEND/MEASURE."""
    found = {}
    for group, systems in results["quality"].items():
        for system, scores in systems.items():
            for metric, value in scores["metrics"].items():
                if value["value"] is not None:  # a share of names where there are none
                    found[f"quality/{group}/{system}/{metric}"] = value["value"]
    for backend, costs in results["efficiency"].items():
        for measure, value in costs.items():
            if isinstance(value, dict) and "p50" in value:
                found.update({f"cost/{backend}/{measure}_{part}": value[part] for part in ("mean", "p50", "p95", "p99")})
        for name, value in (costs.get("throughput") or {}).items():
            if isinstance(value, (int, float)):
                found[f"cost/{backend}/{name}"] = value
    for backend, lengths in results["lengths"].items():
        for fit in ("prefill_seconds_fit", "attention_workspace_fit"):
            if lengths[fit]:
                found[f"growth/{backend}/{fit}_exponent"] = lengths[fit]["exponent"]
    return found


def tables_of(results):
    metrics = [(group, system, metric, value["value"], *(value["interval"] or (None, None))) for group, systems in results["quality"].items()
               for system, scores in systems.items() for metric, value in scores["metrics"].items()]
    points = [(backend, p["prompt_tokens"], p["prefill_seconds"], p["attention_workspace_bytes"], p["kv_cache_bytes"])
              for backend, lengths in results["lengths"].items() for p in lengths["points"]]
    return {"quality": (["group", "system", "metric", "value", "low", "high"], metrics),
            "lengths": (["backend", "prompt_tokens", "prefill_seconds", "attention_workspace_bytes", "kv_cache_bytes"], points)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a study's folder")
    parser.add_argument("--project", default="precis")
    parser.add_argument("--name", help="[the folder's name]")
    parser.add_argument("--mode", choices=("online", "offline"), default="online")
    options = parser.parse_args()
    try:
        results = json.loads((options.folder / "results.json").read_text(encoding="utf-8"))
    except OSError as error:
        sys.exit(f"log_wandb.py: {error}: write it by `precis-eval report {options.folder}`")
    try:
        import PIL  # noqa: F401  (wandb's images need it)
        import wandb
    except ImportError:
        sys.exit("log_wandb.py: this Python lacks wandb or pillow (pip install wandb pillow; name another by --python)")
    run = wandb.init(project=options.project, name=options.name or options.folder.resolve().name, dir=str(options.folder), mode=options.mode,
                     config={**results["run"]["configuration"], "client_machine": results["run"]["client_machine"], "documents": results["documents"]})
    run.summary.update(scores_of(results))
    logged = {name: wandb.Table(columns=columns, data=[list(row) for row in rows]) for name, (columns, rows) in tables_of(results).items()}
    logged.update({f"charts/{path.stem}": wandb.Image(str(path)) for path in sorted((options.folder / "charts").glob("*.png"))})
    logged["report"] = wandb.Html((options.folder / "report.html").read_text(encoding="utf-8"))
    run.log(logged)
    run.finish()
    print(f"logged {len(scores_of(results))} numbers to Weights & Biases ({options.mode})")


if __name__ == "__main__":
    main()
