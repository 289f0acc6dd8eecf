#!/usr/bin/env python3
"""precis-eval score beside rouge-score: the same pairs, whole runs, the ratio.

    .venv/bin/python tests/bench/eval_bench.py --pairs=2000 --json=eval_bench.json

rouge-score scores ROUGE-1/2/L/Lsum with its stemmer in one process; its time is of the scoring loop alone (imports and reading left out). precis-eval's is of the whole
program: start, reading, ROUGE, and BLEU, chrF, NLTK's BLEU, repetition, lengths as well, on one thread and on all. Pairs are of ../shared/data where that is there,
generated ones otherwise.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/client/eval"))
from peer_pairs import generated_pairs, real_pairs  # noqa: E402


def seconds(action, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/release/client/precis-eval")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="a file to write")
    options = parser.parse_args()
    from rouge_score import rouge_scorer
    pairs = real_pairs(options.pairs)
    kind = "real" if pairs else "generated"
    pairs = pairs or generated_pairs(options.pairs)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    result = {"pairs": len(pairs), "kind": kind, "cores": os.cpu_count(), "repeats": options.repeats,
              "rouge_score_seconds": seconds(lambda: [scorer.score(*pair) for pair in pairs], options.repeats)}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for reference, hypothesis in pairs:
            file.write(json.dumps({"reference": reference, "hypothesis": hypothesis}) + "\n")
        file.flush()
        for name, threads in (("one_thread", 1), ("all_threads", 0)):
            command = [options.binary, "score", f"--pairs={file.name}", f"--threads={threads}", "--json"]
            result[f"precis_eval_{name}_seconds"] = seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True), options.repeats)
            result[f"ratio_{name}"] = result["rouge_score_seconds"] / result[f"precis_eval_{name}_seconds"]
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
