#!/usr/bin/env python3
"""Trains the small embedded pair: a GPT-2-architecture summariser with learned positions, and its ALiBi fine-tuning.

Needs PyTorch with a GPU (about ten minutes on an H100; --device=cpu works for tiny sizes) and JSON-lines files (.xz or
plain) with "article" and "highlights". Two stages, so that each fits a short lease:

    train_pair.py learned --train=train.jsonl.xz --cased=cased.jsonl.xz --work=/tmp/pair --seconds=280
    train_pair.py alibi   --work=/tmp/pair --seconds=160 --test=test.jsonl.xz
    train_pair.py export  --work=/tmp/pair --out=deploy/models

The training text is lower-case. Half of the rows are shown re-cased (sentence starts, and words that the cased rows
mostly capitalise), so that the model reads and writes ordinary text too.
"""
import argparse
import collections
import json
import lzma
import math
import os
import random
import re
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SEPARATOR = "\nTL;DR:"
SUMMARY_TOKENS = 128
EOT = "<|endoftext|>"
START = time.time()


def log(**fields):
    print(json.dumps(dict(fields, s=round(time.time() - START, 1))), flush=True)


def read_rows(path):
    with (lzma.open(path, "rt") if path.endswith(".xz") else open(path)) as lines:
        return [json.loads(line) for line in lines]


# ---------------------------------------------------------------- casing

def casing_table(rows):
    """word -> its usual cased form, for words that are mostly capitalised away from sentence starts."""
    counts = collections.defaultdict(collections.Counter)
    for row in rows:
        for field in ("article", "highlights"):
            for match in re.finditer(r"(?<=[a-z,;] )[A-Za-z]{2,}", row[field]):
                counts[match.group().lower()][match.group()] += 1
    table = {}
    for word, forms in counts.items():
        form, count = forms.most_common(1)[0]
        if form != word and count * 2 > sum(forms.values()):
            table[word] = form
    table["i"] = "I"
    return table


def recase(text, table):
    text = re.sub(r"(?<![A-Za-z'])[a-z]+", lambda m: table.get(m.group(), m.group()), text)
    return re.sub(r"(^|[.!?]['\"]? +|\n)(['\"(]?)([a-z])", lambda m: m.group(1) + m.group(2) + m.group(3).upper(), text)


# ---------------------------------------------------------------- data

def train_tokenizer(texts, vocab_size):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[EOT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def encode_rows(tokenizer, rows, context):
    separator = tokenizer.encode(SEPARATOR).ids
    limit = context - SUMMARY_TOKENS - len(separator)
    encoded = []
    for begin in range(0, len(rows), 4000):
        chunk = rows[begin:begin + 4000]
        articles = tokenizer.encode_batch([r["article"] for r in chunk])
        highlights = tokenizer.encode_batch([" " + r["highlights"] for r in chunk])
        encoded += [(a.ids[:limit] + separator, h.ids[:SUMMARY_TOKENS - 1]) for a, h in zip(articles, highlights)]
    return encoded


def tensors(encoded, context):
    """Tokens and loss weights: 1 on the document, 2 on the summary, 0 on padding."""
    tokens = torch.zeros(len(encoded), context + 1, dtype=torch.long)
    weights = torch.zeros(len(encoded), context + 1)
    for i, (prompt, summary) in enumerate(encoded):
        row = prompt + summary + [0]
        tokens[i, :len(row)] = torch.tensor(row)
        weights[i, 1:len(prompt)] = 1
        weights[i, len(prompt):len(row)] = 2
    return tokens, weights


# ---------------------------------------------------------------- model

def alibi_slopes(heads):
    def power_of_two(n):
        return [2 ** (-8 * (k + 1) / n) for k in range(n)]
    if heads & (heads - 1) == 0:
        return power_of_two(heads)
    base = 1 << (heads.bit_length() - 1)
    return power_of_two(base) + alibi_slopes(2 * base)[0::2][:heads - base]


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, heads, bias, drop):
        batch, length, width = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        y = bias(q, k, v)
        x = x + F.dropout(self.attn_proj(y.transpose(1, 2).reshape(batch, length, width)), drop, self.training)
        hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        return x + F.dropout(self.mlp_proj(hidden), drop, self.training)


class Gpt2(nn.Module):
    def __init__(self, config, alibi):
        super().__init__()
        self.config, self.alibi = config, alibi
        width = config["n_embd"]
        self.wte, self.wpe = nn.Embedding(config["vocab_size"], width), nn.Embedding(config["n_positions"], width)
        self.h = nn.ModuleList([Block(width) for _ in range(config["n_layer"])])
        self.ln_f = nn.LayerNorm(width)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(config["n_head"])))
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = .02 / math.sqrt(2 * config["n_layer"]) if "proj" in name else .02
                nn.init.normal_(parameter, 0, std)

    def attention(self, mask):
        if not self.alibi:
            return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
        from torch.nn.attention.flex_attention import flex_attention
        slopes = self.slopes
        return lambda q, k, v: flex_attention(
            q, k, v, score_mod=lambda s, b, h, i, j: s + slopes[h] * (j - i), block_mask=mask)

    def hidden(self, tokens, mask, drop=0.):
        x = self.wte(tokens)
        if not self.alibi:
            x = x + self.wpe.weight[:tokens.shape[1]]
        attention = self.attention(mask)
        for block in self.h:
            x = block(x, self.config["n_head"], attention, drop)
        return self.ln_f(x)

    def forward(self, tokens, targets, weights, mask, drop):
        logits = F.linear(self.hidden(tokens, mask, drop), self.wte.weight)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1), reduction="none")
        loss = loss.view_as(weights)
        summary = weights == 2
        return (loss * weights).sum() / weights.sum(), (loss * summary).sum().detach() / summary.sum()


def block_mask(model, length, device):
    if not model.alibi:
        return None
    from torch.nn.attention.flex_attention import create_block_mask
    return create_block_mask(lambda b, h, q, k: q >= k, None, None, length, length, device=device)


# ---------------------------------------------------------------- training

def train(model, tokens, weights, seconds, peak_rate, batch, drop, device, name):
    compiled = torch.compile(model)
    mask = block_mask(model, model.config["n_positions"], device)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=.1), dict(params=others, weight_decay=0.)],
                                  lr=peak_rate, betas=(.9, .95), fused=True)
    model.train()
    order, position, epoch, step, begin = torch.randperm(len(tokens)), 0, 0, 0, None
    while True:
        if position + batch > len(tokens):
            order, position, epoch = torch.randperm(len(tokens)), 0, epoch + 1
        index = order[position:position + batch]
        position += batch
        x, w = tokens[index].to(device), weights[index].to(device)
        if step == 10:
            torch.cuda.synchronize()
            begin = time.time()
        done = 0 if begin is None else (time.time() - begin) / seconds
        if done >= 1:
            break
        rate = peak_rate * min(1, (step + 1) / 200) * (.02 + .98 * .5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device, torch.bfloat16):
            loss, summary_loss = compiled(x[:, :-1], x[:, 1:], w[:, 1:], mask, drop)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 200 == 0:
            log(model=name, step=step, epoch=epoch, loss=round(loss.item(), 4), summary_loss=round(summary_loss.item(), 4))
        step += 1
    log(model=name, steps=step, epochs=round(step * batch / len(tokens), 2),
        tokens_per_s=round((step - 10) * batch * model.config["n_positions"] / (time.time() - begin)),
        parameters=sum(p.numel() for p in model.parameters()))


@torch.no_grad()
def generate(model, prompts, device, minimum=35, maximum=110):
    """Greedy with trigram blocking, without a KV cache: the whole row runs again for each token."""
    model.eval()
    context = model.config["n_positions"]
    hidden = torch.compile(lambda m, x, mask: m.hidden(x, mask), dynamic=False)
    mask = block_mask(model, context, device)
    outputs = []
    for begin in range(0, len(prompts), 100):
        chunk = prompts[begin:begin + 100]
        chunk = chunk + [chunk[-1]] * (100 - len(chunk))
        rows = torch.arange(100, device=device)
        lengths = torch.tensor([len(p) for p in chunk], device=device)
        x = torch.zeros(100, context, dtype=torch.long, device=device)
        for j, prompt in enumerate(chunk):
            x[j, :len(prompt)] = torch.tensor(prompt)
        sequences, done = [[] for _ in chunk], [False] * 100
        for step in range(maximum):
            with torch.autocast(device, torch.bfloat16):
                logits = F.linear(hidden(model, x, mask)[rows, lengths - 1], model.wte.weight).float()
            if step < minimum:
                logits[:, 0] = -1e9
            for j, sequence in enumerate(sequences):
                banned = [sequence[t + 2] for t in range(len(sequence) - 2) if sequence[t:t + 2] == sequence[-2:]]
                if banned:
                    logits[j, banned] = -1e9
            chosen = logits.argmax(-1)
            for j, token in enumerate(chosen.tolist()):
                if token == 0:
                    done[j] = True
                elif not done[j]:
                    sequences[j].append(token)
            x[rows, lengths.clamp(max=context - 1)] = chosen
            lengths = (lengths + 1).clamp(max=context)
            if all(done):
                break
        outputs += sequences
    return outputs[:len(prompts)]


# ---------------------------------------------------------------- export

def hugging_face_tensors(model):
    """Name -> float32 array, in the layout of GPT-2's checkpoints (Conv1D weights are [in, out])."""
    names = dict(c_attn="attn.c_attn", attn_proj="attn.c_proj", c_fc="mlp.c_fc", mlp_proj="mlp.c_proj", ln_1="ln_1", ln_2="ln_2")
    result = {}
    for name, tensor in model.state_dict().items():
        if name == "slopes" or (model.alibi and name.startswith("wpe")):
            continue
        array = tensor.float().cpu().numpy()
        parts = name.split(".")
        if parts[0] == "h":
            if parts[3] == "weight" and array.ndim == 2:
                array = np.ascontiguousarray(array.T)
            name = f"h.{parts[1]}.{names[parts[2]]}.{parts[3]}"
        result["transformer." + name] = array
    return result


def quantise(tensors_by_name):
    """Matrices to int8 with one float32 scale for each output channel (columns of Conv1D, rows of embeddings)."""
    result = {}
    for name, array in tensors_by_name.items():
        if array.ndim != 2:
            result[name] = array
            continue
        axis = 1 if ".wte." in name or ".wpe." in name else 0
        scale = np.maximum(np.abs(array).max(axis=axis), 1e-12) / 127
        shaped = scale[:, None] if axis == 1 else scale[None, :]
        result[name] = np.clip(np.round(array / shaped), -127, 127).astype(np.int8)
        result[name + ".scale"] = scale.astype(np.float32)
    return result


def apply_quantised(model, quantised):
    """A copy of `model` with the quantised weights, to measure what quantisation costs."""
    names = dict(zip(["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"], ["c_attn", "attn_proj", "c_fc", "mlp_proj"]))
    state = model.state_dict()
    for name, array in quantised.items():
        if array.dtype != np.int8:
            continue
        scale = quantised[name + ".scale"]
        embedding = ".wte." in name or ".wpe." in name
        value = array.astype(np.float32) * (scale[:, None] if embedding else scale[None, :])
        key = name.removeprefix("transformer.")
        for old, new in names.items():
            key = key.replace(old, new)
        state[key] = torch.tensor(value if embedding else value.T.copy()).to(state[key].device)
    model.load_state_dict(state)


def save_checkpoint(directory, model, tokenizer_directory, dtype_tensors):
    import shutil
    from safetensors.numpy import save_file
    os.makedirs(directory, exist_ok=True)
    save_file(dtype_tensors, f"{directory}/model.safetensors", metadata={"format": "pt"})
    config = dict(model.config, model_type="gpt2", architectures=["GPT2LMHeadModel"], activation_function="gelu_new",
                  layer_norm_epsilon=1e-5, bos_token_id=0, eos_token_id=0, tie_word_embeddings=True)
    if model.alibi:
        config["alibi"] = True
    with open(f"{directory}/config.json", "w") as out:
        json.dump(config, out, indent=2)
        out.write("\n")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(f"{tokenizer_directory}/{name}", directory)


# ---------------------------------------------------------------- stages

def load_model(work, name, config, alibi, device):
    model = Gpt2(config, alibi).to(device)
    if os.path.exists(f"{work}/{name}.pt"):
        model.load_state_dict(torch.load(f"{work}/{name}.pt", map_location=device))
    return model


def stage_learned(args, config):
    rows = read_rows(args.train)
    cased = [row for path in args.cased for row in read_rows(path)]
    table = casing_table(cased)
    rng = random.Random(0)
    shown = [dict(article=recase(r["article"], table), highlights=recase(r["highlights"], table))
             if rng.random() < .5 else r for r in rows] + cased * 4
    log(rows=len(shown), casing_words=len(table))
    tokenizer = train_tokenizer((r["article"] + " " + r["highlights"] for r in shown[::2]), config["vocab_size"])
    tokenizer.model.save(args.work)
    tokenizer.save(f"{args.work}/tokenizer.json")
    tokens, weights = tensors(encode_rows(tokenizer, shown, config["n_positions"]), config["n_positions"])
    torch.save((tokens.to(torch.int16 if config["vocab_size"] <= 32767 else torch.int32), weights.to(torch.uint8)), f"{args.work}/rows.pt")
    log(encoded=len(tokens), mean_tokens=round((weights > 0).sum().item() / len(tokens)))
    model = Gpt2(config, False).to(args.device)
    train(model, tokens, weights, args.seconds, args.rate or 1.5e-3, args.batch, .1, args.device, "learned")
    torch.save(model.state_dict(), f"{args.work}/learned.pt")


def stage_alibi(args, config):
    tokens, weights = torch.load(f"{args.work}/rows.pt")
    model = load_model(args.work, "learned", config, True, args.device)
    train(model, tokens.long(), weights.float(), args.seconds, args.rate or 6e-4, args.batch, .1, args.device, "alibi")
    torch.save(model.state_dict(), f"{args.work}/alibi.pt")


def stage_export(args, config):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(f"{args.work}/tokenizer.json")
    test = read_rows(args.test) if args.test else []
    prompts = [p for p, _ in encode_rows(tokenizer, test, config["n_positions"])]
    for name in ("learned", "alibi"):
        model = load_model(args.work, name, config, name == "alibi", args.device)
        quantised = quantise(hugging_face_tensors(model))
        save_checkpoint(f"{args.out}/precis-small-{name}", model, args.work, quantised)
        for variant in ("f32", "int8"):
            if variant == "int8":
                apply_quantised(model, quantised)
            outputs = generate(model, prompts, args.device) if prompts else []
            with open(f"{args.out}/generated_{name}_{variant}.jsonl", "w") as out:
                for row, ids in zip(test, outputs):
                    out.write(json.dumps(dict(id=row["id"], source=row["source"], reference=row["highlights"],
                                              hypothesis=tokenizer.decode(ids).strip())) + "\n")
            log(generated=len(outputs), model=name, weights=variant)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["learned", "alibi", "export"])
    parser.add_argument("--work", required=True, help="folder for intermediate files")
    parser.add_argument("--train")
    parser.add_argument("--cased", action="append", default=[], help="rows in ordinary casing (repeatable)")
    parser.add_argument("--test")
    parser.add_argument("--out", default=".")
    parser.add_argument("--seconds", type=float, default=280, help="training time")
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", default="320,7,5,8192,1024", help="n_embd,n_layer,n_head,vocab_size,n_positions")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    os.makedirs(args.work, exist_ok=True)
    config = dict(zip(["n_embd", "n_layer", "n_head", "vocab_size", "n_positions"], map(int, args.shape.split(","))))
    dict(learned=stage_learned, alibi=stage_alibi, export=stage_export)[args.stage](args, config)


if __name__ == "__main__":
    main()
