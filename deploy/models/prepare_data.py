#!/usr/bin/env python3
"""Makes training files for precis-finetune out of CNN/DailyMail rows ({"article", "highlights"}, JSON lines, .xz or plain).

    prepare_data.py --rows=train.jsonl.xz --cased=cased.jsonl.xz --cased-repeat=4 --targets=extractive --out=train.jsonl
    prepare_data.py --rows=val.jsonl.xz --casing-from=cased.jsonl.xz --limit=400 --out=val.jsonl

--targets=extractive replaces the highlights by sentences of the article: greedily those that raise ROUGE-1 + ROUGE-2 F1 against the
highlights most, three at most, in the article's order (the oracle of Nallapati et al. 2017, "SummaRuNNer", section 2.3). A small model that learns to
copy invents less than one that learns to rewrite.

--recase shows a part of lower-case rows with sentence starts and names capitalised, by a table learned from the cased rows.
"""
import argparse
import collections
import json
import lzma
import multiprocessing
import random
import re

SENTENCE_END = re.compile(r"(?<=[.!?])(?:['\")\u2019\u201d]+)?\s+(?=['\"(\u2018\u201c]?[A-Za-z0-9])|\n+")
NOT_AN_END = re.compile(r"(?:^|\s)(?:mr|mrs|ms|dr|st|gen|sen|rep|gov|lt|col|sgt|jr|sr|no|vs|u\.s|u\.k|a\.m|p\.m|[a-z])\.$", re.IGNORECASE)
MOST_SENTENCES = 3
MOST_WORDS = 90
CANDIDATES = 40


def read_rows(path):
    with (lzma.open(path, "rt", encoding="utf-8") if path.endswith(".xz") else open(path, encoding="utf-8")) as lines:
        return [json.loads(line) for line in lines]


def casing_table(rows):
    """word -> its usual cased form, for words that are mostly capitalised away from sentence starts."""
    counts = collections.defaultdict(collections.Counter)
    for row in rows:
        for field in ("article", "highlights"):
            for match in re.finditer(r"(?<=[a-z,;] )[A-Za-z]{2,}", row[field]):
                counts[match.group().lower()][match.group()] += 1
    table = {"i": "I"}
    for word, forms in counts.items():
        form, count = forms.most_common(1)[0]
        if form != word and count * 2 > sum(forms.values()):
            table[word] = form
    return table


def recase(text, table):
    text = re.sub(r"(?<![A-Za-z'])[a-z]+", lambda m: table.get(m.group(), m.group()), text)
    return re.sub(r"(^|[.!?]['\"]? +|\n)(['\"(]?)([a-z])", lambda m: m.group(1) + m.group(2) + m.group(3).upper(), text)


def sentences(text):
    """Sentences as they stand in the text; abbreviations and initials end none."""
    parts, begin = [], 0
    for match in SENTENCE_END.finditer(text):
        part = text[begin:match.start()]
        if "\n" not in match.group() and NOT_AN_END.search(part):
            continue
        parts.append(text[begin:match.end()].strip())
        begin = match.end()
    parts.append(text[begin:].strip())
    return [part for part in parts if part]


def grams(words, n):
    return collections.Counter(zip(*(words[i:] for i in range(n))))


def f1(candidate, reference):
    overlap = sum((candidate & reference).values())
    return 2 * overlap / (sum(candidate.values()) + sum(reference.values())) if overlap else 0.


def extractive(row):
    """The article's sentences that say most of what the highlights say."""
    split = lambda text: re.findall(r"[a-z0-9]+", text.lower())  # noqa: E731
    reference = split(row["highlights"])
    references = [grams(reference, n) for n in (1, 2)]
    texts = [text for text in sentences(row["article"])[:CANDIDATES] if 4 <= len(text.split()) <= 60]
    counts = [[grams(split(text), n) for n in (1, 2)] for text in texts]
    chosen, best, total = [], 0., [collections.Counter(), collections.Counter()]
    while len(chosen) < MOST_SENTENCES:
        scores = [(sum(f1(t + c, r) for t, c, r in zip(total, counts[i], references)), -i) for i in range(len(texts)) if i not in chosen]
        score, index = max(scores, default=(0., 0))
        if score <= best or sum(len(texts[i].split()) for i in chosen + [-index]) > MOST_WORDS:
            break
        best = score
        chosen.append(-index)
        total = [t + c for t, c in zip(total, counts[-index])]
    return dict(row, highlights="\n".join(texts[i] for i in sorted(chosen))) if chosen else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, action="append", help="JSON lines; repeat it for more files, or pieces of one .xz joined before")
    parser.add_argument("--cased", help="rows with ordinary casing: they join the rows, and the table is learned from them")
    parser.add_argument("--casing-from", help="learn the table from these rows only")
    parser.add_argument("--cased-repeat", type=int, default=1)
    parser.add_argument("--recase", type=float, default=.5, help="share of the rows that is shown re-cased (default .5)")
    parser.add_argument("--targets", choices=("highlights", "extractive"), default="highlights")
    parser.add_argument("--limit", type=int, default=0, help="that many rows, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    rows = [row for path in args.rows for row in read_rows(path)]
    if args.limit:
        rows = draw.sample(rows, min(args.limit, len(rows)))
    cased = read_rows(args.cased) if args.cased else []
    table = casing_table(read_rows(args.casing_from) if args.casing_from else cased)
    rows = [dict(row, article=recase(row["article"], table), highlights=recase(row["highlights"], table)) if draw.random() < args.recase else row
            for row in rows] + cased * args.cased_repeat
    if args.targets == "extractive":
        with multiprocessing.Pool() as pool:
            rows = [row for row in pool.imap(extractive, rows, chunksize=64) if row]
    draw.shuffle(rows)
    with open(args.out, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps({"article": row["article"], "highlights": row["highlights"]}, ensure_ascii=False) + "\n")
    words = sum(len(row["highlights"].split()) for row in rows)
    print(f"{args.out}: {len(rows)} rows, {words / len(rows):.1f} words a target")


if __name__ == "__main__":
    main()
