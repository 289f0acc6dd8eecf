"""Documents of 16k tokens with flash_alibi: the server's memory grows by the KV cache and by nothing that grows with the square of the length."""

import re
from pathlib import Path

from precis_client import GenerationOptions, Request, SummarizerClient
from server_process import ServerProcess
from tiny_model import article, write_checkpoint

LAYERS, HEADS, WIDTH = 2, 4, 128
TOKENS = 16000
MIB = 1 << 20


def resident(server: ServerProcess, field: str) -> int:
    """VmRSS (now) or VmHWM (peak), in bytes."""
    text = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE).group(1)) << 10


def test_memory_grows_by_the_kv_cache_only(server_binary, tmp_path):
    model = write_checkpoint(tmp_path / "model", alibi=True, layers=LAYERS, heads=HEADS, width=WIDTH)
    options = GenerationOptions(max_new_tokens=4, min_new_tokens=4)
    with ServerProcess(server_binary, f"--model=long={model}", "--prefix-cache=off") as server:
        with SummarizerClient(server.wait_ready().address) as client:
            def summarize(text: str):
                return client.summarize(Request(text, backend="flash_alibi", options=options), timeout=300)
            document = article(TOKENS, seed=1)
            short = summarize(document[:len(document) // 16])  # a whole step's buffers are there after it
            before = resident(server, "VmRSS")
            result = summarize(document)
            grown = resident(server, "VmHWM") - before
            accounting = result.accounting
            print(f"{accounting.prompt_tokens} tokens: KV {accounting.kv_cache_peak_bytes / MIB:.1f} MiB, peak grew by {grown / MIB:.1f} MiB, "
                  f"attention workspace {accounting.attention_workspace_peak_bytes / 1024:.0f} KiB; scores would be "
                  f"{HEADS * accounting.prompt_tokens**2 * 4 / MIB:.0f} MiB")
            assert accounting.prompt_tokens > TOKENS and accounting.truncated_tokens == 0
            # Keys and values of all tokens, f32.
            kv = 2 * LAYERS * WIDTH * 4 * accounting.prompt_tokens
            assert kv <= accounting.kv_cache_peak_bytes <= kv + kv // 50
            # The text, its tokens and huge pages' roundings.
            assert grown <= accounting.kv_cache_peak_bytes + 8 * MIB
            assert accounting.attention_workspace_peak_bytes == short.accounting.attention_workspace_peak_bytes
