"""Our own clients against the real server: the Python package, `precis` and `precis-load`."""

import asyncio
import json
import subprocess

import pytest
from precis_client import (AsyncSummarizerClient, DeadlineExceeded, GenerationOptions, Health, InvalidRequest, NotFound,
                           PrecisError, Request, SummarizerClient)
from tiny_model import article

BACKENDS = ["standard", "standard_alibi", "flash", "flash_alibi"]
SHORT = GenerationOptions(max_new_tokens=12)


@pytest.fixture
def client(server):
    with SummarizerClient(server.address) as made:
        yield made


@pytest.mark.parametrize("backend", BACKENDS)
def test_summarize(client, backend):
    summary = client.summarize(Request(article(60), backend=backend, options=SHORT, return_token_ids=True))
    assert summary.backend == backend
    assert summary.checkpoint == ("tiny-alibi" if backend.endswith("alibi") else "tiny-learned")
    assert len(summary.token_ids) == summary.accounting.new_tokens <= 12
    assert summary.assignment.reason == "forced"
    accounting = summary.accounting
    assert 0 < accounting.time_to_first_token_seconds <= accounting.total_seconds
    assert accounting.kv_cache_peak_bytes > 0 and accounting.kv_block_seconds > 0
    assert accounting.weights_bytes > 0


def test_stream_is_the_unary_answer(client):
    # Long, since tokens that are ready together come as one piece.
    options = GenerationOptions(max_new_tokens=2000, min_new_tokens=2000)
    request = Request(article(60, seed=3), backend="flash_alibi", options=options)
    with client.stream(request) as stream:
        pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.result.text == client.summarize(request).text


def test_same_answer_alone_and_in_a_crowd(client):
    requests = [Request(article(30 + i, seed=i), backend=BACKENDS[i % 4], options=SHORT, return_token_ids=True,
                        client_request_id=str(i)) for i in range(40)]
    alone = {r.client_request_id: client.summarize(r).token_ids for r in requests}
    crowd = {r.client_request_id: s.token_ids for r, s in client.summarize_many(requests)}
    assert crowd == alone


def test_sampling_follows_the_seed(client):
    def run(seed):
        options = GenerationOptions(max_new_tokens=20, temperature=1.0, top_k=50, seed=seed)
        return client.summarize(Request(article(40), options=options, return_token_ids=True)).token_ids
    assert run(1) == run(1)
    assert run(1) != run(2)


def test_lists(client):
    (model,) = client.models()
    assert model.name == "tiny" and model.default_backend == "flash"
    assert {name for c in model.checkpoints for name in c.attention_backends} == set(BACKENDS)
    backends = client.backends()
    assert backends.device == "cpu" and {b.name for b in backends.backends} >= set(BACKENDS)
    assert client.health() is Health.SERVING


@pytest.mark.parametrize(("request_", "error", "words"), [
    (Request("text", backend="quick"), InvalidRequest, ("quick", "flash")),
    (Request("text", model="huge"), NotFound, ("huge", "tiny")),
    (Request(""), InvalidRequest, ("empty",)),
    (Request(b"ok \xff\xfe"), InvalidRequest, ("UTF-8", "3")),
    (Request("text", options=GenerationOptions(top_p=1.5)), InvalidRequest, ("top_p", "1.5")),
    (Request("text", options=GenerationOptions(max_new_tokens=0)), InvalidRequest, ("max_new_tokens", "0")),
    (Request("text", options=GenerationOptions(max_new_tokens=3, min_new_tokens=4)), InvalidRequest, ("min_new_tokens",)),
    (Request("text", options=GenerationOptions(stop_sequences=("x",) * 9)), InvalidRequest, ("8", "9")),
    (Request("text", client_request_id="x" * 129), InvalidRequest, ("client_request_id", "128")),
    (Request(article(900), backend="flash", too_long="reject"), InvalidRequest, ("512",)),
])
def test_bad_requests_are_told_what_is_wrong(client, request_, error, words):
    with pytest.raises(error) as caught:
        client.summarize(request_)
    assert all(word in caught.value.message for word in words), caught.value.message


def test_too_long_is_truncated_and_counted(client):
    summary = client.summarize(Request(article(900), backend="flash", options=SHORT))
    assert summary.accounting.truncated_tokens > 300
    assert summary.accounting.prompt_tokens + 12 <= 512


@pytest.mark.parametrize("backend", BACKENDS)
def test_beams(client, backend):
    text, options = article(60), GenerationOptions(max_new_tokens=12, num_beams=4, length_penalty=2.0, early_stopping="never")
    one = client.summarize(Request(text, backend=backend, options=options, return_token_ids=True))
    assert len(one.token_ids) == one.accounting.new_tokens <= 12
    assert client.summarize(Request(text, backend=backend, options=options)).text == one.text
    with client.stream(Request(text, backend=backend, options=options)) as stream:
        pieces = list(stream)
    assert pieces == [one.text]
    for bad, word in ((dict(temperature=0.5), "temperature"), (dict(stop_sequences=("x",)), "stop_sequences"), (dict(num_beams=99), "16")):
        with pytest.raises(InvalidRequest, match=word):
            client.summarize(Request(text, options=GenerationOptions(**{"num_beams": 4, **bad})))


def test_chunks(client, server):
    text = article(3000)
    options = GenerationOptions(max_new_tokens=40, min_new_tokens=20)
    one = client.summarize(Request(text, backend="flash", options=options, too_long="chunk", return_token_ids=True))
    accounting = one.accounting
    assert accounting.chunks >= 7 and accounting.truncated_tokens == 0 and accounting.prompt_tokens > 3000
    assert 20 <= len(one.token_ids) <= 40 and accounting.new_tokens >= 20 * (accounting.chunks + 1)
    with client.stream(Request(text, backend="flash", options=options, too_long="chunk")) as stream:
        pieces = list(stream)
    assert "".join(pieces) == one.text
    assert client.summarize(Request("Short.", options=options, too_long="chunk")).accounting.chunks == 0
    with pytest.raises(InvalidRequest, match="Ask for at most"):
        client.summarize(Request(text, backend="flash", options=GenerationOptions(max_new_tokens=200), too_long="chunk"))
    with pytest.raises(DeadlineExceeded):
        client.summarize(Request(article(100000, seed=9), backend="flash", options=options, too_long="chunk"), timeout=0.1)
    server.wait_idle()


def test_deadline(client, server):
    endless = GenerationOptions(max_new_tokens=20000, min_new_tokens=20000)
    with pytest.raises(DeadlineExceeded):
        client.summarize(Request("text", backend="flash_alibi", options=endless), timeout=0.3)
    server.wait_idle()


def test_asyncio(server):
    async def run():
        async with AsyncSummarizerClient(server.address) as client:
            one, two = await asyncio.gather(
                client.summarize(Request(article(50), options=SHORT)),
                client.summarize(Request(article(50), backend="standard_alibi", options=SHORT)))
            pieces = [piece async for piece in client.stream(Request(article(50), options=SHORT))]
            assert "".join(pieces) == one.text and two.backend == "standard_alibi"
            outcomes = [o async for o in client.summarize_many(
                Request(article(20, seed=i), backend="none" if i == 5 else "flash", options=SHORT) for i in range(30))]
            assert len(outcomes) == 30
            assert sum(isinstance(o, PrecisError) for _, o in outcomes) == 1
            assert await client.health() is Health.SERVING
    asyncio.run(run())


@pytest.fixture
def precis(server, tool, tmp_path):
    def run(*arguments: str, code: int = 0, stdin: str | None = None) -> subprocess.CompletedProcess:
        result = subprocess.run([tool("precis"), *arguments, f"--server={server.address}"], text=True, input=stdin,
                                capture_output=True, timeout=60)
        assert result.returncode == code, (result.stdout, result.stderr)
        return result
    return run


def test_cli_summarize(precis, tmp_path):
    document = tmp_path / "a.txt"
    document.write_text(article(60))
    flags = ("--backend=flash", "--max-new-tokens=10")
    answer = json.loads(precis("summarize", str(document), "--json", *flags).stdout)
    assert {"summary", "token_ids", "finish_reason", "backend", "model", "checkpoint", "assignment",
            "accounting"} <= set(answer)
    assert answer["backend"] == "flash" and len(answer["token_ids"]) == answer["accounting"]["new_tokens"]
    assert isinstance(answer["accounting"]["kv_cache_peak_bytes"], int)
    assert precis("summarize", str(document), *flags).stdout == answer["summary"] + "\n"
    assert precis("summarize", "-", *flags, "--stream", stdin=article(60)).stdout == answer["summary"] + "\n"
    lines = [json.loads(line) for line in
             precis("summarize", str(document), "--stream", "--json", *flags).stdout.splitlines()]
    assert "".join(line["delta"] for line in lines[:-1]) == lines[-1]["summary"] == answer["summary"]


def test_cli_beams_and_chunks(precis, tmp_path):
    document = tmp_path / "long.txt"
    document.write_text(article(1500))
    flags = ("--backend=flash", "--max-new-tokens=20", "--num-beams=3", "--length-penalty=0.5", "--early-stopping=true", "--too-long=chunk")
    answer = json.loads(precis("summarize", str(document), "--json", *flags).stdout)
    assert answer["accounting"]["chunks"] >= 3
    assert precis("summarize", str(document), "--stream", *flags).stdout == answer["summary"] + "\n"
    assert "false|true|never" in precis("summarize", "--help").stdout
    assert precis("summarize", str(document), "--early-stopping=sometimes", code=2).stderr


def test_cli_many(precis, tmp_path):
    files = [tmp_path / f"{i}.txt" for i in range(6)]
    for i, file in enumerate(files):
        file.write_text(article(20, seed=i) if i != 4 else "")
    result = precis("summarize", *map(str, files), "--many", "--json", "--max-new-tokens=6", code=7)
    answers = {line["file"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert set(answers) == set(map(str, files))
    assert answers[str(files[4])]["error"]["code"] == "INVALID_ARGUMENT"
    assert all("summary" in a for f, a in answers.items() if f != str(files[4]))


def test_cli_lists_and_health(precis):
    assert "tiny-alibi" in precis("models").stdout
    assert json.loads(precis("models", "--json").stdout)["models"][0]["name"] == "tiny"
    assert "flash_alibi" in precis("backends").stdout
    assert precis("health").stdout == "serving\n"
    assert precis("health", "--service=no.such", code=7).stdout == ""


def test_cli_errors(precis, tool, tmp_path):
    assert "flash_alibi" in precis("summarize", "-", "--backend=quick", stdin="x", code=7).stderr
    assert "/no/such" in precis("summarize", "/no/such", code=3).stderr
    assert precis("summarize", "-", "--top-k=x", stdin="x", code=2).stderr
    assert precis("summarize", "-", "--max-new-tokens=20000", "--min-new-tokens=20000", "--backend=flash_alibi",
                  "--deadline=200ms", stdin="x", code=6).stderr
    gone = subprocess.run([tool("precis"), "models", "--server=127.0.0.1:1", "--retries=0"], text=True,
                          capture_output=True, timeout=20)
    assert gone.returncode == 4
    assert gone.stderr == "error: UNAVAILABLE: server 127.0.0.1:1: connection refused: is precis-server running?\n"


def test_cli_hedges(start, tool, tmp_path):
    """Of two servers one is slow: what it was asked first is answered by the other."""
    servers = [start(model=(name,)).wait_ready() for name in ("slow-alibi", "tiny-alibi")]
    files = [tmp_path / f"{i}.txt" for i in range(6)]
    for i, file in enumerate(files):
        file.write_text(article(30, seed=i))

    def answered_by(*flags):
        addresses = ",".join(server.address for server in servers)
        result = subprocess.run([tool("precis"), "summarize", *map(str, files), f"--server=ipv4:{addresses}", "--max-new-tokens=1500",
                                 "--min-new-tokens=1500", "--json", *flags], text=True, capture_output=True, timeout=200)
        assert result.returncode == 0, result.stderr
        return {json.loads(line)["checkpoint"] for line in result.stdout.splitlines()}
    assert answered_by("--hedge-delay=250ms", "--hedge-budget=1") == {"tiny-alibi"}
    servers[0].wait_metric("precis_requests_total", lambda value: value >= 1, grpc_code="CANCELLED")
    assert answered_by() == {"tiny-alibi", "slow-alibi"}
    servers[0].wait_idle()
    assert "excludes" in subprocess.run([tool("precis"), "summarize", "x", "--stream", "--hedge-delay=1s"], text=True, capture_output=True, timeout=20).stderr


@pytest.mark.parametrize("program", ["precis", "precis-load"])
def test_help_has_examples(tool, program):
    result = subprocess.run([tool(program), "--help"], text=True, capture_output=True, timeout=20)
    assert result.returncode == 0 and "Examples:" in result.stdout and "Exit codes:" in result.stdout


def test_load_generator(server, tool, tmp_path):
    result = subprocess.run(
        [tool("precis-load"), f"--server={server.address}", "--rate=40,80", "--duration=2s", "--synthetic=20-60",
         "--backends=flash:2,standard:1", "--max-new-tokens=16", f"--json={tmp_path}/r.json", f"--svg={tmp_path}/r.svg"],
        text=True, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    first = report["stages"][0]
    assert first["all"]["errors"] == {} and 40 < first["all"]["requests"] < 130
    assert first["backends"]["flash"]["requests"] > first["backends"]["standard"]["requests"]
    latency = first["all"]["latency_seconds"]
    assert 0 < first["all"]["time_to_first_token_seconds"]["p50"] <= latency["p50"] <= latency["p99"]
    assert "p99" in result.stdout and "flash" in (tmp_path / "r.svg").read_text()
    server.wait_idle()
