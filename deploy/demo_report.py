"""Prints what deploy/demo collected: the cost table, the summaries, the metrics that changed. Standard library only."""
import json
import os
import re
import sys
import textwrap


def human_bytes(count):
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def load(paths):
    for path in paths:
        with open(path) as file:
            reply = json.load(file)
        number, document = re.match(r"(\d+)-(.*)-[a-z_0-9]+\.json$", os.path.basename(path)).groups()
        yield int(number), document, reply


def in_order(paths):
    return sorted(load(paths), key=lambda item: (item[0], "alibi" in item[2]["backend"], item[2]["backend"] != "standard"))


def table(paths):
    header = ["document", "backend", "prompt tokens", "cut", "new tokens", "first token ms", "total ms", "tokens/s",
              "weights", "KV", "attention workspace"]
    rows = []
    for _, document, reply in in_order(paths):
        cost = reply["accounting"]
        decode = cost["decode_seconds"]
        rate = (cost["new_tokens"] - 1) / decode if decode > 0 else 0
        rows.append([document, reply["backend"], cost["prompt_tokens"], cost["truncated_tokens"], cost["new_tokens"],
                     f"{1e3 * cost['time_to_first_token_seconds']:.1f}", f"{1e3 * cost['total_seconds']:.1f}", f"{rate:.0f}",
                     human_bytes(cost["weights_bytes"]), human_bytes(cost["kv_cache_peak_bytes"]),
                     human_bytes(cost["attention_workspace_peak_bytes"])])
    widths = [max(len(str(row[i])) for row in [header] + rows) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths]] + rows:
        print("  ".join(str(cell).ljust(width) if i < 2 else str(cell).rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))))


def summaries(paths):
    last = None
    for number, document, reply in in_order(paths):
        if number != last:
            print(f"\n{document}")
            last = number
        text = reply["summary"].strip().replace("\n", " / ")
        print(textwrap.fill(text, 108, initial_indent=f"  {reply['backend']:<15} ", subsequent_indent=" " * 18))


def read_samples(path):
    """name{labels} -> value, without buckets; labels that say nothing ("none", the device) are left out."""
    samples = {}
    with open(path) as file:
        for line in file:
            if line.startswith("#") or "_bucket" in line:
                continue
            name, value = line.rstrip("\n").rsplit(" ", 1)
            name = re.sub(r'(\w+="none"|device="\w+"|gen_ai_\w+="[^"]*"),?', "", name)
            samples[name.replace(",}", "}").replace("{}", "")] = float(value)
    return samples


def changes(before, after):
    old, new = read_samples(before), read_samples(after)
    for name, value in new.items():
        total = name.replace("_count", "_sum", 1)
        if old.get(name, 0) == value or re.search(r"_sum\b", name):
            continue
        if "_count" in name and total in new:
            mean = (new[total] - old.get(total, 0)) / (value - old.get(name, 0))
            print(f"  {name}  {old.get(name, 0):.0f} -> {value:.0f}, mean of the new {mean:.4g}")
        else:
            print(f"  {name}  {old.get(name, 0):.10g} -> {value:.10g}")


def names(_):
    reply = json.load(sys.stdin)
    for backend in reply["backends"]:
        if backend.get("models"):
            print(backend["name"])


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    changes(*arguments) if command == "changes" else dict(table=table, summaries=summaries, names=names)[command](arguments)
