#!/usr/bin/env python3
"""From the start of precis-server to `ready` (loaded and warmed up), with the checkpoint in the page cache.

    .venv/bin/python tests/bench/startup.py --model=/tmp/peers-work/model --weights=bf16 --runs=7

Prints the seconds of each start after the first (which fills the page cache), and the median. The target for 124M in bf16 is 1 s.
"""
import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
from server_process import ServerProcess  # noqa: E402


def start_once(binary, *flags):
    begin = time.perf_counter()
    with ServerProcess(binary, *flags) as server:
        server.wait_ready()
        return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, default=ROOT / "build/release/server/precis-server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", default="bf16")
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    times = [start_once(args.server, f"--model=bench={args.model}", f"--weights={args.weights}", "--log-file=" + os.devnull)
             for _ in range(args.runs + 1)][1:]
    print(" ".join(f"{t:.3f}" for t in times), f"median {statistics.median(times):.3f} s")


if __name__ == "__main__":
    main()
