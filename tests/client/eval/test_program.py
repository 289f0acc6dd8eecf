"""precis-eval against the real server: run, resume, cache, report (looked at in Chromium), compare, study, and bad input."""
import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/integration"))
from server_process import ServerProcess  # noqa: E402

BUILD = Path(os.environ.get("PRECIS_TEST_BUILD_DIR", ROOT / "build/release"))
BINARY = BUILD / "client/precis-eval"
SHOTS = BUILD / "client/eval_report"
TOPICS = ["the river", "a small town", "the old bridge", "the new school", "a long strike", "the night train", "an early frost", "the harbour"]
BACKENDS = ["standard", "flash", "flash_alibi"]


def documents(count):
    rows = []
    for i in range(count):
        topic, other = TOPICS[i % len(TOPICS)], TOPICS[(i * 3 + 1) % len(TOPICS)]
        sentences = [f"{topic.capitalize()} was in the news on day {i + 1}.", f"People near {other} spoke of {topic} for {i + 2} hours.", f"Mayor Anna Ruiz said that {topic} matters."]
        sentences += [f"Line {k} tells more of {TOPICS[(i + k) % len(TOPICS)]} and of {other}." for k in range(4 + i % 5)]
        rows.append({"id": f"doc-{i}", "article": " ".join(sentences), "highlights": f"{topic} was in the news.\nMayor Ruiz spoke of it.", "source": "cnn" if i % 2 else "dailymail"})
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments, code=0, **keywords):
    environment = {**os.environ, "XDG_CACHE_HOME": "/nonexistent-cache"}
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=240, env=environment, **keywords)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def server():
    models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
    with ServerProcess(BUILD / "server/precis-server", *models, "--kv-cache-bytes=256MiB") as process:
        yield process.wait_ready()


@pytest.fixture(scope="module")
def study(server, tmp_path_factory):
    """A run with everything, and its report."""
    folder = tmp_path_factory.mktemp("study")
    rows = documents(10)
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n", encoding="utf-8")
    out = folder / "out"
    run("run", f"--server={server.address}", f"--data={data}", "--backends=" + ",".join(BACKENDS), f"--out={out}", "--no-cache", "--concurrency=4", "--warmup=1",
        "--max-new-tokens=24", "--no-repeat-ngram=3", "--lengths=32,64,128,256", "--length-repeats=2", "--rates=8", "--open-loop-requests=4", "--quiet")
    run("report", out, "--replicates=200")
    return out


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_results(study):
    found = results(study)
    assert found["documents"] == found["documents_scored"] == 10
    assert found["run"]["data"]["bad_rows"] == 1 and found["run"]["data"]["bad_rows_listed"][0]["row"] == 11
    assert found["run"]["configuration"]["server_build"].startswith("0.1.0 ")
    assert set(found["quality"]) == {"all", "cnn", "dailymail"}
    for group in found["quality"].values():
        assert list(group) == [*BACKENDS, "lead-3", "oracle"]
        for scores in group.values():
            low, high = scores["metrics"]["rouge1"]["interval"]
            assert low <= scores["metrics"]["rouge1"]["value"] + 1e-9 and scores["metrics"]["rouge1"]["value"] <= high + 1e-9
        assert group["oracle"]["metrics"]["rouge1"]["value"] >= group["lead-3"]["metrics"]["rouge1"]["value"]
    for backend in BACKENDS:
        cost = found["efficiency"][backend]
        assert cost["n"] == 10 and cost["failed"] == cost["from_cache"] == 0
        assert 0 < cost["time_to_first_token_seconds"]["p50"] <= cost["total_seconds"]["p50"] <= cost["total_seconds"]["p99"]
        assert cost["throughput"]["tokens_per_second"] > 0
        assert found["lengths"][backend]["n"] == 8
    # What the kernels' design says: the scores grow with the length (by its square until the rows of a step are bounded), a tile does not.
    assert 1.2 < found["lengths"]["standard"]["attention_workspace_fit"]["exponent"] < 2.3
    assert abs(found["lengths"]["flash"]["attention_workspace_fit"]["exponent"]) < 0.2
    assert {stage["backend"] for stage in found["open_loop"]} == set(BACKENDS) and all(stage["n"] == 4 for stage in found["open_loop"])
    for comparison in found["comparisons"]:
        assert 0 < comparison["p"] <= comparison["p_holm"] <= 1
    assert found["verdict"]


def test_scores_are_those_of_the_score_command(study, tmp_path):
    """The answers, scored as a file of pairs, give what the report says."""
    rows = {i: json.loads(line) for i, line in enumerate((study / "documents.jsonl").read_text().splitlines())}
    answers = [json.loads(line) for line in (study / "answers.jsonl").read_text().splitlines()]
    pairs = [{"reference": rows[a["document"]]["references"][0], "hypothesis": a["summary"]} for a in answers if a.get("backend") == "flash" and a["phase"] == "documents"]
    scored = json.loads(run("score", f"--pairs={write_jsonl(tmp_path / 'p.jsonl', pairs)}", "--json").stdout)
    reported = results(study)["quality"]["all"]["flash"]
    assert scored["n"] == 10
    for name in ("rouge1", "rouge2", "rougeL"):  # rougeLsum: the report splits sentences
        assert abs(scored[name]["fmeasure"] - reported[name]["fmeasure"]) < 1e-9
    assert abs(scored["chrf"] - reported["chrf"]) < 1e-9


def test_report_files(study):
    html = (study / "report.html").read_text()
    assert "<script" not in html and "http://" not in html.replace("http://www.w3.org/2000/svg", "") and "https://" not in html
    charts = sorted(path.stem for path in (study / "charts").glob("*.svg"))
    assert {"quality_all", "time_memory", "attention_workspace_bytes", "prefill_seconds"} <= set(charts)
    for chart in charts:
        assert (study / f"charts/{chart}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "| standard |" in (study / "report.md").read_text()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 375), ("dark", 375)])
def test_report_in_a_browser(study, scheme, width):
    from playwright.sync_api import sync_playwright
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        problems = []
        page.on("console", lambda m: problems.append(m.text))
        page.goto((study / "report.html").as_uri())
        page.screenshot(path=SHOTS / f"{scheme}-{width}.png", full_page=True)
        text = page.inner_text("body")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        assert page.locator(".charts figure svg").count() >= 8 and page.locator(".example").count() == 6
        browser.close()
    assert not problems
    for word in ("NaN", "undefined", "null", "inf "):
        assert word not in text, word


def test_killed_run_goes_on(server, tmp_path):
    data, out = write_jsonl(tmp_path / "d.jsonl", documents(24)), tmp_path / "out"
    command = ["run", f"--server={server.address}", f"--data={data}", "--backends=flash", f"--out={out}", "--no-cache", "--concurrency=2", "--warmup=1", "--max-new-tokens=16", "--lengths=none", "--quiet"]
    process = subprocess.Popen([BINARY, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = out / "answers.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and (not answers.is_file() or answers.read_text().count("\n") < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = answers.read_text()
    with open(answers, "a") as file:  # what a power cut leaves
        file.write('{"document": 5, "backe')
    done = run(*command)
    after = [json.loads(line) for line in answers.read_text().splitlines()]
    assert answers.read_text().startswith(before[:before.rindex("\n") + 1])
    kept = before.count('"summary"')
    assert kept >= 3 and f"{24 - kept} answers" in done.stderr and f"{kept} from before" in done.stderr
    assert sorted(a["document"] for a in after if "document" in a) == list(range(24))
    assert "0 answers" in run(*command).stderr
    other = run(*[part.replace("=16", "=17") for part in command], code=1).stderr
    assert "holds another run (it differs in: options)" in other
    run(*[part.replace("=16", "=17") for part in command], "--fresh")


def test_answers_are_cached_by_options_and_count_for_quality_only(server, tmp_path):
    data = write_jsonl(tmp_path / "d.jsonl", documents(6))
    base = ["run", f"--server={server.address}", f"--data={data}", "--backends=flash", f"--cache={tmp_path / 'cache'}", "--warmup=1", "--lengths=none", "--quiet"]
    assert "6 answers (0 from the cache)" in run(*base, f"--out={tmp_path / 'a'}", "--max-new-tokens=8").stderr
    assert "6 answers (6 from the cache)" in run(*base, f"--out={tmp_path / 'b'}", "--max-new-tokens=8").stderr
    assert "6 answers (0 from the cache)" in run(*base, f"--out={tmp_path / 'c'}", "--max-new-tokens=9").stderr
    for name in "ab":
        run("report", tmp_path / name, "--replicates=100")
    a, b = results(tmp_path / "a"), results(tmp_path / "b")
    assert a["quality"] == b["quality"]
    assert a["efficiency"]["flash"]["n"] == 6 and b["efficiency"]["flash"]["n"] == 0 and b["efficiency"]["flash"]["from_cache"] == 6
    compared = json.loads(run("compare", tmp_path / "a", tmp_path / "c", "--json", "--replicates=100").stdout)
    assert compared["documents_shared"] == 6 and all(row["a"] == row["b"] == "flash" for row in compared["quality"])
    same = json.loads(run("compare", tmp_path / "a", tmp_path / "b", "--json", "--replicates=100").stdout)
    assert all(row["difference"] == 0 and row["p"] == 1 for row in same["quality"])


def test_formats_give_the_same_run(server, tmp_path):
    rows = documents(4)
    columns = ["id", "article", "highlights", "source"]
    table = pyarrow.table({name: [row[name] for row in rows] for name in columns})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet", compression="zstd", row_group_size=2)
    large = table.set_column(1, "article", table["article"].cast(pyarrow.large_string())).set_column(3, "source", table["source"].dictionary_encode())
    pyarrow.parquet.write_table(large, tmp_path / "large.parquet", compression="snappy")
    with open(tmp_path / "d.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    write_jsonl(tmp_path / "d.jsonl", rows)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress((tmp_path / "d.jsonl").read_bytes()))
    hashes = {}
    for name in ("d.parquet", "large.parquet", "d.csv", "d.jsonl", "d.jsonl.gz"):
        out = tmp_path / ("out-" + name)
        run("run", f"--server={server.address}", f"--data={tmp_path / name}", "--backends=flash", f"--out={out}", "--no-cache", "--warmup=1", "--max-new-tokens=2", "--lengths=none", "--quiet")
        found = json.loads((out / "run.json").read_text())
        hashes[name] = found["configuration"]["data"]
        assert [json.loads(line) for line in (out / "documents.jsonl").read_text().splitlines()] == [
            {"id": row["id"], "group": row["source"], "text": row["article"], "references": [row["highlights"]]} for row in rows]
    assert len(set(hashes.values())) == 1, hashes


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


def test_study_in_one_command_with_its_own_server_and_weights_and_biases(tmp_path):
    data, out = write_jsonl(tmp_path / "d.jsonl", documents(6)), tmp_path / "out"
    models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
    done = run("study", *models, f"--data={data}", f"--out={out}", "--no-cache", "--warmup=1", "--max-new-tokens=8", "--lengths=32,64", "--length-repeats=2", "--replicates=100", "--quiet",
               "--server-flag=--kv-cache-bytes=128MiB", "--wandb=offline", f"--python={sys.executable}")
    assert "logged" in done.stdout and "(offline)" in done.stdout
    assert list((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert set(results(out)["efficiency"]) == set(BACKENDS)
    assert "before it was ready" in run("study", "--model=x=/nonexistent", f"--data={data}", f"--out={tmp_path / 'x'}", code=1).stderr


def test_notebook(server, tmp_path):
    """Its cells, run as they stand."""
    pytest.importorskip("matplotlib")
    import conftest  # noqa: F401  (installs the Python package)
    notebook = json.loads((ROOT / "client/python/study.ipynb").read_text(encoding="utf-8"))
    code = "\n".join("".join(cell["source"]) + "\n" for cell in notebook["cells"] if cell["cell_type"] == "code")
    code = code.replace("min_new_tokens=35, max_new_tokens=110", "max_new_tokens=6").replace('"--min-new-tokens=35", "--max-new-tokens=110"', '"--max-new-tokens=6", "--no-cache"')
    environment = {**os.environ, "PRECIS_SERVER": server.address, "PRECIS_EVAL": str(BINARY), "PRECIS_DATA": str(write_jsonl(tmp_path / "d.jsonl", documents(5))),
                   "PYTHONPATH": str(BUILD / "integration/site"), "MPLBACKEND": "Agg"}
    (tmp_path / "cells.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, tmp_path / "cells.py"], capture_output=True, text=True, timeout=240, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "15 summaries" in done.stdout and "- " in done.stdout


def test_help_has_examples():
    for command in ([], ["run"], ["report"], ["compare"], ["score"], ["study"]):
        assert "Examples:" in run(*command, "--help").stdout


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-x"]))
