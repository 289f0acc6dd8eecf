"""Checks of the text of every tracked file: headers have guards named after their path, no tabs in C++, no conflict markers, shell
scripts and Python files parse, file names are lower case."""
import ast
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tracked():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def problems_of(path):
    name = path.relative_to(ROOT).as_posix()
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    if path.suffix == ".h":
        guard = "PRECIS_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper() + "_"
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield f"the header guard is not {guard}"
    if path.suffix in (".h", ".cc", ".py") and "\t" in text and "\\t" not in text:
        yield "has a tab"
    if re.search(r"^(<{7}|>{7}) ", text, re.M):
        yield "has a conflict marker"
    if path.suffix == ".py":
        try:
            ast.parse(text)
        except SyntaxError as error:
            yield f"does not parse: {error}"
    if text.startswith("#!/usr/bin/env bash"):
        check = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
        if check.returncode:
            yield f"does not parse: {check.stderr.strip()}"


def main():
    files = tracked()
    failures = [f"{path.relative_to(ROOT)}: {problem}" for path in files for problem in problems_of(path)]
    print("\n".join(failures) or f"{len(files)} tracked files are well formed")
    return bool(failures) or not files


if __name__ == "__main__":
    sys.exit(main())
