"""precis-eval against the real server: run, resume, cache, report (looked at in Chromium), compare."""
import csv
import gzip
import json
import signal
import subprocess
import time

import pyarrow
import pyarrow.parquet
import pytest
from eval_program import BACKENDS, BINARY, SHOTS, documents, results, run, server, write_jsonl  # noqa: F401


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


def test_help_has_examples():
    for command in ([], ["run"], ["report"], ["compare"], ["score"], ["study"]):
        assert "Examples:" in run(*command, "--help").stdout
