#!/usr/bin/env python3
"""Writes attention/attention.json and attention/attention.bf16: PyTorch's math attention in bfloat16, the yardstick of the gate for half precision
(tests/kernels/attention_gate_test.cc). Needs torch (requirements.txt); one thread, so that the sums have one order.

Queries, keys and values come from synthetic_model.hashes and are bfloat16 numbers exactly: k = ((h >> 57) + (h >> 40 & 127) - 127) / 64,
queries four times that. Torch's math attention computes in float32 inside and rounds at the end. With ALiBi its mask would have to be
bfloat16, which rounds a bias of 100 to a multiple of 1/2; that would be a lax yardstick, so the bias is given in float32.
"""

import json
from pathlib import Path

import numpy as np
import torch
from synthetic_model import hashes
from torch.nn.attention import SDPBackend, sdpa_kernel

DATA = Path(__file__).parent / "attention"
HEAD_DIM = 64
# The tiles of the kernels are 16, 64 and 128 keys long.
SHORT = [1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129]
LONG = [1023, 1024, 1500]
CASES = [(heads, length) for heads in (12, 16, 20, 25) for length in SHORT] + [(h, n) for h in (12, 25) for n in LONG]


def kept_rows(length: int) -> list[int]:
    return sorted({0, length // 2, max(0, length - 2), length - 1})


def values(name: str, length: int, heads: int) -> torch.Tensor:
    h = hashes(name, length * heads * HEAD_DIM)
    k = (h >> np.uint64(57)).astype(np.int64) + ((h >> np.uint64(40)) & np.uint64(127)).astype(np.int64) - 127
    return torch.from_numpy(k.astype(np.float64) / 64).reshape(length, heads, HEAD_DIM).transpose(0, 1)


def slopes(heads: int) -> list[float]:
    """Press, Smith and Lewis (2022), as their code has it for any number of heads."""
    def of_power(n):
        return [2 ** (-8 * (i + 1) / n) for i in range(n)]
    power = 2 ** (heads.bit_length() - 1)
    return of_power(power) + of_power(2 * power)[0::2][:heads - power]


def math_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alibi: bool) -> torch.Tensor:
    heads, length, _ = q.shape
    with sdpa_kernel(SDPBackend.MATH):
        if not alibi:
            return torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        distance = torch.arange(length)[None, :] - torch.arange(length)[:, None]
        bias = torch.tensor(slopes(heads))[:, None, None] * distance
        mask = bias.masked_fill(distance > 0, float("-inf"))[None]
        return torch.nn.functional.scaled_dot_product_attention(
            q[None].float(), k[None].float(), v[None].float(), attn_mask=mask)[0].to(q.dtype)


def main() -> None:
    torch.set_num_threads(1)
    cases, blob = [], bytearray()
    for heads, length in CASES:
        name = f"attention.{heads}.{length}"
        q = values(name + ".query", length, heads) * 4
        k, v = (values(f"{name}.{part}", length, heads) for part in ("keys", "values"))
        q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
        for alibi in (False, True):
            out = math_attention(q, k, v, alibi)[:, kept_rows(length)].transpose(0, 1).contiguous()
            cases.append({"name": name, "heads": heads, "length": length, "alibi": alibi, "rows": kept_rows(length),
                          "offset": len(blob)})
            blob += out.view(torch.uint16).numpy().astype("<u2").tobytes()
    (DATA / "attention.bf16").write_bytes(blob)
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (DATA / "attention.json").write_text(f'{{"torch": "{torch.__version__}", "head_dim": {HEAD_DIM}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} cases, {len(blob)} bytes")


if __name__ == "__main__":
    main()
