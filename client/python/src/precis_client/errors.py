"""Errors by the server's status code. `code` is grpc's; `retry_after` the server's wish in seconds, if it had one."""

from __future__ import annotations

from typing import Any

import grpc

PUSHBACK_KEY = "grpc-retry-pushback-ms"


class PrecisError(Exception):
    def __init__(self, code: grpc.StatusCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after  # negative: the server asks not to retry


class InvalidRequest(PrecisError):
    """INVALID_ARGUMENT"""


class NotFound(PrecisError):
    """NOT_FOUND: an unknown model"""


class Overloaded(PrecisError):
    """RESOURCE_EXHAUSTED"""


class DeadlineExceeded(PrecisError):
    """DEADLINE_EXCEEDED"""


class RequestCancelled(PrecisError):
    """CANCELLED"""


class Unavailable(PrecisError):
    """UNAVAILABLE: not reachable, starting or draining"""


class Unauthenticated(PrecisError):
    """UNAUTHENTICATED: no token, or one that the server doesn't know"""


class PermissionDenied(PrecisError):
    """PERMISSION_DENIED: the token doesn't allow this call or model"""


_CLASSES: dict[grpc.StatusCode, type[PrecisError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: RequestCancelled,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}


def make_error(code: grpc.StatusCode, message: str, retry_after: float | None = None) -> PrecisError:
    return _CLASSES.get(code, PrecisError)(code, message, retry_after)


def error_of_number(number: int, message: str, retry_after: float | None) -> PrecisError:
    """From the number of a google.rpc.Code."""
    for code in grpc.StatusCode:
        if code.value[0] == number:
            return make_error(code, message, retry_after)
    return make_error(grpc.StatusCode.UNKNOWN, message, retry_after)


# What gRPC says to a call that reaches a server in the moment in which it closes. A cancellation of our own has other words.
_SERVER_STOPPED = "CANCELLED"


def from_rpc_error(error: Any) -> PrecisError:
    """From a grpc.RpcError that is a call (all that stubs raise are)."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.CANCELLED and details == _SERVER_STOPPED:
        code, details = grpc.StatusCode.UNAVAILABLE, "the server cancelled the call as it stopped"
    return make_error(code, details, _pushback(error.trailing_metadata()))


def _pushback(trailers: Any) -> float | None:
    for key, value in trailers or ():
        if key == PUSHBACK_KEY:
            try:
                return int(value) / 1000
            except ValueError:
                return -1.0  # gRFC A6: what is no number means "do not retry"
    return None
