"""precis-eval score equals rouge-score, sacrebleu and nltk to 1e-6, pair by pair and over the corpus."""
import json
import multiprocessing
import os
import subprocess
import warnings
from pathlib import Path

import nltk.translate.bleu_score as nltk_bleu
import pytest
import sacrebleu
from nltk.stem.porter import PorterStemmer
from peer_pairs import fuzzed_pairs, generated_pairs, real_pairs
from rouge_score import rouge_scorer

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("PRECIS_TEST_BUILD_DIR", ROOT / "build/release")) / "client/precis-eval"
PARTS = ("precision", "recall", "fmeasure")
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
CLOSE = 1e-6


def precis_scores(tmp_path, rows):
    """(the corpus' scores, those of each pair)."""
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    with open(pairs, "w", encoding="utf-8") as file:
        for reference, hypothesis in rows:
            file.write(json.dumps({"reference": reference, "hypothesis": hypothesis}) + "\n")
    done = subprocess.run([BINARY, "score", f"--pairs={pairs}", f"--per-pair={out}", "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), [json.loads(line) for line in out.read_text().splitlines()]


def near(ours, theirs, what):
    assert abs(ours - theirs) <= CLOSE, f"{what}: precis {ours}, peer {theirs}"


def peer_scores(rows_and_whole):
    """Per row what the peers say: {name: value}. BLEU and chrF of single pairs only where `whole`: they take longest."""
    rows, whole = rows_and_whole
    rouge = rouge_scorer.RougeScorer(ROUGE, use_stemmer=True)
    smoothing = nltk_bleu.SmoothingFunction().method1
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    warnings.simplefilter("ignore")  # NLTK warns of each pair without a common 4-gram
    results = []
    for i, (reference, hypothesis) in enumerate(rows):
        scores = rouge.score(reference, hypothesis)
        found = {(name, part): getattr(scores[name], part) for name in ROUGE for part in PARTS}
        found["bleu_nltk"] = nltk_bleu.sentence_bleu([reference.split()], hypothesis.split(), smoothing_function=smoothing)
        found["bleu_nltk_unsmoothed"] = nltk_bleu.sentence_bleu([reference.split()], hypothesis.split())
        if whole or i % 8 == 0:
            found["bleu"] = bleu.corpus_score([hypothesis], [[reference]]).score
            found["chrf"] = chrf.corpus_score([hypothesis], [[reference]]).score
        results.append(found)
    return results


def value_of(scores, key):
    return scores[key[0]][key[1]] if isinstance(key, tuple) else scores[key]


def compare(tmp_path, rows, whole=True):
    corpus, pairs = precis_scores(tmp_path, rows)
    assert corpus["n"] == len(rows) == len(pairs) and corpus["bad_rows"] == 0
    chunks = [(rows[i:i + 250], whole) for i in range(0, len(rows), 250)]
    with multiprocessing.Pool() as pool:
        peers = [found for chunk in pool.map(peer_scores, chunks) for found in chunk]
    for row, ours, theirs in zip(rows, pairs, peers):
        for key, value in theirs.items():
            near(value_of(ours, key), value, f"{key} of {row}")
    for key in peers[0]:
        if key not in ("bleu", "chrf"):
            near(value_of(corpus, key), sum(found[key] for found in peers) / len(rows), f"{key} of the corpus")
    references, hypotheses = [row[0] for row in rows], [row[1] for row in rows]
    near(corpus["bleu"], sacrebleu.corpus_bleu(hypotheses, [references]).score, "BLEU of the corpus")
    near(corpus["chrf"], sacrebleu.corpus_chrf(hypotheses, [references]).score, "chrF of the corpus")


def test_5000_pairs(tmp_path):
    compare(tmp_path, real_pairs(5000) or generated_pairs(5000), whole=False)


def test_generated_pairs(tmp_path):
    compare(tmp_path, generated_pairs(600))


def test_fuzzed_unicode(tmp_path):
    compare(tmp_path, fuzzed_pairs(3000))


def test_every_suffix_is_stemmed_alike(tmp_path):
    """A reference of the word, a hypothesis of NLTK's stem: equal words give F 1 unless the stem stems on."""
    import itertools
    stems = ["", "b", "a", "tr", "fal", "geo", "hop", "agr", "rel", "condit", "sens", "yy", "happ", "ssa", "xly", "ab3", "controll"]
    suffixes = ("s sses ies ss ied eed ed ing at bl iz y ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness "
                "ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion tion sion "
                "ou ism ate iti ous ive ize e ll").split()
    words = [stem + "".join(pair) for stem in stems for pair in itertools.product(suffixes, repeat=2)] + [s + e for s in stems for e in suffixes]
    words += ["sky", "skies", "dying", "lying", "tying", "news", "inning", "innings", "outing", "outings", "canning", "cannings", "howe", "proceed", "exceed", "succeed"]
    stemmer = PorterStemmer()
    rows = [(word, other) for word in words if len(word) > 3 for other in (stemmer.stem(word),)]
    scorer = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=True)
    _, pairs = precis_scores(tmp_path, rows)
    wrong = [row for row, ours in zip(rows, pairs) if abs(ours["rouge1"]["fmeasure"] - scorer.score(*row)["rouge1"].fmeasure) > CLOSE]
    assert not wrong, wrong[:10]


def test_several_references(tmp_path):
    rows = [pair for pair in generated_pairs(400, seed=9) if pair[0].strip()]
    triples = [([rows[i][0], rows[i - 1][0], rows[i - 2][0]], rows[i][1]) for i in range(len(rows))]
    corpus, pairs = precis_scores(tmp_path, triples)
    scorer = rouge_scorer.RougeScorer(ROUGE, use_stemmer=True)
    for (references, hypothesis), ours in zip(triples, pairs):
        theirs = scorer.score_multi(references, hypothesis)
        for name in ROUGE:
            near(ours[name]["fmeasure"], theirs[name].fmeasure, name)
    columns = [list(column) for column in zip(*(references for references, _ in triples))]
    hypotheses = [hypothesis for _, hypothesis in triples]
    near(corpus["bleu"], sacrebleu.corpus_bleu(hypotheses, columns).score, "BLEU")
    near(corpus["chrf"], sacrebleu.corpus_chrf(hypotheses, columns).score, "chrF")


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))
