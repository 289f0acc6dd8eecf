#!/usr/bin/env python3
"""Writes the seeds of safetensors_fuzz, config_fuzz and checkpoint_fuzz (needs numpy)."""

import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "golden"))
import synthetic_model  # noqa: E402

CONFIG = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 4, "n_inner": 6, "n_positions": 5, "vocab_size": 9}


def safetensors(tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def tensors(config: dict, dtype: str, prefix: str = "") -> dict:
    result = {}
    for name, shape in synthetic_model.shapes(config).items():
        full = name if name == "lm_head.weight" else prefix + name
        if dtype == "I8" and len(shape) == 2:
            values, scale = synthetic_model.int8_tensor(name, shape)
            result[full] = ("I8", shape, values.tobytes())
            result[full + ".scale"] = ("F32", scale.shape, scale.tobytes())
        elif dtype == "F16":
            result[full] = ("F16", shape, synthetic_model.float_tensor(name, shape).astype("<f2").tobytes())
        elif dtype == "BF16":
            bits = synthetic_model.float_tensor(name, shape).view("<u4") >> 16
            result[full] = ("BF16", shape, bits.astype("<u2").tobytes())
        else:
            result[full] = ("F32", shape, synthetic_model.float_tensor(name, shape).tobytes())
    return result


def folder(config: dict, parts: dict, index: bool = False) -> bytes:
    config_text = json.dumps(config).encode()
    weight_map = {name: "shard.safetensors" for name in parts}
    index_text = json.dumps({"weight_map": weight_map}).encode() if index else b""
    return struct.pack("<HH", len(config_text), len(index_text)) + config_text + index_text + safetensors(parts)


def write(target: str, name: str, data: bytes) -> None:
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> None:
    alibi = {**CONFIG, "alibi": True}
    untied = {**CONFIG, "tie_word_embeddings": False}
    write("checkpoint_fuzz", "f32", folder(CONFIG, tensors(CONFIG, "F32", "transformer.")))
    write("checkpoint_fuzz", "f16_untied", folder(untied, tensors(untied, "F16")))
    write("checkpoint_fuzz", "bf16_index", folder(CONFIG, tensors(CONFIG, "BF16"), index=True))
    write("checkpoint_fuzz", "i8_alibi", folder(alibi, tensors(alibi, "I8", "transformer.")))
    write("safetensors_fuzz", "model", safetensors(tensors({**CONFIG, "n_layer": 1}, "I8")))
    small = {"a": ("F32", (2,), b"12345678"), "b": ("I8", (0, 3), b""), "c": ("BF16", (), b"xx")}
    whole = safetensors(small)
    write("safetensors_fuzz", "small", whole)
    write("safetensors_fuzz", "truncated", whole[:-3])
    write("safetensors_fuzz", "oversized", whole + b"more")
    write("safetensors_fuzz", "overlap", whole.replace(b"[8,8]", b"[7,7]"))
    write("safetensors_fuzz", "lying_length", b"\xff" * 8 + whole[8:])
    write("safetensors_fuzz", "huge_shape", whole.replace(b"[2]", b"[9223372036854775807,4]"))
    write("safetensors_fuzz", "deep", struct.pack("<Q", 400) + b"[" * 400)
    write("config_fuzz", "small.json", json.dumps(CONFIG).encode())
    every = {**untied, "alibi": True, "activation_function": "gelu", "layer_norm_epsilon": 1e-5, "eos_token_id": [3],
             "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False,
             "architectures": ["GPT2LMHeadModel"], "task_specific_params": {"text-generation": {"max_length": 50}}}
    write("config_fuzz", "every.json", json.dumps(every).encode())
    write("config_fuzz", "wrong_types.json", json.dumps({**CONFIG, "n_layer": "2", "n_embd": 1e30}).encode())
    write("config_fuzz", "deep.json", b'{"a":' + b"[" * 300)
    write("config_fuzz", "precis.json", b'{"prompt_prefix": "Article: ", "prompt_suffix": "\\nSummary:"}')


if __name__ == "__main__":
    main()
