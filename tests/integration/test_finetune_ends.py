"""precis-finetune does not always come to its end: killed at random, signals, full disks, divergence, what does not fit together."""

import json
import random
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import FULL
from finetune_runs import CONFIG, command, data, finetune, metrics, row, small, small_run, write_rows  # noqa: F401
from safetensors.numpy import load_file


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
