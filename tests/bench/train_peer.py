#!/usr/bin/env python3
"""Training speed on the CPU beside PyTorch: tokens per second of the same 10M-parameter model (6 layers, 320 wide, 5 heads, 8,192 tokens) at length 512, in turns.

    train_peer.py --finetune=build/release/runtime/precis-finetune          # with a Python that has torch (tests/golden/requirements.txt)

Both: batches of --batch x 512, forward, backward, clipping, AdamW; no dropout. PyTorch: scaled_dot_product_attention, fused AdamW, eager and torch.compile; bf16 as
autocast and as a model of bf16 weights. Each round runs every contender once; the median of the rounds counts.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import tempfile
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, VOCAB, LENGTH = 6, 320, 5, 8192, 512


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, HEADS, -1).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(WIDTH, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, WIDTH))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks, self.ln_f = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(F.linear(self.ln_f(x), self.wte.weight).float().view(-1, VOCAB), targets.view(-1))


class Torch:
    def __init__(self, name, batch, compiled=False, autocast=False, dtype=torch.float32):
        torch.manual_seed(1)
        self.name, self.batch, self.autocast = name, batch, autocast
        model = Model().to(dtype)
        self.parameters = list(model.parameters())
        self.run = torch.compile(model) if compiled else model
        self.optimiser = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        self.tokens = torch.randint(VOCAB, (batch, LENGTH + 1))
        self.step()

    def step(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.run(self.tokens[:, :-1].contiguous(), self.tokens[:, 1:].contiguous())
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        return float(loss)

    def tokens_per_second(self, steps):
        begin = time.perf_counter()
        for _ in range(steps):
            self.step()
        return steps * self.batch * LENGTH / (time.perf_counter() - begin)


class Ours:
    def __init__(self, name, batch, binary, folder, threads, *flags):
        self.name, self.batch, self.binary, self.folder, self.threads, self.flags = name, batch, binary, folder, threads, flags
        self.round = 0

    def tokens_per_second(self, steps):
        self.round += 1
        out = self.folder / f"{self.name}-{self.round}".replace(" ", "-")
        subprocess.run([self.binary, f"--new-model={self.folder}/config.json", f"--tokenizer={self.folder}", f"--data={self.folder}/data.txt", f"--out={out}",
                        f"--length={LENGTH + 1}", f"--batch-tokens={self.batch * LENGTH}", f"--max-steps={steps + 1}", "--dropout=0", "--log-every=1",
                        "--checkpoint-every=0", f"--threads={self.threads}", *self.flags], check=True, stderr=subprocess.DEVNULL)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]  # --log-every=1: each line's speed is its own step's
        return len(lines) / sum(1 / line["speed/tokens_per_second"] for line in lines)


def prepare(folder):
    """A byte-level tokenizer without merges, and random words."""
    alphabet = {}
    for b in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)):
        alphabet[b] = chr(b)
    for b in range(256):
        if b not in alphabet:
            alphabet[b] = chr(256 + sum(1 for other in range(b) if other not in range(33, 127) and other not in range(161, 173) and other not in range(174, 256)))
    vocabulary = {alphabet[b]: b for b in range(256)}
    vocabulary["<|endoftext|>"] = 256
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": LENGTH + 1,
                                                    "vocab_size": VOCAB, "eos_token_id": 256, "bos_token_id": 256}))
    draw = random.Random(1)
    (folder / "data.txt").write_text("".join("".join(draw.choices("abcdefgh ", k=600)) + "\n" for _ in range(64)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finetune", default="build/release/runtime/precis-finetune")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of a contender in a round")
    parser.add_argument("--batch", type=int, default=8, help="sequences of a batch")
    parser.add_argument("--only", default="", help="contenders whose names hold this")
    parser.add_argument("--compile", action="store_true", help="torch.compile too (takes a minute to compile)")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder)
        makers = {"precis f32": lambda n: Ours(n, options.batch, options.finetune, folder, options.threads), "torch f32": lambda n: Torch(n, options.batch),
                  "precis f32 alibi": lambda n: Ours(n, options.batch, options.finetune, folder, options.threads, "--positions=alibi"),
                  "precis bf16": lambda n: Ours(n, options.batch, options.finetune, folder, options.threads, "--dtype=bf16"),
                  "torch bf16 autocast": lambda n: Torch(n, options.batch, autocast=True), "torch bf16": lambda n: Torch(n, options.batch, dtype=torch.bfloat16)}
        if options.compile:
            makers["torch f32 compiled"] = lambda n: Torch(n, options.batch, compiled=True)
        contenders = [make(name) for name, make in makers.items() if options.only in name]
        speeds = {c.name: [] for c in contenders}
        for _ in range(options.rounds):
            for contender in contenders:
                speeds[contender.name].append(contender.tokens_per_second(options.steps))
    for name, values in speeds.items():
        print(f"{name:24} {statistics.median(values):8.0f} tokens/s   ({min(values):.0f} to {max(values):.0f})")
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "threads": options.threads, "batch": options.batch, "load": os.getloadavg()[0], "tokens_per_second": speeds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
