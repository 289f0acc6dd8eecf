"""What goes wrong in real life: clients that vanish, stall, flood; servers that are stopped and killed."""

import asyncio
import subprocess
import time

import grpc
import pytest
from conftest import FULL
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from precis_client import (AsyncSummarizerClient, DeadlineExceeded, GenerationOptions, InvalidRequest, Overloaded,
                           PrecisError, Request, RetryPolicy, SummarizerClient, Unavailable)
from precis_client._generated import summarizer_pb2 as pb
from precis_client._generated import summarizer_pb2_grpc as pb_grpc
from tiny_model import article

SHORT = GenerationOptions(max_new_tokens=8)
NEVER = RetryPolicy(max_attempts=1)


def long(tokens: int) -> GenerationOptions:
    return GenerationOptions(max_new_tokens=tokens, min_new_tokens=tokens)


def assert_serves(server) -> None:
    with SummarizerClient(server.address) as client:
        assert client.summarize(Request(article(20), options=SHORT), timeout=10).accounting.new_tokens > 0


def test_clients_killed_in_the_middle_of_a_stream(start, tool, tmp_path):
    server = start().wait_ready()
    document = tmp_path / "document.txt"
    document.write_text(article(100))
    count, at_a_time = (1000 if FULL else 100), 4
    backends = ["flash_alibi", "standard_alibi"]
    for i in range(0, count, at_a_time):
        clients = [subprocess.Popen(
            [tool("precis"), "summarize", str(document), "--stream", f"--server={server.address}",
             f"--backend={backends[k % 2]}", "--max-new-tokens=20000", "--min-new-tokens=20000"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for k in range(at_a_time)]
        for client in clients:
            assert client.stdout.read(1), "no text before the kill"
            client.kill()
        for client in clients:
            client.wait()
            client.stdout.close()
    server.wait_idle()
    assert server.metric("precis_requests_cancelled_total") >= count
    assert_serves(server)


def test_slow_readers_do_not_slow_others(start):
    server = start().wait_ready()
    message = pb.SummarizeRequest(document=article(50).encode(), attention_backend="flash_alibi",
                                  options=pb.GenerationOptions(max_new_tokens=3000, min_new_tokens=3000))
    with grpc.insecure_channel(server.address) as channel, SummarizerClient(server.address) as client:
        stub = pb_grpc.SummarizerStub(channel)
        slow = [stub.StreamSummarize(message) for _ in range(8)]
        for call in slow:
            next(call)  # and then read nothing more
        for i in range(20):
            client.summarize(Request(article(20, seed=i), options=SHORT), timeout=10)
        # The one that reads on gets everything, however late; those that go away leave nothing.
        texts = [m for m in slow[0]]
        assert texts[-1].result.accounting.new_tokens == 3000
        for call in slow[1:]:
            call.cancel()
    server.wait_idle()


def test_large_documents(start):
    server = start().wait_ready()
    with SummarizerClient(server.address, max_message_bytes=64 << 20) as client:
        with pytest.raises(InvalidRequest) as caught:
            client.summarize(Request("word " * (2 << 20)))  # 10 MB: above the document's limit
        assert "1048576" in caught.value.message.replace(",", "") or "1 MiB" in caught.value.message
        with pytest.raises(Overloaded) as caught:
            client.summarize(Request("word " * (4 << 20)))  # 20 MB: above the message's limit
        assert "larger" in caught.value.message
        summary = client.summarize(Request("a" * 1000000, backend="flash", options=SHORT))  # one word of a million letters
        assert summary.accounting.truncated_tokens > 0
    assert_serves(server)


def test_invalid_utf8_in_every_field_is_refused(start):
    server = start().wait_ready()
    with SummarizerClient(server.address) as client:
        for bad in (b"\xff", b"ok \xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a" * 1000 + b"\x80"):
            with pytest.raises(InvalidRequest, match="UTF-8"):
                client.summarize(Request(bad))
        summary = client.summarize(Request(b"zero \x00 and \xef\xbf\xbd are fine", options=SHORT))
        assert summary.accounting.new_tokens > 0
    assert_serves(server)


def test_two_thousand_streams_at_a_time(start):
    server = start("--max-queued-requests=4096").wait_ready()

    async def run():
        arrived = 0

        async def one(client, i):
            nonlocal arrived
            request = Request(article(10, seed=i % 50), backend=("flash", "flash_alibi")[i % 2], options=SHORT)
            async with client.stream(request, timeout=120) as stream:
                pieces = [piece async for piece in stream]
            assert "".join(pieces) == stream.result.text
            arrived += 1
        async with AsyncSummarizerClient(server.address) as client:
            await asyncio.gather(*(one(client, i) for i in range(2000)))
        return arrived
    assert asyncio.run(run()) == 2000
    server.wait_idle()


def test_overload_is_refused_with_a_time_to_come_back(start):
    server = start("--max-queued-requests=4", "--max-batch-rows=1", model=("slow-alibi",)).wait_ready()
    message = pb.SummarizeRequest(document=article(20).encode(), options=pb.GenerationOptions(max_new_tokens=40, min_new_tokens=40))
    with grpc.insecure_channel(server.address, [("grpc.enable_retries", 0)]) as channel:
        stub = pb_grpc.SummarizerStub(channel)
        futures = [stub.Summarize.future(message, timeout=60) for _ in range(40)]
        refused = [f.exception() for f in futures if f.exception() is not None]
    assert 20 <= len(refused) <= 36 and len(refused) < 40
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "4" in error.details()
        pushback = int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])
        assert 0 < pushback <= 60000
        info = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
        assert info.retry_delay.ToMilliseconds() == pushback
    # A client that comes back when told gets through.
    patient = RetryPolicy(max_attempts=50, budget_tokens=1e6)
    with SummarizerClient(server.address, retry=patient, timeout=60) as client:
        request = Request(article(20), options=long(10))
        outcomes = list(client.summarize_many([request] * 20, max_in_flight=20))
    assert not [o for _, o in outcomes if isinstance(o, PrecisError)]
    assert server.metric("precis_requests_rejected_total", reason="queue_full") >= len(refused)


def test_queue_in_tokens_is_bounded(start):
    server = start("--max-queued-tokens=300", "--max-batch-rows=1", model=("slow-alibi",)).wait_ready()
    with grpc.insecure_channel(server.address, [("grpc.enable_retries", 0)]) as channel:
        stub = pb_grpc.SummarizerStub(channel)
        message = pb.SummarizeRequest(document=article(100).encode(), options=pb.GenerationOptions(max_new_tokens=100, min_new_tokens=100))
        futures = [stub.Summarize.future(message, timeout=60) for _ in range(12)]
        codes = [f.exception().code() for f in futures if f.exception() is not None]
    assert 0 < len(codes) < 12 and set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert server.metric("precis_requests_rejected_total", reason="queue_tokens") == len(codes)


def test_deadline_in_the_queue(start):
    server = start("--max-batch-rows=1", model=("slow-alibi",)).wait_ready()
    with grpc.insecure_channel(server.address) as channel, SummarizerClient(server.address, retry=NEVER) as client:
        stub = pb_grpc.SummarizerStub(channel)
        running = stub.StreamSummarize(pb.SummarizeRequest(
            document=b"text", options=pb.GenerationOptions(max_new_tokens=2000, min_new_tokens=2000)))
        next(running)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            client.summarize(Request("text", options=SHORT), timeout=0.3)
        assert time.monotonic() - started < 1.5
        # The server forgot it too, though the running one goes on.
        server.wait_metric("precis_requests_waiting", lambda value: value == 0, timeout=2)
        assert server.metric("precis_requests_running") == 1
        running.cancel()
    server.wait_idle()


def test_sigterm_under_load(start):
    server = start("--drain-timeout=60s", "--max-queued-requests=4096", model=("slow-alibi",)).wait_ready()
    count = 40

    async def run():
        async with AsyncSummarizerClient(server.address, retry=NEVER, timeout=90) as client:
            tasks = [asyncio.create_task(client.summarize(Request(article(30, seed=i), options=long(50))))
                     for i in range(count)]
            while server.metric("precis_requests_running") + server.metric("precis_requests_waiting") < count:
                assert not any(task.done() for task in tasks), "answered before all had arrived: make them longer"
                await asyncio.sleep(0.02)
            server.terminate()
            await asyncio.sleep(0.3)
            late = await asyncio.gather(*(client.summarize(Request("late", options=SHORT)) for _ in range(10)),
                                        return_exceptions=True)
            return await asyncio.gather(*tasks, return_exceptions=True), late
    answers, late = asyncio.run(run())
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert not failed, failed[:3]
    assert all(answer.accounting.new_tokens == 50 for answer in answers)
    assert all(isinstance(error, Unavailable) for error in late), late
    assert server.wait() == 0


def test_sigterm_with_a_bound_ends_what_takes_too_long(start):
    server = start("--drain-timeout=1s", model=("slow-alibi",)).wait_ready()
    with SummarizerClient(server.address, retry=NEVER) as client:
        with client.stream(Request("text", options=long(2000)), timeout=60) as stream:
            next(stream)
            server.terminate()
            with pytest.raises(Unavailable):
                for _ in stream:
                    pass
    assert server.wait(20) == 0


def test_sigkill_and_restart(start):
    first = start().wait_ready()
    address = first.address
    policy = RetryPolicy(max_attempts=100, initial_backoff=0.1, max_backoff=0.3, budget_tokens=1000)
    with SummarizerClient(address, retry=policy, timeout=60) as client:
        before = client.summarize(Request(article(40), options=SHORT)).text
        with client.stream(Request("text", backend="flash_alibi", options=long(20000))) as stream:
            next(stream)
            first.process.kill()
            with pytest.raises(Unavailable):
                for _ in stream:
                    pass
        first.wait()
        start(listen=address)
        assert client.summarize(Request(article(40), options=SHORT)).text == before


def test_many_stops_reading_but_answers_all(start):
    """SummarizeMany's flow control: a fast writer is slowed, not refused."""
    server = start("--many-in-flight=8", "--max-queued-requests=16").wait_ready()
    with SummarizerClient(server.address) as client:
        requests = [Request(article(20, seed=i), options=SHORT) for i in range(500)]
        outcomes = list(client.summarize_many(requests, max_in_flight=500))
    assert len(outcomes) == 500 and not [o for _, o in outcomes if isinstance(o, PrecisError)]
    server.wait_idle()


def test_cancelling_a_crowd_frees_everything(start):
    server = start("--max-queued-requests=4096").wait_ready()

    async def run():
        async with AsyncSummarizerClient(server.address) as client:
            tasks = [asyncio.create_task(client.summarize(Request(article(50, seed=i), backend="flash_alibi", options=long(3000))))
                     for i in range(200)]
            await asyncio.sleep(1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    asyncio.run(run())
    server.wait_idle()
    assert_serves(server)
