#!/usr/bin/env python3
"""Training on one GPU beside PyTorch: tokens per second of two models at length 1,024, 48 documents a step, bf16, dropout 0.1; device memory by length.

    tests/gpu/train_peer.py --finetune=build/cuda/runtime/precis-finetune --json=train.json        # with a Python that has torch

PyTorch: torch.compile of the whole model and its loss, autocast, fused AdamW, clipping; attention by scaled_dot_product_attention, and ALiBi by FlexAttention.
Each contender runs --seconds after its warm-up (ours: --steps steps, of which the first ten don't count).
"""
import argparse
import json
import math
import pathlib
import random
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "deploy/models/precis-small-learned"
SHAPES = {"17.7M": (384, 8, 6, 8192), "34M": (512, 8, 8, 16384)}  # width, layers, heads, tokens
LENGTH, BATCH = 1024, 48


def torch_speed(shape, alibi, seconds):
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    width, layers, heads, vocabulary = shape
    slopes = torch.tensor(alibi_slopes(heads), device="cuda")
    mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, LENGTH, LENGTH, device="cuda") if alibi else None

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = self.qkv(self.ln_1(x)).view(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            if alibi:
                y = flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + slopes[h] * (j - i), block_mask=mask)
            else:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.dropout(self.out(y.transpose(1, 2).reshape(n, t, width)), 0.1)
            return x + F.dropout(self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh")), 0.1)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(LENGTH, width)
            self.blocks, self.ln_f = nn.ModuleList(Block() for _ in range(layers)), nn.LayerNorm(width)
            for table in (self.wte, self.wpe):
                nn.init.normal_(table.weight, std=0.02)

        def forward(self, tokens, targets):
            x = self.wte(tokens)
            x = F.dropout(x if alibi else x + self.wpe.weight, 0.1)
            for block in self.blocks:
                x = block(x)
            return F.cross_entropy(F.linear(self.ln_f(x), self.wte.weight).view(-1, vocabulary).float(), targets.reshape(-1))

    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = True
    model = Model().cuda()
    run, parameters = torch.compile(model), list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    tokens = torch.randint(vocabulary, (BATCH, LENGTH + 1), device="cuda")

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = run(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    for _ in range(10):
        step()
    torch.cuda.synchronize()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        steps += 10
    return steps * BATCH * LENGTH / (time.perf_counter() - begin)


def alibi_slopes(n):
    power = [2 ** (-8 * (k + 1) / n) for k in range(n)]
    if math.log2(n).is_integer():
        return power
    closest = 2 ** math.floor(math.log2(n))
    return alibi_slopes(closest) + alibi_slopes(2 * closest)[0::2][:n - closest]


def write_data(folder, documents, words):
    """Words drawn from the tokenizer's vocabulary: about a token each."""
    vocabulary = [w[1:] for w in json.loads((TOKENIZER / "vocab.json").read_text()) if w.startswith("\u0120") and w[1:].isascii() and w[1:].isalpha()]
    draw = random.Random(1)
    (folder / "data.txt").write_text("".join(" ".join(draw.choices(vocabulary, k=words)) + "\n" for _ in range(documents)))


def ours(finetune, folder, shape, length, batch, steps, *flags):
    """The lines of metrics.jsonl."""
    width, layers, heads, vocabulary = shape
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": layers, "n_head": heads, "n_embd": width, "n_positions": length + 1,
                                                    "vocab_size": vocabulary, "activation_function": "gelu_new", "bos_token_id": 0, "eos_token_id": 0}))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        subprocess.run([finetune, f"--new-model={folder}/config.json", f"--tokenizer={TOKENIZER}", f"--data={folder}/data.txt", f"--out={out}/run",
                        f"--length={length + 1}", f"--batch-tokens={batch * length}", f"--max-steps={steps}", "--dropout=0.1", "--dtype=bf16",
                        "--device=cuda", "--log-every=1", "--checkpoint-every=0", *flags], check=True, stderr=subprocess.DEVNULL)
        return [json.loads(line) for line in pathlib.Path(out, "run/metrics.jsonl").read_text().splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finetune", default=str(ROOT / "build/cuda/runtime/precis-finetune"))
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--lengths", default="1024,2048,4096,8192,16384", help="of the memory table; empty: none")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    result = {"tokens_per_second": {}, "memory_bytes": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_data(folder, 200, LENGTH + 200)
        for size, shape in SHAPES.items():
            for positions in ("learned", "alibi"):
                lines = ours(options.finetune, folder, shape, LENGTH, BATCH, options.steps, f"--positions={positions}")[10:]
                speeds = [line["speed/tokens_per_second"] for line in lines]
                result["tokens_per_second"][f"{size} {positions} precis"] = statistics.median(speeds)
                print(f"{size} {positions} precis: {statistics.median(speeds):.0f} tokens/s, MFU {statistics.median(x['speed/mfu'] for x in lines):.3f}", flush=True)
                if not options.no_torch:
                    speed = torch_speed(shape, positions == "alibi", options.seconds)
                    result["tokens_per_second"][f"{size} {positions} torch"] = speed
                    print(f"{size} {positions} torch: {speed:.0f} tokens/s; ours / torch {statistics.median(speeds) / speed:.2f}", flush=True)
        for length in [int(x) for x in options.lengths.split(",") if x]:
            write_data(folder, 2, length + 200)
            for positions in ("learned", "alibi"):
                memory = ours(options.finetune, folder, SHAPES["17.7M"], length, 1, 2, f"--positions={positions}")[-1]["memory/device_bytes"]
                result["memory_bytes"][f"{positions} {length}"] = memory
                print(f"{length} {positions}: {memory / 1e6:.0f} MB", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
