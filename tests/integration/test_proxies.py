"""A proxy in front of two real servers, as deploy/proxy configures it: nginx and HAProxy from Debian. All kinds of calls pass, calls are spread, a server that
is killed or drains costs no call beyond the client's retries. (Envoy does not run here: no Envoy is in Debian. test_envoy.py checks its configuration.)"""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT
from precis_client import GenerationOptions, InvalidRequest, Request, RetryPolicy, SummarizerClient, Unavailable
from tiny_model import article

PROXY = ROOT / "deploy/proxy"
SHORT = GenerationOptions(max_new_tokens=6)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(text, servers, port, folder):
    text = text.replace("127.0.0.1:8443", f"127.0.0.1:{port}").replace("/run/nginx-precis.pid", f"{folder}/pid")
    for old, server in zip(("127.0.0.1:50051", "127.0.0.1:50052"), servers):
        text = text.replace(old, server.address)
    (folder / "nginx.conf").write_text(text)
    subprocess.run(["nginx", "-t", "-q", "-c", str(folder / "nginx.conf"), "-p", str(folder)], check=True, capture_output=True)
    return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off;"]


def haproxy(text, servers, port, folder):
    text = text.replace("127.0.0.1:8444", f"127.0.0.1:{port}")
    for (old, health), server in zip((("127.0.0.1:50051", "127.0.0.1:9464"), ("127.0.0.1:50052", "127.0.0.1:9465")), servers):
        text = text.replace(old, server.address).replace(health, server.metrics_address)
    (folder / "haproxy.cfg").write_text(text)
    subprocess.run(["haproxy", "-c", "-q", "-f", str(folder / "haproxy.cfg")], check=True, capture_output=True)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


@pytest.fixture(params=[(nginx, "nginx.conf"), (haproxy, "haproxy.cfg")], ids=["nginx", "haproxy"])
def proxied(request, start, tmp_path):
    """(address of the proxy, its servers)"""
    configure, name = request.param
    if shutil.which(configure.__name__) is None:
        pytest.fail(f"{configure.__name__} is missing: run deploy/install-deps")
    servers = [start("--drain-delay=1500ms", "--drain-timeout=20s").wait_ready() for _ in range(2)]
    port = free_port()
    command = configure((PROXY / name).read_text(), servers, port, tmp_path)
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}", servers
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def counted(server):
    return server.metric("precis_requests_total", grpc_code="OK")


def test_every_kind_of_call_passes(proxied):
    address, servers = proxied
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with SummarizerClient(address, call_metadata=lambda: {"traceparent": context}) as client:
        assert client.health() and client.models()[0].name == "tiny"
        summary = client.summarize(Request(article(30), client_request_id="mine", options=SHORT))
        assert summary.client_request_id == "mine" and summary.accounting.new_tokens > 0
        with client.stream(Request(article(30), options=SHORT)) as stream:
            assert "".join(stream) == stream.result.text == summary.text
        answers = dict((r.client_request_id, s) for r, s in client.summarize_many(
            [Request(article(20, seed=i), client_request_id=str(i), options=SHORT) for i in range(40)]))
        assert len(answers) == 40 and all(s.accounting.new_tokens > 0 for s in answers.values())
        with pytest.raises(InvalidRequest, match="unknown attention backend|attention_backend|backend"):
            client.summarize(Request("text", backend="flush"))
        big = "word " * 150_000  # 750 KB
        assert client.summarize(Request(big, options=SHORT)).accounting.truncated_tokens > 0
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: client.summarize(Request(article(20, seed=i), options=SHORT)), range(60)))
    counts = [counted(server) for server in servers]
    assert min(counts) >= 15, f"one connection's calls are spread, not {counts}"
    assert any(context.split("-")[1] in line for server in servers for line in server.log), "the trace context reaches the log"


def test_a_killed_and_a_draining_server_cost_no_call(proxied, start):
    address, (first, second) = proxied
    with SummarizerClient(address, retry=RetryPolicy(max_attempts=6, initial_backoff=0.2)) as client, ThreadPoolExecutor(4) as pool:
        ended = []

        def user(seed):
            count = 0
            while not ended:
                client.summarize(Request(article(20, seed=seed * 1000 + count), options=SHORT), timeout=30)
                count += 1
            return count
        users = [pool.submit(user, seed) for seed in range(4)]
        try:
            time.sleep(1)
            port = int(first.address.rsplit(":", 1)[1])
            first.process.kill()
            first.wait()
            time.sleep(1.5)
            metrics = first.metrics_address
            again = start(f"--metrics-listen={metrics}", "--drain-delay=1500ms", listen=f"127.0.0.1:{port}").wait_ready()
            again.wait_metric("precis_requests_total", lambda value: value > 0, timeout=20, grpc_code="OK")  # it is taken back
            second.terminate()
            assert second.wait(40) == 0
            time.sleep(1)
        finally:
            ended.append(True)
        assert sum(user.result() for user in users) > 20
        again.process.kill()
        again.wait()
    with SummarizerClient(address, retry=RetryPolicy(max_attempts=1)) as client:
        with pytest.raises(Unavailable):
            client.summarize("text", timeout=20)


def test_configurations_are_valid_as_they_are(tmp_path):
    subprocess.run(["haproxy", "-c", "-q", "-f", str(PROXY / "haproxy.cfg")], check=True, capture_output=True)
    text = (PROXY / "nginx.conf").read_text().replace("/run/nginx-precis.pid", f"{tmp_path}/pid")
    (tmp_path / "nginx.conf").write_text(text)
    subprocess.run(["nginx", "-t", "-q", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], check=True, capture_output=True)
    assert re.search(r"grpc-status 14", text)
