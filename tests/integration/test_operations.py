"""Starting, stopping, configuring and securing the server."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from pki import Pki
from precis_client import GenerationOptions, PermissionDenied, Request, SummarizerClient, Tls, Unauthenticated, Unavailable
from server_process import ServerProcess
from tiny_model import article

SHORT = GenerationOptions(max_new_tokens=8)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


def refused(binary, *flags: str) -> str:
    """What a server that must not start says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PRECIS_")}
    result = subprocess.run([str(binary), "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", *flags], text=True,
                            errors="replace", capture_output=True, timeout=60, env=environment)
    assert result.returncode in (1, 2), (result.returncode, result.stderr)  # not a signal, not success
    return result.stderr


def test_help_and_unknown_flags(server_binary):
    text = subprocess.run([str(server_binary), "--help"], text=True, capture_output=True, check=True, timeout=20).stdout
    assert "--kv-cache-bytes" in text and "xample" in text
    error = refused(server_binary, "--kv-cash-bytes=1GiB")
    assert "kv-cash-bytes" in error and "--kv-cache-bytes" in error


def test_unknown_key_in_the_configuration_file(server_binary, models, tmp_path):
    config = tmp_path / "precis.yaml"
    config.write_text("thread: 1\n")
    error = refused(server_binary, f"--config={config}", f"--model=tiny={models['tiny-learned']}")
    assert "thread" in error and "threads" in error and "precis.yaml" in error


def test_port_in_use(server_binary, models, start):
    server = start().wait_ready()
    error = refused(server_binary, f"--listen={server.address}", f"--model=tiny={models['tiny-learned']}")
    assert server.address.rsplit(":", 1)[1] in error


def test_ready_and_health_endpoints(start):
    server = start().wait_ready()
    assert server.http("/healthz")[0] == 200 and server.http("/readyz")[0] == 200
    assert "<html" in server.http("/")[1].lower()
    assert server.http("/no/such")[0] == 404


def damage_truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def damage_header_length(folder):
    file = folder / "model.safetensors"
    file.write_bytes((2**60).to_bytes(8, "little") + file.read_bytes()[8:])


def damage_header_json(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[8:12] = b"\x00\x00\x00\x00"
    file.write_bytes(content)


def damage_offsets(folder):
    """The last tensor claims bytes of the one before it."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + size])
    names = sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][0])
    begin, end = header[names[-1]]["data_offsets"]
    header[names[-1]]["data_offsets"] = [begin - 4, end - 4]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size:])


def damage_missing_weights(folder):
    (folder / "model.safetensors").unlink()


def damage_empty_weights(folder):
    (folder / "model.safetensors").write_bytes(b"")


def damage_config_json(folder):
    (folder / "config.json").write_text('{"n_layer": 2,')


def damage_config_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 2_000_000_000}))


def damage_unsupported(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"activation_function": "swiglu"}))


def damage_vocabulary(folder):
    (folder / "vocab.json").write_text('{"a": -1}')


def damage_merges(folder):
    (folder / "merges.txt").write_text("#version: 0.2\nno-such-token another\n")


def damage_missing_tokenizer(folder):
    (folder / "vocab.json").unlink()


@pytest.mark.parametrize(("damage", "words"), [
    (damage_truncate, ["model.safetensors"]), (damage_header_length, ["model.safetensors"]),
    (damage_header_json, ["model.safetensors"]), (damage_offsets, ["model.safetensors"]),
    (damage_missing_weights, ["model.safetensors"]), (damage_empty_weights, ["model.safetensors"]),
    (damage_config_json, ["config.json"]), (damage_config_shape, ["n_layer"]),
    (damage_unsupported, ["activation_function", "swiglu"]), (damage_vocabulary, ["vocab.json"]),
    (damage_merges, ["merges.txt"]), (damage_missing_tokenizer, ["vocab.json"]),
], ids=lambda value: value.__name__.removeprefix("damage_") if callable(value) else "")
def test_corrupted_checkpoints_are_refused(server_binary, models, tmp_path, damage, words):
    folder = tmp_path / "broken"
    shutil.copytree(models["tiny-learned"], folder)
    damage(folder)
    error = refused(server_binary, f"--model=tiny={folder}")
    assert "broken" in error and all(word in error for word in words), error


def test_two_checkpoints_for_one_backend_are_refused(server_binary, models):
    error = refused(server_binary, f"--model=m={models['tiny-alibi']}", f"--model=m={models['slow-alibi']}")
    assert "flash_alibi" in error or "standard_alibi" in error


def test_a_full_disk_for_logs_does_not_stop_service(start):
    server = start("--log-file=/dev/full").wait_ready()
    with SummarizerClient(server.address) as client:
        for i in range(50):
            assert client.summarize(Request(article(20, seed=i), options=SHORT)).accounting.new_tokens > 0
    server.terminate()
    assert server.wait() == 0


def test_log_is_structured_and_keeps_documents_private(start):
    server = start("--log-format=json").wait_ready()
    with SummarizerClient(server.address) as client:
        client.summarize(Request("A very secretive document", client_request_id="mine-1", options=SHORT))
    server.terminate()
    assert server.wait() == 0
    events = [json.loads(line) for line in server.log if line]
    assert any("mine-1" in json.dumps(event) for event in events)
    assert "secretive" not in "\n".join(server.log)


def test_metrics_of_a_request_carry_its_labels(start):
    server = start().wait_ready()
    before = server.metric("precis_requests_total", attention_backend="flash_alibi", grpc_code="OK")
    with SummarizerClient(server.address) as client:
        summary = client.summarize(Request(article(40), backend="flash_alibi", options=SHORT))
    labels = {"model": "tiny", "attention_backend": "flash_alibi", "device": "cpu"}
    assert server.metric("precis_requests_total", grpc_code="OK", **labels) == before + 1
    assert server.metric("gen_ai_server_request_duration_seconds_count", **labels) >= 1
    assert server.metric("gen_ai_server_time_to_first_token_seconds_count", **labels) >= 1
    assert server.metric("precis_generation_tokens_total", **labels) >= summary.accounting.new_tokens
    assert server.metric("precis_prompt_tokens_total", **labels) >= summary.accounting.prompt_tokens
    assert server.metric("precis_memory_bytes", kind="weights") > 0


def test_experiment_splits_by_unit_and_says_so(start, tmp_path):
    config = tmp_path / "precis.yaml"
    config.write_text(EXPERIMENT)
    server = start(f"--config={config}").wait_ready()
    with SummarizerClient(server.address) as client:
        def arm(unit):
            summary = client.summarize(Request(article(20), unit_id=unit, options=SHORT))
            assert summary.assignment.experiment == "attention" and summary.assignment.reason == "assigned"
            assert summary.backend == {"a": "flash", "b": "flash_alibi"}[summary.assignment.arm]
            return summary.assignment.arm
        arms = {f"user-{i}": arm(f"user-{i}") for i in range(60)}
        assert all(arm(unit) == arms[unit] for unit in list(arms)[:10])
        forced = client.summarize(Request(article(20), backend="standard", options=SHORT))
        assert forced.assignment.reason == "forced"
    # Weights 3:1; 60 units: within five standard deviations.
    assert 45 - 17 < list(arms.values()).count("a") < 45 + 15
    assert server.metric("gen_ai_server_request_duration_seconds_count", experiment="attention", arm="a") > 0


EXPERIMENT = """
experiments:
  - name: attention
    arms:
      - name: a
        attention_backend: flash
        weight: 3
      - name: b
        attention_backend: flash_alibi
        weight: 1
"""


def test_tls_and_certificate_reload(start, pki, tool):
    server = start(f"--tls-cert={pki.folder}/server.pem", f"--tls-key={pki.folder}/server.key", "--tls-reload=1s").wait_ready()

    def serial():
        host, port = server.address.rsplit(":", 1)
        shown = subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-alpn", "h2"], input="", text=True,
                               errors="replace", capture_output=True, timeout=20).stdout
        pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shown, re.S).group(0)
        return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, text=True, check=True,
                              capture_output=True).stdout

    with SummarizerClient(server.address, tls=Tls(ca=pki.read("ca.pem"))) as client:
        assert client.summarize(Request("text", options=SHORT)).text is not None
    result = subprocess.run([tool("precis"), "models", f"--server={server.address}", f"--tls-ca={pki.folder}/ca.pem"],
                            text=True, capture_output=True, timeout=20)
    assert result.returncode == 0, result.stderr
    plain = subprocess.run([tool("precis"), "models", f"--server={server.address}", "--retries=0", "--deadline=5s"],
                           text=True, capture_output=True, timeout=20)
    assert plain.returncode in (4, 6) and server.address in plain.stderr
    first = serial()
    pki.make("server", "DNS:localhost,IP:127.0.0.1")
    end = time.monotonic() + 20
    while serial() == first:
        assert time.monotonic() < end, "the new certificate is not served"
        time.sleep(0.2)
    with SummarizerClient(server.address, tls=Tls(ca=pki.read("ca.pem"))) as client:
        assert client.health()


def test_mutual_tls(start, pki, tool):
    server = start(f"--tls-cert={pki.folder}/server.pem", f"--tls-key={pki.folder}/server.key",
                   f"--tls-client-ca={pki.folder}/ca.pem").wait_ready()
    ca = pki.read("ca.pem")
    with SummarizerClient(server.address, tls=Tls(ca, pki.read("client.pem"), pki.read("client.key"))) as client:
        assert client.models()
    with SummarizerClient(server.address, tls=Tls(ca), timeout=3) as stranger:
        with pytest.raises(Unavailable):
            stranger.models()
    result = subprocess.run(
        [tool("precis"), "health", f"--server={server.address}", f"--tls-ca={pki.folder}/ca.pem",
         f"--tls-cert={pki.folder}/client.pem", f"--tls-key={pki.folder}/client.key"],
        text=True, capture_output=True, timeout=20)
    assert (result.returncode, result.stdout) == (0, "serving\n"), result.stderr


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT),
                                               (signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_stop_signal_ends_at_once(start, first, second):
    server = start("--drain-timeout=60s", model=("slow-alibi",)).wait_ready()
    with SummarizerClient(server.address) as client:
        endless = GenerationOptions(max_new_tokens=2000, min_new_tokens=2000)
        with client.stream(Request("text", options=endless), timeout=60) as stream:
            next(stream)
            server.process.send_signal(first)
            server.wait_metric("precis_draining", lambda value: value == 1)
            next(stream)  # the first signal drains: the request goes on
            assert server.process.poll() is None
            began = time.monotonic()
            server.process.send_signal(second)
            assert server.wait(10) == 128 + second
            assert time.monotonic() - began < 5
            with pytest.raises(Unavailable):
                for _ in stream:
                    pass


def test_bearer_tokens(start, tool, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    server = start(f"--auth-tokens-file={tokens}").wait_ready()
    with SummarizerClient(server.address, token="right-token-0123456789abcdef") as client:
        assert client.summarize(Request("text", options=SHORT)).model == "tiny"
    for token in (None, "wrong-token-0123456789abcdef"):
        with SummarizerClient(server.address, token=token) as client, pytest.raises(Unauthenticated):
            client.summarize(Request("text", options=SHORT))
    assert server.metric("precis_requests_rejected_total", reason="auth") >= 2
    (tmp_path / "mine").write_text("right-token-0123456789abcdef\n")
    good = subprocess.run([tool("precis"), "models", f"--server={server.address}", f"--token-file={tmp_path}/mine"],
                          capture_output=True, timeout=20)
    bad = subprocess.run([tool("precis"), "models", f"--server={server.address}"], capture_output=True, timeout=20)
    assert (good.returncode, bad.returncode) == (0, 8)


def test_tokens_are_limited_to_calls_and_models(start, tool, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("worker-token-0123456789abcdef name=worker allow=summarize models=tiny\n"
                      "viewer-token-0123456789abcdef name=viewer allow=list,reflection\n")
    server = start(f"--auth-tokens-file={tokens}").wait_ready()
    with SummarizerClient(server.address, token="worker-token-0123456789abcdef") as worker:
        assert worker.summarize(Request("text", options=SHORT)).model == "tiny"
        with pytest.raises(PermissionDenied, match="the token 'worker' allows summarize; ListModels needs list"):
            worker.models()
    with SummarizerClient(server.address, token="viewer-token-0123456789abcdef") as viewer:
        assert [model.name for model in viewer.models()]
        for refused in (lambda: viewer.summarize("text"), lambda: list(viewer.stream("text"))):
            with pytest.raises(PermissionDenied, match="needs summarize"):
                refused()
    for token, services in (("viewer", True), ("worker", False), (None, False)):
        header = ["-H", f"authorization: Bearer {token}-token-0123456789abcdef"] if token else []
        result = subprocess.run([tool("grpcurl"), "-plaintext", *header, server.address, "list"], text=True,
                                capture_output=True, timeout=20)
        assert (result.returncode == 0) == services, result.stderr
        assert ("precis.v1.Summarizer" in result.stdout) == services


TOKENS = "# of the tests\nright-token-0123456789abcdef\n"
