"""The asyncio client: as client.py, with await."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from ._core import CallMetadata, Client, Many, Stream, T, Unary, answers_for_both, closed_early
from ._many import Outcome
from .errors import PrecisError, from_rpc_error, make_error
from .hedging import HedgeBudget, HedgePolicy
from .retry import RetryPolicy
from .types import Backends, Health, Model, Recorded, Request, Summary, Tls

Requests = Iterable["Request | str | bytes"] | AsyncIterable["Request | str | bytes"]


class AsyncSummarizerClient(Client):
    """A client of one server for one event loop; make it inside of it. `timeout` is in seconds, for a whole call with its retries.
    Cancelling the task cancels the call, on the server too."""

    def __init__(self, address: str, *, tls: Tls | None = None, token: str | None = None,
                 allow_plaintext_token: bool = False, retry: RetryPolicy = RetryPolicy(), timeout: float = 60.0,
                 max_message_bytes: int = 16 << 20, hedge: HedgePolicy | None = None, call_metadata: CallMetadata | None = None) -> None:
        super().__init__(grpc.aio, address, tls, token, allow_plaintext_token, retry, timeout, max_message_bytes, hedge, call_metadata)

    async def close(self) -> None:
        """Cancels what is running."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncSummarizerClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def summarize(self, request: Request | str | bytes, *, timeout: float | None = None) -> Summary:
        return await _run(self._summarize(request, timeout))

    def stream(self, request: Request | str | bytes, *, timeout: float | None = None) -> AsyncSummaryStream:
        """`async for piece in client.stream(text)`; afterwards `.result` is the summary."""
        return AsyncSummaryStream(*self._stream_parts(request, timeout))

    def summarize_many(self, requests: Requests, *, max_in_flight: int = 64,
                       timeout: float | None = None) -> AsyncIterator[Outcome]:
        """Many documents over one stream: (request, summary or error) as each finishes. `requests` (an iterable or an
        asynchronous one) is read only while fewer than `max_in_flight` are unanswered."""
        return _Many(self, _as_async(requests), max_in_flight, timeout).outcomes()

    async def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        return await _run(self._models(timeout))

    async def backends(self, *, timeout: float | None = None) -> Backends:
        return await _run(self._backends(timeout))

    async def record_outcome(self, request_id: str, outcomes: Mapping[str, float], *, timeout: float | None = None) -> Recorded:
        """What the reader thought of a summary: thumbs (0 or 1), edit_ratio (0 to 1), score. Counted for the arm of the
        experiment that the request was in; NotFound if it was in none. An outcome counts once, so this may be retried."""
        return await _run(self._record_outcome(request_id, outcomes, timeout))

    async def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """Of the whole server, or of one service; NotFound if there is none such."""
        return await _run(self._health(service, timeout))


async def _run(call: Unary[T]) -> T:
    while True:
        try:
            return call.finish(await (call.start() if call.hedge is None else _first_answer(call, call.hedge)))
        except grpc.RpcError as rpc_error:
            wait = call.wait_after(rpc_error)
        await asyncio.sleep(wait)


async def _first_answer(call: Unary[T], hedge: HedgeBudget) -> Any:
    """The answer of the first copy that has a good one; the last failure if there is none."""
    hedge.on_call()
    copies = [asyncio.ensure_future(_answer(call))]
    try:
        await asyncio.wait(copies, timeout=hedge.policy.delay)
        if not copies[0].done() and hedge.take():
            copies.append(asyncio.ensure_future(_answer(call)))
        done, rest = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        first = done.pop()
        try:
            return first.result()
        except grpc.RpcError as rpc_error:
            if not done and not rest or answers_for_both(rpc_error):
                raise
        return await (done.pop() if done else rest.pop())
    finally:
        for copy in copies:
            copy.cancel()
            copy.add_done_callback(lambda task: task.cancelled() or task.exception())  # else asyncio reports it as not looked at


async def _answer(call: Unary[T]) -> Any:
    return await call.start()


class AsyncSummaryStream(Stream):
    """The pieces of one summary. Retried until the first piece."""

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
                await asyncio.sleep(self._wait_after(rpc_error))
                self._call = self._start()
                continue
            if message is grpc.aio.EOF:
                self._check_ended()
                raise StopAsyncIteration
            if delta := self._take(message):
                return delta


async def _as_async(requests: Requests) -> AsyncIterator[Request | str | bytes]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


class _Many(Many):
    """One summarize_many: a task that writes, and the caller's task that reads. Use once."""

    def __init__(self, client: Client, requests: AsyncIterator[Request | str | bytes], max_in_flight: int,
                 timeout: float | None) -> None:
        super().__init__(client, max_in_flight, timeout)
        self._requests = requests
        self._changed = asyncio.Event()
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
            call = self._open()
            writer = asyncio.create_task(self._write(call))
            broken = False
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:
                    outcome = self._table.on_answer(answer, time.monotonic())
                    self._changed.set()
                    if outcome is not None:
                        yield outcome
                error = closed_early()
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
                elif self._has_room():
                    await self._read_one()
                elif self._is_done():
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
