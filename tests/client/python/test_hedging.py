"""A second copy of a call that takes long, and what goes along with every call. On both clients."""

import time

import grpc
import pytest
from test_client import connect  # noqa: F401  # a fixture

UNAVAILABLE, INVALID = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT


def hedge(**arguments):
    from precis_client import HedgePolicy
    return HedgePolicy(**({"delay": 0.05} | arguments))


def wait_for(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_slow_server_is_overtaken_and_its_copy_cancelled(fake, connect):  # noqa: F811
    client = connect(fake.address, hedge=hedge())
    fake.delays = [30]
    began = time.monotonic()
    assert client.call("summarize", "a b").text == "a b"
    assert time.monotonic() - began < 10
    assert len(fake.requests) == 2 and fake.requests[0] == fake.requests[1]
    client.call("models")  # lets asyncio's loop turn
    wait_for(lambda: fake.cancelled == 1)


def test_a_quick_answer_needs_no_copy(fake, connect):  # noqa: F811
    client = connect(fake.address, hedge=hedge(delay=5))
    for _ in range(5):
        client.call("summarize", "a")
    assert len(fake.requests) == 5


def test_the_budget_bounds_copies_of_all_calls(fake, connect):  # noqa: F811
    client = connect(fake.address, hedge=hedge(delay=0.01, budget=0.25, burst=1))
    fake.delays = [0.15] * 20
    for _ in range(8):
        client.call("summarize", "a")
    # One at once; then one for each four calls.
    assert 8 + 2 <= len(fake.requests) <= 8 + 3


def test_a_copy_that_fails_leaves_the_other(fake, connect):  # noqa: F811
    from precis_client import RetryPolicy
    client = connect(fake.address, hedge=hedge(), retry=RetryPolicy(max_attempts=1))
    fake.delays, fake.failures = [0.3, 0.6], [(UNAVAILABLE, "gone", None)]
    assert client.call("summarize", "a b").text == "a b"
    assert len(fake.requests) == 2


def test_both_failing_is_a_failure_and_is_retried(fake, connect):  # noqa: F811
    client = connect(fake.address, hedge=hedge())
    fake.delays, fake.failures = [0.3, 0.3], [(UNAVAILABLE, "gone", None)] * 2
    assert client.call("summarize", "a b").text == "a b"
    assert len(fake.requests) == 3


def test_a_wrong_request_is_answered_at_once(fake, connect):  # noqa: F811
    from precis_client import InvalidRequest
    client = connect(fake.address, hedge=hedge())
    fake.delays, fake.failures = [0.3, 30], [(INVALID, "bad", None)]
    began = time.monotonic()
    with pytest.raises(InvalidRequest):
        client.call("summarize", "a")
    assert time.monotonic() - began < 10


def test_the_deadline_holds_for_both(fake, connect):  # noqa: F811
    from precis_client import DeadlineExceeded
    client = connect(fake.address, hedge=hedge())
    fake.delays = [30, 30]
    with pytest.raises(DeadlineExceeded):
        client.call("summarize", "a", timeout=0.5)


def test_only_summaries_are_hedged(fake, connect):  # noqa: F811
    client = connect(fake.address, hedge=hedge())
    fake.delays = [0.3]
    client.call("models")
    assert len(fake.requests) == 1
    fake.delays = [0.3]
    assert client.stream("a b")[0] == ["a", " b"]
    assert len(fake.requests) == 2


@pytest.mark.parametrize("bad", [{"delay": 0}, {"budget": 0}, {"budget": 2}, {"burst": 0}])
def test_bad_policies(fake, connect, bad):  # noqa: F811
    with pytest.raises(ValueError, match="delay must be above 0"):
        connect(fake.address, hedge=hedge(**bad))


def test_a_trace_context_goes_with_every_call_and_attempt(fake, connect):  # noqa: F811
    made = []

    def context():
        made.append(f"00-{len(made) + 1:032x}-00f067aa0ba902b7-01")
        return {"traceparent": made[-1], "tracestate": "a=b"}
    client = connect(fake.address, call_metadata=context)
    fake.failures = [(UNAVAILABLE, "gone", None)]
    client.call("summarize", "a")
    client.stream("a b")
    client.call("models")
    assert [m["traceparent"] for m in fake.all_metadata] == [made[0], made[0], made[1], made[2]]
    assert all(m["tracestate"] == "a=b" for m in fake.all_metadata)
