#!/usr/bin/env python3
"""Writes tests/golden/data: prompts, logits and greedy tokens of synthetic GPT-2 checkpoints, from transformers in float64 (from
reference_gpt2.py where the checkpoint is ALiBi).

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_golden.py

The weights aren't stored: synthetic_model.py and its C++ twin make the same ones.
"""

import json
import pathlib

import numpy as np
import torch
import transformers

import reference_gpt2
import synthetic_model

DATA = pathlib.Path(__file__).parent / "data"
PROMPT_TOKENS = 100
GREEDY_TOKENS = 64
KEPT_POSITIONS = list(range(3, PROMPT_TOKENS, 4))  # ends with the last one


def case(name, dtype, prefix=True, shards=1, **config):
    config = {"model_type": "gpt2", "n_positions": 200, "n_layer": 2, **config}
    return {"name": name, "dtype": dtype, "prefix": prefix, "shards": shards, "config": config}


CASES = [
    case("heads12_size64_f32", "F32", n_head=12, n_embd=768, vocab_size=301),
    case("heads16_size64_f16", "F16", prefix=False, n_layer=1, n_head=16, n_embd=1024, vocab_size=257),
    case("heads20_size20_bf16_sharded", "BF16", shards=3, n_layer=3, n_head=20, n_embd=400, vocab_size=333,
         activation_function="gelu"),
    case("heads25_size64_f32", "F32", prefix=False, n_layer=1, n_head=25, n_embd=1600, vocab_size=271),
    case("heads12_size10_f16_untied", "F16", n_layer=3, n_head=12, n_embd=120, vocab_size=509, n_inner=200,
         activation_function="relu", scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
    case("heads25_size6_bf16_sharded", "BF16", prefix=False, shards=2, n_head=25, n_embd=150, vocab_size=601,
         activation_function="silu", layer_norm_epsilon=1e-3),
    case("heads4_size96_f32_unscaled", "F32", n_layer=1, n_head=4, n_embd=384, vocab_size=283,
         activation_function="quick_gelu", scale_attn_weights=False),
    case("heads12_size32_i8", "I8", n_head=12, n_embd=384, vocab_size=299),
    case("alibi_heads12_size16_f32", "F32", n_layer=3, n_head=12, n_embd=192, vocab_size=307, alibi=True),
    case("alibi_heads16_size64_bf16", "BF16", prefix=False, n_layer=1, n_head=16, n_embd=1024, vocab_size=263,
         alibi=True),
    case("alibi_heads25_size8_f16", "F16", n_head=25, n_embd=200, vocab_size=401, alibi=True),
]


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    torch_dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    return torch.from_numpy(values).to(torch_dtype).double().numpy()


def make_weights(spec: dict) -> dict[str, np.ndarray]:
    weights = {}
    for name, shape in synthetic_model.shapes(spec["config"]).items():
        if spec["dtype"] == "I8" and len(shape) == 2:
            values, scale = synthetic_model.int8_tensor(name, shape)
            by_row = synthetic_model.is_embedding(name)
            weights[name] = values.astype(np.float64) * (scale[:, None] if by_row else scale[None, :])
        else:
            dtype = "F32" if spec["dtype"] == "I8" else spec["dtype"]
            weights[name] = rounded(synthetic_model.float_tensor(name, shape), dtype)
    return weights


def hf_model(config: dict, weights: dict[str, np.ndarray], dtype: torch.dtype) -> torch.nn.Module:
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config, attn_implementation="eager")).to(dtype)
    state = {(n if n == "lm_head.weight" else "transformer." + n): torch.from_numpy(w).to(dtype)
             for n, w in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    return model.eval()


def alibi_in_dtype(config: dict, weights: dict[str, np.ndarray], tokens: list[int], dtype: torch.dtype) -> np.ndarray:
    """The same model by transformers in `dtype`, with ALiBi as an additive mask and no position vectors."""
    config = {**config, "n_positions": 1024}
    model = hf_model({k: v for k, v in config.items() if k != "alibi"},
                     {**weights, "wpe.weight": np.zeros((1024, config["n_embd"]))}, dtype)
    n = len(tokens)
    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    bias = -torch.tensor(reference_gpt2.alibi_slopes(config["n_head"]), dtype=torch.float64)[:, None, None] * distance
    bias = torch.where(distance >= 0, bias, torch.finfo(dtype).min).to(dtype)[None]
    with torch.no_grad():
        return model(torch.tensor([tokens]), attention_mask=bias).logits[0].double().numpy()


class Model:
    def __init__(self, spec: dict):
        self.config = spec["config"]
        self.weights = make_weights(spec)
        self.alibi = self.config.get("alibi", False)
        self.torch = None if self.alibi else hf_model(self.config, self.weights, torch.float64)

    def logits(self, tokens: list[int]) -> np.ndarray:
        if self.alibi:
            return reference_gpt2.logits(self.config, self.weights, tokens)
        with torch.no_grad():
            return self.torch(torch.tensor([tokens])).logits[0].numpy()

    def steps(self, tokens: list[int]):
        """Yields the last token's logits, again and again; the caller appends to `tokens` in between."""
        past, done = None, 0
        while True:
            if self.alibi:
                yield self.logits(tokens)[-1]
                continue
            with torch.no_grad():
                output = self.torch(torch.tensor([tokens[done:]]), past_key_values=past, use_cache=True)
            past, done = output.past_key_values, len(tokens)
            yield output.logits[0, -1].numpy()

    def in_dtype(self, tokens: list[int], dtype: torch.dtype) -> np.ndarray:
        if self.alibi:
            return alibi_in_dtype(self.config, self.weights, tokens, dtype)
        with torch.no_grad():
            return hf_model(self.config, self.weights, dtype)(torch.tensor([tokens])).logits[0].double().numpy()


def greedy(model: Model, prompt: list[int]) -> tuple[list[int], float]:
    """Tokens, and the least lead of a winner over its second, relative to the largest logit."""
    tokens = list(prompt)
    for last in model.steps(tokens):
        tokens.append(int(last.argmax()))
        if len(tokens) == len(prompt) + GREEDY_TOKENS:
            break
    rows = model.logits(tokens[:-1])[len(prompt) - 1:]  # once more, in one pass
    assert list(rows.argmax(-1)) == tokens[len(prompt):]
    top = np.sort(rows, -1)
    return tokens[len(prompt):], float(((top[:, -1] - top[:, -2]) / np.abs(rows).max(-1)).min())


def errors(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    difference = np.abs(values - reference)
    return {"max": float(difference.max()), "mean": float(difference.mean())}


def check_independent_reference(model: Model, prompt: list[int], reference: np.ndarray) -> None:
    """numpy and transformers agree: on learned positions as such, on ALiBi through transformers with a mask."""
    if model.alibi:
        other = alibi_in_dtype(model.config, model.weights, prompt, torch.float64)
    else:
        other = reference_gpt2.logits(model.config, model.weights, prompt)
    assert np.abs(other - reference).max() < 1e-9 * np.abs(reference).max(), np.abs(other - reference).max()


def make(spec: dict) -> None:
    model = Model(spec)
    for seed in range(20):
        prompt = [int(h) % spec["config"]["vocab_size"]
                  for h in synthetic_model.hashes(f"prompt {spec['name']} {seed}", PROMPT_TOKENS) >> np.uint64(20)]
        tokens, lead = greedy(model, prompt)
        if lead > 2e-3:  # ten times what the f32 runtime may be off by
            break
    else:
        raise RuntimeError(f"{spec['name']}: every prompt has near ties")
    logits = model.logits(prompt)
    check_independent_reference(model, prompt, logits)
    kept = logits[KEPT_POSITIONS]
    spec["prompt"], spec["greedy"], spec["positions"] = prompt, tokens, KEPT_POSITIONS
    spec["library_error"] = {
        name: errors(model.in_dtype(prompt, dtype)[KEPT_POSITIONS], kept)
        for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16))
    }
    kept.astype("<f4").tofile(DATA / f"{spec['name']}.logits")
    (DATA / f"{spec['name']}.json").write_text(json.dumps(spec) + "\n")
    print(f"{spec['name']}: largest logit {np.abs(logits).max():.2f}, least lead {lead:.4f}, "
          f"{len(set(tokens))} distinct tokens, errors of transformers {spec['library_error']}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    DATA.mkdir(exist_ok=True)
    for spec in CASES:
        make(spec)


if __name__ == "__main__":
    main()
