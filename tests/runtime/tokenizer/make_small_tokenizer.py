#!/usr/bin/env python3
"""Trains the small tokenizer of the tests on the text below, in every form its files come in.

    make_small_tokenizer.py     writes data/small (tokenizer.json), data/small_old (tokenizer.json as older
                                versions wrote it), data/small_files (vocab.json + merges.txt), and the seeds of
                                the fuzzers
"""

import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE.parents[1] / "fuzz" / "corpus"

TEXT = """
The harbour town woke slowly. Fishing boats came in before dawn, their decks silver with herring, and the gulls
followed them as they have for 400 years. "It's the best season since 1987," said the harbour master, who'd kept
the log book himself. They're landing 25,000 kilograms a day; last year they weren't landing half of that.
Prices haven't followed: a crate that sold for £38.50 in May now brings £21. We've seen it before, and we'll see
it again, the old men say. I'm not worried, you're not worried, he'd say, so let's not worry them.

    for (int i = 0; i < 10; ++i) {
        total += values[i] * weights[i];    // the sum
    }
\treturn total;\r\n\r\n

Le café était fermé, mais l'hôtel d'à côté servait déjà le petit déjeuner. Das Mädchen läuft über die Straße.
El niño comió piñas mañana por la mañana. Ήταν μια φορά κι έναν καιρό. Жили-были старик со старухой у самого синего моря.
日本語の文章です。東京は大きい都市です。中文句子没有空格。한국어 문장입니다. नमस्ते दुनिया। ภาษาไทยไม่มีช่องว่าง
שלום עולם. مرحبا بالعالم. 😀😀🎉 👩‍👩‍👧 — “quoted” … ½ ² ³ Ⅷ ١٢٣ १२३ ①②  wide　space
aaaaaaaaaaaaaaaaaaaa abababababab ........ ======== -------- ________ 0000000000 1111111 !!!!!! ??
""" * 4


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.split("\n\n"), trainer)
    return tokenizer


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


def write_forms(definition):
    """The same tokenizer in each of its forms; GPT-2's own files keep <|endoftext|> last, so do these."""
    model = definition["model"]
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    write(HERE / "data/small/tokenizer.json", json.dumps(definition, ensure_ascii=False, indent=1))
    old_model = {"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                 "fuse_unk": False, "vocab": model["vocab"], "merges": [" ".join(pair) for pair in pairs]}
    write(HERE / "data/small_old/tokenizer.json", json.dumps({**definition, "model": old_model}))
    write(HERE / "data/small_files/vocab.json", json.dumps(model["vocab"], ensure_ascii=False))
    write(HERE / "data/small_files/merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs))


def tiny(definition):
    """The definition with its first ten merges only: a seed that a fuzzer can work on."""
    merges = definition["model"]["merges"][:10]
    keep = {"<|endoftext|>", *pre_tokenizers.ByteLevel.alphabet(), *("".join(pair) for pair in merges)}
    vocab = {token: i for i, token in enumerate(t for t in definition["model"]["vocab"] if t in keep)}
    return {**definition, "model": {**definition["model"], "vocab": vocab, "merges": merges}}


def write_seeds(definition):
    seed = tiny(definition)
    model = seed["model"]
    compact = json.dumps(seed, ensure_ascii=False, separators=(",", ":"))
    old = json.dumps({**seed, "model": {"vocab": model["vocab"], "merges": [" ".join(p) for p in model["merges"]]}})
    write(CORPUS / "tokenizer_json_fuzz/tiny.json", compact)
    write(CORPUS / "tokenizer_json_fuzz/tiny_old.json", old)
    write(CORPUS / "tokenizer_json_fuzz/truncated.json", compact[:-200])
    write(CORPUS / "tokenizer_json_fuzz/unigram.json", '{"model":{"type":"Unigram","vocab":[["a",-1.5]]}}')
    write(CORPUS / "tokenizer_json_fuzz/deep.json", "[" * 2000)
    write(CORPUS / "tokenizer_json_fuzz/huge_id.json", compact.replace('"!":1,', '"!":2147483647,'))
    merges = "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"])
    vocab = json.dumps(model["vocab"], ensure_ascii=False, separators=(",", ":"))
    write(CORPUS / "tokenizer_vocab_fuzz/tiny", vocab + "\n----\n" + merges)
    write(CORPUS / "tokenizer_vocab_fuzz/windows_lines", vocab + "\n----\n" + merges.replace("\n", "\r\n"))
    write(CORPUS / "tokenizer_vocab_fuzz/no_merges", vocab)
    write(CORPUS / "tokenizer_vocab_fuzz/bad_merge", vocab + "\n----\na b c\n")
    for number, paragraph in enumerate(TEXT[: len(TEXT) // 4].split("\n\n")):
        write(CORPUS / f"tokenizer_text_fuzz/text{number}", paragraph)
    bad = b"\xff\xfe \xc3\x28 \xed\xa0\x80 \xf0\x9f\x98 \xf4\x90\x80\x80 a\xe2\x82"
    (CORPUS / "tokenizer_text_fuzz/not_utf8").write_bytes(bad)


def main():
    definition = json.loads(train().to_str())
    write_forms(definition)
    write_seeds(definition)


if __name__ == "__main__":
    main()
