#!/usr/bin/env python3
"""Precis beside its peers on GPT-2 124M, in one run: prefill, decode, many requests at once, peak memory.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install -r tests/bench/peers_requirements.txt
    /tmp/peers/bin/python tests/bench/peers.py prepare --work=/tmp/peers-work      # the model, random weights, in every peer's form
    /tmp/peers/bin/python tests/bench/peers.py run --work=/tmp/peers-work --rounds=3
    /tmp/peers/bin/python tests/bench/peers.py table --work=/tmp/peers-work

`run` starts each contender as a process of its own, one after the other, in --rounds rounds, so that drift of the machine falls on all; rows go to
WORK/results.jsonl. `table` prints the median of the rounds and our ratio to the best peer of the same weights. llama.cpp is
measured if --llama-bin (or LLAMA_BIN) names a folder with llama-bench and llama-batched-bench and WORK has gpt2-<type>.gguf; OpenVINO if WORK has
ov-<type> (optimum-cli export openvino).

Points: P1_512, P1_1000 prefill tokens/s; P2 decode ms a token after 512; P3_8, P3_16 requests (512 + 64 tokens) a second; MB peak resident.
"""
import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time

VOCABULARY = 50257
POINTS = ["P1_512", "P1_1000", "P2", "P3_8", "P3_16"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# name -> weights class it is compared in
CONTENDERS = {
    "precis-f32": "f32", "hf-f32-eager": "f32", "hf-f32-sdpa": "f32", "ct2-f32": "f32", "llama-f32": "f32", "ov-f32": "f32",
    "precis-bf16": "bf16", "hf-bf16-sdpa": "bf16", "llama-bf16": "bf16", "llama-f16": "bf16", "ov-bf16": "bf16",
    "precis-int8": "int8", "ct2-int8": "int8", "llama-q8_0": "int8", "ov-int8": "int8",
}


def prompts(count, length):
    generator = random.Random(7 + length)
    return [[generator.randrange(0, VOCABULARY - 1) for _ in range(length)] for _ in range(count)]


def timed(body, runs, warm=1):
    for _ in range(warm):
        body()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        body()
        times.append(time.perf_counter() - begin)
    return times


def emit(name, point, times, **extra):
    median = statistics.median(times)
    row = dict(peer=name, point=point, n=len(times), median_s=median, min_s=min(times), max_s=max(times),
               peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    row.update(extra)
    if "tokens" in extra:
        row.update(tok_s=extra["tokens"] / median, ms_per_tok=1000 * median / extra["tokens"])
    if "requests" in extra:
        row["req_s"] = extra["requests"] / median
    print(json.dumps(row), flush=True)


def measure(name, points, generate):
    """generate(prompts, new_tokens): greedy, exactly so many tokens."""
    for point in points:
        kind, _, number = point.partition("_")
        if kind == "P1":
            batch = prompts(1, int(number))
            emit(name, point, timed(lambda: generate(batch, 1), 5), tokens=int(number))
        elif kind == "P2":
            batch = prompts(1, 512)
            first = statistics.median(timed(lambda: generate(batch, 1), 5))
            emit(name, point, [t - first for t in timed(lambda: generate(batch, 65), 3)], tokens=64)
        else:
            batch = prompts(int(number), 512)
            emit(name, point, timed(lambda: generate(batch, 64), 2, warm=1 if number == "8" else 0), requests=int(number))


def run_transformers(name, points, work, threads):
    import torch
    from transformers import GPT2LMHeadModel
    torch.set_num_threads(threads)
    _, dtype, attention = name.split("-")
    model = GPT2LMHeadModel.from_pretrained(f"{work}/model", attn_implementation=attention,
                                            dtype=dict(f32=torch.float32, bf16=torch.bfloat16)[dtype]).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = VOCABULARY - 1

    def generate(batch, new_tokens):
        ids = torch.tensor(batch)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, min_new_tokens=new_tokens,
                             do_sample=False, use_cache=True)
        assert out.shape[1] == ids.shape[1] + new_tokens

    with torch.inference_mode():
        measure(name, points, generate)


def run_ctranslate2(name, points, work, threads):
    import ctranslate2
    generator = ctranslate2.Generator(f"{work}/ct2", device="cpu", compute_type={"ct2-f32": "float32", "ct2-int8": "int8"}[name],
                                      intra_threads=threads, inter_threads=1)
    with open(f"{work}/model/vocab.json") as file:
        token_of = {index: token for token, index in json.load(file).items()}

    def generate(batch, new_tokens):
        tokens = [[token_of[i] for i in prompt] for prompt in batch]
        for result in generator.generate_batch(tokens, max_length=new_tokens, min_length=new_tokens, sampling_topk=1, beam_size=1,
                                               end_token=[], include_prompt_in_result=False, max_batch_size=len(batch)):
            assert len(result.sequences_ids[0]) == new_tokens

    measure(name, points, generate)


def run_openvino(name, points, work, threads):
    import numpy as np
    import openvino as ov
    import openvino_genai as genai
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = 2, 16, 1024
    properties = {"INFERENCE_NUM_THREADS": threads}
    if name != "ov-int8":
        properties["INFERENCE_PRECISION_HINT"] = dict([("ov-f32", "f32"), ("ov-bf16", "bf16")])[name]
    folder = "ov-int8" if name == "ov-int8" else "ov-fp32"
    pipeline = genai.ContinuousBatchingPipeline(f"{work}/{folder}", scheduler, "CPU", properties)

    def generate(batch, new_tokens):
        config = genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new_tokens
        config.ignore_eos, config.do_sample = True, False
        results = pipeline.generate([ov.Tensor(np.array([p], dtype=np.int64)) for p in batch], [config] * len(batch))
        assert all(len(r.m_generation_ids[0]) == new_tokens for r in results)

    measure(name, points, generate)


def run_child(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed with status {status}")
    return out, usage.ru_maxrss / 1024


def run_llama(name, points, work, threads, binaries):
    model = f"{work}/gpt2-{name.removeprefix('llama-')}.gguf"
    for point in points:
        kind, _, number = point.partition("_")
        if kind in ("P1", "P2"):
            shape = ["-p", number, "-n", "0", "-ub", "512", "-r", "5"] if kind == "P1" else ["-p", "0", "-n", "64", "-d", "512", "-r", "3"]
            out, memory = run_child([f"{binaries}/llama-bench", "-m", model, "-t", str(threads), "-o", "json"] + shape)
            times = [t / 1e9 for t in json.loads(out)[0]["samples_ns"]]
            emit(name, point, times, tokens=int(number or 64), peak_rss_mb=memory)
        else:
            out, memory = run_child([f"{binaries}/llama-batched-bench", "-m", model, "-t", str(threads), "-c", str(576 * int(number)), "-b", "2048",
                                     "-ub", "512", "-npp", "512", "-ntg", "64", "-npl", number, "--output-format", "jsonl"])
            rows = [json.loads(line) for line in out.splitlines() if line.startswith('{"n_kv_max')]
            emit(name, point, [rows[-1]["t"]], requests=int(number), peak_rss_mb=memory)


def run_precis(name, points, work, threads, binary):
    out, _ = run_child([binary, f"--model={work}/model", f"--weights={name.removeprefix('precis-')}", f"--threads={threads}", "--runs=3",
                        f"--points={','.join(points)}"])
    for line in out.splitlines():
        print(json.dumps(dict(json.loads(line), peer=name)), flush=True)


def one(args):
    name, points = args.name, args.points
    if name.startswith("hf-"):
        run_transformers(name, points, args.work, args.threads)
    elif name.startswith("ct2-"):
        run_ctranslate2(name, points, args.work, args.threads)
    elif name.startswith("ov-"):
        run_openvino(name, points, args.work, args.threads)
    elif name.startswith("llama-"):
        run_llama(name, points, args.work, args.threads, args.llama_bin)
    else:
        run_precis(name, points, args.work, args.threads, args.precis)


def available(name, args):
    if name.startswith("llama-"):
        return bool(args.llama_bin) and os.path.exists(f"{args.work}/gpt2-{name.removeprefix('llama-')}.gguf")
    if name.startswith("ov-"):
        return os.path.exists(f"{args.work}/{'ov-int8' if name == 'ov-int8' else 'ov-fp32'}")
    return True


def run(args):
    names = [name for name in (args.contenders or CONTENDERS) if available(name, args)]
    with open(f"{args.work}/results.jsonl", "a") as results:
        for round_number in range(args.rounds):
            for name in names:
                print(f"round {round_number + 1}/{args.rounds}: {name}", flush=True)
                command = [sys.executable, os.path.abspath(__file__), "one", name, f"--work={args.work}", f"--threads={args.threads}",
                           f"--points={','.join(args.points)}", f"--precis={args.precis}", f"--llama-bin={args.llama_bin}"]
                child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if child.returncode:
                    print(f"  {name} failed with status {child.returncode}", flush=True)
                results.write(child.stdout)
                results.flush()
    table(args)


def figure(row):
    kind = row["point"][:2]
    return row["tok_s"] if kind == "P1" else row["ms_per_tok"] if kind == "P2" else row["req_s"]


def table(args):
    with open(f"{args.work}/results.jsonl") as file:
        rows = [json.loads(line) for line in file if line.startswith("{")]
    points = [p for p in POINTS if any(r["point"] == p for r in rows)]
    print("| contender | " + " | ".join(points) + " | peak MB |\n|" + " --- |" * (len(points) + 2))
    medians = {}
    for name in CONTENDERS:
        cells = []
        for point in points:
            values = [figure(r) for r in rows if r["peer"] == name and r["point"] == point]
            if values:
                medians[name, point] = statistics.median(values)
            cells.append(f"{medians[name, point]:.4g}" if values else "-")
        memory = [r["peak_rss_mb"] for r in rows if r["peer"] == name]
        if memory:
            print(f"| {name} | " + " | ".join(cells) + f" | {max(memory):.0f} |")
    for weights in ("f32", "bf16", "int8"):
        cells = []
        for point in points:
            ours = medians.get((f"precis-{weights}", point))
            peers = [medians[n, point] for n, w in CONTENDERS.items() if w == weights and not n.startswith("precis") and (n, point) in medians]
            if ours is None or not peers:
                cells.append("-")
            else:
                cells.append(f"{(min(peers) / ours if point == 'P2' else ours / max(peers)):.2f}x")
        print(f"| **ours / best peer, {weights}** | " + " | ".join(cells) + " | |")


def prepare(args):
    """GPT-2 124M with random weights (normal, 0.02) and a made-up tokenizer of 50,257 tokens."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast
    folder = f"{args.work}/model"
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(1234)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder, safe_serialization=True)
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = [(a, b) for a in alphabet for b in alphabet][:50000]
    tokens = alphabet + [a + b for a, b in merges] + ["<|endoftext|>"]
    assert len(tokens) == VOCABULARY == len(set(tokens))
    with open(f"{folder}/vocab.json", "w") as file:
        json.dump({token: index for index, token in enumerate(tokens)}, file, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w") as file:
        file.write("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n")
    GPT2TokenizerFast(f"{folder}/vocab.json", f"{folder}/merges.txt").save_pretrained(folder)
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(dict(config, n_ctx=1024), file, indent=2)
    import ctranslate2
    ctranslate2.converters.TransformersConverter(folder).convert(f"{args.work}/ct2", quantization="float32", force=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "run", "one", "table"])
    parser.add_argument("name", nargs="?", choices=list(CONTENDERS))
    parser.add_argument("--work", default="/tmp/peers-work")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=lambda text: text.split(","), default=POINTS)
    parser.add_argument("--contenders", type=lambda text: text.split(","))
    parser.add_argument("--precis", default=f"{ROOT}/build/release/tests/bench/precis-engine-bench")
    parser.add_argument("--llama-bin", default=os.environ.get("LLAMA_BIN", ""))
    args = parser.parse_args()
    dict(prepare=prepare, run=run, one=one, table=table)[args.command](args)


if __name__ == "__main__":
    main()
