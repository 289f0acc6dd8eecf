"""Between the dataclasses and the messages of precis.v1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from . import types
from ._generated import experiments_pb2 as epb
from ._generated import summarizer_pb2 as pb

_PRIORITY = {"low": pb.PRIORITY_LOW, "normal": pb.PRIORITY_NORMAL, "high": pb.PRIORITY_HIGH}
_EARLY_STOPPING = {False: pb.EARLY_STOPPING_FALSE, True: pb.EARLY_STOPPING_TRUE, "never": pb.EARLY_STOPPING_NEVER}
_TOO_LONG = {"truncate": pb.TOO_LONG_TRUNCATE, "reject": pb.TOO_LONG_REJECT, "chunk": pb.TOO_LONG_CHUNK}


def to_request(request: types.Request | str | bytes) -> pb.SummarizeRequest:
    if isinstance(request, (str, bytes)):
        request = types.Request(request)
    for name, value, allowed in (("priority", request.priority, _PRIORITY), ("too_long", request.too_long, _TOO_LONG)):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    document = request.document
    return pb.SummarizeRequest(
        # Lone surrogates go out as invalid UTF-8, which the server refuses with a clear message.
        document=document.encode("utf-8", "surrogatepass") if isinstance(document, str) else document,
        model=request.model,
        attention_backend=request.backend,
        options=_to_options(request.options),
        too_long=_TOO_LONG[request.too_long],
        priority=_PRIORITY[request.priority],
        unit_id=request.unit_id,
        client_request_id=request.client_request_id,
        return_token_ids=request.return_token_ids,
    )


def _to_options(options: types.GenerationOptions) -> pb.GenerationOptions:
    given = {f.name: getattr(options, f.name) for f in fields(options)}
    if options.early_stopping is not None:
        if options.early_stopping not in _EARLY_STOPPING:
            raise ValueError(f"early_stopping is {options.early_stopping!r}; allowed are False, True and 'never'")
        given["early_stopping"] = _EARLY_STOPPING[options.early_stopping]
    return pb.GenerationOptions(**{name: value for name, value in given.items() if value is not None})


def _same_fields(cls: Any, message: Any, **others: Any) -> Any:
    """A dataclass whose fields are named as the message's, besides `others`."""
    names = [f.name for f in fields(cls) if f.name not in others]
    return cls(**{name: getattr(message, name) for name in names}, **others)


def to_summary(response: pb.SummarizeResponse) -> types.Summary:
    reason = pb.AssignmentReason.Name(response.assignment.reason)
    return types.Summary(
        text=response.summary,
        token_ids=tuple(response.token_ids),
        finish_reason=pb.FinishReason.Name(response.finish_reason).removeprefix("FINISH_REASON_").lower(),
        model=response.model,
        backend=response.attention_backend,
        checkpoint=response.checkpoint,
        assignment=_same_fields(types.Assignment, response.assignment,
                                reason=reason.removeprefix("ASSIGNMENT_REASON_").lower()),
        accounting=_same_fields(types.Accounting, response.accounting,
                                energy_joules=response.accounting.energy_joules if response.accounting.HasField("energy_joules") else None),
        client_request_id=response.client_request_id,
        request_id=response.request_id,
    )


def to_outcome_request(request_id: str, outcomes: Mapping[str, float]) -> epb.RecordOutcomeRequest:
    return epb.RecordOutcomeRequest(request_id=request_id, outcomes=[epb.Outcome(name=n, value=v) for n, v in outcomes.items()])


def to_recorded(response: epb.RecordOutcomeResponse) -> types.Recorded:
    return types.Recorded(counted=response.counted, already_known=response.already_known, experiment=response.experiment, arm=response.arm)


def to_models(response: pb.ListModelsResponse) -> tuple[types.Model, ...]:
    return tuple(
        types.Model(
            name=model.name,
            default_backend=model.default_attention_backend,
            checkpoints=tuple(
                _same_fields(types.Checkpoint, c, attention_backends=tuple(c.attention_backends))
                for c in model.checkpoints))
        for model in response.models)


def to_backends(response: pb.ListBackendsResponse) -> types.Backends:
    return types.Backends(
        backends=tuple(_same_fields(types.Backend, b, models=tuple(b.models)) for b in response.backends),
        device=response.device)


def to_health(status: int) -> types.Health:
    return {1: types.Health.SERVING, 2: types.Health.NOT_SERVING}.get(status, types.Health.UNKNOWN)
