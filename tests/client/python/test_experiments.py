"""Assignment in Python by the vectors that hold the server."""

import json
from pathlib import Path

import pytest

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "server/experiments/data/assignment_vectors.json").read_text())


@pytest.fixture
def experiments(installed):
    from precis_client import experiments
    return experiments


def test_vectors(experiments):
    assert len(GOLDEN["vectors"]) > 100
    for vector in GOLDEN["vectors"]:
        salt, unit = vector["salt"], vector["unit"]
        assert f"{experiments.assignment_hash(salt, unit):016x}" == vector["hash"]
        assert experiments.choose_arm(salt, dict(vector["weights"]), unit) == vector["arm"]
        assert experiments.layer_slot(salt, unit) == vector["slot"]
        assert [experiments.in_ramp(salt, unit, ppm / 1e6) for ppm in GOLDEN["shares_ppm"]] == vector["in_ramp"]


def test_switchback_slices(experiments):
    assert experiments.switchback_unit(1_200_000_059.9, 60) == "slice-20000000"
    assert experiments.switchback_unit(1_200_000_060.0, 60) == "slice-20000001"
