"""What the tests of the program precis-eval share: documents, a real server, the program."""
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/integration"))
from server_process import ServerProcess  # noqa: E402

BUILD = Path(os.environ.get("PRECIS_TEST_BUILD_DIR", ROOT / "build/release"))
BINARY = BUILD / "client/precis-eval"
SHOTS = BUILD / "client/eval_report"
TOPICS = ["the river", "a small town", "the old bridge", "the new school", "a long strike", "the night train", "an early frost", "the harbour"]
BACKENDS = ["standard", "flash", "flash_alibi"]


def documents(count):
    rows = []
    for i in range(count):
        topic, other = TOPICS[i % len(TOPICS)], TOPICS[(i * 3 + 1) % len(TOPICS)]
        sentences = [f"{topic.capitalize()} was in the news on day {i + 1}.", f"People near {other} spoke of {topic} for {i + 2} hours.", f"Mayor Anna Ruiz said that {topic} matters."]
        sentences += [f"Line {k} tells more of {TOPICS[(i + k) % len(TOPICS)]} and of {other}." for k in range(4 + i % 5)]
        rows.append({"id": hashlib.sha1(b"%d" % i).hexdigest(), "article": " ".join(sentences), "highlights": f"{topic} was in the news.\nMayor Ruiz spoke of it.", "source": "cnn" if i % 2 else "dailymail"})
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments, code=0, **keywords):
    environment = {**os.environ, "XDG_CACHE_HOME": "/nonexistent-cache"}
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=240, env=environment, **keywords)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def server():
    models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
    with ServerProcess(BUILD / "server/precis-server", *models, "--kv-cache-bytes=256MiB") as process:
        yield process.wait_ready()


def results(folder):
    return json.loads((folder / "results.json").read_text())
