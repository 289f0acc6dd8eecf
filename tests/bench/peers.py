#!/usr/bin/env python3
"""Precis beside its peers on GPT-2 124M, in one run: prefill, decode, many requests at once, peak memory.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install -r tests/bench/peers_requirements.txt
    /tmp/peers/bin/python tests/bench/peers.py prepare --work=/tmp/peers-work      # the model, in every contender's form (peers_prepare.py)
    /tmp/peers/bin/python tests/bench/peers.py run --work=/tmp/peers-work --rounds=3
    /tmp/peers/bin/python tests/bench/peers.py table --work=/tmp/peers-work --record=tests/bench/baselines/NAME.json

`run` starts each contender as a process of its own, one after the other, in --rounds rounds, so that drift of the machine falls on all; rows go to
WORK/results.jsonl, and what is not prepared is left out by name. `table` prints the medians of all rows there and our ratio to the best peer of the same
weights; --record writes them with machine, versions and commit.

Points: P1_512, P1_1000 prefill tokens/s; P2 decode ms a token after 512; P3_8, P3_16 requests (512 + 64 tokens) at once, requests/s; MB_8, MB_16 peak
resident memory of the process that served P3_8 and P3_16.
"""
import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys

from peers_contenders import CONTENDERS, POINTS, RUNNERS, missing
from peers_prepare import LLAMA_SDIST, prepare

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COLUMNS = POINTS + ["MB_8", "MB_16"]
PACKAGES = ("torch", "transformers", "ctranslate2", "openvino", "openvino-genai")


def one(args):
    RUNNERS[args.name.split("-")[0]](args)


def run_one(name, args):
    command = [sys.executable, os.path.abspath(__file__), "one", name, f"--work={args.work}", f"--threads={args.threads}",
               f"--points={','.join(args.points)}", f"--precis={args.precis}", f"--llama-bin={args.llama_bin}", f"--seconds={args.seconds}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0)
    try:
        out, _ = process.communicate(timeout=args.timeout)
        if process.returncode:
            print(f"  {name} failed with status {process.returncode}", flush=True)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, _ = process.communicate()
        print(f"  {name} took longer than {args.timeout} s; kept the points that it finished", flush=True)
    return [line for line in out.splitlines() if line.startswith("{")]


def run(args):
    names = []
    for name in args.contenders or CONTENDERS:
        lacks = missing(name, args)
        if lacks:
            print(f"left out: {name} ({lacks} is missing)", flush=True)
        else:
            names.append(name)
    with open(f"{args.work}/results.jsonl", "a", encoding="utf-8") as results:
        for round_number in range(args.rounds):
            for name in names:
                print(f"round {round_number + 1}/{args.rounds}: {name}", flush=True)
                results.write("".join(line + "\n" for line in run_one(name, args)))
                results.flush()
    table(args)


def figures(row):
    """(column, value) pairs of a row."""
    kind, _, number = row["point"].partition("_")
    yield row["point"], row["tok_s"] if kind == "P1" else row["ms_per_tok"] if kind == "P2" else row["req_s"]
    if kind == "P3":
        yield f"MB_{number}", row["peak_rss_mb"]


def medians(work):
    values = {}
    with open(f"{work}/results.jsonl", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for column, value in figures(row):
                values.setdefault(row["peer"], {}).setdefault(column, []).append(value)
    return {name: {c: statistics.median(v) for c, v in values[name].items()} for name in CONTENDERS if name in values}


def ratios(table_rows):
    """By contender of ours and column: how many times better it is than the best peer of the same weights, and that peer."""
    result = {}
    for ours in (name for name in table_rows if name.startswith("precis-")):
        weights = CONTENDERS[ours]
        for column, value in table_rows[ours].items():
            peers = {n: r[column] for n, r in table_rows.items() if CONTENDERS[n] == weights and not n.startswith("precis") and column in r}
            if not peers:
                continue
            less = column == "P2" or column.startswith("MB")
            best = (min if less else max)(peers, key=peers.get)
            result.setdefault(ours.removeprefix("precis-"), {})[column] = dict(ratio=peers[best] / value if less else value / peers[best], peer=best)
    return result


def table(args):
    rows = medians(args.work)
    columns = [c for c in COLUMNS if any(c in row for row in rows.values())]
    print("| contender | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[c]:.4g}" if c in row else "-" for c in columns) + " |")
    against = ratios(rows)
    for weights, cells in against.items():
        print(f"| **ours to the best peer, {weights}** | " +
              " | ".join(f"{cells[c]['ratio']:.2f} ({cells[c]['peer']})" if c in cells else "-" for c in columns) + " |")
    if args.record:
        record(args, rows, against)


def record(args, rows, against):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file if ":" in line)}
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    document = dict(
        date=datetime.date.today().isoformat(), commit=commit, command="tests/bench/peers.py run", threads=args.threads,
        cpu=dict(model=cpu.get("model name"), family=cpu.get("cpu family"), cores=os.cpu_count(), machine=platform.machine(),
                 flags=[f for f in cpu.get("flags", "").split() if f.startswith("avx") or f in ("fma", "f16c")]),
        versions=dict({p: importlib.metadata.version(p) for p in PACKAGES}, llama=LLAMA_SDIST), medians=rows, ours_to_best_peer=against)
    with open(args.record, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "run", "one", "table"])
    parser.add_argument("name", nargs="?", choices=list(CONTENDERS))
    parser.add_argument("--work", default="/tmp/peers-work", type=os.path.abspath)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="no further repetition of a point begins after so long")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a contender may take in a round")
    parser.add_argument("--points", type=lambda text: text.split(","), default=POINTS)
    parser.add_argument("--contenders", type=lambda text: text.split(","), help=", ".join(CONTENDERS))
    parser.add_argument("--precis", default=f"{ROOT}/build/release/tests/bench/precis-engine-bench")
    parser.add_argument("--llama-bin", help="default: WORK/llama/bin")
    parser.add_argument("--record", help="table: a JSON file to write")
    args = parser.parse_args()
    args.llama_bin = args.llama_bin or f"{args.work}/llama/bin"
    dict(prepare=prepare, run=run, one=one, table=table)[args.command](args)


if __name__ == "__main__":
    main()
