"""What goes in and comes out, as dataclasses. Units, ranges and defaults are those of summarizer.proto."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Tls:
    """PEM contents. Without `ca` the system's roots are trusted; certificate and key make it mutual TLS."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None


@dataclass(frozen=True)
class GenerationOptions:
    """None = the server's default."""

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    no_repeat_ngram_size: int | None = None
    repetition_penalty: float | None = None
    stop_sequences: tuple[str, ...] = ()
    num_beams: int | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None


@dataclass(frozen=True)
class Request:
    document: str | bytes
    backend: str = ""
    model: str = ""
    options: GenerationOptions = field(default_factory=GenerationOptions)
    too_long: Literal["truncate", "reject", "chunk"] = "truncate"
    priority: Literal["low", "normal", "high"] = "normal"
    unit_id: str = ""
    client_request_id: str = ""
    return_token_ids: bool = False


@dataclass(frozen=True)
class Assignment:
    experiment: str
    arm: str
    reason: str
    config_generation: int


@dataclass(frozen=True)
class Accounting:
    prompt_tokens: int
    cached_tokens: int
    truncated_tokens: int
    new_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    time_to_first_token_seconds: float
    total_seconds: float
    kv_cache_peak_bytes: int
    kv_block_seconds: float
    attention_workspace_peak_bytes: int
    preemptions: int
    weights_bytes: int
    chunks: int = 0
    energy_joules: float | None = None  # an estimate; where the server knows its GPU's power


@dataclass(frozen=True)
class Summary:
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str  # "end_of_text", "max_new_tokens", "stop_sequence"
    model: str
    backend: str
    checkpoint: str
    assignment: Assignment
    accounting: Accounting
    client_request_id: str
    request_id: str = ""  # for record_outcome


@dataclass(frozen=True)
class Recorded:
    """What became of outcomes: counted now, or known before (the first value stays)."""

    counted: int
    already_known: int
    experiment: str
    arm: str


@dataclass(frozen=True)
class Checkpoint:
    name: str
    positions: str
    weights_dtype: str
    context_tokens: int
    parameters: int
    weights_bytes: int
    layers: int
    heads: int
    embedding_size: int
    vocabulary_size: int
    attention_backends: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    name: str
    default_backend: str
    checkpoints: tuple[Checkpoint, ...]


@dataclass(frozen=True)
class Backend:
    name: str
    description: str
    positions: str
    algorithm: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Backends:
    backends: tuple[Backend, ...]
    device: str


class Health(enum.Enum):
    UNKNOWN = "unknown"
    SERVING = "serving"
    NOT_SERVING = "not_serving"
