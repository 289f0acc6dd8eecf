"""GPT-2 in numpy float64, written from the papers and apart from both transformers and the C++ runtime: the reference for ALiBi
(Press et al. 2022), checked against transformers for learned positions."""

import math

import numpy as np


def alibi_slopes(heads: int) -> list[float]:
    def power_of_two(n: int) -> list[float]:
        return [2.0 ** (-8.0 * (k + 1) / n) for k in range(n)]

    if heads & (heads - 1) == 0:
        return power_of_two(heads)
    below = 1 << (heads.bit_length() - 1)
    return power_of_two(below) + power_of_two(2 * below)[0::2][: heads - below]


def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gain + bias


def activate(x: np.ndarray, name: str) -> np.ndarray:
    if name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"):
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    if name == "gelu":
        return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    if name == "relu":
        return np.maximum(x, 0.0)
    if name in ("silu", "swish"):
        return x / (1.0 + np.exp(-x))
    if name == "quick_gelu":
        return x / (1.0 + np.exp(-1.702 * x))
    raise ValueError(name)


def attention(qkv: np.ndarray, config: dict, layer: int) -> np.ndarray:
    tokens, width, heads = qkv.shape[0], config["n_embd"], config["n_head"]
    q, k, v = (part.reshape(tokens, heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, axis=-1))
    scale = 1.0 / math.sqrt(width // heads) if config.get("scale_attn_weights", True) else 1.0
    if config.get("scale_attn_by_inverse_layer_idx", False):
        scale /= layer + 1
    scores = q @ k.transpose(0, 2, 1) * scale
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    if config.get("alibi", False):
        scores = scores - np.array(alibi_slopes(heads))[:, None, None] * distance
    scores = np.where(distance >= 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(tokens, width)


def logits(config: dict, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """[tokens, vocab_size]; weights are float64, named without prefix."""
    epsilon = config.get("layer_norm_epsilon", 1e-5)
    x = weights["wte.weight"][tokens]
    if not config.get("alibi", False):
        x = x + weights["wpe.weight"][: len(tokens)]
    for i in range(config["n_layer"]):
        def part(name: str) -> np.ndarray:
            return weights[f"h.{i}.{name}"]

        h = layer_norm(x, part("ln_1.weight"), part("ln_1.bias"), epsilon)
        h = attention(h @ part("attn.c_attn.weight") + part("attn.c_attn.bias"), config, i)
        x = x + h @ part("attn.c_proj.weight") + part("attn.c_proj.bias")
        h = layer_norm(x, part("ln_2.weight"), part("ln_2.bias"), epsilon)
        h = activate(h @ part("mlp.c_fc.weight") + part("mlp.c_fc.bias"), config.get("activation_function", "gelu_new"))
        x = x + h @ part("mlp.c_proj.weight") + part("mlp.c_proj.bias")
    x = layer_norm(x, weights["ln_f.weight"], weights["ln_f.bias"], epsilon)
    return x @ weights.get("lm_head.weight", weights["wte.weight"]).T
