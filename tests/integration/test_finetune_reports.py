"""What a run of precis-finetune tells of itself: JSON lines, curves, Prometheus (file and HTTP), TensorBoard, Weights & Biases."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree

import numpy as np
import pytest
from conftest import ROOT
from finetune_runs import STEPS, command, data, finetune, metrics, small, small_run  # noqa: F401


@pytest.fixture(scope="module")
def run(small):
    out = small / "reported"
    finetune(out, *small_run(small))
    return out


def newest(out):
    """Each number's last value."""
    values = {}
    for line in metrics(out):
        values.update(line)
    return values


def samples_of(text):
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))}


def test_json_lines_have_a_line_a_step(run):
    lines = metrics(run)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in lines:
        assert line["speed/tokens_per_second"] > 0 and 0 < line["speed/mfu"] < 1
        assert line["memory/resident_bytes"] > line["memory/device_bytes"] > 0
        assert ("eval/loss" in line) == (line["step"] % 10 == 0)


def test_loss_curves(run):
    svg = xml.etree.ElementTree.parse(run / "loss.svg").getroot()
    lines = [element.get("points").split() for element in svg.iter() if element.tag.endswith("polyline")]
    assert [len(line) for line in lines] == [STEPS, STEPS // 10], "the training loss, and the held-out one"


def test_progress_estimates_the_time_left(small, tmp_path):
    lines = [line for line in finetune(tmp_path / "run", *small_run(small, "--max-steps=4", "--log-every=1")).splitlines() if line.startswith("step ")]
    assert len(lines) == 4
    for line in lines:
        assert "tokens/s" in line and "MFU" in line and "memory" in line and " left " in line
    assert "left 0s" in lines[-1] and "held out" in lines[-1]


def test_prometheus_text(run):
    text = (run / "metrics.prom").read_text()
    if shutil.which("promtool"):
        check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr
    samples, values = samples_of(text), newest(run)
    assert samples["precis_train_step"] == STEPS
    assert samples["precis_train_train_loss"] == pytest.approx(values["train/loss"], rel=1e-8)
    assert samples["precis_train_eval_loss"] == pytest.approx(values["eval/loss"], rel=1e-8)


def scrape(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return answer.read().decode()


def test_a_run_is_scraped_over_http_while_it_trains(small, tmp_path):
    out = tmp_path / "scraped"
    process = subprocess.Popen(command(out, *small_run(small, "--max-steps=100000", "--log-every=1", "--metrics-listen=127.0.0.1:0")), stderr=subprocess.PIPE, text=True)
    try:
        url = process.stderr.readline().split()[1]
        assert url.startswith("http://127.0.0.1:") and url.endswith("/metrics")
        scrape(url)  # before the first step: empty, but an answer
        steps = []
        while len(steps) < 3:
            line = process.stderr.readline()
            assert line, "the run ended"
            if line.startswith("step 1") and line.count("held out"):  # 10, 1xx: the held-out loss stays between evaluations
                assert samples_of(scrape(url))["precis_train_eval_loss"] > 0
            if line.startswith("step "):
                samples = samples_of(scrape(url))
                assert samples["precis_train_step"] >= int(line.split()[1].split("/")[0])
                assert samples["precis_train_train_loss"] > 0 and samples["precis_train_speed_tokens_per_second"] > 0
                steps.append(samples["precis_train_step"])
        assert steps == sorted(steps) and steps[-1] >= 3
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url.replace("/metrics", "/other"), timeout=10)
        taken = url.split("/")[2]
        assert f"can't listen on {taken}" in finetune(tmp_path / "second", *small_run(small, f"--metrics-listen={taken}"), expect=1).replace("127.0.0.1: ", "127.0.0.1:")
        assert "expected host:port" in finetune(tmp_path / "second", *small_run(small, "--metrics-listen=9109"), expect=1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130


def test_tensorboard_reads_the_events(run):
    """By TensorBoard's own reader, which checks every record's checksums."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(run / "events"), size_guidance={SCALARS: 0})
    events.Reload()
    lines = metrics(run)
    assert set(events.Tags()["scalars"]) == set(newest(run)) - {"step"}
    for tag in events.Tags()["scalars"]:
        wanted = [(line["step"], np.float32(line[tag])) for line in lines if tag in line]
        assert [(event.step, np.float32(event.value)) for event in events.Scalars(tag)] == wanted, tag


def test_tensorboard_reads_a_resumed_run_as_one_curve(small, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "resumed"
    process = subprocess.Popen(command(out, *small_run(small, "--log-every=1")), stderr=subprocess.PIPE, text=True)
    while not (line := process.stderr.readline()).startswith("step 5/"):
        assert line
    process.kill()
    process.communicate()
    finetune(out, *small_run(small, "--resume"))
    curve = {}
    for file in sorted((out / "events").iterdir()):
        events = EventAccumulator(str(file))
        events.Reload()
        curve.update((event.step, event.value) for event in events.Scalars("train/loss"))
    assert curve == {line["step"]: np.float32(line["train/loss"]) for line in metrics(out)}
    assert len(list((out / "events").iterdir())) == 2


def wandb_report(out, *flags, timeout=120):
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    return subprocess.run([sys.executable, str(ROOT / "runtime/training/report_wandb.py"), str(out), "--mode=offline", *flags], capture_output=True, text=True,
                          timeout=timeout, env=environment)


def wandb_records(data):
    """The records of an offline file: LevelDB's log format (blocks of 32 KiB; whole records, or pieces) behind a header of 7 bytes."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, last piece
            yield record
            record = b""


def wandb_history(out):
    """Rows by step, of all offline files of the run."""
    from wandb.proto import wandb_internal_pb2

    rows = {}
    for file in (out / "wandb").glob("offline-run-*/run-*.wandb"):
        for data in wandb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("history"):
                row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                rows[row["_step"]] = row
    return rows


def test_weights_and_biases_offline(run):
    for _ in range(2):  # a second report goes on where the first ended
        report = wandb_report(run)
        assert report.returncode == 0, report.stdout + report.stderr
        assert f"reported to step {STEPS} (offline)" in report.stdout
    history = wandb_history(run)
    for line in metrics(run):
        assert history[line["step"]]["train/loss"] == pytest.approx(line["train/loss"], rel=1e-9)


def test_weights_and_biases_follows_a_run_that_stops_early(small, tmp_path):
    out = tmp_path / "early"
    finetune(out, *small_run(small, "--max-steps=400", "--eval-every=2", "--patience=1", "--rate=10", "--clip=0", "--checkpoint-every=0", "--weight-decay=0"))
    assert metrics(out)[-1]["step"] < 400
    report = wandb_report(out, "--follow", "--interval=0.2")
    assert f"reported to step {metrics(out)[-1]['step']} (offline)" in report.stdout, report.stdout + report.stderr
