"""precis-eval study, contenders that differ in how summaries are chosen, what a report says of what it doesn't know, and the notebook."""
import json
import subprocess
import sys
import tarfile

import nbclient
import nbformat
import pyarrow
import pyarrow.parquet
import pytest
from eval_program import BACKENDS, BINARY, BUILD, ROOT, documents, results, run, server, write_jsonl  # noqa: F401

CONTENDERS = ["flash", "flash+num-beams=3+length-penalty=2+early-stopping=true", "flash+too-long=chunk"]


@pytest.fixture(scope="module")
def decoding(server, tmp_path_factory):
    """Greedy, beams and pieces, of documents of which some are longer than the model's context."""
    folder = tmp_path_factory.mktemp("decoding")
    rows = documents(6)
    for i in (1, 4):
        rows[i]["article"] = " ".join(row["article"] for row in documents(60))
    out = folder / "out"
    command = ["run", f"--server={server.address}", f"--data={write_jsonl(folder / 'd.jsonl', rows)}", "--backends=" + ",".join(CONTENDERS), f"--out={out}", f"--cache={folder / 'cache'}",
               "--warmup=1", "--max-new-tokens=16", "--lengths=32,64", "--length-repeats=2", "--quiet"]
    run(*command)
    run("report", out, "--replicates=100")
    return command, out


def answers_of(out):
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    return {(a["backend"], a["document"]): a for a in answers if a.get("phase") == "documents"}


def test_beams_and_pieces_are_compared_on_the_same_documents(server, decoding):
    _, out = decoding
    answers, found = answers_of(out), results(out)
    assert set(found["efficiency"]) == set(CONTENDERS) and set(found["quality"]["all"]) == {*CONTENDERS, "lead-3", "oracle"}
    for i in range(6):
        greedy, beams, pieces = (answers[name, i]["accounting"] for name in CONTENDERS)
        assert (pieces["chunks"] > 1) == (i in (1, 4)) and greedy["chunks"] == beams["chunks"] == 0
        assert (greedy["truncated_tokens"] > 0) == (i in (1, 4)) and pieces["truncated_tokens"] == 0
        assert beams["kv_cache_peak_bytes"] > greedy["kv_cache_peak_bytes"] or beams["new_tokens"] < greedy["new_tokens"]
    assert {(c["a"], c["b"]) for c in found["comparisons"]} >= {(CONTENDERS[0], CONTENDERS[1]), (CONTENDERS[0], CONTENDERS[2])}
    assert set(found["lengths"]) == {"flash"}, "a prompt costs the same however the summary is chosen"
    for name in CONTENDERS:
        assert name in (out / "report.html").read_text() and f"| {name} |" in (out / "report.md").read_text()


def test_contenders_answers_are_those_of_single_requests(server, decoding):
    import conftest  # noqa: F401  (installs the Python package)
    from precis_client import GenerationOptions, Request, SummarizerClient
    answers, rows = answers_of(decoding[1]), [json.loads(line) for line in (decoding[1] / "documents.jsonl").read_text().splitlines()]
    with SummarizerClient(server.address) as client:
        for i, row in enumerate(rows):
            options = [GenerationOptions(max_new_tokens=16), GenerationOptions(max_new_tokens=16, num_beams=3, length_penalty=2, early_stopping=True), GenerationOptions(max_new_tokens=16)]
            for name, option, too_long in zip(CONTENDERS, options, ("truncate", "truncate", "chunk")):
                assert client.summarize(Request(row["text"], backend="flash", options=option, too_long=too_long), timeout=120).text == answers[name, i]["summary"], (name, i)


def test_contenders_are_cached_each_for_itself(decoding, tmp_path):
    command, out = decoding
    again = [part.replace(str(out), str(tmp_path / "again")) for part in command if not part.startswith("--lengths")] + ["--lengths=none"]
    assert "18 answers (18 from the cache)" in run(*again).stderr
    assert {key: a["summary"] for key, a in answers_of(tmp_path / "again").items()} == {key: a["summary"] for key, a in answers_of(out).items()}


def test_contenders_that_make_no_sense(server, tmp_path):
    data = write_jsonl(tmp_path / "d.jsonl", documents(2))
    base = ["run", f"--data={data}", f"--server={server.address}", "--no-cache", "--quiet", f"--out={tmp_path / 'out'}"]
    assert "such as flash+num-beams=4" in run(*base, "--backends=flash+beams=4", code=2).stderr
    assert "given twice" in run(*base, "--backends=flash,flash", code=2).stderr
    assert "flash+num-beams=99" in run(*base, "--backends=flash+num-beams=99", code=7).stderr


def test_energy_is_absent_where_the_server_does_not_know_it(decoding, tmp_path):
    _, out = decoding
    found = results(out)
    assert all("energy_joules" not in cost for cost in found["efficiency"].values())
    assert "Energy, J" not in (out / "report.md").read_text() and "does not know what its device draws" in (out / "report.html").read_text()
    # A server that knows it: the same answers with a number.
    known = tmp_path / "known"
    known.mkdir()
    for name in ("run.json", "documents.jsonl"):
        (known / name).write_bytes((out / name).read_bytes())
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    for line in lines:
        if "accounting" in line:
            assert line["accounting"].get("energy_joules") is None
            line["accounting"]["energy_joules"] = 2.5
    write_jsonl(known / "answers.jsonl", lines)
    run("report", known, "--replicates=100")
    assert results(known)["efficiency"]["flash"]["energy_joules"]["p50"] == 2.5
    assert "| Energy, J | flash |" in (known / "report.md").read_text()


def test_lower_case_data_has_no_names_and_the_report_says_so(server, tmp_path):
    rows = [{key: value.lower() for key, value in row.items()} for row in documents(4)]
    out = tmp_path / "out"
    run("run", f"--server={server.address}", f"--data={write_jsonl(tmp_path / 'd.jsonl', rows)}", "--backends=flash", f"--out={out}", "--no-cache", "--warmup=1", "--max-new-tokens=8",
        "--lengths=none", "--quiet")
    # What a model that writes lower case answers.
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    write_jsonl(out / "answers.jsonl", [{**line, "summary": line["summary"].lower()} if "summary" in line else line for line in lines])
    run("report", out, "--replicates=100")
    assert results(out)["quality"]["all"]["flash"]["metrics"]["names_unsupported"] == {"value": None, "interval": None}
    for name in ("report.html", "report.md"):
        text = (out / name).read_text()
        assert "none found" in text and "names are recognised by their capital letters, so none are found in lower-case text" in text


def test_study_in_one_command_with_its_own_server_and_weights_and_biases(tmp_path):
    data, out = write_jsonl(tmp_path / "d.jsonl", documents(6)), tmp_path / "out"
    models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
    done = run("study", *models, f"--data={data}", f"--out={out}", "--no-cache", "--warmup=1", "--max-new-tokens=8", "--lengths=32,64", "--length-repeats=2", "--replicates=100", "--quiet",
               "--server-flag=--kv-cache-bytes=128MiB", "--wandb=offline", f"--python={sys.executable}")
    assert "logged" in done.stdout and "(offline)" in done.stdout
    assert list((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert set(results(out)["efficiency"]) == set(BACKENDS)
    assert "before it was ready" in run("study", "--model=x=/nonexistent", f"--data={data}", f"--out={tmp_path / 'x'}", code=1).stderr


def test_package_reads_parquet_and_brings_its_scripts(server, tmp_path):
    archive = tmp_path / "package.tar.gz"
    subprocess.run([ROOT / "deploy/pack", f"--build={BUILD}", f"--out={archive}", "client/precis-eval"], check=True, timeout=240, stdout=subprocess.DEVNULL)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    libexec = tmp_path / "precis-package/libexec"
    assert {path.name for path in libexec.iterdir()} == {"precis-eval", "libprecis_parquet.so", "log_wandb.py"}
    rows = documents(3)
    pyarrow.parquet.write_table(pyarrow.table({name: [row[name] for row in rows] for name in ("article", "highlights")}), tmp_path / "d.parquet")
    done = subprocess.run([tmp_path / "precis-package/bin/precis-eval", "run", f"--server={server.address}", f"--data={tmp_path / 'd.parquet'}", "--backends=flash", "--no-cache", "--warmup=1",
                           "--max-new-tokens=2", "--lengths=none", "--quiet", f"--out={tmp_path / 'out'}"], capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0 and "3 answers" in done.stderr, done.stderr


def test_notebook(server, tmp_path, monkeypatch):
    """Executed by Jupyter's own client, cell by cell; summaries are kept short."""
    import conftest  # noqa: F401  (installs the Python package)
    notebook = nbformat.read(ROOT / "client/python/study.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        cell.source = cell.source.replace("min_new_tokens=35, max_new_tokens=110", "max_new_tokens=6").replace('"--min-new-tokens=35", "--max-new-tokens=110"', '"--max-new-tokens=6", "--no-cache"')
    kernel = tmp_path / "share/jupyter/kernels/python3"  # this Python, whatever the machine has
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}))
    for name, value in {"JUPYTER_PATH": str(tmp_path / "share/jupyter"), "IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
                        "PRECIS_SERVER": server.address, "PRECIS_EVAL": str(BINARY), "PRECIS_DATA": str(write_jsonl(tmp_path / "d.jsonl", documents(5))),
                        "PYTHONPATH": str(BUILD / "integration/site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "15 summaries" in printed and "flash_alibi" in printed and "- " in printed
    assert sum("image/png" in output.data for output in outputs if output.output_type == "display_data") == 2
