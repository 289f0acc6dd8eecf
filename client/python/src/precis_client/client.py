"""The blocking client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from . import _channel, _convert
from ._generated import summarizer_pb2 as pb
from ._generated import summarizer_pb2_grpc as pb_grpc
from ._many import ManyTable, Outcome
from .errors import PrecisError, from_rpc_error, make_error
from .retry import Attempts, RetryBudget, RetryPolicy
from .types import Backends, Health, Model, Request, Summary, Tls

T = TypeVar("T")


class SummarizerClient:
    """A client of one server. Thread-safe. `timeout` is in seconds, for a whole call with its retries."""

    def __init__(self, address: str, *, tls: Tls | None = None, token: str | None = None,
                 allow_plaintext_token: bool = False, retry: RetryPolicy = RetryPolicy(), timeout: float = 60.0,
                 max_message_bytes: int = 16 << 20) -> None:
        _channel.check(address, tls, token, allow_plaintext_token)
        options = _channel.options(tls, max_message_bytes)
        self._channel = (grpc.insecure_channel(address, options) if tls is None else grpc.secure_channel(
            address, _channel.credentials(tls), options))
        self._stub: Any = pb_grpc.SummarizerStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._metadata = _channel.metadata(token)
        self._policy = retry
        self._budget = RetryBudget(retry)
        self._timeout = timeout

    def close(self) -> None:
        """Cancels what is running."""
        self._channel.close()

    def __enter__(self) -> SummarizerClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def summarize(self, request: Request | str | bytes, *, timeout: float | None = None) -> Summary:
        message = _convert.to_request(request)
        return _convert.to_summary(self._unary(self._stub.Summarize, message, timeout))

    def stream(self, request: Request | str | bytes, *, timeout: float | None = None) -> SummaryStream:
        """Iterate over it for the pieces of text; afterwards `.result` is the summary.

            with client.stream(text) as stream:
                for piece in stream:
                    print(piece, end="", flush=True)
        """
        message = _convert.to_request(request)
        deadline = self._deadline(timeout)

        def start() -> Any:
            return self._stub.StreamSummarize(message, timeout=deadline - time.monotonic(), metadata=self._metadata)

        return SummaryStream(start, Attempts(self._policy, self._budget), deadline)

    def summarize_many(self, requests: Iterable[Request | str | bytes], *, max_in_flight: int = 64,
                       timeout: float | None = None) -> Iterator[Outcome]:
        """Many documents over one stream: (request, summary or error) as each finishes. `requests` is read, on
        another thread, only while fewer than `max_in_flight` are unanswered. Close the iterator to cancel the rest."""
        return _Many(self._stub, self._metadata, iter(requests), max_in_flight, self._deadline(timeout),
                     lambda: Attempts(self._policy, self._budget)).outcomes()

    def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        return _convert.to_models(self._unary(self._stub.ListModels, pb.ListModelsRequest(), timeout))

    def backends(self, *, timeout: float | None = None) -> Backends:
        return _convert.to_backends(self._unary(self._stub.ListBackends, pb.ListBackendsRequest(), timeout))

    def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """Of the whole server, or of one service; NotFound if there is none such."""
        request = health_pb2.HealthCheckRequest(service=service)
        return _convert.to_health(self._unary(self._health.Check, request, timeout).status)

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    def _unary(self, method: Callable[..., Any], message: Any, timeout: float | None) -> Any:
        deadline = self._deadline(timeout)
        attempts = Attempts(self._policy, self._budget)
        while True:
            try:
                response = method(message, timeout=deadline - time.monotonic(), metadata=self._metadata)
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                wait = attempts.wait_after(error, deadline - time.monotonic())
                if wait is None:
                    raise error from None
                time.sleep(wait)
            else:
                attempts.succeeded()
                return response


class SummaryStream:
    """The pieces of one summary. Retried until the first piece. Not thread-safe, but for cancel()."""

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

    def __enter__(self) -> SummaryStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            try:
                message = next(self._call)
            except StopIteration:
                if self._result is None:
                    raise make_error(grpc.StatusCode.INTERNAL, "the stream ended without a result") from None
                raise
            except grpc.RpcError as rpc_error:
                self._retry(from_rpc_error(rpc_error))
                continue
            self._began = True
            if message.HasField("result"):
                self._result = _convert.to_summary(message.result)
                self._attempts.succeeded()
            if message.delta:
                return str(message.delta)

    def _retry(self, error: PrecisError) -> None:
        wait = None if self._began else self._attempts.wait_after(error, self._deadline - time.monotonic())
        if wait is None:
            raise error from None
        time.sleep(wait)
        self._call = self._start()


class _Many:
    """One summarize_many. gRPC's thread iterates over _outgoing, the caller's over outcomes()."""

    def __init__(self, stub: Any, metadata: Any, requests: Iterator[Request | str | bytes], max_in_flight: int,
                 deadline: float, new_attempts: Callable[[], Attempts]) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight}; it must be at least 1")
        self._stub = stub
        self._metadata = metadata
        self._requests = requests
        self._max_in_flight = max_in_flight
        self._deadline = deadline
        self._changed = threading.Condition()
        self._reading = threading.Lock()  # of `requests`, which two streams must not read at a time
        self._table = ManyTable(new_attempts, deadline)
        self._exhausted = False
        self._failure: BaseException | None = None  # what `requests` raised

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            over = threading.Event()
            call = self._stub.SummarizeMany(self._outgoing(over), timeout=self._deadline - time.monotonic(),
                                            metadata=self._metadata)
            try:
                for answer in call:
                    with self._changed:
                        outcome = self._table.on_answer(answer, time.monotonic())
                        self._changed.notify_all()
                    if outcome is not None:
                        yield outcome
                error = make_error(grpc.StatusCode.INTERNAL, "the server closed the stream without an answer")
                wait = None
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                with self._changed:
                    over.set()  # first: the old stream must not take what the next one shall send
                    wait = self._table.on_broken(error, time.monotonic())
            finally:
                over.set()
                call.cancel()
                with self._changed:
                    self._changed.notify_all()
            if self._failure is not None:
                raise self._failure
            if wait is None:
                break
            time.sleep(wait)
        with self._changed:
            rest = self._table.give_up(error)
        yield from rest
        if not rest and not self._exhausted:
            raise error

    def _outgoing(self, over: threading.Event) -> Iterator[pb.SummarizeRequest]:
        while True:
            with self._changed:
                if over.is_set():
                    return
                message = self._table.take_due(time.monotonic())
                room = not self._exhausted and len(self._table) < self._max_in_flight
                if message is None and not room:
                    if self._exhausted and len(self._table) == 0:
                        return
                    self._changed.wait(self._table.seconds_to_due(time.monotonic()))
                    continue
            if message is not None:
                yield message
            else:
                self._read_one()

    def _read_one(self) -> None:
        with self._reading:
            try:
                request = next(self._requests)
                with self._changed:
                    self._table.add(request)
            except StopIteration:
                self._exhausted = True
            except Exception as failure:  # the caller's iterator: raised from outcomes()
                self._failure = failure
                raise
