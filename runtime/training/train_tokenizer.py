#!/usr/bin/env python3
"""Trains GPT-2's kind of tokenizer (byte-level BPE) on training data, with Hugging Face's `tokenizers`.

    train_tokenizer.py --size=16384 --out=DIR train.jsonl more.txt

Writes tokenizer.json, vocab.json and merges.txt. Token 0 is <|endoftext|>.
"""
import argparse
import json
import pathlib
import sys

END = "<|endoftext|>"
DOCUMENT = ("article", "document", "text", "source", "dialogue")
SUMMARY = ("highlights", "summary", "abstract", "target", "tldr")


def as_text(value):
    return "\n".join(value) if isinstance(value, list) else value


def texts(paths):
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if not line.strip():
                    continue
                if path.endswith(".txt"):
                    yield line
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the trainer names bad rows, or skips them
                for names in (DOCUMENT, SUMMARY):
                    found = next((row[name] for name in names if row.get(name)), None) if isinstance(row, dict) else None
                    if found is not None:
                        yield " " + as_text(found) if names is SUMMARY else as_text(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, required=True, help="tokens, at least 257")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("files", nargs="+", help=".jsonl or .txt, as precis-finetune takes them")
    options = parser.parse_args()
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        sys.exit("train_tokenizer.py: this Python has no `tokenizers` (pip install tokenizers)")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=options.size, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(options.files), trainer)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.out / "tokenizer.json"))
    tokenizer.model.save(str(options.out))
    print(f"tokenizer of {tokenizer.get_vocab_size()} tokens in {options.out}")


if __name__ == "__main__":
    main()
