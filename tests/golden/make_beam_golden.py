#!/usr/bin/env python3
"""Writes tests/golden/beams.json: beam searches of transformers over small synthetic checkpoints, in float64 (ALiBi: transformers' search over
the logits of reference_gpt2.py).

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_beam_golden.py

Prompts are ASCII, one token a byte. The token that ends a text is, for each checkpoint, one that its searches produce now and then. Searches that come out
otherwise in float32 are left out: there two beams are too near to each other for a comparison of tokens.
"""

import collections
import json
import pathlib
import random

import torch
import transformers
from transformers.modeling_outputs import CausalLMOutput

import make_golden
import reference_gpt2

OUT = pathlib.Path(__file__).parent / "beams.json"
SEARCHES = 40  # of each checkpoint; half of them for ALiBi, whose reference is slow

SHAPES = [
    {"n_head": 4, "n_embd": 64},
    {"n_layer": 3, "n_head": 12, "n_embd": 120, "scale_attn_by_inverse_layer_idx": True},
    {"n_head": 2, "n_embd": 128, "activation_function": "relu", "tie_word_embeddings": False},
    {"n_layer": 1, "n_head": 6, "n_embd": 96, "alibi": True},
]


class AlibiModel(transformers.GPT2LMHeadModel):
    """transformers' search over the independent model's logits, all positions anew at each step."""

    reference = None

    def forward(self, input_ids=None, **_):
        config, weights = self.reference
        rows = [reference_gpt2.logits(config, weights, row.tolist())[-1:] for row in input_ids]
        return CausalLMOutput(logits=torch.stack([torch.from_numpy(row) for row in rows]))


class NoRepeatInSummary(transformers.LogitsProcessor):
    """transformers' processor on the generated tokens alone, as Precis documents no_repeat_ngram_size."""

    def __init__(self, size: int, prompt: int):
        self.processor, self.prompt = transformers.NoRepeatNGramLogitsProcessor(size), prompt

    def __call__(self, ids, scores):
        return self.processor(ids[:, self.prompt:], scores)


def load(config: dict, dtype: torch.dtype) -> torch.nn.Module:
    weights = make_golden.make_weights({"config": config, "dtype": "F32"})
    if not config.get("alibi"):
        return make_golden.hf_model(config, weights, dtype)
    plain = {key: value for key, value in config.items() if key != "alibi"}
    model = AlibiModel(transformers.GPT2Config(**plain))
    model.reference = (config, weights)
    return model.eval()


def search(model: torch.nn.Module, prompt: str, options: dict, end_of_text: int) -> tuple[list[int], bool, float]:
    """Tokens without the one that ends the text, whether it was there, and the score."""
    ids = torch.tensor([list(prompt.encode())])
    processors = transformers.LogitsProcessorList()
    if options["no_repeat_ngram_size"] > 0:
        processors.append(NoRepeatInSummary(options["no_repeat_ngram_size"], ids.shape[1]))
    passed = {key: value for key, value in options.items() if key != "no_repeat_ngram_size"}
    with torch.no_grad():
        output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=end_of_text,
                                pad_token_id=end_of_text, logits_processor=processors, return_dict_in_generate=True,
                                output_scores=True, use_cache=not isinstance(model, AlibiModel), **passed)
    tokens = output.sequences[0, ids.shape[1]:].tolist()
    ended = end_of_text in tokens
    return tokens[:tokens.index(end_of_text)] if ended else tokens, ended, float(output.sequences_scores[0])


def random_options(source: random.Random) -> dict:
    most = source.choice([1, 6, 16, 32, 48])
    return {
        "max_new_tokens": most,
        "min_new_tokens": source.choice([0, 0, min(5, most)]),
        "num_beams": source.choice([2, 3, 4, 5, 8, 16]),
        "length_penalty": source.choice([-1.0, 0.0, 0.5, 1.0, 1.0, 2.0]),
        "early_stopping": source.choice([False, True, "never"]),
        "repetition_penalty": source.choice([1.0, 1.0, 1.25]),
        "no_repeat_ngram_size": source.choice([0, 0, 2, 3]),
    }


def random_prompt(source: random.Random) -> str:
    return "".join(source.choice("abcdefghijklmnopqrstuvwxyz ,.") for _ in range(source.randint(1, 70)))


def choose_end(model: torch.nn.Module, source: random.Random) -> int:
    """A token that many searches produce, but not at once."""
    counts: collections.Counter = collections.Counter()
    plain = {"max_new_tokens": 24, "num_beams": 4, "no_repeat_ngram_size": 2, "length_penalty": 1.0}
    for _ in range(12):
        tokens, _, _ = search(model, random_prompt(source), plain, 256)
        counts.update(set(tokens[3:]))
    return counts.most_common(1)[0][0]


def checkpoint(number: int, shape: dict) -> dict:
    config = {"model_type": "gpt2", "n_positions": 160, "n_layer": 2, "vocab_size": 257, **shape}
    source = random.Random(number)
    alibi = config.get("alibi", False)
    exact, rough = load(config, torch.float64), None if alibi else load(config, torch.float32)
    end_of_text = choose_end(exact, source)
    searches = []
    while len(searches) < (SEARCHES // 2 if alibi else SEARCHES):
        prompt, options = random_prompt(source), random_options(source)
        tokens, ended, score = search(exact, prompt, options, end_of_text)
        if rough is not None and search(rough, prompt, options, end_of_text)[:2] != (tokens, ended):
            continue
        searches.append({"prompt": prompt, **options, "early_stopping": str(options["early_stopping"]).lower(),
                         "tokens": tokens, "end_of_text": ended, "score": score})
    print(f"{shape}: {sum(s['end_of_text'] for s in searches)} of {len(searches)} end with token {end_of_text}")
    return {"config": {**config, "eos_token_id": end_of_text}, "searches": searches}


def main() -> None:
    torch.set_num_threads(1)
    result = {"transformers": transformers.__version__, "checkpoints": [checkpoint(i, s) for i, s in enumerate(SHAPES)]}
    text = json.dumps(result, separators=(",", ":")).replace('{"prompt"', '\n{"prompt"').replace('{"config"', '\n{"config"')
    OUT.write_text(text + "\n")


if __name__ == "__main__":
    main()
