"""The model of peers.py in every contender's form, under --work. A form that is already there is left alone.

    model/           GPT-2 124M, random weights (normal, 0.02), Hugging Face form, with a made-up tokenizer of 50,257 tokens
    ct2/             CTranslate2's form
    llama/bin/       llama.cpp's two benchmarks, built for this machine from the sources in llama-cpp-python's sdist
    gpt2-TYPE.gguf   llama.cpp's form, by its own converter
    ov-fp32, ov-int8 OpenVINO's form, by optimum-cli in a virtual environment of its own (it wants another torch)
"""
import json
import os
import subprocess
import sys
import tarfile
import venv

from peers_contenders import VOCABULARY

LLAMA_SDIST = "llama-cpp-python==0.3.36"
GGUF_TYPES = ("f32", "bf16", "f16", "q8_0")


def prepare(args):
    steps = [("model", make_model), ("ct2", make_ctranslate2), ("llama/bin/llama-bench", build_llama)]
    steps += [(f"gpt2-{kind}.gguf", lambda work, kind=kind: make_gguf(work, kind)) for kind in GGUF_TYPES]
    steps += [(f"ov-{kind}", lambda work, kind=kind: export_openvino(work, kind)) for kind in ("fp32", "int8")]
    os.makedirs(args.work, exist_ok=True)
    failed = []
    for path, make in steps:
        if os.path.exists(f"{args.work}/{path}"):
            print(f"{path}: there", flush=True)
            continue
        print(f"{path}: making it", flush=True)
        try:
            make(args.work)
        except (subprocess.CalledProcessError, ImportError, OSError) as error:
            failed.append(path)
            print(f"{path}: failed: {error}", flush=True)
    if failed:
        sys.exit(f"not made: {', '.join(failed)}; the contenders that need them will be left out")


def make_model(work):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast
    folder = f"{work}/model.new"
    torch.manual_seed(1234)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder, safe_serialization=True)
    write_tokenizer(folder)
    GPT2TokenizerFast(f"{folder}/vocab.json", f"{folder}/merges.txt").save_pretrained(folder)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(dict(config, n_ctx=1024), file, indent=2)  # as the published one; llama.cpp's converter reads it
    os.rename(folder, f"{work}/model")


def write_tokenizer(folder):
    """GPT-2's byte alphabet, 50,000 merges of two of its symbols, and the end of text."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = [(a, b) for a in alphabet for b in alphabet][:50000]
    tokens = alphabet + [a + b for a, b in merges] + ["<|endoftext|>"]
    assert len(tokens) == VOCABULARY == len(set(tokens))
    with open(f"{folder}/vocab.json", "w", encoding="utf-8") as file:
        json.dump({token: index for index, token in enumerate(tokens)}, file, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n")


def make_ctranslate2(work):
    import ctranslate2
    ctranslate2.converters.TransformersConverter(f"{work}/model").convert(f"{work}/ct2", quantization="float32")


def llama_source(work):
    folder = os.path.realpath(f"{work}/llama")  # ninja loops on a link
    os.makedirs(folder, exist_ok=True)
    name = LLAMA_SDIST.replace("-", "_").replace("==", "-")
    source = f"{folder}/{name}/vendor/llama.cpp"
    if not os.path.exists(source):
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "-d", folder,
                        LLAMA_SDIST], check=True)
        with tarfile.open(f"{folder}/{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return source


def build_llama(work):
    source, build = llama_source(work), os.path.realpath(f"{work}/llama")
    subprocess.run(["cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
                    "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", build, "llama-bench", "llama-batched-bench"], check=True)


def make_gguf(work, kind):
    """llama.cpp's converter; it knows tokenizers by a fingerprint, and ours is made up: it is told that this one is GPT-2's."""
    script = ("import sys, conversion.base as base, convert_hf_to_gguf as converter\n"
              "base.TextModel.get_vocab_base_pre = lambda self, tokenizer: 'gpt-2'\n"
              f"sys.argv = ['convert', {work + '/model'!r}, '--outtype', {kind!r}, '--outfile', {work + '/gpt2-' + kind + '.gguf'!r}]\n"
              "converter.main()\n")
    source = llama_source(work)
    environment = dict(os.environ, PYTHONPATH=f"{source}{os.pathsep}{source}/gguf-py")
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, stderr=subprocess.DEVNULL)


def export_openvino(work, kind):
    home = f"{work}/openvino-export"
    if not os.path.exists(f"{home}/bin/optimum-cli"):
        venv.create(home, with_pip=True)
        subprocess.run([f"{home}/bin/pip", "install", "-q", "optimum-intel[openvino]"], check=True)
    subprocess.run([f"{home}/bin/optimum-cli", "export", "openvino", "--model", f"{work}/model", "--task", "text-generation-with-past",
                    "--weight-format", kind, f"{work}/ov-{kind}"], check=True)
