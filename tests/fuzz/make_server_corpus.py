#!/usr/bin/env python3
"""Writes the seeds of server_config_fuzz and http_fuzz."""

import pathlib

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


def write(target: str, name: str, data: bytes) -> None:
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> None:
    for name, text in CONFIGS.items():
        write("server_config_fuzz", name, text.encode())
    for name, data in REQUESTS.items():
        write("http_fuzz", name, data)


if __name__ == "__main__":
    main()
