"""tests/bench/run does what it says: it measures every group, writes JSON, and compares by ratio."""
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PRECIS_TEST_BUILD_DIR", ROOT / "build/release"))


def run(*arguments, code=0):
    done = subprocess.run([ROOT / "tests/bench/run", f"--build={BUILD}", "--no-build", *map(str, arguments)], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_it_measures_writes_and_compares(tmp_path):
    now = tmp_path / "now.json"
    text = run("--smoke", f"--out={now}")
    result = json.loads(now.read_text())
    names = set(result["benchmarks"])
    for name in ("Prefill/flash/f32/64", "LayerNorm/1", "Tokenizer/encode/words:800", "Loader/f32", "Scheduler/step/queued:1000", "Call/empty", "Engine/f32/prefill/flash/words:50"):
        assert name in names and name in text
        assert result["benchmarks"][name]["seconds"] > 0
    assert result["benchmarks"]["Scheduler/step/queued:1000"]["waiting"] >= 1000 and result["benchmarks"]["Scheduler/step/queued:1000"]["rows"] > 1
    assert {"tokenizer to tokenizers", "scores to rouge-score, one thread"} <= set(result["peers"])
    assert "grpc_added_ms" in result and result["machine"]["processor"] and result["context"]["threads"]

    same = run(f"--from={now}", f"--compare={now}", "--fail-below=0.99")
    assert "Scheduler/step/queued:1000" in same and "  1.00" in same and "slower" not in same

    baseline = json.loads(now.read_text())
    baseline["benchmarks"]["LayerNorm/1"]["seconds"] /= 2  # it was twice as fast then
    baseline["machine"]["processor"] = "another"
    then = tmp_path / "then.json"
    then.write_text(json.dumps(baseline))
    slower = run(f"--from={now}", f"--compare={then}", "--fail-below=0.8", code=1)
    assert "another machine" in slower and any(line.split()[:2] == ["LayerNorm/1", "0.50"] and "<- slower" in line for line in slower.splitlines())

    baseline["context"]["model_config"] = "another"
    then.write_text(json.dumps(baseline))
    other = run(f"--from={now}", f"--compare={then}")
    assert "another model" in other and "Engine/f32" not in other and "Scheduler/step" in other


def test_help_and_what_it_refuses():
    done = subprocess.run([ROOT / "tests/bench/run", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--compare" in done.stdout and "tests/bench/run --quick" in done.stdout
    run("--only=kernel", code=2)
    run("--compare=/nonexistent.json", code=2)
