"""The asyncio client: as client.py, with await."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from . import _channel, _convert
from ._generated import summarizer_pb2 as pb
from ._generated import summarizer_pb2_grpc as pb_grpc
from ._many import ManyTable, Outcome
from .errors import PrecisError, from_rpc_error, make_error
from .retry import Attempts, RetryBudget, RetryPolicy
from .types import Backends, Health, Model, Request, Summary, Tls

Requests = Iterable["Request | str | bytes"] | AsyncIterable["Request | str | bytes"]


class AsyncSummarizerClient:
    """A client of one server for one event loop; make it inside of it. `timeout` is in seconds, for a whole call with its retries.
    Cancelling the task cancels the call, on the server too."""

    def __init__(self, address: str, *, tls: Tls | None = None, token: str | None = None,
                 allow_plaintext_token: bool = False, retry: RetryPolicy = RetryPolicy(), timeout: float = 60.0,
                 max_message_bytes: int = 16 << 20) -> None:
        _channel.check(address, tls, token, allow_plaintext_token)
        options = _channel.options(tls, max_message_bytes)
        self._channel = (grpc.aio.insecure_channel(address, options) if tls is None else grpc.aio.secure_channel(
            address, _channel.credentials(tls), options))
        self._stub: Any = pb_grpc.SummarizerStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._metadata = _channel.metadata(token)
        self._policy = retry
        self._budget = RetryBudget(retry)
        self._timeout = timeout

    async def close(self) -> None:
        """Cancels what is running."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncSummarizerClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def summarize(self, request: Request | str | bytes, *, timeout: float | None = None) -> Summary:
        message = _convert.to_request(request)
        return _convert.to_summary(await self._unary(self._stub.Summarize, message, timeout))

    def stream(self, request: Request | str | bytes, *, timeout: float | None = None) -> AsyncSummaryStream:
        """`async for piece in client.stream(text)`; afterwards `.result` is the summary."""
        message = _convert.to_request(request)
        deadline = self._deadline(timeout)

        def start() -> Any:
            return self._stub.StreamSummarize(message, timeout=deadline - time.monotonic(), metadata=self._metadata)

        return AsyncSummaryStream(start, Attempts(self._policy, self._budget), deadline)

    def summarize_many(self, requests: Requests, *, max_in_flight: int = 64,
                       timeout: float | None = None) -> AsyncIterator[Outcome]:
        """Many documents over one stream: (request, summary or error) as each finishes. `requests` (an iterable or an
        asynchronous one) is read only while fewer than `max_in_flight` are unanswered."""
        return _Many(self._stub, self._metadata, _as_async(requests), max_in_flight, self._deadline(timeout),
                     lambda: Attempts(self._policy, self._budget)).outcomes()

    async def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        return _convert.to_models(await self._unary(self._stub.ListModels, pb.ListModelsRequest(), timeout))

    async def backends(self, *, timeout: float | None = None) -> Backends:
        return _convert.to_backends(await self._unary(self._stub.ListBackends, pb.ListBackendsRequest(), timeout))

    async def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """Of the whole server, or of one service; NotFound if there is none such."""
        request = health_pb2.HealthCheckRequest(service=service)
        return _convert.to_health((await self._unary(self._health.Check, request, timeout)).status)

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    async def _unary(self, method: Callable[..., Any], message: Any, timeout: float | None) -> Any:
        deadline = self._deadline(timeout)
        attempts = Attempts(self._policy, self._budget)
        while True:
            try:
                response = await method(message, timeout=deadline - time.monotonic(), metadata=self._metadata)
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                wait = attempts.wait_after(error, deadline - time.monotonic())
                if wait is None:
                    raise error from None
                await asyncio.sleep(wait)
            else:
                attempts.succeeded()
                return response


class AsyncSummaryStream:
    """The pieces of one summary. Retried until the first piece."""

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

    async def __aenter__(self) -> AsyncSummaryStream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while True:
            try:
                message = await self._call.read()
            except grpc.RpcError as rpc_error:
                await self._retry(from_rpc_error(rpc_error))
                continue
            if message is grpc.aio.EOF:
                if self._result is None:
                    raise make_error(grpc.StatusCode.INTERNAL, "the stream ended without a result")
                raise StopAsyncIteration
            self._began = True
            if message.HasField("result"):
                self._result = _convert.to_summary(message.result)
                self._attempts.succeeded()
            if message.delta:
                return str(message.delta)

    async def _retry(self, error: PrecisError) -> None:
        wait = None if self._began else self._attempts.wait_after(error, self._deadline - time.monotonic())
        if wait is None:
            raise error from None
        await asyncio.sleep(wait)
        self._call = self._start()


async def _as_async(requests: Requests) -> AsyncIterator[Request | str | bytes]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


class _Many:
    """One summarize_many: a task that writes, and the caller's task that reads. Use once."""

    def __init__(self, stub: Any, metadata: Any, requests: AsyncIterator[Request | str | bytes], max_in_flight: int,
                 deadline: float, new_attempts: Callable[[], Attempts]) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight}; it must be at least 1")
        self._stub = stub
        self._metadata = metadata
        self._requests = requests
        self._max_in_flight = max_in_flight
        self._deadline = deadline
        self._changed = asyncio.Event()
        self._table = ManyTable(new_attempts, deadline)
        self._exhausted = False
        self._reading: asyncio.Future[Request | str | bytes | None] | None = None  # outlives a broken stream

    async def outcomes(self) -> AsyncIterator[Outcome]:
        try:
            async for outcome in self._outcomes():
                yield outcome
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def _outcomes(self) -> AsyncIterator[Outcome]:
        while True:
            call = self._stub.SummarizeMany(timeout=self._deadline - time.monotonic(), metadata=self._metadata)
            writer = asyncio.create_task(self._write(call))
            broken = False
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:
                    outcome = self._table.on_answer(answer, time.monotonic())
                    self._changed.set()
                    if outcome is not None:
                        yield outcome
                error = make_error(grpc.StatusCode.INTERNAL, "the server closed the stream without an answer")
            except grpc.RpcError as rpc_error:
                error = _stream_error(rpc_error)
                broken = True
            except asyncio.CancelledError:
                # Either our task is cancelled, or the writer gave the call up: it raises below then.
                if not writer.done() or writer.cancelled() or writer.exception() is None:
                    raise
            finally:
                failure = await _end(writer)
                call.cancel()
            if failure is not None:
                raise failure
            # Only now that the writer is gone: it must not take what the next stream shall send.
            wait = self._table.on_broken(error, time.monotonic()) if broken else None
            if wait is None:
                break
            await asyncio.sleep(wait)
        rest = self._table.give_up(error)
        for outcome in rest:
            yield outcome
        if not rest and not self._exhausted:
            raise error

    async def _write(self, call: Any) -> None:
        try:
            while True:
                message = self._table.take_due(time.monotonic())
                if message is not None:
                    await call.write(message)
                elif not self._exhausted and len(self._table) < self._max_in_flight:
                    await self._read_one()
                elif self._exhausted and len(self._table) == 0:
                    await call.done_writing()
                    return
                else:
                    await self._wait_for_change()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the reader learns why
        except Exception:
            call.cancel()
            raise

    async def _read_one(self) -> None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(_next_of(self._requests))
        reading = self._reading
        request = await asyncio.shield(reading)
        self._reading = None
        if request is None:
            self._exhausted = True
        else:
            self._table.add(request)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        changed = asyncio.ensure_future(self._changed.wait())
        try:  # not wait_for: until Python 3.12 it may swallow the cancellation of this task
            await asyncio.wait({changed}, timeout=self._table.seconds_to_due(time.monotonic()))
        finally:
            changed.cancel()


def _stream_error(rpc_error: grpc.RpcError) -> PrecisError:
    """A write that meets an ended stream makes grpc.aio report an error of its own in place of the server's status, which is lost.
    Opening the stream again finds out: it works, or the server says why not."""
    if isinstance(rpc_error, grpc.aio.AioRpcError) and rpc_error.code() is grpc.StatusCode.INTERNAL and (
            rpc_error.details() == "Internal error from Core"):
        return make_error(grpc.StatusCode.UNAVAILABLE, "the stream broke while a request was written")
    return from_rpc_error(rpc_error)


async def _next_of(requests: AsyncIterator[Request | str | bytes]) -> Request | str | bytes | None:
    try:
        return await anext(requests)
    except StopAsyncIteration:
        return None


async def _end(task: asyncio.Task[None]) -> BaseException | None:
    """Cancels the task if it still runs; what it raised, if anything of its own."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return None
    except Exception as failure:
        return failure
    return None
