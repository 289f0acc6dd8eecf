#!/usr/bin/env python3
"""Our tokenizer beside Python's `tokenizers`, one thread each, on the same texts, in turn.

    tokenizer_bench.py PROBE [--megabytes=10] [--rounds=5] [--minimum-ratio=1]

Times are processor time, so that a busy machine disturbs the ratio less.

PROBE is build/<preset>/tests/runtime/tokenizer/tokenizer_probe. The texts are articles of ../shared/data with
GPT-2's vocabulary, or, where that is absent, generated ones with the tests' small tokenizer. Prints megabytes a
second of both and the ratio; exits with 1 if the median ratio is under the minimum.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "runtime/tokenizer"))

from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from probe import DATA, ROOT, rows  # noqa: E402

GPT2 = DATA / "tokenizer/gpt2"
SMALL = ROOT / "tests/runtime/tokenizer/data/small"


def load_gpt2():
    tokenizer = Tokenizer(models.BPE.from_file(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def load_small():
    return Tokenizer.from_file(str(SMALL / "tokenizer.json"))


def articles():
    for name in ("val_cased", "val", "test"):
        for row in rows(DATA / f"cnndm/{name}.jsonl.xz"):
            yield row["article"]


def generated():
    chance = random.Random(1)
    words = "the harbour town woke slowly boats came before dawn their decks silver with herring it's 1987 £21".split()
    while True:
        yield " ".join(chance.choice(words) + chance.choice(["", "", "", ",", ".", "ing"]) for _ in range(700))


def take(texts, size):
    taken, total = [], 0
    for text in texts:
        taken.append(text)
        total += len(text.encode())
        if total >= size:
            break
    return taken, total


def ours(probe, folder, texts):
    """Processor seconds of encoding as the probe measures them, tokens, and seconds of loading."""
    data = b"".join(struct.pack("<I", len(raw)) + raw for raw in (text.encode() for text in texts))
    out = subprocess.run([probe, "bench", folder], input=data, capture_output=True, check=True).stdout
    result = json.loads(out)
    return result["processor_seconds"], result["tokens"], result["load_seconds"]


def theirs(tokenizer, texts):
    start = time.process_time()
    tokens = sum(len(tokenizer.encode(text)) for text in texts)
    return time.process_time() - start, tokens


def compare(probe, folder, loader, texts, total, rounds):
    start = time.perf_counter()
    tokenizer = loader()
    their_load = time.perf_counter() - start
    ratios = []
    for number in range(rounds):
        our_seconds, our_tokens, our_load = ours(probe, folder, texts)
        their_seconds, their_tokens = theirs(tokenizer, texts)
        if our_tokens != their_tokens:
            sys.exit(f"tokens differ: {our_tokens} and {their_tokens}")
        ratios.append(their_seconds / our_seconds)
        print(f"round {number + 1}: ours {total / our_seconds / 1e6:6.1f} MB/s (load {our_load * 1e3:.0f} ms), "
              f"tokenizers {total / their_seconds / 1e6:6.1f} MB/s (load {their_load * 1e3:.0f} ms), "
              f"ratio {ratios[-1]:.1f}", flush=True)
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probe")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minimum-ratio", type=float, default=1)
    options = parser.parse_args()
    folder, loader, source = (GPT2, load_gpt2, articles()) if GPT2.exists() else (SMALL, load_small, generated())
    texts, total = take(source, options.megabytes * 1e6)
    print(f"{len(texts)} texts, {total / 1e6:.1f} MB, vocabulary {folder.name}")
    ratios = compare(options.probe, folder, loader, texts, total, options.rounds)
    median = statistics.median(ratios)
    print(f"median ratio {median:.1f} (from {min(ratios):.1f} to {max(ratios):.1f})")
    return 0 if median >= options.minimum_ratio else 1


if __name__ == "__main__":
    sys.exit(main())
