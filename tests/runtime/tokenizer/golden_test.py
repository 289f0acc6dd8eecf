#!/usr/bin/env python3
"""Compares the tokenizer with Python's `tokenizers` (and its UTF-8 repair with Python's), byte for byte.

    golden_test.py unicode PROBE    every code point, and random texts over all of Unicode
    golden_test.py data PROBE       ../shared/data with GPT-2's vocabulary: a sample, or all of it with
                                    PRECIS_TEST_FULL=1; exits with 77 (skipped) where the folder is absent
"""

import os
import random
import sys
import unicodedata

from tokenizers import Tokenizer, models, pre_tokenizers

from probe import DATA, ROOT, Probe, rows

SMALL = ROOT / "tests/runtime/tokenizer/data/small"
GPT2 = DATA / "tokenizer/gpt2"
SKIPPED = 77


def small_reference():
    tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # take special tokens in text for text, as we do
    return tokenizer


def gpt2_reference():
    tokenizer = Tokenizer(models.BPE.from_file(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def code_points():
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def check_ids(probe, reference, folder, texts):
    """Fails unless both give the same ids for every text."""
    with Probe(probe, "encode", folder) as ours:
        for text, ids in zip(texts, ours.ask_numbers([t.encode() for t in texts]), strict=True):
            expected = reference.encode(text, add_special_tokens=False).ids
            if ids != expected:
                sys.exit(f"ids differ for {text[:200]!r}:\n  ours     {ids[:50]}\n  expected {expected[:50]}")


def reference_words(text):
    """The lengths in bytes of what the pre-tokeniser of `tokenizers` makes of a text."""
    words = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [len(word) for word, _ in words]  # one character of the byte alphabet for each byte


def check_words(probe, texts):
    with Probe(probe, "words", SMALL) as ours:
        for text, lengths in zip(texts, ours.ask_numbers([t.encode() for t in texts]), strict=True):
            expected = reference_words(text)
            if lengths != expected:
                sys.exit(f"words differ for {text[:200]!r}:\n  ours     {lengths}\n  expected {expected}")


def check_every_code_point(probe):
    """Each code point between a letter, a number, a sign and spaces: the cuts around it tell its class."""
    chars = code_points()
    texts = []
    for i in range(0, len(chars), 64):
        texts.append("".join(f"a{c}1{c}! {c}\n" for c in chars[i : i + 64]))
    check_words(probe, texts)
    print(f"{len(chars)} code points have the class that `tokenizers` gives them")


def alphabets():
    """Sets of strings that random texts draw from; each text mixes a few."""
    by_category = {}
    for char in code_points():
        by_category.setdefault(unicodedata.category(char), []).append(char)
    spaces = [c for c in code_points() if c.isspace() or c in "\u200b\u200c\u180e\ufeff\x1c\x1f"]
    fixed = [
        list("abcdefghijklmnopqrstuvwxyz"),
        list("etaoin ETAOIN"),
        [" ", " ", "  ", "\n", "\n\n", "\t", "\r\n", "     "],
        ["'", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "''", "\u2019s", "'\u017f"],
        list("0123456789"),
        ["<|endoftext|>", "<|", "|>", "endoftext", " <|endoftext|>"],
        ["\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "\U0001f1eb\U0001f1f7", "\U0001f44d\U0001f3fd"],
        ["the", " the", "The", "harbour", " town", "ing", "ed", " of", ".", ",", "--", "...", "(", ")"],
        ["a", "aa", "aaaa", "ab", "."],
        spaces,
        code_points(),
    ]
    return fixed + list(by_category.values())


def random_texts(count, seed):
    chance = random.Random(seed)
    sources = alphabets()
    for _ in range(count):
        mix = chance.sample(sources, chance.randint(1, 4))
        length = int(2 ** chance.uniform(0, 8 if chance.random() < 0.97 else 12))
        yield "".join(chance.choice(chance.choice(mix)) for _ in range(length))


def check_repair(probe, seed):
    """Bytes that are no UTF-8: they come back from their tokens, and Python repairs them as we do."""
    chance = random.Random(seed)
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]
    texts = [bytes(chance.choice(edges) for _ in range(chance.randint(1, 12))) for _ in range(20000)]
    texts += [chance.randbytes(chance.randint(1, 60)) for _ in range(5000)]
    with Probe(probe, "roundtrip", SMALL) as ours:
        for text, back in zip(texts, ours.ask(texts), strict=True):
            if back != text:
                sys.exit(f"{text!r} came back as {back!r}")
    for mode in ("repair", "stream"):
        with Probe(probe, mode, SMALL) as ours:
            for text, repaired in zip(texts, ours.ask(texts), strict=True):
                if repaired != text.decode(errors="replace").encode():
                    sys.exit(f"{mode}: {text!r} became {repaired!r}")
    print(f"{len(texts)} byte strings come back whole, and are repaired as Python does")


def check_unicode(probe):
    check_every_code_point(probe)
    full = os.environ.get("PRECIS_TEST_FULL") == "1"
    texts = list(random_texts(300_000 if full else 8_000, seed=20))
    check_words(probe, texts)
    check_ids(probe, small_reference(), SMALL, texts)
    print(f"{len(texts)} random texts: equal, with the small tokenizer")
    check_repair(probe, seed=21)
    if GPT2.exists():
        check_ids(probe, gpt2_reference(), GPT2, texts)
        print(f"{len(texts)} random texts: equal, with GPT-2's vocabulary")
    else:
        print(f"skipped: GPT-2's vocabulary ({GPT2} is absent)")


def data_texts(path, limit):
    size = 0
    for row in rows(path):
        for value in row.values():
            if isinstance(value, str):
                yield value
                size += len(value)
        if size >= limit:
            return


def check_data(probe):
    if not GPT2.exists():
        print(f"skipped: {DATA} is absent")
        return SKIPPED
    limit = float("inf") if os.environ.get("PRECIS_TEST_FULL") == "1" else 1_000_000
    reference = gpt2_reference()
    for path in sorted(DATA.glob("*/*.jsonl.xz")):
        texts = list(data_texts(path, limit))
        check_ids(probe, reference, GPT2, texts)
        print(f"{path.relative_to(DATA)}: {len(texts)} texts, {sum(map(len, texts))} characters: equal", flush=True)
    return 0


def main():
    kind, probe = sys.argv[1:]
    return {"unicode": check_unicode, "data": check_data}[kind](probe)


if __name__ == "__main__":
    sys.exit(main())
