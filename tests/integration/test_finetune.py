"""precis-finetune as a user runs it: the whole circle (train, convert to ALiBi, serve, summarise), interruptions at random moments, full disks, reports."""

import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from conftest import BUILD, FULL, ROOT
from precis_client import GenerationOptions, Request, SummarizerClient
from safetensors.numpy import load_file
from server_process import ServerProcess

FINETUNE = BUILD / "runtime/precis-finetune"
CONFIG = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 64, "n_positions": 96}
TOPICS = ("bridge", "council", "market", "river", "traffic", "winter", "garden", "harbour")
FILLER = "and then people said that it was so because of what they had seen there on that day with others who came too".split()


def row(seed):
    """A document about a topic, and the one sentence that belongs to the topic."""
    draw = random.Random(seed)
    topic = draw.choice(TOPICS)
    words = draw.choices(FILLER, k=draw.randint(8, 20))
    words.insert(draw.randint(0, len(words)), topic)
    return {"article": " ".join(words) + ".", "highlights": f"This is about the {topic} of the town."}


def write_rows(path, seeds):
    path.write_text("".join(json.dumps(row(seed)) + "\n" for seed in seeds))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_rows(folder / "train.jsonl", range(400))
    write_rows(folder / "held_out.jsonl", range(1000, 1040))
    return folder


def command(out, *flags):
    return [str(FINETUNE), f"--out={out}", "--threads=2", *map(str, flags)]


def finetune(out, *flags, expect=0, **kwargs):
    run = subprocess.run(command(out, *flags), capture_output=True, text=True, timeout=240, **kwargs)
    assert run.returncode == expect, run.stdout + run.stderr
    return run.stderr


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


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


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
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (it is large); tests/golden/requirements.txt has it")
    model, report = transformers.GPT2LMHeadModel.from_pretrained(str(learned / "last"), output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_reports(learned, data):
    xml.etree.ElementTree.parse(learned / "loss.svg")
    assert "model: " in (learned / "samples.txt").read_text()
    if shutil.which("promtool"):
        check = subprocess.run(["promtool", "check", "metrics"], stdin=open(learned / "metrics.prom"), capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr
    (events,) = (learned / "events").iterdir()
    scalars = [(event.step, value.tag, value.simple_value) for event in read_events(events.read_bytes()) for value in event.summary.value]
    losses = {step: value for step, tag, value in scalars if tag == "train/loss"}
    for line in metrics(learned):
        assert losses[line["step"]] == np.float32(line["train/loss"])


def read_events(data):
    """TFRecord framing by hand, messages by protobuf with the fields of tensorboard's event.proto."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto3")
    value = file.message_type.add(name="Value")
    value.field.add(name="tag", number=1, type=9, label=1)
    value.field.add(name="simple_value", number=2, type=2, label=1)
    summary = file.message_type.add(name="Summary")
    summary.field.add(name="value", number=1, type=11, label=3, type_name=".Value")
    event = file.message_type.add(name="Event")
    event.field.add(name="wall_time", number=1, type=1, label=1)
    event.field.add(name="step", number=2, type=3, label=1)
    event.field.add(name="file_version", number=3, type=9, label=1)
    event.field.add(name="summary", number=5, type=11, label=1, type_name=".Summary")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))
    events, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        events.append(factory.FromString(data[at + 12:at + 12 + length]))
        at += 16 + length
    assert at == len(data) and events[0].file_version == "brain.Event:2"
    return events


def test_weights_and_biases_offline(learned):
    pytest.importorskip("wandb")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    report = [sys.executable, str(ROOT / "runtime/training/report_wandb.py"), str(learned), "--mode=offline"]
    for _ in range(2):  # a second report goes on where the first ended
        run = subprocess.run(report, capture_output=True, text=True, timeout=120, env=environment)
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"reported to step {metrics(learned)[-1]['step']} (offline)" in run.stdout
    assert list((learned / "wandb").glob("offline-run-*/run-*.wandb"))


# ---------------------------------------------------------------- interruptions

STEPS = 40


def small_run(data, *flags, rows=None):
    """A second or two. Later flags win."""
    return (f"--new-model={data}/small.json", f"--tokenizer={data}/tokenizer", f"--data={rows or data / 'train.jsonl'}", f"--eval-data={data}/held_out.jsonl",
            f"--max-steps={STEPS}", "--batch-tokens=512", "--accumulate=2", "--dropout=0.1", "--checkpoint-every=3", "--eval-every=10", "--rate=1e-3",
            "--summary-tokens=24", "--shard-documents=50", *flags)


@pytest.fixture(scope="module")
def small(data, learned):
    shutil.copytree(learned / "tokenizer", data / "tokenizer")
    (data / "small.json").write_text(json.dumps({**CONFIG, "n_embd": 32}))
    return data


@pytest.fixture(scope="module")
def uninterrupted(small):
    out = small / "whole"
    begin = time.monotonic()
    finetune(out, *small_run(small))
    (small / "seconds").write_text(str(time.monotonic() - begin))
    return out


def numbers(out):
    """What a curve is made of, without times."""
    return [{name: value for name, value in line.items() if not name.startswith(("speed/", "memory/"))} for line in metrics(out)]


def assert_same_run(out, other):
    assert numbers(out) == numbers(other)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (out / "last" / name).read_bytes() == (other / "last" / name).read_bytes()


def test_killed_at_random_it_goes_on_bitwise(small, uninterrupted):
    kills = 100 if FULL else 4
    whole = float((small / "seconds").read_text())
    draw, killed, round_ = random.Random(5), 0, 0
    while killed < kills:
        out = small / f"killed-{round_}"
        round_ += 1
        while True:
            process = subprocess.Popen(command(out, *small_run(small, "--resume")), stderr=subprocess.PIPE, text=True)
            try:
                process.wait(draw.uniform(0.1, 1.1) * whole)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            error = process.communicate()[1]
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL, error
        assert_same_run(out, uninterrupted)
        shutil.rmtree(out)


def test_a_signal_leaves_a_checkpoint_of_the_step(small, uninterrupted):
    out = small / "signalled"
    process = subprocess.Popen(command(out, *small_run(small)), stderr=subprocess.PIPE, text=True)
    while not (out / "last").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "stopped by a signal after step" in error
    step = json.loads((out / "last/trainer_state.json").read_text())["step"]
    assert f"after step {step}" in error and metrics(out)[-1]["step"] == step
    finetune(out, *small_run(small, "--resume", "--threads=1"))
    assert_same_run(out, uninterrupted)


def last_state(out):
    load_file(out / "last/model.safetensors"), load_file(out / "last/optimizer.safetensors")
    return json.loads((out / "last/trainer_state.json").read_text())["step"]


def test_a_full_disk_keeps_the_last_checkpoint(small, uninterrupted):
    out = small / "full"
    process = subprocess.Popen(command(out, *small_run(small)), stderr=subprocess.DEVNULL)
    while not (out / "last").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    step = last_state(out)
    error = finetune(out, *small_run(small, "--resume"), expect=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)))
    assert "cannot be written: File too large" in error and "The last good checkpoint is" in error
    assert last_state(out) == step
    finetune(out, *small_run(small, "--resume"))
    assert_same_run(out, uninterrupted)


def test_divergence_keeps_the_last_checkpoint(small):
    out = small / "diverged"
    error = finetune(out, *small_run(small, "--rate=10", "--weight-decay=10", "--clip=0", "--warmup=0", "--schedule=constant", "--checkpoint-every=1"), expect=1)
    assert "training diverged" in error and "The last good checkpoint is" in error
    assert last_state(out) >= 1


def test_what_does_not_fit_is_refused(small, uninterrupted, tmp_path):
    assert "holds a run already" in finetune(uninterrupted, *small_run(small), expect=1)
    assert "--rate was" in finetune(uninterrupted, *small_run(small, "--resume", "--rate=2e-3"), expect=1)
    other = finetune(uninterrupted, *small_run(small, "--resume", rows=small / "held_out.jsonl"), expect=1)
    assert "the data (or the tokenizer) is not what the run began with" in other
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(row(1)) + "\n{\"article\": 5}\n")
    assert "bad.jsonl:2: \"article\" must be a string" in finetune(tmp_path / "a", *small_run(small, rows=bad), expect=1)
    assert "1 bad rows left out" in finetune(tmp_path / "b", *small_run(small, "--skip-bad-rows", "--max-steps=1", rows=bad))
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**CONFIG, "vocab_size": 300}))
    assert "they don't belong together" in finetune(tmp_path / "c", *small_run(small, f"--new-model={wrong}"), expect=1)


def test_on_the_simt_device_it_follows_the_cpu(small, tmp_path):
    few = write_rows(tmp_path / "few.jsonl", range(6))
    (tmp_path / "simt.json").write_text(json.dumps({**CONFIG, "n_layer": 1}))
    losses = {}
    for device in ("cpu", "simt"):
        flags = small_run(small, f"--new-model={tmp_path}/simt.json", f"--device={device}", "--positions=alibi", "--max-steps=2", "--batch-tokens=100",
                          "--accumulate=1", "--eval-every=0", rows=few)
        finetune(tmp_path / device, *[flag for flag in flags if not flag.startswith("--eval-data")])
        losses[device] = [line["train/loss"] for line in metrics(tmp_path / device)]
    assert np.allclose(losses["cpu"], losses["simt"], rtol=1e-4)


def test_early_stopping_keeps_the_best(small, tmp_path):
    few = write_rows(tmp_path / "few.jsonl", range(4))
    out = tmp_path / "early"
    error = finetune(out, *small_run(small, "--max-steps=400", "--eval-every=5", "--patience=2", "--rate=1e-2", "--checkpoint-every=0", rows=few))
    assert "stopped early" in error
    best = json.loads((out / "best/trainer_state.json").read_text())["step"]
    losses = {line["step"]: line["eval/loss"] for line in metrics(out) if "eval/loss" in line}
    assert losses[best] == min(losses.values()) and max(losses) < 400
