"""precis-finetune as a user runs it: the whole circle (train, convert to ALiBi, serve, summarise)."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import BUILD, ROOT
from finetune_runs import data, finetune, metrics, row, write_rows  # noqa: F401
from precis_client import GenerationOptions, Request, SummarizerClient
from safetensors.numpy import load_file
from server_process import ServerProcess
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def learned(data, tmp_path_factory):
    """A model with learned positions, from scratch, that knows its task."""
    out = tmp_path_factory.mktemp("runs") / "learned"
    finetune(out, f"--new-model={data}/config.json", "--train-tokenizer=400", f"--python={sys.executable}", f"--data={data}/train.jsonl",
             f"--eval-data={data}/held_out.jsonl", "--summary-tokens=24", "--batch-tokens=1024", "--max-steps=260", "--rate=4e-3", "--dropout=0",
             "--document-weight=0.1", "--eval-every=65", "--checkpoint-every=0", "--sample-every=130", "--samples=1")
    return out


@pytest.fixture(scope="module")
def alibi(data, learned):
    out = learned.parent / "alibi"
    finetune(out, f"--model={learned}/last", "--positions=alibi", f"--data={data}/train.jsonl", f"--eval-data={data}/held_out.jsonl",
             "--summary-tokens=24", "--batch-tokens=1024", "--max-steps=70", "--rate=2e-3", "--warmup=1", "--dropout=0", "--document-weight=0.1",
             "--eval-every=1", "--checkpoint-every=0")
    return out


def held_out_losses(out):
    return [line["eval/loss_on_summaries"] for line in metrics(out) if "eval/loss_on_summaries" in line]


def test_a_converted_model_recovers(learned, alibi):
    before, losses = held_out_losses(learned)[-1], held_out_losses(alibi)
    assert losses[0] > 2 * before + 0.05, "taking the positions away was felt"
    assert losses[-1] < 1.3 * before + 0.02, "and is made good"
    weights = load_file(alibi / "last/model.safetensors")
    assert not any(name.endswith("wpe.weight") for name in weights)
    assert json.loads((alibi / "last/config.json").read_text())["alibi"] is True


def test_the_result_is_served_by_every_backend(server_binary, learned, alibi):
    options = GenerationOptions(max_new_tokens=24)
    right = {}
    with ServerProcess(server_binary, f"--model=news={learned}/best", f"--model=news={alibi}/best", "--kv-cache-bytes=8MiB") as server:
        with SummarizerClient(server.wait_ready().address) as client:
            for backend in ("standard", "flash", "standard_alibi", "flash_alibi"):
                rows = [row(seed) for seed in range(2000, 2012)]
                texts = [client.summarize(Request(r["article"], backend=backend, options=options), timeout=60).text for r in rows]
                right[backend] = sum(text == r["highlights"] for text, r in zip(texts, rows))
    assert min(right.values()) >= 10, right


def test_an_int8_copy_is_served_and_stays_the_same_when_copied_again(server_binary, learned, tmp_path):
    quantize = [str(BUILD / "runtime/precis-quantize"), f"--model={learned}/best", f"--out={tmp_path}/int8"]
    run = subprocess.run(quantize, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and "the matrices are off by 0." in run.stdout, run.stdout + run.stderr
    again = subprocess.run([quantize[0], f"--model={tmp_path}/int8", f"--out={tmp_path}/again"], capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "off by 0.00%" in again.stdout
    first, second = load_file(tmp_path / "int8/model.safetensors"), load_file(tmp_path / "again/model.safetensors")
    for name, values in first.items():
        assert np.array_equal(values, second[name]) if values.dtype == np.int8 else np.allclose(values, second[name], rtol=1e-6), name
    refused = subprocess.run(quantize, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "exists already" in refused.stderr
    rows = [row(seed) for seed in range(2000, 2012)]
    with ServerProcess(server_binary, f"--model=news={tmp_path}/int8", "--kv-cache-bytes=8MiB") as server:
        with SummarizerClient(server.wait_ready().address) as client:
            texts = [client.summarize(Request(r["article"], options=GenerationOptions(max_new_tokens=24)), timeout=60).text for r in rows]
    assert sum(text == r["highlights"] for text, r in zip(texts, rows)) >= 10


def test_checkpoints_are_what_transformers_reads(learned, alibi):
    for out, extra in ((learned, 1), (alibi, 0)):
        weights = load_file(out / "last/model.safetensors")
        assert len(weights) == 1 + extra + 2 * 12 + 2
        assert weights["transformer.h.0.attn.c_attn.weight"].shape == (64, 192)


# Reads {"folder", "alibi", "prompts": token ids, "steps"} and answers with greedy tokens by transformers; ALiBi as runtime/training/README.md says.
TRANSFORMERS = """
import json, sys, torch
from transformers import GPT2LMHeadModel
from reference_gpt2 import alibi_slopes
job = json.load(sys.stdin)
model, report = GPT2LMHeadModel.from_pretrained(job["folder"], attn_implementation="eager", output_loading_info=True)
assert not report["unexpected_keys"] and set(report["missing_keys"]) == ({"transformer.wpe.weight"} if job["alibi"] else set()), report
if job["alibi"]:
    model.transformer.wpe.weight.data.zero_()
answers = []
for tokens in job["prompts"]:
    end = len(tokens) + job["steps"]
    while len(tokens) < end and (len(tokens) == 0 or tokens[-1] != model.config.eos_token_id):
        n, mask = len(tokens), None
        if job["alibi"]:
            slopes = torch.tensor(alibi_slopes(model.config.n_head), dtype=model.dtype)
            distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
            mask = torch.where(distance >= 0, -slopes[:, None, None] * distance, torch.finfo(model.dtype).min)[None]
        tokens = tokens + [int(model(torch.tensor([tokens]), attention_mask=mask).logits[0, -1].argmax())]
    answers.append(tokens)
print(json.dumps(answers))
"""


@pytest.mark.parametrize("kind", ["learned", "alibi"])
def test_transformers_loads_the_result_and_summarises_the_same(server_binary, learned, alibi, kind):
    python = os.environ.get("PRECIS_TEST_TRANSFORMERS_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch, transformers"], capture_output=True).returncode:
        pytest.skip("transformers is not installed (it is large): PRECIS_TEST_TRANSFORMERS_PYTHON names a Python that has tests/golden/requirements.txt")
    folder = {"learned": learned, "alibi": alibi}[kind] / "best"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    around = json.loads((folder / "precis.json").read_text())
    rows = [row(seed) for seed in range(2000, 2004)]
    prompts = [tokenizer.encode(around["prompt_prefix"] + r["article"] + around["prompt_suffix"]).ids for r in rows]
    job = {"folder": str(folder), "alibi": kind == "alibi", "prompts": prompts, "steps": 24}
    run = subprocess.run([python, "-c", TRANSFORMERS], input=json.dumps(job), capture_output=True, text=True, timeout=300,
                         env={**os.environ, "PYTHONPATH": str(ROOT / "tests/golden")})
    assert run.returncode == 0, run.stderr
    theirs = [tokenizer.decode(tokens[len(prompt):]).strip() for tokens, prompt in zip(json.loads(run.stdout), prompts)]
    with ServerProcess(server_binary, f"--model=news={folder}", "--kv-cache-bytes=8MiB") as server:
        with SummarizerClient(server.wait_ready().address) as client:
            ours = [client.summarize(Request(r["article"], options=GenerationOptions(max_new_tokens=24)), timeout=60).text.strip() for r in rows]
    assert theirs == ours


def test_sample_summaries_are_written_while_training(learned):
    samples = (learned / "samples.txt").read_text()
    assert samples.count("step 130, document 0\n") == 1 and samples.count("step 260, document 0\n") == 1
    document = row(1000)["highlights"]
    assert samples.count(f"  reference: {document}\n") == 2
    assert f"  model:     {document}\n" in samples.split("step 260")[1], "by the end the model knows its task"
