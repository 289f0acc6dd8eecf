import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).resolve().parents[3]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def fast():
    from precis_client import RetryPolicy
    return RetryPolicy(initial_backoff=0.01)


class Sync:
    """Both clients through one face, so that each test runs on both."""

    def __init__(self, address, **arguments):
        from precis_client import SummarizerClient
        self.client = SummarizerClient(address, **arguments)

    def call(self, name, *arguments, **keywords):
        return getattr(self.client, name)(*arguments, **keywords)

    def stream(self, request):
        with self.client.stream(request) as stream:
            return list(stream), stream.result

    def many(self, requests, **keywords):
        return list(self.client.summarize_many(requests, **keywords))

    def close(self):
        self.client.close()


class Async:
    def __init__(self, address, **arguments):
        from precis_client import AsyncSummarizerClient
        self.loop = asyncio.new_event_loop()

        async def make():
            return AsyncSummarizerClient(address, **arguments)
        self.client = self.loop.run_until_complete(make())

    def call(self, name, *arguments, **keywords):
        return self.loop.run_until_complete(getattr(self.client, name)(*arguments, **keywords))

    def stream(self, request):
        async def run():
            async with self.client.stream(request) as stream:
                return [piece async for piece in stream], stream.result
        return self.loop.run_until_complete(run())

    def many(self, requests, **keywords):
        async def run():
            return [outcome async for outcome in self.client.summarize_many(requests, **keywords)]
        return self.loop.run_until_complete(run())

    def close(self):
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


@pytest.fixture(params=[Sync, Async], ids=["sync", "asyncio"])
def connect(request, installed):
    made = []

    def make(address, **arguments):
        arguments.setdefault("retry", fast())
        made.append(request.param(address, **arguments))
        return made[-1]
    yield make
    for client in made:
        client.close()


def test_request_and_summary_carry_every_field(fake, connect):
    from precis_client import GenerationOptions, Request
    options = GenerationOptions(max_new_tokens=5, temperature=0.5, seed=2**63, stop_sequences=("a", "b"))
    summary = connect(fake.address).call("summarize", Request(
        "one two", backend="standard", model="m", options=options, too_long="reject", priority="high",
        unit_id="u", client_request_id="r", return_token_ids=True))
    sent = fake.requests[0]
    assert sent.document == b"one two" and sent.attention_backend == "standard" and sent.model == "m"
    assert sent.options.max_new_tokens == 5 and sent.options.seed == 2**63
    assert not sent.options.HasField("top_k") and list(sent.options.stop_sequences) == ["a", "b"]
    assert not sent.options.HasField("num_beams") and sent.options.early_stopping == fake.pb.EARLY_STOPPING_UNSPECIFIED
    assert sent.too_long == fake.pb.TOO_LONG_REJECT and sent.priority == fake.pb.PRIORITY_HIGH
    assert sent.unit_id == "u" and sent.return_token_ids
    assert summary.text == "one two" and summary.finish_reason == "end_of_text" and summary.token_ids == (1, 2)
    assert summary.assignment.reason == "forced" and summary.accounting.kv_cache_peak_bytes == 1 << 40
    assert summary.backend == "standard" and summary.client_request_id == "r"


def test_beams_and_chunks(fake, connect):
    from precis_client import GenerationOptions, Request
    client = connect(fake.address)
    names = {False: "FALSE", True: "TRUE", "never": "NEVER"}
    for early, name in names.items():
        client.call("summarize", Request("a", options=GenerationOptions(num_beams=4, length_penalty=2.0, early_stopping=early)))
        sent = fake.requests[-1].options
        assert sent.num_beams == 4 and sent.length_penalty == 2 and sent.early_stopping == fake.pb.EarlyStopping.Value(f"EARLY_STOPPING_{name}")
    client.call("summarize", Request("a", too_long="chunk"))
    assert fake.requests[-1].too_long == fake.pb.TOO_LONG_CHUNK
    with pytest.raises(ValueError, match="early_stopping is 'always'"):
        client.call("summarize", Request("a", options=GenerationOptions(early_stopping="always")))


def test_retries_and_honours_pushback(fake, connect):
    fake.failures = [(UNAVAILABLE, "starting", None), (EXHAUSTED, "full", "200")]
    connect(fake.address).call("summarize", "a")
    assert len(fake.times) == 3
    assert fake.times[2] - fake.times[1] >= 0.2


def test_a_call_that_meets_a_closing_server_is_retried(fake, connect):
    # gRPC's own words to a call that comes as the server shuts down.
    fake.failures = [(grpc.StatusCode.CANCELLED, "CANCELLED", None)] * 2
    assert connect(fake.address).call("summarize", "a b").text == "a b"
    assert len(fake.requests) == 3


@pytest.mark.parametrize("failure", [(INVALID, "bad", None), (EXHAUSTED, "too large", None),
                                     (EXHAUSTED, "go away", "-1"), (EXHAUSTED, "nonsense", "soon")])
def test_final_errors_are_not_retried(fake, connect, failure):
    from precis_client import PrecisError
    fake.failures = [failure]
    with pytest.raises(PrecisError) as caught:
        connect(fake.address).call("summarize", "a")
    assert caught.value.code is failure[0] and failure[1] in str(caught.value)
    assert len(fake.requests) == 1


def test_budget_bounds_retries_of_all_calls(fake, connect):
    from precis_client import RetryPolicy, Unavailable
    client = connect(fake.address, retry=RetryPolicy(max_attempts=10, initial_backoff=0.001, budget_tokens=8))
    fake.failures = [(UNAVAILABLE, "down", None)] * 100
    for _ in range(10):
        with pytest.raises(Unavailable):
            client.call("summarize", "a")
    assert len(fake.requests) == 13


def test_stream(fake, connect):
    fake.failures = [(UNAVAILABLE, "starting", None)]
    pieces, result = connect(fake.address).stream("a b c")
    assert pieces == ["a", " b", " c"] and result.text == "a b c"
    assert len(fake.requests) == 2


def test_stream_is_not_retried_after_the_first_piece(fake, connect):
    from precis_client import Unavailable
    with pytest.raises(Unavailable):
        connect(fake.address).stream("a BREAK c")
    assert len(fake.requests) == 1


def test_deadline(fake, connect):
    from precis_client import DeadlineExceeded
    fake.word_delay = 5
    client = connect(fake.address, timeout=0.2)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.stream("a b")
    assert time.monotonic() - start < 2


def test_many_answers_each_once(fake, connect):
    outcomes = connect(fake.address).many([f"document {i}" for i in range(200)], max_in_flight=8)
    assert sorted(s.text for _, s in outcomes) == sorted(f"document {i}" for i in range(200))
    assert all(request.document == summary.text for request, summary in outcomes)


def test_many_retries_items_and_survives_a_broken_stream(fake, connect):
    from precis_client import PrecisError
    fake.failures = [(EXHAUSTED, "full", "30"), (INVALID, "bad", None)]
    fake.break_after = 20
    outcomes = connect(fake.address).many([f"document {i}" for i in range(50)], max_in_flight=8)
    assert len(outcomes) == 50
    errors = [outcome for _, outcome in outcomes if isinstance(outcome, PrecisError)]
    assert [error.message for error in errors] == ["bad"]


def test_many_loses_nothing_however_often_the_stream_breaks(fake, connect):
    client = connect(fake.address, timeout=20)
    for i in range(25):
        fake.failures = [(EXHAUSTED, "full", str(1 + i % 5))] * (i % 4)
        fake.break_after = 1 + i % 12
        outcomes = client.many([f"document {j}" for j in range(40)], max_in_flight=8)
        assert sorted(getattr(outcome, "text", repr(outcome)) for _, outcome in outcomes) == sorted(f"document {j}" for j in range(40))


def test_many_raises_what_the_callers_iterator_raises(fake, connect):
    def requests():
        yield "a"
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        connect(fake.address).many(requests())


def test_many_without_a_server(connect):
    from precis_client import Unavailable
    client = connect("127.0.0.1:1")
    try:
        outcomes = client.many(["a", "b"])
    except Unavailable:
        return  # not one request had been taken
    assert all(isinstance(outcome, Unavailable) for _, outcome in outcomes)


def test_lists_and_health(fake, connect):
    from precis_client import Health, NotFound
    client = connect(fake.address)
    assert client.call("models")[0].checkpoints[0].attention_backends == ("flash",)
    assert client.call("backends").device == "cpu"
    assert client.call("health") is Health.SERVING
    with pytest.raises(NotFound):
        client.call("health", "no.such.Service")


def test_token(fake, connect):
    connect(fake.address, token="secret").call("models")
    assert fake.metadata["authorization"] == "Bearer secret"
    with pytest.raises(ValueError, match="plain text"):
        connect("example.org:443", token="secret")


def test_bad_arguments(fake, connect):
    from precis_client import Request
    with pytest.raises(ValueError, match="priority"):
        connect(fake.address).call("summarize", Request("a", priority="urgent"))


def test_cancelling_a_task_cancels_the_servers_work(fake, installed):
    from precis_client import AsyncSummarizerClient
    fake.word_delay = 10

    async def run():
        async with AsyncSummarizerClient(fake.address) as client:
            async def read():
                async for _ in client.stream("a b c"):
                    pass
            task = asyncio.create_task(read())
            while not fake.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    asyncio.run(run())
    end = time.monotonic() + 5
    while fake.cancelled == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert fake.cancelled == 1


def test_types(installed):
    """mypy --strict over the package: the annotations hold, and py.typed tells users so."""
    assert (installed / "precis_client/py.typed").is_file()
    subprocess.run([sys.executable, "-m", "mypy", "--config-file", str(ROOT / "client/python/pyproject.toml"),
                    "--cache-dir", os.devnull, str(installed / "precis_client")], check=True, timeout=300)


@pytest.mark.skipif(not os.environ.get("PRECIS_TEST_FULL"), reason="needs the package index: set PRECIS_TEST_FULL=1")
def test_pip_install_into_a_new_environment(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(ROOT / "client/python")], check=True, timeout=600)
    subprocess.run([python, "-c", "import precis_client; precis_client.SummarizerClient('127.0.0.1:1').close()"],
                   check=True, cwd=tmp_path)
