"""The whole service on the SIMT device (the GPU's kernels, run by the host): the same tokens as on the CPU, through a real client."""

import subprocess
from pathlib import Path

import pytest
from precis_client import GenerationOptions, Request, SummarizerClient
from server_process import ServerProcess
from tiny_model import article, write_checkpoint

BACKENDS = ("standard", "flash", "standard_alibi", "flash_alibi")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [write_checkpoint(root / name, alibi=alibi, heads=2, width=64) for name, alibi in (("learned", False), ("alibi", True))]


def serve(server_binary, folders, device):
    return ServerProcess(server_binary, *(f"--model=tiny={folder}" for folder in folders), f"--device={device}", "--weights=f32",
                         "--kv-cache-bytes=8MiB")


def tokens(server: ServerProcess) -> dict:
    options = GenerationOptions(max_new_tokens=6, min_new_tokens=6)
    answers = {}
    with SummarizerClient(server.wait_ready().address) as client:
        for backend in BACKENDS:
            requests = [Request(article(words, seed=words), backend=backend, options=options, return_token_ids=True) for words in (3, 30)]
            beams = GenerationOptions(max_new_tokens=6, min_new_tokens=6, num_beams=3)
            requests.append(Request(article(20, seed=1), backend=backend, options=beams, return_token_ids=True))
            answers[backend] = [client.summarize(request, timeout=120).token_ids for request in requests]
    return answers


def test_tokens_are_the_cpus(server_binary, folders):
    with serve(server_binary, folders, "cpu") as server:
        expected = tokens(server)
    with serve(server_binary, folders, "simt") as server:
        assert tokens(server) == expected
        assert server.metric("precis_requests_total", device="simt", attention_backend="flash", grpc_code="OK") == 3


def test_a_device_that_is_not_there_is_a_clear_error(server_binary, folders):
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    run = subprocess.run([server_binary, f"--model=tiny={folders[0]}", "--device=cuda", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "cuda" in (run.stdout + run.stderr).lower()
