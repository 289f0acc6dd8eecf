"""Synthetic GPT-2 weights that are the same numbers in Python and in C++ (tests/runtime/model/synthetic_model.cc).

Element i of tensor NAME comes from h = splitmix64(fnv1a64(NAME) + (i + 1) * 0x9E3779B97F4A7C15); u = (h >> 40) / 2^24. Names are
those without the "transformer." prefix. All arithmetic up to the last rounding is in IEEE doubles, in the order written here.
"""

import math

import numpy as np

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def fnv1a64(name: str) -> int:
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def hashes(name: str, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + (np.arange(1, count + 1, dtype=np.uint64)) * GOLDEN_GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(name: str, count: int) -> np.ndarray:
    return (hashes(name, count) >> np.uint64(40)).astype(np.float64) / 2.0**24


def amplitude(name: str, fan_in: int) -> float:
    gain = 1.7
    if name.endswith("c_attn.weight"):
        gain = 2.2
    if name.endswith("attn.c_proj.weight"):
        gain = 0.3  # as small as the embeddings, so that what follows depends on the token, and greedy text varies
    if name in ("wte.weight", "wpe.weight", "lm_head.weight"):
        gain = 3.0
    return gain / math.sqrt(float(fan_in))


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors, in the order in which files hold them."""
    width = config["n_embd"]
    inner = config.get("n_inner") or 4 * width
    result = {"wte.weight": (config["vocab_size"], width)}
    if not config.get("alibi", False):
        result["wpe.weight"] = (config["n_positions"], width)
    for i in range(config["n_layer"]):
        for name, shape in (
            ("ln_1.weight", (width,)),
            ("ln_1.bias", (width,)),
            ("attn.c_attn.weight", (width, 3 * width)),
            ("attn.c_attn.bias", (3 * width,)),
            ("attn.c_proj.weight", (width, width)),
            ("attn.c_proj.bias", (width,)),
            ("ln_2.weight", (width,)),
            ("ln_2.bias", (width,)),
            ("mlp.c_fc.weight", (width, inner)),
            ("mlp.c_fc.bias", (inner,)),
            ("mlp.c_proj.weight", (inner, width)),
            ("mlp.c_proj.bias", (width,)),
        ):
            result[f"h.{i}.{name}"] = shape
    result["ln_f.weight"] = (width,)
    result["ln_f.bias"] = (width,)
    if not config.get("tie_word_embeddings", True):
        result["lm_head.weight"] = (config["vocab_size"], width)
    return result


def is_embedding(name: str) -> bool:
    return name in ("wte.weight", "wpe.weight", "lm_head.weight")


def float_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values before they are rounded to the checkpoint's type."""
    u = unit(name, math.prod(shape))
    if len(shape) == 1:
        values = 0.2 * (2.0 * u - 1.0)
        if "ln_" in name and name.endswith("weight"):
            values = 1.0 + values
    else:
        fan_in = shape[1] if is_embedding(name) else shape[0]
        values = (2.0 * u - 1.0) * amplitude(name, fan_in)
    return values.astype(np.float32).reshape(shape)


def int8_tensor(name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Integers, and the scales of the output channels: the rows of embeddings, the columns of everything else."""
    values = ((hashes(name, math.prod(shape)) >> np.uint64(40)) % np.uint64(255)).astype(np.int64) - 127
    out, fan_in = (shape[0], shape[1]) if is_embedding(name) else (shape[1], shape[0])
    scale = (0.5 + 0.5 * unit(name + ".scale", out)) * amplitude(name, fan_in) / 127.0
    return values.astype(np.int8).reshape(shape), scale.astype(np.float32)
