"""Addresses, credentials and channel options that the sync and the asyncio client share."""

from __future__ import annotations

from typing import Any

import grpc

from .types import Tls

_LOCAL = ("127.", "localhost:", "[::1]:", "unix:", "ipv4:127.", "ipv6:[::1]")


def check(address: str, tls: Tls | None, token: str | None, allow_plaintext_token: bool) -> None:
    if not address:
        raise ValueError("the server's address is empty: give HOST:PORT or unix:PATH")
    if tls is not None and (tls.certificate is None) != (tls.key is None):
        raise ValueError("mutual TLS needs both the client's certificate and its key")
    if token and tls is None and not allow_plaintext_token and not address.startswith(_LOCAL):
        raise ValueError(f"the token would go to {address} in plain text: use TLS, or set allow_plaintext_token")


def metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


def options(tls: Tls | None, max_message_bytes: int) -> list[tuple[str, Any]]:
    result: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.enable_retries", 0),  # we retry ourselves, with a budget
        ("grpc.primary_user_agent", "precis-client-python/0.1"),
        ("grpc.keepalive_time_ms", 60000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5000),
        ("grpc.lb_policy_name", "round_robin"),
    ]
    if tls is not None and tls.server_name:
        result.append(("grpc.ssl_target_name_override", tls.server_name))
    return result


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
