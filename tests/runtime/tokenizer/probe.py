"""Talks to tokenizer_probe, and makes texts to ask it about."""

import json
import lzma
import pathlib
import struct
import subprocess
import threading

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"


class Probe:
    """One tokenizer_probe process; `ask` sends texts (bytes) and yields the answers in order."""

    def __init__(self, binary, mode, folder):
        self._process = subprocess.Popen(
            [str(binary), mode, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        if self._process.wait(timeout=60) != 0:
            raise RuntimeError("tokenizer_probe failed")

    def ask(self, texts):
        def write():
            for text in texts:
                self._process.stdin.write(struct.pack("<I", len(text)) + text)
            self._process.stdin.flush()

        writer = threading.Thread(target=write)
        writer.start()
        for _ in texts:
            yield self._read(struct.unpack("<I", self._read(4))[0])
        writer.join()

    def ask_numbers(self, texts):
        for answer in self.ask(texts):
            yield list(struct.unpack(f"<{len(answer) // 4}i", answer))

    def _read(self, size):
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise RuntimeError("tokenizer_probe stopped in the middle of an answer")
        return data


def rows(path):
    """The rows of one .jsonl.xz file."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
