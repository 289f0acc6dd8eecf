#!/usr/bin/env python3
"""Writes tests/golden/training: gradients of small GPT-2 models by PyTorch's autograd in float64, and loss curves of 200 steps of torch.optim.AdamW in float32.

    venv/bin/pip install -r requirements.txt && venv/bin/python make_training_golden.py

The model is reference_gpt2.py's, written in torch so that autograd sees it, and is checked against it (and so against transformers) on every run. The weights
aren't stored: synthetic_model.py and its C++ twin make the same ones. Documents are packed in C++ and run one by one here.
"""
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

import reference_gpt2
import synthetic_model

DATA = pathlib.Path(__file__).parent / "training"
BASE = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 48, "vocab_size": 61}
CASES = {
    "learned": {},
    "alibi": {"alibi": True},
    "untied_relu_unscaled": {"tie_word_embeddings": False, "activation_function": "relu", "scale_attn_weights": False, "n_head": 4, "n_inner": 48},
    "alibi_erf_by_layer": {"alibi": True, "n_head": 1, "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True},
}
STEPS, BATCHES, RATE, WARMUP = 200, 8, 3e-3, 20


def numbers(name, count, below):
    return [int(h >> np.uint64(20)) % below for h in synthetic_model.hashes(name, count)]


def documents(name, lengths, vocab):
    """Tokens with a pattern that can be learned: mostly a function of the token before."""
    result = []
    for i, length in enumerate(lengths):
        noise, tokens = numbers(f"{name} {i}", length, 1000), []
        for j in range(length):
            tokens.append(noise[j] % vocab if j == 0 or noise[j] < 200 else (tokens[-1] * 7 + 3) % vocab)
        result.append({"tokens": tokens, "summary_begin": length * 2 // 3})
    return result


def activate(x, name):
    if name == "gelu_new":
        return F.gelu(x, approximate="tanh")
    return {"gelu": F.gelu, "relu": F.relu}[name](x)


def logits(config, w, tokens):
    width, heads, n = config["n_embd"], config["n_head"], len(tokens)
    x = w["wte.weight"][tokens]
    if not config.get("alibi"):
        x = x + w["wpe.weight"][:n]
    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    for i in range(config["n_layer"]):
        p = lambda name: w[f"h.{i}.{name}"]
        h = F.layer_norm(x, (width,), p("ln_1.weight"), p("ln_1.bias"), 1e-5)
        q, k, v = ((h @ p("attn.c_attn.weight") + p("attn.c_attn.bias")).view(n, 3, heads, width // heads).permute(1, 2, 0, 3))
        scale = 1 / math.sqrt(width // heads) if config.get("scale_attn_weights", True) else 1.0
        if config.get("scale_attn_by_inverse_layer_idx"):
            scale /= i + 1
        scores = q @ k.transpose(1, 2) * scale
        if config.get("alibi"):
            scores = scores - torch.tensor(reference_gpt2.alibi_slopes(heads), dtype=x.dtype)[:, None, None] * distance
        scores = scores.masked_fill(distance < 0, -math.inf)
        h = (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, width)
        x = x + h @ p("attn.c_proj.weight") + p("attn.c_proj.bias")
        h = F.layer_norm(x, (width,), p("ln_2.weight"), p("ln_2.bias"), 1e-5)
        h = activate(h @ p("mlp.c_fc.weight") + p("mlp.c_fc.bias"), config.get("activation_function", "gelu_new"))
        x = x + h @ p("mlp.c_proj.weight") + p("mlp.c_proj.bias")
    x = F.layer_norm(x, (width,), w["ln_f.weight"], w["ln_f.bias"], 1e-5)
    return x @ w.get("lm_head.weight", w["wte.weight"]).T


def loss_of(config, w, docs, document_weight, summary_weight):
    total, weights = 0.0, 0.0
    for doc in docs:
        tokens = doc["tokens"]
        losses = F.cross_entropy(logits(config, w, tokens[:-1]), torch.tensor(tokens[1:]), reduction="none")
        weight = torch.tensor([summary_weight if j >= doc["summary_begin"] else document_weight for j in range(1, len(tokens))], dtype=losses.dtype)
        total, weights = total + (losses * weight).sum(), weights + float(weight.sum())
    return total / weights


def weights_of(config, dtype):
    return {name: torch.tensor(synthetic_model.float_tensor(name, shape).astype(np.float64)).to(dtype).requires_grad_()
            for name, shape in synthetic_model.shapes(config).items()}


def check_reference(config, w, tokens):
    ours = logits(config, w, tokens).detach().numpy()
    other = reference_gpt2.logits(config, {name: value.detach().numpy() for name, value in w.items()}, tokens)
    assert np.abs(ours - other).max() < 1e-10 * np.abs(other).max()


def rate_at(step):
    """Cosine from RATE to a tenth of it, after WARMUP steps of warm-up."""
    if step <= WARMUP:
        return RATE * step / WARMUP
    return RATE / 10 + (RATE - RATE / 10) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def curve(config, batches):
    w = weights_of(config, torch.float32)
    groups = [{"params": [v for v in w.values() if v.dim() == 2], "weight_decay": 0.1}, {"params": [v for v in w.values() if v.dim() == 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for step in range(1, STEPS + 1):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step)
        optimiser.zero_grad()
        loss = loss_of(config, w, batches[(step - 1) % len(batches)], 0.5, 1.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1.0)
        optimiser.step()
        losses.append(float(loss))
    return losses


def make(name, changes):
    config = {**BASE, **changes}
    docs = documents(f"training {name}", [33, 48, 2, 17], config["vocab_size"])
    w = weights_of(config, torch.float64)
    check_reference(config, w, docs[0]["tokens"])
    loss = loss_of(config, w, docs, 1.0, 2.0)
    loss.backward()
    batches = [documents(f"training {name} {b}", [40, 23, 31], config["vocab_size"]) for b in range(BATCHES)]
    losses = curve(config, batches)
    gradients = np.concatenate([value.grad.numpy().astype("<f4").ravel() for value in w.values()])
    gradients.tofile(DATA / f"{name}.gradients")
    (DATA / f"{name}.json").write_text(json.dumps({"config": config, "documents": docs, "loss": float(loss), "batches": batches, "losses": losses,
                                                   "rate": RATE, "warmup": WARMUP}) + "\n")
    print(f"{name}: loss {float(loss):.4f}, {gradients.size} gradients, largest {np.abs(gradients).max():.3f}; curve {losses[0]:.4f} -> {losses[-1]:.4f}")


def main():
    torch.set_num_threads(1)
    DATA.mkdir(exist_ok=True)
    for name, changes in CASES.items():
        make(name, changes)


if __name__ == "__main__":
    main()
