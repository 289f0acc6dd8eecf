#!/usr/bin/env python3
"""Starts the server on the CPU and on a GPU with the same models and compares the tokens of every attention backend.

f32 weights: tokens must be the CPU's. Other weights: the first token must be the CPU's in --agree of the answers (one rounding may change what
follows). Each answer alone must also be the answer that it is among many, and that it is when it is asked for again.

Examples:
  serve_check.py --bin=precis-package/bin --model=news=deploy/models/precis-small-learned --model=news=deploy/models/precis-small-alibi
  serve_check.py --bin=build/release --device=simt --documents=2 --words=20 --new-tokens=4 --model=tiny=/tmp/tiny
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from server_process import ServerProcess  # noqa: E402


def find(folder, name):
    for path in (folder / name, folder / "server" / name, folder / "client" / name):
        if path.is_file():
            return path
    sys.exit(f"{name} is not in {folder}")


def write_documents(folder, count, words, seed=5):
    """Texts of different lengths, up to so many one-letter words (a token each for make_model.py's tokenizer)."""
    choose = random.Random(seed)
    files = []
    for i in range(count):
        length = max(1, words * (i + 1) // count)
        files.append(folder / f"{i}.txt")
        files[-1].write_text(" ".join(choose.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(length)) + ".\n")
    return files


def ask(client, server, backend, files, new_tokens, many=True, flags=()):
    """Token ids by file."""
    command = [client, "summarize", f"--server={server.address}", f"--backend={backend}", "--json", f"--max-new-tokens={new_tokens}",
               f"--min-new-tokens={new_tokens}", "--deadline=300s", *flags, *(["--many"] if many else []), *files]
    run = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{backend}: precis ended with {run.returncode}: {run.stderr or run.stdout}\n" + "\n".join(server.log[-5:]))
    replies = [json.loads(line) for line in run.stdout.splitlines()] if len(files) > 1 else [json.loads(run.stdout)]
    return {reply.get("file", str(files[0])): reply["token_ids"] for reply in replies}


def serve(args, device, weights):
    flags = [*(f"--model={m}" for m in args.model), f"--device={device}", f"--weights={weights}", "--log-format=text", *args.server_flag]
    begin = time.monotonic()
    server = ServerProcess(find(args.bin, "precis-server"), *flags)
    server.wait_line("^ready$", 120)
    print(f"{device} {weights}: ready after {time.monotonic() - begin:.2f} s", flush=True)
    return server


def answers(args, server, backends, files, device):
    """By backend: all at once, the first one alone, all again; the checks that need no other device."""
    client, found, failures = find(args.bin, "precis"), {}, []
    for backend in backends:
        begin = time.monotonic()
        found[backend] = ask(client, server, backend, files, args.new_tokens)
        seconds = time.monotonic() - begin
        alone = ask(client, server, backend, files[-1:], args.new_tokens, many=False)
        again = ask(client, server, backend, files, args.new_tokens)
        same = again == found[backend] and alone[str(files[-1])] == found[backend][str(files[-1])]
        print(f"  {device} {backend}: {len(files)} documents, {seconds:.2f} s; alone and again {'the same' if same else 'DIFFERENT'}", flush=True)
        if not same:
            failures.append(f"{device} {backend}: an answer changes with its company or its time")
    return found, failures


def compare(found, expected, exact, agree, what):
    failures = []
    for backend, by_file in found.items():
        pairs = [(by_file[name], expected[backend][name]) for name in by_file]
        equal = sum(a == b for a, b in pairs)
        first = sum(a[:1] == b[:1] for a, b in pairs)
        tokens = sum(x == y for a, b in pairs for x, y in zip(a, b))
        total = sum(len(b) for _, b in pairs)
        good = equal == len(pairs) if exact else first >= agree * len(pairs)
        print(f"{'ok  ' if good else 'FAIL'} {what} {backend}: {equal} of {len(pairs)} answers equal, first token in {first}, {tokens} of {total} tokens", flush=True)
        if not good:
            failures.append(f"{what} {backend}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder with the programs: a package's bin, or a build folder")
    parser.add_argument("--model", action="append", required=True, help="NAME=DIR, as the server takes it")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", default="f32,bf16", help="compared with the CPU's, parted by commas")
    parser.add_argument("--backends", default="standard,flash,standard_alibi,flash_alibi")
    parser.add_argument("--documents", type=int, default=12)
    parser.add_argument("--words", type=int, default=600)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--agree", type=float, default=0.7)
    parser.add_argument("--server-flag", action="append", default=[], help="of both servers, such as --server-flag=--max-step-tokens=2048")
    parser.add_argument("files", nargs="*", type=Path, help="documents instead of made-up ones")
    args = parser.parse_args()
    failures, backends = [], args.backends.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        files = args.files or write_documents(Path(scratch), args.documents, args.words)
        for weights in args.weights.split(","):
            with serve(args, "cpu", weights) as server:
                expected, failed = answers(args, server, backends, files, "cpu")
            failures += failed
            with serve(args, args.device, weights) as server:
                found, failed = answers(args, server, backends, files, args.device)
            failures += failed + compare(found, expected, weights == "f32", args.agree, f"{args.device} {weights} beside cpu")
    print("PASSED" if not failures else "FAILED:\n  " + "\n  ".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
