#!/usr/bin/env python3
"""PyTorch's attention kernels on the shapes of precis-gpu-bench, and both sides in one table.

Run both in one session on one GPU:

  precis-gpu-bench --json=precis.json
  torch_peers.py --json=peers.json --ours=precis.json

Peers: scaled_dot_product_attention with each backend (math is what `standard` does), with ALiBi as a bias tensor where a
backend takes one, FlexAttention compiled, with and without an ALiBi score function, and, where it is installed, FlashInfer
(flashinfer_peer.py). Floating-point operations are counted as the FlashAttention papers do:
4 * tokens * length * heads * head size / 2.
"""
import argparse
import json
import math
import sys

import flashinfer_peer
import torch
import torch.nn.functional as functional
from peer_shapes import HEAD_DIM, HEADS, TOKENS
from torch.nn.attention import SDPBackend, sdpa_kernel

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
QUICK_LENGTHS = (1024, 4096, 16384)
BACKENDS = (
    ('math', SDPBackend.MATH),
    ('flash', SDPBackend.FLASH_ATTENTION),
    ('cuDNN', SDPBackend.CUDNN_ATTENTION),
    ('efficient', SDPBackend.EFFICIENT_ATTENTION),
)


def alibi_slopes(heads):
    """Slopes of Press et al. 2022 for any number of heads."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * k / power) for k in range(1, power + 1)]
    return slopes + [2 ** (-4 * k / power) for k in range(1, 2 * power, 2)][: heads - power]


def quartiles_us(call, calls, repeats):
    """Microseconds of one call, quartiles and median: a CUDA graph of several between events, or plain calls where capture fails."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                call()
        run = graph.replay
    except RuntimeError:
        torch.cuda.synchronize()

        def run():
            for _ in range(calls):
                call()
    times = []
    for i in range(repeats + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(1e3 * begin.elapsed_time(end) / calls)
    times.sort()
    return [times[len(times) * i // 4] for i in (1, 2, 3)]


class Peers:
    """Collects records in the form of precis-gpu-bench."""

    def __init__(self, args):
        self.args = args
        self.records = []

    def add(self, table, row, column, unit, call, rate, calls=5):
        try:
            low, us, high = quartiles_us(call, calls, self.args.repeats)
        except Exception as error:  # a backend that refuses a shape is a result too
            print(f'{row} at {column}: {type(error).__name__}: {str(error)[:100]}', file=sys.stderr)
            torch.cuda.synchronize()
            return
        self.records.append(dict(table=table, row=row, column=column, unit=unit, value=rate / us if unit != 'us' else us, us=us, low_us=low,
                                 high_us=high, note=''))

    def ceilings(self):
        x = torch.randn(1 << 30, device='cuda', dtype=torch.bfloat16)
        y = torch.empty_like(x)
        self.add('ceilings', 'PyTorch copy (read + write)', '2 GiB', 'TB/s', lambda: y.copy_(x), 4 * x.numel() * 1e-6, 3)
        a, b = (torch.randn(8192, 8192, device='cuda', dtype=torch.bfloat16) for _ in range(2))
        self.add('ceilings', 'PyTorch matrix product 8192^3, bf16', '8192', 'TFLOP/s', lambda: a @ b, 2 * 8192**3 * 1e-6, 3)

    def forward(self):
        slopes = torch.tensor(alibi_slopes(HEADS), device='cuda')
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        flex = torch.compile(flex_attention, dynamic=False)
        for length in QUICK_LENGTHS if self.args.quick else LENGTHS:
            batch = TOKENS // length
            q, k, v = (torch.randn(batch, HEADS, length, HEAD_DIM, device='cuda', dtype=torch.bfloat16) for _ in range(3))
            rate = 4 * batch * length * length * HEADS * HEAD_DIM / 2 * 1e-6
            calls = {}

            def sdpa(backend, **options):
                def call():
                    with sdpa_kernel(backend):
                        return functional.scaled_dot_product_attention(q, k, v, **options)
                return call

            for name, backend in BACKENDS:
                if name != 'math' or length <= 4096:
                    calls[f'PyTorch SDPA {name}'] = sdpa(backend, is_causal=True)
            if length <= 8192:
                position = torch.arange(length, device='cuda')
                distance = position[None, :] - position[:, None]
                bias = (slopes[:, None, None] * distance).masked_fill(distance > 0, float('-inf')).to(torch.bfloat16)
                bias = bias[None].expand(batch, HEADS, length, length)
                for name, backend in BACKENDS[2:]:
                    calls[f'PyTorch SDPA {name} + bias alibi'] = sdpa(backend, attn_mask=bias)
            if not self.args.no_flex and length <= (4096 if self.args.quick else 16384):
                mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length, device='cuda')
                calls['FlexAttention'] = lambda mask=mask: flex(q, k, v, block_mask=mask)
                calls['FlexAttention alibi'] = lambda mask=mask: flex(
                    q, k, v, score_mod=lambda score, b, h, i, j: score + slopes[h] * (j - i), block_mask=mask)
            with torch.no_grad():
                for row, call in calls.items():
                    self.add('attention forward', row, str(length), 'TFLOP/s', call, rate)

    def backward(self):
        """Forward and backward pass together: 3.5 times the forward pass's operations."""
        slopes = torch.tensor(alibi_slopes(HEADS), device='cuda')
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        flex = torch.compile(flex_attention, dynamic=False)
        for length in (1024, 4096, 16384):
            batch = TOKENS // length
            q, k, v = (torch.randn(batch, HEADS, length, HEAD_DIM, device='cuda', dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
            gradient = torch.randn_like(q)
            rate = 3.5 * 4 * batch * length * length * HEADS * HEAD_DIM / 2 * 1e-6

            def sdpa(backend):
                with sdpa_kernel(backend):
                    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

            calls = {'PyTorch SDPA flash': lambda: sdpa(SDPBackend.FLASH_ATTENTION), 'PyTorch SDPA cuDNN': lambda: sdpa(SDPBackend.CUDNN_ATTENTION)}
            if not self.args.no_flex and not self.args.quick and length <= 4096:
                mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length, device='cuda')
                calls['FlexAttention alibi'] = lambda mask=mask: flex(
                    q, k, v, score_mod=lambda score, b, h, i, j: score + slopes[h] * (j - i), block_mask=mask)
            for row, call in calls.items():
                self.add('attention forward + backward', row, str(length), 'TFLOP/s', lambda call=call: torch.autograd.grad(call(), (q, k, v), gradient), rate)


def print_tables(records):
    tables = list(dict.fromkeys(r['table'] for r in records))
    for table in tables:
        mine = [r for r in records if r['table'] == table]
        columns = list(dict.fromkeys(r['column'] for r in mine))
        print(f'\n{table:<44}' + ''.join(f'{c:>10}' for c in columns))
        for row in dict.fromkeys(r['row'] for r in mine):
            cells = {r['column']: r for r in mine if r['row'] == row}
            print(f'{row:<44}' + ''.join(f'{cells[c]["value"]:>10.4g}' if c in cells else f'{"-":>10}' for c in columns)
                  + '  ' + next(iter(cells.values()))['unit'])


def print_ratios(records, ours):
    """Our rows over each peer's, with ALiBi against with ALiBi, without against without."""
    table = [r for r in records if r['table'] == 'attention forward']
    columns = list(dict.fromkeys(r['column'] for r in table))
    value = {(r['row'], r['column']): r['value'] for r in table}
    peers = list(dict.fromkeys(r['row'] for r in table if r['row'] not in ours))
    for row in dict.fromkeys(r['row'] for r in table if r['row'] in ours):
        print(f'\n{"ratio of " + row + " to":<44}' + ''.join(f'{c:>10}' for c in columns))
        for peer in peers:
            if ('alibi' in peer) != ('alibi' in row):
                continue
            cells = [value[row, c] / value[peer, c] if (row, c) in value and (peer, c) in value else None for c in columns]
            print(f'{peer:<44}' + ''.join(f'{x:>9.2f}x' if x else f'{"-":>10}' for x in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', help='write the records here')
    parser.add_argument('--ours', help='JSON of precis-gpu-bench, to be set beside the peers')
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--quick', action='store_true', help='three lengths; FlexAttention forward only, to 4096')
    parser.add_argument('--no-flex', action='store_true', help='skip FlexAttention, which compiles for a minute')
    parser.add_argument('--flashinfer', action='store_true', help='FlashInfer too; it compiles its kernels, for minutes, on the first run')
    args = parser.parse_args()
    torch.manual_seed(0)
    peers = Peers(args)
    peers.ceilings()
    peers.forward()
    if args.flashinfer:
        flashinfer_peer.measure(peers, QUICK_LENGTHS if args.quick else LENGTHS)
    peers.backward()
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(dict(gpu=torch.cuda.get_device_name(), torch=torch.__version__, records=peers.records), file, indent=1)
    ours = []
    if args.ours:
        with open(args.ours, encoding='utf-8') as file:
            ours = json.load(file)['records']
    records = ours + peers.records
    print_tables(records)
    print_ratios(records, {r['row'] for r in ours})


if __name__ == '__main__':
    main()
