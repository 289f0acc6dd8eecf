"""The blocking client."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import grpc

from ._core import CallMetadata, Client, Many, Stream, T, Unary, answers_for_both, closed_early
from ._generated import summarizer_pb2 as pb
from ._many import Outcome
from .errors import from_rpc_error
from .hedging import HedgeBudget, HedgePolicy
from .retry import RetryPolicy
from .types import Backends, Health, Model, Recorded, Request, Summary, Tls


class SummarizerClient(Client):
    """A client of one server. Thread-safe. `timeout` is in seconds, for a whole call with its retries."""

    def __init__(self, address: str, *, tls: Tls | None = None, token: str | None = None,
                 allow_plaintext_token: bool = False, retry: RetryPolicy = RetryPolicy(), timeout: float = 60.0,
                 max_message_bytes: int = 16 << 20, hedge: HedgePolicy | None = None, call_metadata: CallMetadata | None = None) -> None:
        super().__init__(grpc, address, tls, token, allow_plaintext_token, retry, timeout, max_message_bytes, hedge, call_metadata)

    def close(self) -> None:
        """Cancels what is running."""
        self._channel.close()

    def __enter__(self) -> SummarizerClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def summarize(self, request: Request | str | bytes, *, timeout: float | None = None) -> Summary:
        return _run(self._summarize(request, timeout))

    def stream(self, request: Request | str | bytes, *, timeout: float | None = None) -> SummaryStream:
        """Iterate over it for the pieces of text; afterwards `.result` is the summary.

            with client.stream(text) as stream:
                for piece in stream:
                    print(piece, end="", flush=True)
        """
        return SummaryStream(*self._stream_parts(request, timeout))

    def summarize_many(self, requests: Iterable[Request | str | bytes], *, max_in_flight: int = 64,
                       timeout: float | None = None) -> Iterator[Outcome]:
        """Many documents over one stream: (request, summary or error) as each finishes. `requests` is read, on
        another thread, only while fewer than `max_in_flight` are unanswered. Close the iterator to cancel the rest."""
        return _Many(self, iter(requests), max_in_flight, timeout).outcomes()

    def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        return _run(self._models(timeout))

    def backends(self, *, timeout: float | None = None) -> Backends:
        return _run(self._backends(timeout))

    def record_outcome(self, request_id: str, outcomes: Mapping[str, float], *, timeout: float | None = None) -> Recorded:
        """What the reader thought of a summary: thumbs (0 or 1), edit_ratio (0 to 1), score. Counted for the arm of the
        experiment that the request was in; NotFound if it was in none. An outcome counts once, so this may be retried."""
        return _run(self._record_outcome(request_id, outcomes, timeout))

    def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """Of the whole server, or of one service; NotFound if there is none such."""
        return _run(self._health(service, timeout))


def _run(call: Unary[T]) -> T:
    while True:
        try:
            return call.finish(call.start() if call.hedge is None else _first_answer(call, call.hedge))
        except grpc.RpcError as rpc_error:
            wait = call.wait_after(rpc_error)
        time.sleep(wait)


def _first_answer(call: Unary[T], hedge: HedgeBudget) -> Any:
    """The answer of the first copy that has a good one; the last failure if there is none."""
    hedge.on_call()
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    copies = [call.start()]
    copies[0].add_done_callback(ended.put)
    try:
        try:
            first = ended.get(timeout=hedge.policy.delay)
        except queue.Empty:
            if hedge.take():
                copies.append(call.start())
                copies[1].add_done_callback(ended.put)
            first = ended.get()
        try:
            return first.result()
        except grpc.RpcError as rpc_error:
            if len(copies) == 1 or answers_for_both(rpc_error):
                raise
        return ended.get().result()
    finally:
        for copy in copies:
            copy.cancel()


class SummaryStream(Stream):
    """The pieces of one summary. Retried until the first piece. Not thread-safe, but for cancel()."""

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
                delta = self._take(next(self._call))
            except StopIteration:
                self._check_ended()
                raise
            except grpc.RpcError as rpc_error:
                time.sleep(self._wait_after(rpc_error))
                self._call = self._start()
                continue
            if delta:
                return delta


class _Many(Many):
    """One summarize_many. gRPC's thread iterates over _outgoing, the caller's over outcomes()."""

    def __init__(self, client: Client, requests: Iterator[Request | str | bytes], max_in_flight: int,
                 timeout: float | None) -> None:
        super().__init__(client, max_in_flight, timeout)
        self._requests = requests
        self._changed = threading.Condition()
        self._reading = threading.Lock()  # of `requests`, which two streams must not read at a time
        self._failure: BaseException | None = None  # what `requests` raised

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            over = threading.Event()
            call = self._open(self._outgoing(over))
            try:
                for answer in call:
                    with self._changed:
                        outcome = self._table.on_answer(answer, time.monotonic())
                        self._changed.notify_all()
                    if outcome is not None:
                        yield outcome
                error = closed_early()
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
                if message is None and not self._has_room():
                    if self._is_done():
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
