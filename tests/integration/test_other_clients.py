"""Clients that others made: grpcurl by reflection, ghz for load, grpc-js, promtool."""

import base64
import json
import shutil
import subprocess
import time

import pytest
from conftest import ROOT
from tiny_model import article

BACKENDS = ["standard", "standard_alibi", "flash", "flash_alibi"]


@pytest.fixture
def grpcurl(server, tool):
    def run(*arguments: str, request=None, check: bool = True) -> subprocess.CompletedProcess:
        data = [] if request is None else ["-d", json.dumps(request)]
        method = arguments[-1:] if request is not None else []
        options = arguments[:-1] if request is not None else []
        words = [*options, server.address, *method] if request is not None else [server.address, *arguments]
        return subprocess.run([tool("grpcurl"), "-plaintext", *data, *words], check=check, text=True,
                              capture_output=True, timeout=60)
    return run


def request(backend: str = "", words: int = 50, **options) -> dict:
    return {"document": base64.b64encode(article(words).encode()).decode(), "attention_backend": backend,
            "options": {"max_new_tokens": 8, **options}}


def test_grpcurl_lists_every_service(grpcurl):
    services = grpcurl("list").stdout.split()
    assert {"precis.v1.Summarizer", "grpc.health.v1.Health"} <= set(services)
    assert any(name.startswith("grpc.reflection.") for name in services)


def test_grpcurl_describes_every_service_that_it_lists(grpcurl):
    for service in grpcurl("list").stdout.split():
        assert f"service {service.rsplit('.', 1)[1]}" in grpcurl("describe", service).stdout
    described = grpcurl("describe", "precis.v1.SummarizeRequest").stdout
    assert "attention_backend" in described


def test_grpcurl_health_check(grpcurl):
    for service in ("", "precis.v1.Summarizer"):
        reply = grpcurl("grpc.health.v1.Health/Check", request={"service": service})
        assert json.loads(reply.stdout)["status"] == "SERVING"
    unknown = grpcurl("grpc.health.v1.Health/Check", request={"service": "no.such"}, check=False)
    assert unknown.returncode != 0 and "NotFound" in unknown.stderr


def test_grpcurl_health_watch_sees_the_drain(start, tool):
    server = start("--drain-delay=500ms").wait_ready()
    watch = subprocess.Popen([tool("grpcurl"), "-plaintext", "-d", "{}", server.address, "grpc.health.v1.Health/Watch"],
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        for _ in range(3):
            first = watch.stdout.readline()
            if '"SERVING"' in first:
                break
        assert '"SERVING"' in first
        server.terminate()
        assert "NOT_SERVING" in watch.communicate(timeout=20)[0]
        assert server.wait() == 0
    finally:
        watch.kill()
        watch.wait()


@pytest.mark.parametrize("backend", BACKENDS)
def test_grpcurl_summarize(grpcurl, backend):
    # C++ descriptors carry no JSON names, so that by reflection the proto's own names are seen.
    reply = json.loads(grpcurl("precis.v1.Summarizer/Summarize", request=request(backend)).stdout)
    assert reply["attention_backend"] == backend
    assert 0 < reply["accounting"]["new_tokens"] <= 8 and reply["accounting"]["prompt_tokens"] > 50


def test_grpcurl_stream(grpcurl):
    reply = grpcurl("precis.v1.Summarizer/StreamSummarize", request=request("flash")).stdout
    messages, decoder, position = [], json.JSONDecoder(), 0
    while position < len(reply.rstrip()):
        message, position = decoder.raw_decode(reply, position)
        position += len(reply[position:]) - len(reply[position:].lstrip())
        messages.append(message)
    assert "".join(m.get("delta", "") for m in messages) == messages[-1]["result"].get("summary", "")


def test_grpcurl_sees_trailers_and_errors(grpcurl):
    good = grpcurl("-v", "precis.v1.Summarizer/Summarize", request=request("flash")).stdout
    assert "trailers" in good.lower() and "endpoint-load-metrics-bin" in good
    bad = grpcurl("precis.v1.Summarizer/Summarize", request=request("quick"), check=False)
    assert "InvalidArgument" in bad.stderr and "flash_alibi" in bad.stderr  # it says what there is


def test_ghz_load(server, tool):
    result = subprocess.run(
        [tool("ghz"), "--insecure", "--call=precis.v1.Summarizer/Summarize", "--total=400", "--concurrency=16",
         "--format=json", "-d", json.dumps(request("flash")), server.address],
        check=True, text=True, capture_output=True, timeout=120)
    report = json.loads(result.stdout)
    assert report["count"] == 400 and report["statusCodeDistribution"] == {"OK": 400}
    print(f"ghz: {report['rps']:.0f} requests/s, mean {report['average'] / 1e6:.1f} ms")
    server.wait_idle()


def test_grpc_js(server):
    started = time.monotonic()
    result = subprocess.run(["node", str(ROOT / "tests/integration/js/client.js"), server.address], text=True,
                            capture_output=True, timeout=120)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen["health"] == "SERVING"
    assert seen["models"][0]["name"] == "tiny"
    assert seen["unary"]["attention_backend"] == "flash"
    assert "".join(seen["stream"]["deltas"]) == seen["stream"]["result"]["summary"]
    assert seen["cancelled"] == 1  # CANCELLED
    assert sorted(seen["many"]) == ["0", "1", "2", "3"]
    assert [seen["many"][i].get("error") is not None for i in "0123"] == [False, False, False, True]
    assert seen["many"]["3"]["error"]["code"] == 3  # INVALID_ARGUMENT
    assert seen["error"]["code"] == 3
    assert time.monotonic() - started < 60
    server.wait_idle()


def test_promtool_finds_nothing_to_say(server):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    text = server.http("/metrics")[1]
    result = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
