#!/usr/bin/env python3
"""Measures the whole server: requests of exactly --prompt tokens with --new-tokens answers, greedy, from precis-load on the same machine, every document
another one, prefix cache off. Writes a table, and JSON with everything.

Examples:
  serve_bench.py --bin=precis-package/bin --model=gpt2=/tmp/small --weights=bf16 --concurrency=1,8,64,256 --json=serve.json
  serve_bench.py --bin=precis-package/bin --model=gpt2=/tmp/small-alibi --backends=flash_alibi,standard_alibi --lengths=1000,4000,16000,32000
  serve_bench.py --bin=build/release --device=cpu --model=gpt2=/tmp/small --rates=1,2,4 --backends=standard:1,flash:1
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from serve_check import find  # noqa: E402
from server_process import ServerProcess  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def text(words, seed):
    choose = random.Random(seed)
    return " ".join(choose.choice(LETTERS) for _ in range(words))


def ask(args, server, document, new_tokens, backend=None):
    command = [find(args.bin, "precis"), "summarize", f"--server={server.address}", "--json", f"--max-new-tokens={new_tokens}", f"--backend={backend or args.probe}",
               f"--min-new-tokens={new_tokens}", "--deadline=300s", document]
    return json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)


def write_documents(args, server, folder):
    """Documents whose prompt has exactly --prompt tokens: the template's own are found by asking."""
    probe = folder / "probe.txt"
    probe.write_text(text(20, 0))
    words = args.prompt - (ask(args, server, probe, 1)["accounting"]["prompt_tokens"] - 20)
    files = []
    for i in range(args.documents):
        files.append(folder / f"{i}.txt")
        files[-1].write_text(text(words, i + 1))
    got = ask(args, server, files[0], 1)["accounting"]["prompt_tokens"]
    if got != args.prompt:
        sys.exit(f"a document of {words} words has a prompt of {got} tokens, not {args.prompt}: give a model of make_model.py")
    return files


def device_memory():
    query = ["nvidia-smi", "--query-gpu=memory.used,power.draw,clocks.sm", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def load(args, server, files, flags, folder):
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command = [find(args.bin, "precis-load"), *flags, f"--server={server.address}", f"--backends={args.backends}", f"--max-new-tokens={args.new_tokens}",
               f"--min-new-tokens={args.new_tokens}", f"--duration={args.seconds}s", f"--json={report}", "--quiet", "--deadline=120s", *files]
    run = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(run.stdout[-2000:], run.stderr[-2000:], *server.log[-5:], sep="\n")
    return json.loads(report.read_text())["stages"] if report.exists() else []


def line(name, stage):
    every = stage["all"]
    milliseconds = [1e3 * every[kind]["p50"] for kind in ("latency_seconds", "time_to_first_token_seconds", "inter_token_seconds")]
    tail = 1e3 * every["latency_seconds"]["p99"]
    return (f"{name:>10} {every['ok']:>6} ok {every['requests'] - every['ok']:>4} failed {every['ok_per_second']:>8.1f}/s  latency p50 {milliseconds[0]:8.1f} ms "
            f"p99 {tail:8.1f}  first token {milliseconds[1]:7.1f}  gap {milliseconds[2]:6.3f}")


def by_length(args, server, folder):
    """One request at a time of each length and backend: its times, and its own peaks of memory. The second of two counts."""
    record = {}
    for length in map(int, filter(None, args.lengths.split(","))):
        for backend in (b.split(":")[0] for b in args.backends.split(",")):
            for turn in (0, 1):
                document = folder / f"long{turn}.txt"
                document.write_text(text(length - args.new_tokens - 20, length + turn))
                answer = ask(args, server, document, args.new_tokens, backend)["accounting"]
            record[f"{backend} {length}"] = answer
            print(f"{backend:>15} {answer['prompt_tokens']:>6} tokens  prefill {1e3 * answer['prefill_seconds']:8.2f} ms  decode "
                  f"{1e3 * answer['decode_seconds'] / max(1, answer['new_tokens'] - 1):7.3f} ms a token  KV {answer['kv_cache_peak_bytes'] / 2**20:7.1f} MiB  "
                  f"attention workspace {answer['attention_workspace_peak_bytes'] / 2**20:9.2f} MiB", flush=True)
    return record


def measure(args, server, folder):
    if args.lengths:
        return by_length(args, server, folder)
    files, record = write_documents(args, server, folder), {}
    for count in filter(None, args.concurrency.split(",")):
        stages = [stage for _ in range(args.repeats) for stage in load(args, server, files, [f"--concurrency={count}", f"--warmup={min(int(count), 16)}"], folder)]
        if not stages:
            continue
        stages.sort(key=lambda stage: stage["all"]["ok_per_second"])
        middle, rates = stages[len(stages) // 2], [stage["all"]["ok_per_second"] for stage in stages]
        record[f"closed {count}"] = middle | {"gpu": device_memory(), "ok_per_second_of_runs": rates}
        print(line(f"closed {count}", middle) + (f"  ({rates[0]:.1f} to {rates[-1]:.1f}/s)" if len(rates) > 1 else ""), flush=True)
    for rate in filter(None, args.rates.split(",")):
        for stage in load(args, server, files, [f"--rate={rate}"], folder):
            record[f"rate {rate}"] = stage | {"gpu": device_memory()}
            print(line(f"rate {rate}", stage), flush=True)
    metrics = server.http("/metrics")[1].splitlines()
    record["metrics"] = [m for m in metrics if m.startswith(("precis_memory", "precis_attention_kernel", "precis_step_duration", "precis_gpu", "precis_energy"))
                         and "_bucket" not in m]
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder with the programs: a package's bin, or a build folder")
    parser.add_argument("--model", action="append", required=True, help="NAME=DIR, as the server takes it")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", default="bf16")
    parser.add_argument("--backends", default="flash", help="mix, as precis-load takes it")
    parser.add_argument("--prompt", type=int, default=900)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--concurrency", default="1,8,64", help="requests at a time, parted by commas")
    parser.add_argument("--rates", default="", help="arrivals a second, parted by commas")
    parser.add_argument("--lengths", default="", help="instead: single requests of so many tokens in all, parted by commas, for each backend")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each --concurrency; the one with the median rate is kept, with all rates")
    parser.add_argument("--server-flag", action="append", default=[], help="such as --server-flag=--max-step-tokens=2048")
    parser.add_argument("--name", default="server", help="of this run in the JSON file, which is added to")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.probe = args.backends.split(",")[0].split(":")[0]
    flags = [*(f"--model={m}" for m in args.model), f"--device={args.device}", f"--weights={args.weights}", "--prefix-cache=off", "--log-level=warning",
             *args.server_flag]
    print(f"{args.name}: {args.backends}, {args.prompt} + {args.new_tokens} tokens, {' '.join(flags)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ServerProcess(find(args.bin, "precis-server"), *flags) as server:
        server.wait_line("^ready$", 120)
        record = measure(args, server, Path(scratch)) | {"flags": flags, "backends": args.backends, "prompt": args.prompt, "new_tokens": args.new_tokens}
    if args.json:
        whole = json.loads(args.json.read_text()) if args.json.exists() else {}
        args.json.write_text(json.dumps(whole | {args.name: record}, indent=1))


if __name__ == "__main__":
    main()
