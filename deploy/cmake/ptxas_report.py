#!/usr/bin/env python3
"""Tables what ptxas said of every kernel (registers, shared memory, stack, spills), from the .ptxas files of a CUDA build.

A kernel that is listed as hot and spills, or keeps a stack frame, fails the report: in an inner loop that is memory traffic nobody wrote.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

# Kernels whose time matters: parts of their names. All instances must be free of spills and stack frames.
HOT = ["GemmTileKernel", "GemmWgmmaKernel", "GemmDecodeKernel", "LayerNormKernel", "EmbedKernel", "FlashDecode", "DecodeKernel", "FlashForward", "FlashPrefill", "PrefillKernel",
       "ScoresKernel", "WeightedSumKernel", "SoftmaxKernel", "FlashBackward"]


def parse(text):
    """Yields a dictionary for every kernel and architecture."""
    entry = None
    for line in text.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)' for '(sm_\w+)'", line):
            entry = {"mangled": found[1], "arch": found[2], "registers": 0, "shared": 0, "stack": 0, "spill_stores": 0, "spill_loads": 0}
        elif entry is None:
            continue
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            entry["stack"], entry["spill_stores"], entry["spill_loads"] = map(int, found.groups())
        elif found := re.search(r"Used (\d+) registers", line):
            entry["registers"] = int(found[1])
            if shared := re.search(r"(\d+) bytes smem", line):
                entry["shared"] = int(shared[1])
            yield entry
            entry = None


def demangle(names):
    text = "\n".join(names)
    plain = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(zip(names, plain))


def short_name(plain):
    """Without return type, namespaces and parameters."""
    name = re.sub(r"precis::kernels::cuda::|precis::kernels::|\(anonymous namespace\)::|_GLOBAL__N__\w+::|\bvoid ", "", plain)
    depth = 0
    for i, c in enumerate(name):
        depth += {"<": 1, ">": -1}.get(c, 0)
        if c == "(" and depth == 0:
            return name[:i]
    return name


def collect(folder):
    rows = []
    for path in sorted(folder.rglob("*.ptxas")):
        source = str(path.relative_to(folder)).removesuffix(".o.ptxas")
        rows += [dict(entry, source=source) for entry in parse(path.read_text())]
    names = demangle(sorted({row["mangled"] for row in rows})) if rows else {}
    for row in rows:
        row["kernel"] = short_name(names[row.pop("mangled")])
        row["hot"] = any(part in row["kernel"] for part in HOT)
    return rows


def markdown(rows):
    lines = ["| source | kernel | arch | registers | static shared | stack | spill stores | spill loads | hot |", "| --- | --- | --- | --: | --: | --: | --: | --: | --- |"]
    for r in rows:
        lines.append(f"| {r['source']} | `{r['kernel']}` | {r['arch']} | {r['registers']} | {r['shared']} | {r['stack']} | {r['spill_stores']} | "
                     f"{r['spill_loads']} | {'yes' if r['hot'] else ''} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="build/cuda/kernels/precis_kernels_cuda")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the table here")
    parser.add_argument("--json", type=pathlib.Path, help="write the rows here")
    args = parser.parse_args()
    rows = collect(args.folder)
    if not rows:
        print(f"ptxas_report: no kernels under {args.folder}; build the preset cuda first", file=sys.stderr)
        return 2
    if args.markdown:
        args.markdown.write_text(markdown(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    bad = [r for r in rows if r["hot"] and (r["stack"] or r["spill_stores"] or r["spill_loads"])]
    for r in bad:
        print(f"ptxas_report: {r['kernel']} ({r['source']}, {r['arch']}): {r['stack']} bytes of stack, {r['spill_stores']} + {r['spill_loads']} bytes spilled",
              file=sys.stderr)
    print(f"ptxas_report: {len(rows)} kernels, {sum(r['hot'] for r in rows)} of them hot, {len(bad)} of those spill or keep a stack frame")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
