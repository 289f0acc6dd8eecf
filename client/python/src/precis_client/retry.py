"""When to try again: the rules of the C++ client. UNAVAILABLE, and RESOURCE_EXHAUSTED when the server says when to come back."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

import grpc

from .errors import PrecisError


@dataclass(frozen=True)
class RetryPolicy:
    """max_attempts includes the first; 1 = never retry. Every retriable failure takes one of the client's budget tokens, every
    success gives budget_refill back, and nothing is retried while half of the tokens or more are gone."""

    max_attempts: int = 4
    initial_backoff: float = 0.1
    max_backoff: float = 5.0
    multiplier: float = 2.0
    budget_tokens: float = 100.0
    budget_refill: float = 0.1


class RetryBudget:
    """Shared by all calls of a client. Thread-safe."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tokens = policy.budget_tokens
        self._lock = threading.Lock()

    def on_success(self) -> None:
        with self._lock:
            self._tokens = min(self._policy.budget_tokens, self._tokens + self._policy.budget_refill)

    def on_retriable_failure(self) -> bool:
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > self._policy.budget_tokens / 2


def is_retriable(error: PrecisError) -> bool:
    # RESOURCE_EXHAUSTED without a wish is a bound that waiting doesn't lift, such as the size of a message.
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return error.code is grpc.StatusCode.UNAVAILABLE


class Attempts:
    """The attempts of one request. Not thread-safe."""

    def __init__(self, policy: RetryPolicy, budget: RetryBudget) -> None:
        self._policy = policy
        self._budget = budget
        self._made = 0

    def succeeded(self) -> None:
        self._budget.on_success()

    def wait_after(self, error: PrecisError, remaining: float) -> float | None:
        """Seconds to wait before the next attempt, or None if there is none; `remaining` is what the deadline leaves."""
        self._made += 1
        if not is_retriable(error):
            return None
        affordable = self._budget.on_retriable_failure()
        if not affordable or self._made >= self._policy.max_attempts:
            return None
        wait = self._wait(error)
        return wait if wait is not None and wait < remaining else None

    def _wait(self, error: PrecisError) -> float | None:
        if error.retry_after is None:
            bound = self._policy.initial_backoff * self._policy.multiplier ** (self._made - 1)
            return min(bound, self._policy.max_backoff) * random.uniform(0.5, 1.0)
        # A little later than asked, so that clients told the same don't come back together.
        return error.retry_after * random.uniform(1.0, 1.1) if error.retry_after >= 0 else None
