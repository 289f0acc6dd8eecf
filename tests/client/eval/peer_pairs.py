"""Pairs of texts for the comparison with the peers: real ones where the data folder is there, generated ones otherwise, and fuzzed Unicode."""
import json
import lzma
import random
from pathlib import Path

DATA = Path(__file__).resolve().parents[4] / "shared/data/cnndm"
WORDS = ("the a of to in police said year people court city running flies dying skies news innings hopefully relational conditional "
         "generalization national agreed plastered motoring hopping falling hissing fizzed happy sky enjoy apology geology theology "
         "formalize electrical goodness adjustment adoption probate cease controlling rolling yyy y yes oxygen syzygy 3rd 1,000 $5.50 "
         "U.S. don't e-mail 10-year-old O'Brien (CNN) 'quoted' \"words\" end. stop! why? well-known x-1 2-3 a&b &amp; &quot; <skipped> -").split()
ALPHABETS = ["abc ABC  xyz", " .,-!?&'\"()[]{}<>/\\;:@#$%^*_=+`~|", "0123456789.,- ", "\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000",
             "éàüßÅçñÇIİıſK\u212a\u0130\u0131", "日本語中文字漢。、", "русскийЁё", "עבריתعربى", "😀👍🏽\u200d\ufe0f\u0301", "\u0000\u0001\ufffd\ufeff\U0010ffff"]


def real_pairs(count, seed=1):
    """Half are neighbours' sentences (little overlap), half lead sentences of the article with its own reference."""
    path = DATA / "train.jsonl.xz"
    if not path.is_file():
        return None
    pairs = []
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            sentences = row["article"].replace("! ", ". ").split(". ")
            lead = 3 if len(pairs) % 2 == 0 else random.Random(seed + len(pairs)).randrange(1, 9)
            pairs.append((row["highlights"], "\n".join(s + "." for s in sentences[:lead])))
            if len(pairs) == count:
                return pairs
    return pairs


def generated_pairs(count, seed=2):
    rng = random.Random(seed)

    def text(words):
        out = [rng.choice(words) if rng.random() < 0.9 else rng.choice(words) + rng.choice("s ed ing ly ness ation .".split())
               for _ in range(rng.randrange(0, 60))]
        return "".join(w + rng.choice(["  ", " ", " ", " ", ". ", ".\n", ",", "\n"]) for w in out)

    pairs = []
    for _ in range(count):
        words = rng.sample(WORDS, rng.randrange(3, len(WORDS)))
        pairs.append((text(words), text(words)))
    return pairs


def fuzzed_pairs(count, seed=3):
    rng = random.Random(seed)

    def text():
        alphabets = rng.sample(ALPHABETS, rng.randrange(1, 4))
        return "".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randrange(0, 80)))

    pairs = []
    for i in range(count):
        reference = text()
        hypothesis = text()
        if i % 3 == 0:  # a mutation of the reference
            characters = list(reference)
            for _ in range(rng.randrange(0, 6)):
                if characters:
                    characters[rng.randrange(len(characters))] = rng.choice(rng.choice(ALPHABETS))
            hypothesis = "".join(characters)
        pairs.append((reference, hypothesis))
    return pairs + [("", ""), ("", "a"), ("a", ""), ("\n", " "), ("a", "a"), ("a b c d", "a b c d"), ("İstanbul K", "istanbul k")]
