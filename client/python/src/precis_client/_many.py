"""The table of one summarize_many: what is unanswered, what is to be sent (again) and when. No I/O, no locks."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from . import _convert
from ._generated import summarizer_pb2 as pb
from .errors import PrecisError, error_of_number
from .retry import Attempts
from .types import Request, Summary

Outcome = tuple[Request, "Summary | PrecisError"]


@dataclass
class _Item:
    request: Request
    message: pb.SummarizeRequest
    attempts: Attempts


class ManyTable:
    def __init__(self, new_attempts: Callable[[], Attempts], deadline: float) -> None:
        self._new_attempts = new_attempts
        self._stream_attempts = new_attempts()
        self._deadline = deadline
        self._items: dict[str, _Item] = {}
        self._due: list[tuple[float, str]] = []  # heap: (when to send, id)
        self._made_ids = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, request: Request | str | bytes) -> None:
        """Enters a request. The wire's id is ours, unless the caller gave one."""
        if not isinstance(request, Request):
            request = Request(request)
        message = _convert.to_request(request)
        if not message.client_request_id:
            self._made_ids += 1
            message.client_request_id = f"many-{self._made_ids}"
        key = message.client_request_id
        if key in self._items:
            raise ValueError(f"client_request_id {key!r} is that of another unanswered request of this call")
        self._items[key] = _Item(request, message, self._new_attempts())
        heapq.heappush(self._due, (0.0, key))

    def take_due(self, now: float) -> pb.SummarizeRequest | None:
        if not self._due or self._due[0][0] > now:
            return None
        _, key = heapq.heappop(self._due)
        return self._items[key].message

    def seconds_to_due(self, now: float) -> float | None:
        return max(0.0, self._due[0][0] - now) if self._due else None

    def on_answer(self, answer: pb.SummarizeManyResponse, now: float) -> Outcome | None:
        """The request's outcome, or None if it will be sent again."""
        item = self._items.get(answer.client_request_id)
        if item is None:
            return None
        self._stream_attempts = self._new_attempts()  # the stream works
        if answer.HasField("result"):
            item.attempts.succeeded()
            del self._items[answer.client_request_id]
            return item.request, _convert.to_summary(answer.result)
        ms = answer.error.retry_after_ms  # 0 = don't retry
        error = error_of_number(answer.error.code, answer.error.message, ms / 1000 if ms > 0 else -1.0)
        wait = item.attempts.wait_after(error, self._deadline - now)
        if wait is not None:
            heapq.heappush(self._due, (now + wait, answer.client_request_id))
            return None
        del self._items[answer.client_request_id]
        return item.request, error

    def on_broken(self, error: PrecisError, now: float) -> float | None:
        """Seconds until the stream shall be opened again, with all unanswered requests; None: give up."""
        wait = self._stream_attempts.wait_after(error, self._deadline - now)
        if wait is not None:
            self._due = [(0.0, key) for key in self._items]
        return wait

    def give_up(self, error: PrecisError) -> list[Outcome]:
        outcomes: list[Outcome] = [(item.request, error) for item in self._items.values()]
        self._items.clear()
        self._due.clear()
        return outcomes
