"""When a second copy of a call is sent while the first is unanswered."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class HedgePolicy:
    """For `summarize` on several servers (a name with several addresses): if no answer came within `delay` seconds, the request is sent once more,
    which round robin gives to another server; the first good answer counts and the other copy is cancelled. A summary changes nothing on a server, so a
    copy is safe; nothing else is hedged. At most `budget` of the calls, and `burst` at once beyond that, have a copy: a fleet that is slow as a whole isn't
    given twice the work. Choose `delay` near the p95 of your latencies."""

    delay: float
    budget: float = 0.05
    burst: float = 5.0


class HedgeBudget:
    """Shared by all calls of a client. Thread-safe."""

    def __init__(self, policy: HedgePolicy) -> None:
        if policy.delay <= 0 or not 0 < policy.budget <= 1 or policy.burst < 1:
            raise ValueError(f"{policy}: delay must be above 0, budget above 0 and at most 1, burst at least 1")
        self.policy = policy
        self._tokens = policy.burst
        self._lock = threading.Lock()

    def on_call(self) -> None:
        with self._lock:
            self._tokens = min(self.policy.burst, self._tokens + self.policy.budget)

    def take(self) -> bool:
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
