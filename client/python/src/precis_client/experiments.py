"""Which arm of an experiment a unit gets: the server's own arithmetic, so that a caller can know beforehand and analyse afterwards.

    from precis_client import experiments

    experiments.choose_arm("flash-vs-standard", {"control": 1, "flash": 1}, "user-17")

Equal to the server's by published vectors (tests/server/experiments/data/assignment_vectors.json).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SLOTS = 1000


def assignment_hash(salt: str | bytes, unit_id: str | bytes) -> int:
    """The first 8 bytes, big-endian, of SHA-256(salt, a zero byte, unit id)."""
    return int.from_bytes(hashlib.sha256(_bytes(salt) + b"\0" + _bytes(unit_id)).digest()[:8], "big")


def choose_arm(salt: str, weights: Mapping[str, int], unit_id: str | bytes) -> str:
    """The arm of a unit. `weights` in the order of the experiment's arms, whole numbers."""
    point = assignment_hash(salt, unit_id) * sum(weights.values()) >> 64
    end = 0
    for arm, weight in weights.items():
        end += weight
        if point < end:
            return arm
    raise ValueError("the weights of the arms are all 0")


def in_ramp(salt: str, unit_id: str | bytes, share: float) -> bool:
    """Whether the unit takes part while this share (0 to 1) of all does. Who is in at a share is in at every larger one."""
    ppm = round(share * 1_000_000)
    return ppm >= 1_000_000 or assignment_hash(b"ramp\0" + _bytes(salt), unit_id) * 1_000_000 >> 64 < ppm


def layer_slot(layer: str, unit_id: str | bytes) -> int:
    """0 to 999: experiments of a layer own ranges of these."""
    return assignment_hash(b"layer\0" + _bytes(layer), unit_id) * SLOTS >> 64


def switchback_unit(unix_seconds: float, slice_seconds: float) -> str:
    """What takes the place of the unit in a switchback experiment: all units have one arm for a slice of time."""
    return f"slice-{int(unix_seconds * 1000) // round(slice_seconds * 1000)}"


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
