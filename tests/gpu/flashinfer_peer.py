"""FlashInfer on the shapes of precis-gpu-bench, for torch_peers.py --flashinfer. Its FA3 kernels take no ALiBi; its FA2 kernels do."""
import sys

import torch
from peer_shapes import HEAD_DIM, HEADS, TOKENS

PAGE = 16
WORKSPACE_BYTES = 256 << 20


def measure(peers, lengths):
    """Adds records to `peers`; what FlashInfer refuses or cannot compile is said and left out."""
    import flashinfer  # pylint: disable=import-outside-toplevel  # optional: compiles kernels with nvcc as they are first called
    workspace = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device='cuda')
    for positions in ('NONE', 'ALIBI'):
        for backend in ('fa2', 'fa3') if positions == 'NONE' else ('fa2',):
            for length in lengths:
                prefill(peers, flashinfer, workspace, backend, positions, length)
        for sequences in (1, 16, 64, 256):
            decode(peers, flashinfer, workspace, positions, sequences)


def name_of(backend, positions):
    return f'FlashInfer {backend}' + (' alibi' if positions == 'ALIBI' else '')


def bf16(*shape):
    return torch.randn(*shape, device='cuda', dtype=torch.bfloat16)


def prefill(peers, flashinfer, workspace, backend, positions, length):
    """Causal attention over contiguous ragged batches of 16,384 tokens in all."""
    q, k, v = (bf16(TOKENS, HEADS, HEAD_DIM) for _ in range(3))
    starts = torch.arange(0, TOKENS + 1, length, device='cuda', dtype=torch.int32)
    try:
        wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace, 'NHD', backend=backend)
        wrapper.plan(starts, starts, HEADS, HEADS, HEAD_DIM, causal=True, pos_encoding_mode=positions, q_data_type=torch.bfloat16)
        wrapper.run(q, k, v)
    except Exception as error:  # pylint: disable=broad-except  # a refusal is a result too
        print(f'{name_of(backend, positions)} at {length}: {type(error).__name__}: {str(error)[-300:]}', file=sys.stderr)
        return
    rate = 4 * TOKENS * length * HEADS * HEAD_DIM / 2 * 1e-6
    peers.add('attention forward', name_of(backend, positions), str(length), 'TFLOP/s', lambda: wrapper.run(q, k, v), rate)


def decode(peers, flashinfer, workspace, positions, sequences, context=900):
    """One query a sequence over a paged cache whose pages lie in random order; several caches in turn, so that they do not stay in L2."""
    pages = (context + PAGE - 1) // PAGE
    copies = max(1, min(16, 256 // sequences))
    caches = [bf16(sequences * pages, 2, PAGE, HEADS, HEAD_DIM) for _ in range(copies)]
    q = bf16(sequences, HEADS, HEAD_DIM)
    starts = torch.arange(0, sequences * pages + 1, pages, device='cuda', dtype=torch.int32)
    order = torch.randperm(sequences * pages, device='cuda').to(torch.int32)
    last = torch.full((sequences,), context - (pages - 1) * PAGE, device='cuda', dtype=torch.int32)
    try:
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, 'NHD')
        wrapper.plan(starts, order, last, HEADS, HEADS, HEAD_DIM, PAGE, pos_encoding_mode=positions, q_data_type=torch.bfloat16, data_type=torch.bfloat16)
        wrapper.run(q, caches[0])
    except Exception as error:  # pylint: disable=broad-except
        print(f'FlashInfer decode {positions}: {type(error).__name__}: {str(error)[-300:]}', file=sys.stderr)
        return
    calls = iter(range(1 << 30))
    peers.add('paged decode, time', name_of('decode', positions), f'{sequences} x {context}', 'us',
              lambda: wrapper.run(q, caches[next(calls) % copies]), 0, calls=copies * (2 if copies > 1 else 5))
