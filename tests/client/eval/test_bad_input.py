"""precis-eval and what goes wrong: no server, a server that goes away, columns and files that aren't there, empty references, huge documents, Unicode. Clear errors;
what was answered is kept."""
import json
import subprocess
import time

from eval_program import BINARY, BUILD, ROOT, ServerProcess, documents, results, run, server, write_jsonl  # noqa: F401


def test_bad_input(server, tmp_path):
    data = write_jsonl(tmp_path / "d.jsonl", documents(2))
    base = ["run", f"--data={data}", "--no-cache", "--quiet"]
    assert "is precis-server running?" in run(*base, "--server=127.0.0.1:1", "--retries=0", f"--out={tmp_path / 'a'}", code=4).stderr
    here = [*base, f"--server={server.address}"]
    assert "no column \"body\"" in run(*here, "--document-column=body", f"--out={tmp_path / 'b'}", code=7).stderr
    assert "unknown attention_backend" in run(*here, "--backends=quick", f"--out={tmp_path / 'c'}", code=7).stderr.replace("attention backend", "unknown attention_backend")
    assert "No such file" in run("run", "--data=absent.csv", f"--server={server.address}", f"--out={tmp_path / 'd'}", code=7).stderr
    assert "holds no run" in run("report", tmp_path / "nothing", code=3).stderr
    assert "--lengths=12,x" in run(*here, "--lengths=12,x", f"--out={tmp_path / 'e'}", code=2).stderr
    assert "left out" in run("score", f"--pairs={write_jsonl(tmp_path / 'p.jsonl', [{'reference': 'a'}])}", code=3).stderr


def test_a_document_of_50_mb_and_unicode_cost_only_themselves(server, tmp_path):
    rows = documents(3)
    rows[1]["article"] = "word " * (10 << 20)
    rows.append({"id": "unicode", "article": "日本語の文章。 Ünïcödé 😀 \u0000 text. \u2028 More.", "highlights": "文章。", "source": "cnn"})
    rows.append({"id": "empty", "article": "Text.", "highlights": "", "source": "cnn"})
    out = tmp_path / "out"
    done = run("run", f"--server={server.address}", f"--data={write_jsonl(tmp_path / 'd.jsonl', rows)}", "--backends=flash", f"--out={out}", "--no-cache", "--warmup=1", "--max-new-tokens=4", "--lengths=none", "--quiet")
    assert "1 requests failed" in done.stderr
    run("report", out, "--replicates=100")
    found = results(out)
    assert found["documents"] == 4 and found["documents_scored"] == 3 and found["efficiency"]["flash"]["failed"] == 1
    assert found["run"]["data"]["bad_rows_listed"][0]["problem"] == '"highlights" is empty'


def test_server_that_goes_away(tmp_path):
    models = [f"--model=news={ROOT}/deploy/models/precis-small-learned"]
    data, out = write_jsonl(tmp_path / "d.jsonl", documents(40)), tmp_path / "out"
    with ServerProcess(BUILD / "server/precis-server", *models, "--kv-cache-bytes=64MiB") as server:
        address = server.wait_ready().address
        command = [BINARY, "run", f"--server={address}", f"--data={data}", "--backends=flash", f"--out={out}", "--no-cache", "--warmup=1", "--max-new-tokens=16",
                   "--lengths=none", "--concurrency=2", "--retries=0", "--quiet"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not (out / "answers.jsonl").is_file() or (out / "answers.jsonl").read_text().count('"summary"') < 2:
            time.sleep(0.02)
        server.process.kill()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4 and "the same command goes on from there" in errors
    run("report", out, "--replicates=100")
    assert results(out)["documents_scored"] >= 2


def test_a_file_without_one_good_row(server, tmp_path):
    data = write_jsonl(tmp_path / "d.jsonl", [{"article": "A text.", "highlights": ""}, {"article": "", "highlights": "b"}])
    done = run("run", f"--server={server.address}", f"--data={data}", f"--out={tmp_path / 'out'}", "--no-cache", "--quiet", code=7)
    assert "no usable row" in done.stderr and '"highlights" is empty' in done.stderr


def test_references_may_be_empty_in_pairs(tmp_path):
    """A score needs no server; a pair with an empty reference has no overlap with it, and is counted."""
    pairs = write_jsonl(tmp_path / "p.jsonl", [{"reference": "", "hypothesis": "the river rose"}, {"reference": "the river rose", "hypothesis": "the river rose"}])
    found = json.loads(run("score", f"--pairs={pairs}", "--json").stdout)
    assert found["n"] == 2 and found["empty_references"] == 1 and found["rouge1"]["fmeasure"] == 0.5
