#!/usr/bin/env python3
"""Writes the seeds of server_config_fuzz, http_fuzz, tokens_fuzz, results_fuzz and request_fuzz (needs grpcio-tools)."""

import importlib
import pathlib
import sys
import tempfile

from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent

CONFIGS = {
    "empty.yaml": "",
    "scalars.yaml": "listen: 0.0.0.0:50051\nkv_cache_bytes: 1.5GiB\nreflection: off\ntls_reload: 1m30s\nlog_level: warning\n",
    "models.yaml": "model:\n  - news=models/news\n  - 'news=models/news alibi'\nmetrics_listen: 'off'\n",
    "experiments.yaml": """experiments:
  - name: long-documents
    salt: "2"
    model: news
    arms:
      - {name: control, weight: 1, attention_backend: standard}
      - {name: treatment, weight: 3, attention_backend: flash_alibi, model: other}
  - name: second
    arms: [{name: a, attention_backend: flash}, {name: b, weight: 0, attention_backend: flash}]
""",
    "anchors.yaml": "experiments:\n  - &e {name: a, arms: [{name: x, attention_backend: flash}]}\n  - *e\n",
    "escapes.yaml": 'tls_cert: "a\\nb\\t\\"\\\\\\u00e9\\0"\n',
    "blocks.yaml": "tls_cert: |\n  first\n  second\nauth_tokens_file: >-\n  folded\n  line\n",
    "twice.yaml": "listen: a:1\nlisten: a:2\n",
    "unknown.yaml": "lissten: a:1\n",
    "not_a_mapping.yaml": "- a\n- b\n",
    "two_documents.yaml": "---\nlisten: a:1\n---\nlisten: a:2\n",
    "merge_key.yaml": "? <<\n: {listen: 'a:1'}\n",
    "deep.yaml": "a: " + "[" * 300,
    "truncated.yaml": 'listen: "127.0.0.1',
}

LINE = b"GET /%s HTTP/1.1\r\nHost: a\r\n"
REQUESTS = {
    "metrics": LINE % b"metrics" + b"\r\n",
    "metrics_gzip": LINE % b"metrics" + b"Accept-Encoding: br, gzip;q=0.5\r\n\r\n",
    "page": LINE % b"" + b"\r\n",
    "ready": LINE % b"readyz?x=1&y=%%20#z" + b"\r\n",
    "status": LINE % b"status.json" + b"Range: bytes=0-0,1-\r\n\r\n",
    "range": LINE % b"healthz" + b"Range: bytes=5-2\r\n\r\n",
    "head": b"HEAD /healthz HTTP/1.0\r\n\r\n",
    "not_found": LINE % b"..%%2f..%%00/etc/passwd" + b"\r\n",
    "post": b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "multipart": b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 40\r\n\r\n"
                 b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n",
    "expect": b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "two": LINE % b"healthz" + b"\r\n" + LINE % b"readyz" + b"\r\n",
    "no_end": LINE % b"metrics",
    "long_target": LINE % (b"a" * 9000) + b"\r\n",
    "binary": bytes(range(256)),
}

# The first byte: even: the rest makes results of arms, whose bytes the tail damages; odd: bytes of a peer.
RESULTS = {
    "empty": b"\x01", "version": b"\x01\x02", "no_arms": b"\x01\x02\x00\x00",
    "two_arms": b"\x00\x00" + b"".join(bytes([i % 7, 50, i % 8, 16 + i % 50, i % 2, i, 1, 1]) for i in range(120)),
    "three_arms": b"\x00\x01" + b"".join(bytes([i % 5, 90, i % 4, i, i % 3, i // 2, 1, 1]) for i in range(90)),
    "damaged": b"\x00\x00" + b"".join(bytes([i, 50, i % 8, 16, i % 2, i, 1, 1 if i < 30 else 0]) for i in range(31)) + bytes(range(3, 90)),
}

TOKENS = {
    "plain": b"0123456789abcdef0123456789abcdef\n",
    "fields": b"# who may what\n0123456789abcdef name=dashboards allow=list,reflection\nfedcba9876543210 models=news,other\n",
    "windows_lines": b"0123456789abcdef\r\n\r\nfedcba9876543210 allow=summarize\r\n",
    "short": b"secret\n",
    "twice": b"0123456789abcdef\n0123456789abcdef\n",
    "unknown_field": b"0123456789abcdef who=me\n",
    "unknown_permission": b"0123456789abcdef allow=everything\n",
    "empty_value": b"0123456789abcdef allow=,, models=\n",
    "two_tokens_on_a_line": b"0123456789abcdef0123456789abcdef fedcba9876543210fedcba9876543210\n",
    "comments_only": b"# nothing\n\n",
    "binary": bytes(range(256)),
}


def requests() -> dict[str, bytes]:
    root = HERE.parent.parent
    with tempfile.TemporaryDirectory() as out:
        if protoc.main(["protoc", f"-I{root / 'proto'}", f"--python_out={out}", "precis/v1/summarizer.proto"]) != 0:
            raise SystemExit("make_server_corpus: protoc failed on proto/precis/v1/summarizer.proto")
        sys.path.insert(0, out)
        pb = importlib.import_module("precis.v1.summarizer_pb2")
    options = pb.GenerationOptions(max_new_tokens=64, min_new_tokens=8, temperature=0.7, top_k=50, top_p=0.9, seed=7, no_repeat_ngram_size=3,
                                   repetition_penalty=1.2, stop_sequences=["\n\n", "END"])
    nan = pb.GenerationOptions(temperature=float("nan"), top_p=float("inf"), repetition_penalty=-1, max_new_tokens=-2**31)
    full = pb.SummarizeRequest(document="A line.\nAnother: \u00e9\u4e2d.".encode(), model="news", attention_backend="flash_alibi", options=options,
                               too_long=pb.TOO_LONG_REJECT, priority=pb.PRIORITY_LOW, unit_id="user-1", client_request_id="id-1", return_token_ids=True)
    made = {
        "plain": pb.SummarizeRequest(document=b"A document."),
        "full": full,
        "control": pb.SummarizeRequest(document=b"\x00\x1b[31m\x7f", client_request_id="a\nb\t\"\\"),
        "bad_utf8": pb.SummarizeRequest(document=b"a\xff\xc0\x80\xed\xa0\x80"),
        "bad_options": pb.SummarizeRequest(document=b"a", options=nan),
        "bad_stops": pb.SummarizeRequest(document=b"a", options=pb.GenerationOptions(stop_sequences=[""] + ["x" * 300] * 8)),
        "long_ids": pb.SummarizeRequest(document=b"a", unit_id="u" * 257, client_request_id="c" * 129),
        "empty": pb.SummarizeRequest(),
    }
    wire = {name: message.SerializeToString() for name, message in made.items()}
    wire["bad_enum"] = wire["plain"] + b"\x28\x63\x30\xff\x01"  # too_long = 99, priority = 255
    wire["truncated"] = wire["full"][:-5]
    wire["traceparent"] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    return wire


def write(target: str, name: str, data: bytes) -> None:
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> None:
    for name, text in CONFIGS.items():
        write("server_config_fuzz", name, text.encode())
    for name, data in REQUESTS.items():
        write("http_fuzz", name, data)
    for name, data in TOKENS.items():
        write("tokens_fuzz", name, data)
    for name, data in RESULTS.items():
        write("results_fuzz", name, data)
    for name, data in requests().items():
        write("request_fuzz", name, data)


if __name__ == "__main__":
    main()
