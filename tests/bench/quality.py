#!/usr/bin/env python3
"""What bf16 and int8 weights cost in quality: the held-out articles of ../shared/data through the real server, at each kind of weights, scored by ROUGE.

    .venv/bin/pip install rouge-score
    .venv/bin/python tests/bench/quality.py --model=deploy/models/precis-small-learned --rows=300 --json=quality.json

Greedy with trigram blocking, 35 to 110 new tokens, as in deploy/models/README.md. Rows are drawn with a fixed seed; the same ones for each kind of weights.
Prints ROUGE F and how many summaries equal those of f32 to the token. Needs ../shared/data/cnndm (JSON lines with article and highlights).
"""
import argparse
import json
import lzma
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
DATA = ROOT.parent / "shared/data/cnndm/test.jsonl.xz"
ROUGE = ("rouge1", "rouge2", "rougeL")


def load_rows(count):
    with lzma.open(DATA, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return rows if count >= len(rows) else random.Random(1).sample(rows, count)


def summaries(args, rows, weights):
    """(text, token ids) of each row."""
    from precis_client import GenerationOptions, Request, SummarizerClient
    from server_process import ServerProcess
    options = GenerationOptions(min_new_tokens=35, max_new_tokens=110, no_repeat_ngram_size=3)
    found = {}
    with ServerProcess(args.server, f"--model=quality={args.model}", f"--weights={weights}") as server:
        with SummarizerClient(server.wait_ready().address) as client:
            requests = (Request(row["article"], options=options, client_request_id=str(i), return_token_ids=True)
                        for i, row in enumerate(rows))
            for request, outcome in client.summarize_many(requests, max_in_flight=32, timeout=3600):
                if isinstance(outcome, Exception):
                    raise outcome
                found[int(request.client_request_id)] = (outcome.text, outcome.token_ids)
    return [found[i] for i in range(len(rows))]


def score(rows, texts):
    from rouge_score import rouge_scorer
    scorer = rouge_scorer.RougeScorer(ROUGE, use_stemmer=True)
    scores = [scorer.score(row["highlights"], text) for row, text in zip(rows, texts)]
    return {name: 100 * sum(s[name].fmeasure for s in scores) / len(scores) for name in ROUGE}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, default=ROOT / "build/release/server/precis-server")
    parser.add_argument("--site", default=str(ROOT / "build/release/integration/site"), help="where the Python client is installed")
    parser.add_argument("--model", default=str(ROOT / "deploy/models/precis-small-learned"))
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--weights", type=lambda text: text.split(","), default=["f32", "bf16", "int8"])
    parser.add_argument("--json", help="a file to write")
    args = parser.parse_args()
    sys.path.insert(0, args.site)
    if not DATA.is_file():
        sys.exit(f"{DATA} is not there: nothing to measure on")
    rows = load_rows(args.rows)
    result, reference = {}, None
    for weights in args.weights:
        found = summaries(args, rows, weights)
        reference = reference or found
        result[weights] = dict(score(rows, [text for text, _ in found]), rows=len(rows), same_tokens=sum(a[1] == b[1] for a, b in zip(found, reference)))
        print(weights, json.dumps(result[weights]), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(dict(model=Path(args.model).name, **result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
