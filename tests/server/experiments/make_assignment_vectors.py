#!/usr/bin/env python3
"""Writes data/assignment_vectors.json, which every implementation of assignment must give. Plain hashlib, no code of the project.

  make_assignment_vectors.py           # writes the file
  make_assignment_vectors.py --check   # exit status 1 if the stored file differs
"""

import argparse
import hashlib
import json
import pathlib
import sys

OUTPUT = pathlib.Path(__file__).resolve().parent / "data/assignment_vectors.json"
UNITS = ["", "user-1", "user-2", "Zoë", "0", "a b", "x" * 256, *(f"unit-{i}" for i in range(40))]
EXPERIMENTS = [("flash-vs-standard", {"control": 1, "flash": 1}), ("2024-06", {"a": 1, "b": 3, "c": 6}), ("", {"only": 0, "all": 1000000})]
SHARES = [0, 10_000, 250_000, 999_999, 1_000_000]


def hash64(salt, unit):
    return int.from_bytes(hashlib.sha256(salt.encode() + b"\0" + unit.encode()).digest()[:8], "big")


def arm_of(salt, weights, unit):
    point, end = hash64(salt, unit) * sum(weights.values()) // 2**64, 0
    for arm, weight in weights.items():
        end += weight
        if point < end:
            return arm


def make():
    return [{"salt": salt, "weights": list(weights.items()), "unit": unit, "hash": f"{hash64(salt, unit):016x}", "arm": arm_of(salt, weights, unit),
             "slot": hash64("layer\0" + salt, unit) * 1000 // 2**64,
             "in_ramp": [hash64("ramp\0" + salt, unit) * 10**6 // 2**64 < share for share in SHARES]}
            for salt, weights in EXPERIMENTS for unit in UNITS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = json.dumps({"shares_ppm": SHARES, "vectors": make()}, ensure_ascii=False, indent=0) + "\n"
    if not check:
        OUTPUT.write_text(text)
        return 0
    return 0 if OUTPUT.read_text() == text else 1


if __name__ == "__main__":
    sys.exit(main())
