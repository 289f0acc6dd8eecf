"""Build steps that pyproject.toml can't express: the stubs are generated, never committed."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import generate  # noqa: E402


class BuildPy(build_py):
    """Generates the stubs into the source package first, so that packaging and editable installs see them."""

    def run(self) -> None:
        generate.generate(HERE / "src" / "precis_client")
        self.packages = sorted({*(self.packages or []), "precis_client._generated"})
        super().run()


class Sdist(sdist):
    """Takes the protos along, so that a source distribution builds without the repository."""

    def make_release_tree(self, base_dir: str, files: list) -> None:
        super().make_release_tree(base_dir, files)
        target = (Path(base_dir) / "proto" / generate.PROTO).parent
        target.mkdir(parents=True, exist_ok=True)
        for proto in (generate.proto_root() / generate.PROTO).parent.glob("*.proto"):
            shutil.copy(proto, target / proto.name)
        shutil.copy(HERE / "generate.py", Path(base_dir) / "generate.py")


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
