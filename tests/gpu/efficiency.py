#!/usr/bin/env python3
"""The study's efficiency table and scatter from a run of serve_bench.py --lengths: time and memory of one document, by backend and length.

Example:
  serve_bench.py ... --lengths=1000,4000,16000 --backends=flash_alibi,standard_alibi --name="long documents" --json=serve.json
  efficiency.py serve.json --name="long documents" --out=efficiency     # efficiency.md and efficiency.svg
"""
import argparse
import json
from pathlib import Path

MIB = 2**20
COLORS = ("#1f5fa8", "#b5541c", "#3d7d3a", "#7a4a9e")
COLUMNS = ("backend", "prompt tokens", "first token, ms", "total, ms", "new tokens/s", "weights, MiB", "KV, MiB", "attention workspace, MiB", "memory, MiB", "energy, J")


def rows_of(run):
    """One dict a document, in the order of the run."""
    rows = []
    for name, a in run.items():
        if not isinstance(a, dict) or "kv_cache_peak_bytes" not in a:
            continue
        parts = [a[key] / MIB for key in ("weights_bytes", "kv_cache_peak_bytes", "attention_workspace_peak_bytes")]
        values = [name.split()[0], a["prompt_tokens"], 1e3 * a["time_to_first_token_seconds"], 1e3 * a["total_seconds"],
                  a["new_tokens"] / a["total_seconds"], *parts, sum(parts), a.get("energy_joules")]
        rows.append(dict(zip(COLUMNS, values)))
    return rows


def cell(value):
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def table(rows):
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- |" + " --: |" * (len(COLUMNS) - 1)]
    return "\n".join(lines + ["| " + " | ".join(cell(row[c]) for c in COLUMNS) + " |" for row in rows]) + "\n"


def draw(rows, title, path):
    import matplotlib  # pylint: disable=import-outside-toplevel  # the table needs none
    matplotlib.use("svg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for color, backend in zip(COLORS, dict.fromkeys(row["backend"] for row in rows)):
        mine = [row for row in rows if row["backend"] == backend]
        axes.plot([r["memory, MiB"] for r in mine], [r["total, ms"] for r in mine], "o-", color=color, label=backend)
        for r in mine:
            axes.annotate(f"{r['prompt tokens']:,}", (r["memory, MiB"], r["total, ms"]), textcoords="offset points", xytext=(6, -11), fontsize=8, color=color)
    axes.set(xscale="log", yscale="log", xlabel="memory of one document: weights, keys and values, attention workspace (MiB)", ylabel="total time (ms)", title=title)
    axes.margins(x=0.12)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(title="points: prompt tokens")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="what serve_bench.py --json wrote")
    parser.add_argument("--name", default="server", help="of the run in it")
    parser.add_argument("--title", default="")
    parser.add_argument("--out", type=Path, required=True, help="the files' name without .md and .svg")
    args = parser.parse_args()
    whole = json.loads(args.json.read_text())
    if args.name not in whole:
        parser.error(f"{args.json} has no run '{args.name}'; it has {', '.join(k for k, v in whole.items() if isinstance(v, dict))}")
    rows = rows_of(whole[args.name])
    if not rows:
        parser.error(f"the run '{args.name}' has no single documents: run serve_bench.py with --lengths")
    args.out.with_suffix(".md").write_text(table(rows))
    draw(rows, args.title, args.out.with_suffix(".svg"))
    print(table(rows), end="")


if __name__ == "__main__":
    main()
