"""Writes small random checkpoints in Hugging Face form, with a byte-level BPE trained on made-up text. Seeded: the same every time."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WORDS = ("the city council of a small town said on Monday that it would build new bridge over river after years debate "
         "about cost and traffic people who live near market have asked for safer roads while shops fear losing "
         "customers during work which will take eighteen months officials expect report").split()


def article(words: int, seed: int = 0) -> str:
    """Text of so many words; about 1.3 tokens each."""
    picks = np.random.default_rng(seed).integers(0, len(WORDS), words)
    return " ".join(WORDS[i] for i in picks) + "."


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator((article(200, seed) for seed in range(20)), trainer)
    tokenizer.model.save(str(folder))


def write_checkpoint(folder: Path, *, alibi: bool, layers: int = 2, heads: int = 2, width: int = 32,
                     positions: int = 512, seed: int = 7) -> Path:
    """A GPT-2 of random weights. Scaled so that greedy text varies and the end-of-text token is rare."""
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    vocabulary = len(json.loads((folder / "vocab.json").read_text()))
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    tensors = {"wte.weight": normal(vocabulary, width)}
    if not alibi:
        tensors["wpe.weight"] = normal(positions, width)
    for i in range(layers):
        for name, rows, columns in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                    ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):
            tensors[f"h.{i}.{name}.weight"] = normal(rows, columns, scale=rows**-0.5)
            tensors[f"h.{i}.{name}.bias"] = normal(columns, scale=0.02)
        for norm in ("ln_1", "ln_2"):
            tensors[f"h.{i}.{norm}.weight"] = np.ones(width, np.float32)
            tensors[f"h.{i}.{norm}.bias"] = np.zeros(width, np.float32)
    tensors["ln_f.weight"] = np.ones(width, np.float32)
    tensors["ln_f.bias"] = np.zeros(width, np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": layers, "n_head": heads,
              "n_embd": width, "n_positions": positions, "vocab_size": vocabulary, "activation_function": "gelu_new",
              "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config | ({"alibi": True} if alibi else {})))
    return folder


def make_models(root: Path) -> dict[str, Path]:
    """tiny-learned and tiny-alibi (about 0.1 ms a token), slow-alibi (some ms a token); made once, whoever comes first."""
    shapes = {"tiny-learned": {"alibi": False}, "tiny-alibi": {"alibi": True},
              "slow-alibi": {"alibi": True, "layers": 8, "heads": 6, "width": 384}}
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
            made = Path(scratch) / "models"
            for name, shape in shapes.items():
                write_checkpoint(made / name, **shape)
            try:
                os.rename(made, root)
            except OSError:
                pass  # another process was first
    return {name: root / name for name in shapes}
