"""Holds the rule of the tree: who may include whom (README.md, "Layout").

server -> proto, runtime, kernels' public headers; runtime -> kernels; client -> proto and runtime/eval; kernels -> nothing. Headers in
subfolders of another top-level folder are private to it, with the exceptions listed here.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = {
    "kernels": {"kernels"},
    "runtime": {"runtime", "kernels"},
    "server": {"server", "runtime", "kernels", "precis", "proto"},
    "client": {"client", "precis", "proto"},
}
FORBIDDEN_LIBRARIES = {"kernels": ("grpc", "google/protobuf", "prometheus", "httplib", "yaml-cpp"),
                       "runtime": ("grpc", "google/protobuf", "prometheus", "httplib", "yaml-cpp")}
# A program's own file, which no library holds.
PROGRAM_FILES = {"runtime/training/metrics_port.cc": ("httplib",)}
# Headers in subfolders that other folders may include.
PUBLIC_SUBFOLDERS = ("kernels/attention/variants.h", "kernels/gpu/gpu_device.h", "kernels/gpu/gpu_ops.h", "kernels/gpu/nvml.h", "kernels/gpu/train_ops.h", "runtime/model/catalog.h", "runtime/model/model_runner.h",
                     "runtime/sampling/sampler.h", "runtime/eval/", "runtime/base/")
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)


def problems_of(path):
    folder = path.relative_to(ROOT).parts[0]
    for include in INCLUDE.findall(path.read_text()):
        top = include.split("/")[0]
        if top in ALLOWED and top not in ALLOWED[folder]:
            if not (folder == "client" and include.startswith("runtime/eval/")):
                yield f"{folder} may not include {include}"
        elif top in ALLOWED and top != folder and include.count("/") > 1 and not include.startswith(PUBLIC_SUBFOLDERS):
            yield f"{include} is private to {top}"
        for library in FORBIDDEN_LIBRARIES.get(folder, ()):
            if include.startswith(library) and library not in PROGRAM_FILES.get(path.relative_to(ROOT).as_posix(), ()):
                yield f"{folder} may not know {include}"


def main():
    failures, files = [], 0
    for folder in ALLOWED:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                files += 1
                failures += [f"{path.relative_to(ROOT)}: {problem}" for problem in problems_of(path)]
    print("\n".join(failures) or f"{files} files keep the dependency rule")
    return bool(failures) or files == 0


if __name__ == "__main__":
    sys.exit(main())
