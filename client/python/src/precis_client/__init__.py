"""Client of the Precis summarisation service.

    from precis_client import Request, SummarizerClient

    with SummarizerClient("127.0.0.1:50051") as client:
        print(client.summarize(Request(text, backend="flash")).text)

`AsyncSummarizerClient` is the same for asyncio.
"""

from . import experiments
from .aio import AsyncSummarizerClient, AsyncSummaryStream
from .client import SummarizerClient, SummaryStream
from .errors import (DeadlineExceeded, InvalidRequest, NotFound, Overloaded, PermissionDenied, PrecisError,
                     RequestCancelled, Unauthenticated, Unavailable)
from .hedging import HedgePolicy
from .retry import RetryPolicy
from .types import (Accounting, Assignment, Backend, Backends, Checkpoint, GenerationOptions, Health, Model,
                    Recorded, Request, Summary, Tls)

__all__ = [
    "Accounting", "Assignment", "AsyncSummarizerClient", "AsyncSummaryStream", "Backend", "Backends", "Checkpoint",
    "DeadlineExceeded", "GenerationOptions", "Health", "HedgePolicy", "InvalidRequest", "Model", "NotFound", "Overloaded",
    "PermissionDenied", "PrecisError", "Recorded", "Request", "RequestCancelled", "RetryPolicy", "Summary", "SummarizerClient", "SummaryStream",
    "Tls", "Unauthenticated", "Unavailable", "experiments",
]
