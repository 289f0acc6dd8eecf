"""The scripts for GPU machines, here: the package runs by its own libraries, the check and the bench of the server do what they say on the SIMT device and the CPU."""

import json
import subprocess
import sys
import tarfile

import pytest
from conftest import BUILD, ROOT

GPU = ROOT / "tests/gpu"


def run(*command, **keywords):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=240, check=False, **keywords)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("random")
    for name, flags in (("learned", ()), ("alibi", ("--alibi",))):
        made = run(sys.executable, GPU / "make_model.py", "--size=tiny", *flags, root / name)
        assert made.returncode == 0, made.stderr
    return [f"--model=tiny={root / name}" for name in ("learned", "alibi")]


def test_package_brings_its_libraries(tmp_path):
    archive = tmp_path / "package.tar.gz"
    packed = run(ROOT / "deploy/pack", f"--build={BUILD}", f"--out={archive}", "client/precis")
    assert packed.returncode == 0, packed.stderr
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    program = tmp_path / "precis-package/bin/precis"
    assert run(program, "--help").returncode == 0
    traced = run(program, "--help", env={"LD_TRACE_LOADED_OBJECTS": "1", "PATH": "/usr/bin:/bin"})
    assert "grpc" in " ".join(p.name for p in (tmp_path / "precis-package/lib").iterdir()), traced.stdout
    assert run(ROOT / "deploy/pack", f"--build={tmp_path}", f"--out={archive}").returncode == 1  # nothing is built there


def test_serve_check_compares_tokens(folders):
    flags = ["--documents=1", "--words=6", "--new-tokens=3", "--weights=bf16", "--backends=flash,flash_alibi", "--server-flag=--kv-cache-bytes=16MiB", *folders]
    checked = run(sys.executable, GPU / "serve_check.py", f"--bin={BUILD}", "--device=simt", *flags)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 of 1 answers equal" in checked.stdout and checked.stdout.rstrip().endswith("PASSED")


def test_serve_bench_counts_and_measures(folders, tmp_path):
    report = tmp_path / "report.json"
    common = [sys.executable, GPU / "serve_bench.py", f"--bin={BUILD}", "--device=cpu", *folders, f"--json={report}", "--new-tokens=4"]
    measured = run(*common, "--name=load", "--prompt=40", "--documents=4", "--concurrency=2", "--rates=20", "--seconds=1")
    assert measured.returncode == 0, measured.stdout + measured.stderr
    measured = run(*common, "--name=lengths", "--lengths=100,200", "--backends=flash_alibi,standard_alibi")
    assert measured.returncode == 0, measured.stdout + measured.stderr
    runs = json.loads(report.read_text())
    load = runs["load"]["closed 2"]["all"]
    assert load["ok"] > 0 and load["ok"] == load["requests"]
    assert load["prompt_tokens"] == 40 * load["requests"] and load["new_tokens"] == 4 * load["requests"]
    assert runs["load"]["rate 20"]["all"]["ok"] > 0
    short, long = (runs["lengths"][f"standard_alibi {length}"]["attention_workspace_peak_bytes"] for length in (100, 200))
    assert long > 2 * short

    out = tmp_path / "efficiency"
    drawn = run(sys.executable, GPU / "efficiency.py", report, "--name=lengths", f"--out={out}")
    assert drawn.returncode == 0, drawn.stderr
    lines = out.with_suffix(".md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["flash_alibi", "standard_alibi"] * 2
    assert "<svg" in out.with_suffix(".svg").read_text()
    refused = run(sys.executable, GPU / "efficiency.py", report, "--name=load", f"--out={out}")
    assert refused.returncode == 2 and "no single documents" in refused.stderr
