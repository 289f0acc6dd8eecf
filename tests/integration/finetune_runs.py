"""What the tests of precis-finetune share: a small task that a tiny model learns in seconds, and runs of the program on it."""

import json
import random
import subprocess
import sys

import pytest
from conftest import BUILD, ROOT

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


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


STEPS = 40


def small_run(data, *flags, rows=None):
    """A second or two. Later flags win."""
    return (f"--new-model={data}/small.json", f"--tokenizer={data}/tokenizer", f"--data={rows or data / 'train.jsonl'}", f"--eval-data={data}/held_out.jsonl",
            f"--max-steps={STEPS}", "--batch-tokens=512", "--accumulate=2", "--dropout=0.1", "--checkpoint-every=3", "--eval-every=10", "--rate=1e-3",
            "--summary-tokens=24", "--shard-documents=50", *flags)


@pytest.fixture(scope="module")
def small(data):
    subprocess.run([sys.executable, str(ROOT / "runtime/training/train_tokenizer.py"), "--size=400", f"--out={data}/tokenizer", str(data / "train.jsonl")],
                   check=True, timeout=120, stdout=subprocess.DEVNULL)
    (data / "small.json").write_text(json.dumps({**CONFIG, "n_embd": 32}))
    return data
