"""What the blocking and the asyncio client share: all but the waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from . import _channel, _convert
from ._generated import experiments_pb2_grpc as epb_grpc
from ._generated import summarizer_pb2 as pb
from ._generated import summarizer_pb2_grpc as pb_grpc
from ._many import ManyTable
from .errors import PrecisError, from_rpc_error, make_error
from .hedging import HedgeBudget, HedgePolicy
from .retry import Attempts, RetryBudget, RetryPolicy, is_retriable
from .types import Backends, Health, Model, Recorded, Request, Summary, Tls

T = TypeVar("T")
# Called for each call; what it returns is sent as metadata, by the same keys for each attempt. The place for a trace context.
CallMetadata = Callable[[], Mapping[str, str]]


class Unary(Generic[T]):
    """One call with its retries: start() until finish() returns, with a wait_after() each grpc.RpcError. With `hedge`, start() may be called
    twice at a time; see answers_for_both()."""

    def __init__(self, start: Callable[[], Any], convert: Callable[[Any], T], attempts: Attempts, deadline: float,
                 hedge: HedgeBudget | None = None) -> None:
        self.start = start
        self.hedge = hedge
        self._convert = convert
        self._attempts = attempts
        self._deadline = deadline

    def finish(self, response: Any) -> T:
        self._attempts.succeeded()
        return self._convert(response)

    def wait_after(self, rpc_error: Any) -> float:
        """Seconds until the next attempt; raises the error if there is none."""
        return _wait_or_raise(self._attempts, from_rpc_error(rpc_error), self._deadline)


class Client:
    """Channel, credentials, retries and deadlines; what each call sends and what becomes of its answer. `api` is grpc or grpc.aio."""

    def __init__(self, api: Any, address: str, tls: Tls | None, token: str | None, allow_plaintext_token: bool,
                 retry: RetryPolicy, timeout: float, max_message_bytes: int, hedge: HedgePolicy | None,
                 call_metadata: CallMetadata | None) -> None:
        _channel.check(address, tls, token, allow_plaintext_token)
        options = _channel.options(tls, max_message_bytes)
        self._channel = (api.insecure_channel(address, options) if tls is None else api.secure_channel(
            address, _channel.credentials(tls), options))
        self._stub: Any = pb_grpc.SummarizerStub(self._channel)
        self._experiments_stub: Any = epb_grpc.ExperimentsStub(self._channel)
        self._health_stub: Any = health_pb2_grpc.HealthStub(self._channel)
        self._fixed_metadata = _channel.metadata(token)
        self._call_metadata = call_metadata
        self._hedge = None if hedge is None else HedgeBudget(hedge)
        self._policy = retry
        self._budget = RetryBudget(retry)
        self._timeout = timeout

    def _summarize(self, request: Request | str | bytes, timeout: float | None) -> Unary[Summary]:
        return self._unary(self._stub.Summarize, _convert.to_request(request), _convert.to_summary, timeout, self._hedge)

    def _models(self, timeout: float | None) -> Unary[tuple[Model, ...]]:
        return self._unary(self._stub.ListModels, pb.ListModelsRequest(), _convert.to_models, timeout)

    def _backends(self, timeout: float | None) -> Unary[Backends]:
        return self._unary(self._stub.ListBackends, pb.ListBackendsRequest(), _convert.to_backends, timeout)

    def _record_outcome(self, request_id: str, outcomes: Mapping[str, float], timeout: float | None) -> Unary[Recorded]:
        return self._unary(self._experiments_stub.RecordOutcome, _convert.to_outcome_request(request_id, outcomes), _convert.to_recorded, timeout)

    def _health(self, service: str, timeout: float | None) -> Unary[Health]:
        return self._unary(self._health_stub.Check, health_pb2.HealthCheckRequest(service=service),
                           lambda response: _convert.to_health(response.status), timeout)

    def _unary(self, method: Any, message: Any, convert: Callable[[Any], T], timeout: float | None, hedge: HedgeBudget | None = None) -> Unary[T]:
        deadline = self._deadline(timeout)
        metadata = self._metadata()
        # To run two copies a blocking stub has .future; asyncio's calls are futures as they are.
        begin = method if hedge is None else getattr(method, "future", method)
        return Unary(lambda: begin(message, timeout=deadline - time.monotonic(), metadata=metadata), convert,
                     self._attempts(), deadline, hedge)

    def _stream_parts(self, request: Request | str | bytes,
                      timeout: float | None) -> tuple[Callable[[], Any], Attempts, float]:
        message = _convert.to_request(request)
        deadline = self._deadline(timeout)
        metadata = self._metadata()

        def start() -> Any:
            return self._stub.StreamSummarize(message, timeout=deadline - time.monotonic(), metadata=metadata)

        return start, self._attempts(), deadline

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        more = () if self._call_metadata is None else tuple(self._call_metadata().items())
        return self._fixed_metadata + more

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    def _attempts(self) -> Attempts:
        return Attempts(self._policy, self._budget)


class Stream:
    """One summary in pieces: retried until the first."""

    def __init__(self, start: Callable[[], Any], attempts: Attempts, deadline: float) -> None:
        self._start = start
        self._attempts = attempts
        self._deadline = deadline
        self._call = start()
        self._began = False
        self._result: Summary | None = None

    @property
    def result(self) -> Summary:
        if self._result is None:
            raise RuntimeError("the stream has not ended yet: iterate over it first")
        return self._result

    def cancel(self) -> None:
        self._call.cancel()

    def _take(self, message: pb.StreamSummarizeResponse) -> str:
        self._began = True
        if message.HasField("result"):
            self._result = _convert.to_summary(message.result)
            self._attempts.succeeded()
        return str(message.delta)

    def _check_ended(self) -> None:
        if self._result is None:
            raise make_error(grpc.StatusCode.INTERNAL, "the stream ended without a result")

    def _wait_after(self, rpc_error: Any) -> float:
        error = from_rpc_error(rpc_error)
        if self._began:
            raise error from None
        return _wait_or_raise(self._attempts, error, self._deadline)


class Many:
    """One summarize_many: its table, and the stream that is open now."""

    def __init__(self, client: Client, max_in_flight: int, timeout: float | None) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight}; it must be at least 1")
        self._client = client
        self._metadata = client._metadata()
        self._max_in_flight = max_in_flight
        self._deadline = client._deadline(timeout)
        self._table = ManyTable(client._attempts, self._deadline)
        self._exhausted = False  # of the caller's requests

    def _open(self, *requests: Any) -> Any:
        return self._client._stub.SummarizeMany(*requests, timeout=self._deadline - time.monotonic(),
                                                metadata=self._metadata)

    def _has_room(self) -> bool:
        return not self._exhausted and len(self._table) < self._max_in_flight

    def _is_done(self) -> bool:
        return self._exhausted and len(self._table) == 0


def answers_for_both(rpc_error: Any) -> bool:
    """Whether the failure of one copy of a call is the answer: the request itself is wrong, or out of time. Else the other copy may yet succeed."""
    error = from_rpc_error(rpc_error)
    return not is_retriable(error) and error.code is not grpc.StatusCode.INTERNAL


def closed_early() -> PrecisError:
    return make_error(grpc.StatusCode.INTERNAL, "the server closed the stream without an answer")


def _wait_or_raise(attempts: Attempts, error: PrecisError, deadline: float) -> float:
    wait = attempts.wait_after(error, deadline - time.monotonic())
    if wait is None:
        raise error from None
    return wait
