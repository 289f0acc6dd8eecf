#!/usr/bin/env python3
"""Generates precis_client/_generated from precis/v1/*.proto. `pip install` runs it; by hand: python generate.py [FOLDER]."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = Path("precis/v1/summarizer.proto")


def proto_root() -> Path:
    """The folder that holds precis/v1: beside us in a source distribution, ../../proto in the repository."""
    for root in (HERE / "proto", HERE.parent.parent / "proto"):
        if (root / PROTO).is_file():
            return root
    raise SystemExit(f"generate.py: {PROTO} is neither in {HERE}/proto nor in the repository's proto folder")


def generate(package: Path) -> None:
    """Writes the package's _generated subpackage: messages, their type stubs and the gRPC stubs."""
    from grpc_tools import protoc

    out = package / "_generated"
    out.mkdir(parents=True, exist_ok=True)
    root = proto_root()
    include = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{root}", f"-I{include}", f"--python_out={out}", f"--pyi_out={out}",
                        f"--grpc_python_out={out}", *sorted(str(p.relative_to(root)) for p in (root / PROTO.parent).glob("*.proto"))])
    if code != 0:
        raise SystemExit(f"generate.py: protoc failed with {code}")
    # protoc writes precis/v1/*; that name at the top level would be in everybody's way.
    for file in (out / PROTO.parent).iterdir():
        text = file.read_text()
        text = re.sub(r"^from precis\.v1 import", "from . import", text, flags=re.M)
        (out / file.name).write_text(text)
        file.unlink()
    (out / PROTO.parent).rmdir()
    (out / PROTO.parent.parent).rmdir()
    (out / "__init__.py").write_text("")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src" / "precis_client")
