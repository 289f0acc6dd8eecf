"""How each contender of peers.py runs the same work. One process measures one contender and prints a JSON line a point."""
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
# name -> weights class it is compared in
CONTENDERS = {
    "precis-f32": "f32", "precis-f32-kv-bf16": "f32", "hf-f32-eager": "f32", "hf-f32-sdpa": "f32", "ct2-f32": "f32", "llama-f32": "f32", "ov-f32": "f32",
    "precis-bf16": "bf16", "hf-bf16-sdpa": "bf16", "llama-bf16": "bf16", "llama-f16": "bf16", "ov-bf16": "bf16",
    "precis-int8": "int8", "ct2-int8": "int8", "llama-q8_0": "int8", "ov-int8": "int8",
}


class Meter:
    """Times generate(prompts, new_tokens), which is greedy and makes exactly so many tokens, at the points asked for."""

    def __init__(self, args):
        self.name, self.points, self.seconds = args.name, args.points, args.seconds

    def timed(self, body, runs, warm=1):
        """At most `runs` times; after --seconds no further one begins."""
        for _ in range(warm):
            body()
        times, start = [], time.perf_counter()
        while not times or (len(times) < runs and time.perf_counter() - start < self.seconds):
            begin = time.perf_counter()
            body()
            times.append(time.perf_counter() - begin)
        return times

    def emit(self, point, times, **extra):
        median = statistics.median(times)
        row = dict(peer=self.name, point=point, n=len(times), median_s=median, min_s=min(times), max_s=max(times),
                   peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, load1=os.getloadavg()[0])
        row.update(extra)
        if "tokens" in extra:
            row.update(tok_s=extra["tokens"] / median, ms_per_tok=1000 * median / extra["tokens"])
        if "requests" in extra:
            row["req_s"] = extra["requests"] / median
        print(json.dumps(row), flush=True)

    def measure(self, generate):
        for point in self.points:
            kind, _, number = point.partition("_")
            if kind == "P1":
                batch = prompts(1, int(number))
                self.emit(point, self.timed(lambda: generate(batch, 1), 5), tokens=int(number))
            elif kind == "P2":
                batch = prompts(1, 512)
                first = statistics.median(self.timed(lambda: generate(batch, 1), 5))
                self.emit(point, [t - first for t in self.timed(lambda: generate(batch, 65), 5)], tokens=64)
            else:
                batch = prompts(int(number), 512)
                self.emit(point, self.timed(lambda: generate(batch, 64), 3, warm=0), requests=int(number))


def prompts(count, length):
    generator = random.Random(7 + length)
    return [[generator.randrange(0, VOCABULARY - 1) for _ in range(length)] for _ in range(count)]


def run_transformers(args):
    import torch
    from transformers import GPT2LMHeadModel
    torch.set_num_threads(args.threads)
    _, dtype, attention = args.name.split("-")
    model = GPT2LMHeadModel.from_pretrained(f"{args.work}/model", attn_implementation=attention,
                                            dtype=dict(f32=torch.float32, bf16=torch.bfloat16)[dtype]).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = VOCABULARY - 1

    def generate(batch, new_tokens):
        ids = torch.tensor(batch)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, min_new_tokens=new_tokens,
                             do_sample=False, use_cache=True)
        assert out.shape[1] == ids.shape[1] + new_tokens

    with torch.inference_mode():
        Meter(args).measure(generate)


def run_ctranslate2(args):
    import ctranslate2
    kind = {"ct2-f32": "float32", "ct2-int8": "int8"}[args.name]
    generator = ctranslate2.Generator(f"{args.work}/ct2", device="cpu", compute_type=kind, intra_threads=args.threads, inter_threads=1)
    with open(f"{args.work}/model/vocab.json", encoding="utf-8") as file:
        token_of = {index: token for token, index in json.load(file).items()}

    def generate(batch, new_tokens):
        tokens = [[token_of[i] for i in prompt] for prompt in batch]
        for result in generator.generate_batch(tokens, max_length=new_tokens, min_length=new_tokens, sampling_topk=1, beam_size=1,
                                               end_token=[], include_prompt_in_result=False, max_batch_size=len(batch)):
            assert len(result.sequences_ids[0]) == new_tokens

    Meter(args).measure(generate)


def run_openvino(args):
    import numpy as np
    import openvino as ov
    import openvino_genai as genai
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = 2, 16, 1024
    properties = {"INFERENCE_NUM_THREADS": args.threads}
    if args.name != "ov-int8":  # int8 is measured as it comes
        properties["INFERENCE_PRECISION_HINT"] = args.name.removeprefix("ov-")
    folder = "ov-int8" if args.name == "ov-int8" else "ov-fp32"
    pipeline = genai.ContinuousBatchingPipeline(f"{args.work}/{folder}", scheduler, "CPU", properties)

    def generate(batch, new_tokens):
        config = genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new_tokens
        config.ignore_eos, config.do_sample = True, False
        results = pipeline.generate([ov.Tensor(np.array([p], dtype=np.int64)) for p in batch], [config] * len(batch))
        assert all(len(r.m_generation_ids[0]) == new_tokens for r in results)

    Meter(args).measure(generate)


def run_child(command):
    """Its standard output, and its peak resident memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed with status {status}")
    return out, usage.ru_maxrss / 1024


def run_llama(args):
    meter = Meter(args)
    common = ["-m", f"{args.work}/gpt2-{args.name.removeprefix('llama-')}.gguf", "-t", str(args.threads)]
    for point in args.points:
        kind, _, number = point.partition("_")
        if kind in ("P1", "P2"):
            shape = ["-p", number, "-n", "0", "-ub", "512", "-r", "5"] if kind == "P1" else ["-p", "0", "-n", "64", "-d", "512", "-r", "3"]
            out, memory = run_child([f"{args.llama_bin}/llama-bench"] + common + ["-o", "json"] + shape)
            times = [t / 1e9 for t in json.loads(out)[0]["samples_ns"]]
            meter.emit(point, times, tokens=int(number or 64), peak_rss_mb=memory)
        else:
            out, memory = run_child([f"{args.llama_bin}/llama-batched-bench"] + common +
                                    ["-c", str(576 * int(number)), "-b", "2048", "-ub", "512", "-npp", "512", "-ntg", "64",
                                     "-npl", number, "--output-format", "jsonl"])
            rows = [json.loads(line) for line in out.splitlines() if line.startswith('{"n_kv_max')]
            meter.emit(point, [rows[-1]["t"]], requests=int(number), peak_rss_mb=memory)


def run_precis(args):
    out, _ = run_child([args.precis, f"--model={args.work}/model", f"--weights={args.name.split('-')[1]}",
                        f"--kv={'bf16' if args.name.endswith('kv-bf16') else 'auto'}",
                        f"--threads={args.threads}", "--runs=5", f"--seconds={args.seconds}", f"--points={','.join(args.points)}"])
    for line in out.splitlines():
        print(json.dumps(dict(json.loads(line), peer=args.name, load1=os.getloadavg()[0])), flush=True)


RUNNERS = {"precis": run_precis, "hf": run_transformers, "ct2": run_ctranslate2, "llama": run_llama, "ov": run_openvino}


def missing(name, args):
    """What a contender lacks here, or None."""
    kind = name.split("-")[0]
    needed = {
        "precis": [args.precis, f"{args.work}/model"],
        "hf": [f"{args.work}/model"],
        "ct2": [f"{args.work}/ct2"],
        "llama": [f"{args.llama_bin}/llama-bench", f"{args.work}/gpt2-{name.removeprefix('llama-')}.gguf"],
        "ov": [f"{args.work}/{'ov-int8' if name == 'ov-int8' else 'ov-fp32'}"],
    }[kind]
    return next((path for path in needed if not os.path.exists(path)), None)
