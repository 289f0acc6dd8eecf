#!/usr/bin/env python3
"""Makes training files for precis-finetune out of CNN/DailyMail rows ({"article", "highlights"}, JSON lines, .xz or plain).

    prepare_data.py --rows=train.jsonl.xz --cased=cased.jsonl.xz --cased-repeat=2 --targets=leading --views=3 --out=train.jsonl
    prepare_data.py --rows=val.jsonl.xz --casing-from=cased.jsonl.xz --targets=leading --limit=300 --out=val.jsonl

--targets=leading replaces the highlights by the article's first sentences, until 60 words (50 where the text names CNN at its head), without bylines, scraps and
questions, and but for CNN without sentences in the first or second person. --targets=extractive replaces the highlights by sentences of the article: greedily those that raise ROUGE-1 + ROUGE-2 F1 against the
highlights most, three at most, in the article's order (the oracle of Nallapati et al. 2017, "SummaRuNNer", section 2.3). A small model that learns to
copy invents less than one that learns to rewrite.

--recase shows a part of lower-case rows with sentence starts and names capitalised, by a table learned from the cased rows; --lines a part of all rows with
sentences on lines of their own.
"""
import argparse
import collections
import json
import lzma
import multiprocessing
import random
import re

SENTENCE_END = re.compile(r"(?<=[.!?])(?:['\")\u2019\u201d]+)?\s+(?=['\"(\u2018\u201c]?[A-Za-z0-9])|\n+")
NOT_AN_END = re.compile(r"(?:^|[\s(\"'])(?:mr|mrs|ms|dr|st|gen|sen|rep|gov|lt|col|sgt|jr|sr|no|vs|\d+[ap]|\d+[ap]\.m|(?:[a-z]\.)*[a-z])\.$", re.IGNORECASE)
MOST_SENTENCES = 3
MOST_WORDS = 90
CANDIDATES = 40
# The rule for leading sentences, chosen on val by ROUGE against the highlights.
LEAST_WORDS, LEAST_WORDS_CNN, LEAD_WORDS, LEAD_CHARACTERS = 60, 50, 90, 520  # 520 characters are about 128 tokens
SCRAP_WORDS, SHORT_WORDS, BYLINE_WORDS = 5, 8, 14
CNN, PERSONAL, QUESTION = re.compile(r"\bcnn\b", re.IGNORECASE), re.compile(r"\b(i|we|you|my|our)\b", re.IGNORECASE), re.compile(r"\?[\"' ]*$")
CNN_CHARACTERS = 400
BYLINE = re.compile(r"\W*(by|published|updated|created|last updated|posted|scroll down|click|watch|read more|follow)\b", re.IGNORECASE)
MOST_CHARACTERS = 6000  # of an article: more than 1,024 tokens


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


def spans(text):
    """(begin, end) of the sentences as they stand in the text; abbreviations and initials end none."""
    found, begin = [], 0
    for match in SENTENCE_END.finditer(text):
        if "\n" not in match.group() and NOT_AN_END.search(text[begin:match.start()]):
            continue
        found.append((begin, match.end()))
        begin = match.end()
    found.append((begin, len(text)))
    return [(begin, end) for begin, end in found if text[begin:end].strip()]


def sentences(text):
    return [text[begin:end].strip() for begin, end in spans(text)]


def skipped(text, words, cnn):
    return words < SHORT_WORDS or QUESTION.search(text) or (not cnn and PERSONAL.search(text))


def leading(row):
    """The article's first sentences, as many as it takes to reach LEAST_WORDS."""
    cnn = CNN.search(row["article"][:CNN_CHARACTERS])
    chosen, words, characters = [], 0, 0
    for text in sentences(row["article"]):
        length = len(text.split())
        if length < SCRAP_WORDS or (length < BYLINE_WORDS and BYLINE.match(text)) or (chosen and skipped(text, length, cnn)):
            continue
        if chosen and (words + length > LEAD_WORDS or characters + len(text) > LEAD_CHARACTERS):
            break
        chosen.append(text)
        words += length
        characters += len(text)
        if words >= (LEAST_WORDS_CNN if cnn else LEAST_WORDS):
            break
    return dict(row, highlights="\n".join(chosen)) if chosen and characters <= LEAD_CHARACTERS else None


def views(row, count, draw):
    """The article, and count - 1 times its rest from a sentence drawn from the first half: each is another text to copy from."""
    begins = [begin for begin, _ in spans(row["article"])]
    later = begins[1:len(begins) // 2 + 1]
    drawn = draw.sample(later, min(count - 1, len(later)))
    return [dict(row, article=row["article"][begin:]) for begin in [0, *drawn]]


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


def lengthened(lines, i, characters, draw):
    """Example i with other articles behind its own, up to a drawn length; its summary stays that of its own."""
    example, limit, next_line = json.loads(lines[i]), draw.randint(MOST_CHARACTERS, characters), i
    while len(example["article"]) < limit:
        next_line = (next_line + 1) % len(lines)
        example["article"] += "\n" + json.loads(lines[next_line])["article"]
    return json.dumps(dict(example, article=example["article"][:limit]), ensure_ascii=False)


def on_lines(text, draw):
    """Some or all sentences on lines of their own, as paragraphs are in ordinary text; the data has one line an article."""
    parts, separator, share = sentences(text), draw.choice(["\n", "\n\n"]), draw.choice([.3, .6, 1.])
    return parts[0] + "".join((separator if draw.random() < share else " ") + part for part in parts[1:])


def make(task):
    """One row's examples; random numbers are the row's own, so that the result does not depend on the number of processes."""
    row, index, table, args = task
    draw = random.Random(f"{args.seed} {index}")
    made = []
    for view in views(row, args.views, draw):
        view["article"] = view["article"][:MOST_CHARACTERS]
        if table and draw.random() < args.recase:
            view = dict(view, article=recase(view["article"], table), highlights=recase(view["highlights"], table))
        if args.targets != "highlights":
            view = (extractive if args.targets == "extractive" else leading)(view)
        if view and draw.random() < args.lines:
            view["article"] = on_lines(view["article"], draw)[:MOST_CHARACTERS]
        if view:
            made.append(json.dumps({"article": view["article"], "highlights": view["highlights"]}, ensure_ascii=False))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, action="append", help="JSON lines; repeat it for more files")
    parser.add_argument("--cased", help="rows with ordinary casing: they join the rows, and the table is learned from them")
    parser.add_argument("--casing-from", help="learn the table from these rows only")
    parser.add_argument("--cased-repeat", type=int, default=1)
    parser.add_argument("--recase", type=float, default=.5, help="share of the rows that is shown re-cased (default .5)")
    parser.add_argument("--targets", choices=("highlights", "extractive", "leading"), default="highlights")
    parser.add_argument("--views", type=int, default=1, help="examples of an article; all but the first begin at a later sentence")
    parser.add_argument("--lines", type=float, default=0, help="share of the examples that is shown with sentences on lines of their own (default 0)")
    parser.add_argument("--lengthen", type=int, default=0, help="every second example gets other articles behind its own, up to so many characters")
    parser.add_argument("--limit", type=int, default=0, help="that many rows, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with multiprocessing.Pool() as pool:
        rows = [row for part in pool.imap(read_rows, args.rows) for row in part]
        if args.limit:
            rows = draw.sample(rows, min(args.limit, len(rows)))
        cased = read_rows(args.cased) if args.cased else []
        table = casing_table(read_rows(args.casing_from) if args.casing_from else cased)
        tasks = [(row, i, table if i < len(rows) else None, args) for i, row in enumerate(rows + cased * args.cased_repeat)]
        lines = [line for made in pool.imap(make, tasks, chunksize=64) for line in made]
    draw.shuffle(lines)
    if args.lengthen:
        lines = [lengthened(lines, i, args.lengthen, draw) if i % 2 else line for i, line in enumerate(lines)]
    with open(args.out, "w", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in lines)
    print(f"{args.out}: {len(lines)} examples of {len(rows)} rows and {len(cased)} cased ones")


if __name__ == "__main__":
    main()
