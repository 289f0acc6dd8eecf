#!/usr/bin/env python3
"""Writes a GPT-2 of a published size with random weights, in Hugging Face form, with a made-up tokenizer of 50,257 tokens in which a
letter with the space before it is one token. Needs NumPy alone, so it runs on any machine.

Examples:
  make_model.py /tmp/small
  make_model.py --size=xl --dtype=bf16 --alibi /tmp/xl-alibi
"""
import argparse
import json
from pathlib import Path

import numpy as np

VOCABULARY = 50257
SIZES = {"tiny": (2, 2, 128), "small": (12, 12, 768), "medium": (24, 16, 1024), "large": (36, 20, 1280), "xl": (48, 25, 1600)}
BLOCK = 1 << 24


def write_tokenizer(folder):
    """GPT-2's byte alphabet, 50,000 merges of two of its symbols, those with a space in front first, and the end of text."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [b for b in range(256) if b not in printable]
    alphabet = sorted((chr(b) if b in printable else chr(256 + others.index(b)) for b in range(256)), key=lambda c: (c != "\u0120", c))
    merges = [(a, b) for a in alphabet for b in alphabet][: VOCABULARY - 257]
    tokens = [*alphabet, *(a + b for a, b in merges), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n", encoding="utf-8")


class Normals:
    """Standard normals. Large tensors are cut from one block at random places: filling a billion weights one by one takes minutes."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.block = self.random.standard_normal(BLOCK, dtype=np.float32)

    def take(self, count):
        begin = int(self.random.integers(0, BLOCK))
        return np.take(self.block, np.arange(begin, begin + count), mode="wrap")


def tensor_list(layers, width, positions):
    """(name, shape, scale); scale None: ones. Scaled so that greedy text varies."""
    tensors = [("wte.weight", (VOCABULARY, width), 1.0)]
    if positions:
        tensors.append(("wpe.weight", (positions, width), 1.0))
    for i in range(layers):
        for name, rows, columns in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                    ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):
            tensors += [(f"h.{i}.{name}.weight", (rows, columns), rows**-0.5), (f"h.{i}.{name}.bias", (columns,), 0.02)]
        for norm in ("ln_1", "ln_2"):
            tensors += [(f"h.{i}.{norm}.weight", (width,), None), (f"h.{i}.{norm}.bias", (width,), 0.02)]
    return tensors + [("ln_f.weight", (width,), None), ("ln_f.bias", (width,), 0.02)]


def to_bytes(values, dtype):
    if dtype == "f32":
        return values.astype("<f4").tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def write_weights(path, tensors, dtype, seed):
    size, header, offset = {"f32": 4, "bf16": 2}[dtype], {}, 0
    for name, shape, _ in tensors:
        end = offset + int(np.prod(shape)) * size
        header[name] = {"dtype": dtype.upper(), "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    normals = Normals(seed)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, scale in tensors:
            count = int(np.prod(shape))
            values = np.ones(count, np.float32) if scale is None else normals.take(count) * np.float32(scale)
            file.write(to_bytes(values, dtype))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--alibi", action="store_true", help="ALiBi instead of learned positions")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    layers, heads, width = SIZES[args.size]
    args.folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(args.folder)
    write_weights(args.folder / "model.safetensors", tensor_list(layers, width, 0 if args.alibi else 1024), args.dtype, args.seed)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": layers, "n_head": heads, "n_embd": width,
              "n_positions": 1024, "vocab_size": VOCABULARY, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
              "bos_token_id": VOCABULARY - 1, "eos_token_id": VOCABULARY - 1} | ({"alibi": True} if args.alibi else {})
    (args.folder / "config.json").write_text(json.dumps(config))
    print(args.folder)


if __name__ == "__main__":
    main()
