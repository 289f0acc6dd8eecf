"""What the integration and fault tests share. ctest gives the build folder in PRECIS_TEST_BUILD_DIR; by hand it defaults to build/release."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server_process import ServerProcess  # noqa: E402
from tiny_model import make_models  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PRECIS_TEST_BUILD_DIR", ROOT / "build/release"))
FULL = bool(os.environ.get("PRECIS_TEST_FULL"))
SCRATCH = BUILD / "integration"


def _locked(function):
    """Runs function() while no other test process does."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with open(SCRATCH / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        function()


def _install_python_client() -> None:
    site, package = SCRATCH / "site", ROOT / "client/python"
    sources = [p for p in [*package.glob("*.*"), *package.glob("src/precis_client/*.py"),
                           *(ROOT / "proto/precis/v1").glob("*.proto")] if p.is_file()]
    stamp = site / ".installed"
    if stamp.is_file() and stamp.stat().st_mtime > max(p.stat().st_mtime for p in sources):
        return
    shutil.rmtree(site, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target",
                    str(site), str(package)], check=True, timeout=300)
    stamp.touch()


_locked(_install_python_client)
sys.path.insert(0, str(SCRATCH / "site"))


@pytest.fixture(scope="session")
def models():
    return make_models(SCRATCH / "models")


@pytest.fixture(scope="session")
def server_binary():
    binary = BUILD / "server/precis-server"
    assert binary.is_file(), f"{binary} is missing: build it, or set PRECIS_TEST_BUILD_DIR"
    return binary


@pytest.fixture
def start(server_binary, models):
    """start(*flags): a server with the model `tiny` (learned and ALiBi); all are stopped after the test."""
    started = []

    def run(*flags: str, model: tuple[str, ...] = ("tiny-learned", "tiny-alibi"), **keywords) -> ServerProcess:
        specs = [f"--model=tiny={models[name]}" for name in model]
        started.append(ServerProcess(server_binary, *specs, "--kv-cache-bytes=64MiB", *flags, **keywords))
        return started[-1]
    yield run
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def server(server_binary, models):
    """One server for the tests of a module that leave it as they found it."""
    with ServerProcess(server_binary, f"--model=tiny={models['tiny-learned']}", f"--model=tiny={models['tiny-alibi']}",
                       "--kv-cache-bytes=64MiB") as process:
        yield process.wait_ready()


@pytest.fixture(scope="session")
def tool():
    """tool("grpcurl"): a program of tests/integration/tools/install-tools, or of the build."""
    def find(name: str) -> str:
        for path in (ROOT / "build/tools" / name, BUILD / "client" / name):
            if path.is_file():
                return str(path)
        raise AssertionError(f"{name} is missing: run tests/integration/tools/install-tools, or build it")
    return find
