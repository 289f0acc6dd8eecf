#!/usr/bin/env python3
"""Writes a GPT-2 of a published size with random weights, in Hugging Face form, for benchmarks (needs numpy only).

    make_random_model.py --out=/tmp/gpt2-124m-bf16 --size=124M --dtype=BF16 --positions=learned --tokenizer=DIR

Weights are drawn as GPT-2's initialisation draws them: normal with deviation 0.02, norms 1 and 0, biases 0. The file is written tensor
by tensor, so that the largest size needs little memory.
"""

import argparse
import json
import math
import pathlib
import shutil
import struct
import sys

import numpy as np

SIZES = {"124M": (12, 12, 768), "355M": (24, 16, 1024), "774M": (36, 20, 1280), "1558M": (48, 25, 1600)}
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
DEVIATION = 0.02


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write; made if absent")
    parser.add_argument("--size", default="124M", choices=SIZES)
    parser.add_argument("--dtype", default="F32", choices=BYTES)
    parser.add_argument("--positions", default="learned", choices=("learned", "alibi"))
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--n-positions", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--tokenizer", type=pathlib.Path, help="folder to copy tokenizer files from; vocab.json and merges.txt, or "
                        "tokenizer.json")
    return parser.parse_args(argv)


def make_config(args: argparse.Namespace) -> dict:
    layers, heads, width = SIZES[args.size]
    config = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
        "n_layer": layers, "n_head": heads, "n_embd": width, "n_positions": args.n_positions, "n_ctx": args.n_positions,
        "vocab_size": args.vocab_size, "layer_norm_epsilon": 1e-5, "initializer_range": DEVIATION,
        "bos_token_id": args.vocab_size - 1, "eos_token_id": args.vocab_size - 1,
    }
    if args.positions == "alibi":
        config["alibi"] = True
    return config


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    width, vocabulary = config["n_embd"], config["vocab_size"]
    result = {"wte.weight": (vocabulary, width)}
    if not config.get("alibi"):
        result["wpe.weight"] = (config["n_positions"], width)
    for i in range(config["n_layer"]):
        for name, size_in, size_out in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                        ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):
            result[f"h.{i}.{name}.weight"] = (size_in, size_out)
            result[f"h.{i}.{name}.bias"] = (size_out,)
        for name in ("ln_1", "ln_2"):
            result[f"h.{i}.{name}.weight"] = result[f"h.{i}.{name}.bias"] = (width,)
    result["ln_f.weight"] = result["ln_f.bias"] = (width,)
    return {f"transformer.{name}": shape for name, shape in result.items()}


def plan(config: dict, dtype: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Types and shapes of the file's tensors, scales included."""
    result = {}
    for name, shape in shapes(config).items():
        if dtype == "I8" and len(shape) == 2:
            result[name] = ("I8", shape)
            by_row = "wte" in name or "wpe" in name
            result[f"{name}.scale"] = ("F32", (shape[0] if by_row else shape[1],))
        else:
            result[name] = ("F32" if dtype == "I8" else dtype, shape)
    return result


def encode(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":
        bits = values.view("<u4")
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return values.astype("<f4").tobytes()


def tensor_bytes(name: str, dtype: str, shape: tuple[int, ...], random: np.random.Generator) -> bytes:
    if name.endswith(".scale"):
        return np.full(shape, 3.5 * DEVIATION / 127, "<f4").tobytes()
    if dtype == "I8":
        values = random.standard_normal(shape, np.float32) * (127 / 3.5)
        return np.clip(np.rint(values), -127, 127).astype(np.int8).tobytes()
    if len(shape) == 2:
        return encode(random.standard_normal(shape, np.float32) * np.float32(DEVIATION), dtype)
    return encode(np.full(shape, 1 if ".ln_" in name and name.endswith("weight") else 0, np.float32), dtype)


def write_tensors(path: pathlib.Path, tensors: dict[str, tuple[str, tuple[int, ...]]], seed: int) -> None:
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, (dtype, shape) in tensors.items():
            file.write(tensor_bytes(name, dtype, shape, random))


def copy_tokenizer(source: pathlib.Path, target: pathlib.Path) -> None:
    copied = [name for name in TOKENIZER_FILES if (source / name).exists()]
    if "tokenizer.json" not in copied and not {"vocab.json", "merges.txt"} <= set(copied):
        raise SystemExit(f"{source}: holds neither tokenizer.json nor vocab.json and merges.txt")
    for name in copied:
        shutil.copyfile(source / name, target / name)


def main(argv: list[str]) -> None:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    config = make_config(args)
    if args.tokenizer:
        copy_tokenizer(args.tokenizer, args.out)
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_tensors(args.out / "model.safetensors", plan(config, args.dtype), args.seed)
    count = sum(math.prod(shape) for shape in shapes(config).values())
    print(f"{args.out}: {count:,} parameters, {args.dtype}, {args.positions} positions")


if __name__ == "__main__":
    main(sys.argv[1:])
