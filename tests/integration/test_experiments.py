"""Experiments on a real server: the command line, reload by signal, a crash, shadow pairs, and the page in headless Chromium. Screenshots
go to BUILD/integration/experiments."""

import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import BUILD, ROOT, SCRATCH
from playwright.sync_api import expect, sync_playwright
from precis_client import GenerationOptions, NotFound, Request, RetryPolicy, SummarizerClient, experiments

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
TEXT = """experiments:
  - name: flash-vs-standard
    salt: s
    arms:
      - {name: control, attention_backend: standard}
      - {name: flash, attention_backend: flash, weight: 1}
    shadow: {sampling: SAMPLING}
    analysis: {min_units: 20}
"""
FIRST_TOKEN = "gen_ai_server_time_to_first_token_seconds_count"
WEIGHTS = {"control": 1, "flash": 1}


@pytest.fixture
def experiment(start, tmp_path):
    """(server, file): a server with an experiment and a state file."""
    file = tmp_path / "experiments.yaml"
    file.write_text(TEXT.replace("SAMPLING", "0"))
    flags = (f"--experiments-file={file}", f"--experiments-state={tmp_path}/state", "--experiments-check=200ms", "--experiments-flush=100ms")

    def run():
        return start(*flags).wait_ready()
    return run, file


def send(server, units, tokens=4):
    """{unit: summary}"""
    with SummarizerClient(server.address) as client, ThreadPoolExecutor(8) as pool:
        one = lambda unit: client.summarize(Request(f"The {unit} went to town.", unit_id=unit, options=GenerationOptions(max_new_tokens=tokens)))  # noqa: E731
        return dict(zip(units, pool.map(one, units)))


@pytest.fixture
def cli(tool):
    def run(server, *arguments, code=0):
        result = subprocess.run([tool("precis"), "experiments", *arguments, f"--server={server.address}"], text=True, capture_output=True, timeout=60)
        assert result.returncode == code, (result.stdout, result.stderr)
        return result.stdout + result.stderr
    return run


def test_from_request_to_report(experiment, cli, tmp_path):
    run, file = experiment
    server = run()
    units = [f"unit-{i}" for i in range(160)]
    summaries = send(server, units)
    for unit, summary in summaries.items():
        assert summary.assignment.arm == experiments.choose_arm("s", WEIGHTS, unit), "client and server agree"
        assert summary.backend == {"control": "standard", "flash": "flash"}[summary.assignment.arm]
    with SummarizerClient(server.address) as client:
        first = summaries["unit-0"]
        assert client.record_outcome(first.request_id, {"thumbs": 1, "edit_ratio": 0.25}).counted == 2
        again = client.record_outcome(first.request_id, {"thumbs": 0})
        assert (again.counted, again.already_known, again.arm) == (0, 1, first.assignment.arm)
        with pytest.raises(NotFound):
            client.record_outcome("nobody's", {"thumbs": 1})
    assert "1 counted" in cli(server, "record", summaries["unit-1"].request_id, "--outcome=score=4")
    assert "flash-vs-standard" in cli(server, "list")
    assert json.loads(cli(server, "show", "flash-vs-standard"))["control"] == "control"
    text = cli(server, "report", "flash-vs-standard")
    assert re.search(r"flash(?: is|:) .* at p50 of total_seconds.*; n = \d+", text), text
    assert "sample ratio: as configured" in text and "time_to_first_token_seconds" in text
    report = json.loads(cli(server, "report", "flash-vs-standard", "--json"))
    assert sum(arm["requests"] for arm in report["arms"]) == 160 and sum(arm["units"] for arm in report["arms"]) == 160
    assert re.search(r"unit-0: flash-vs-standard/(control|flash), assigned", cli(server, "assign", "--unit=unit-0"))
    cli(server, "report", "no-such", code=7)

    new, traffic = tmp_path / "new.yaml", tmp_path / "traffic.jsonl"
    new.write_text(file.read_text() + "    share: 30%\n")
    traffic.write_text("".join(json.dumps({"unit_id": unit}) + "\n" for unit in units))
    text = cli(server, "validate", str(new), f"--traffic={traffic}")
    assert "is valid" in text and "assigned" in text and "(160 units" in text
    new.write_text("experiments:\n  - name: x\n    arms: [{name: a, attention_backend: flash}, {name: b, attention_backend: flush}]\n")
    assert "unknown attention_backend 'flush'" in cli(server, "validate", str(new), code=7)

    # A bad file changes nothing; a good one comes by signal at the latest.
    file.write_text("experiments: [{name: x}]\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_metric("precis_experiments_reloads_total", lambda value: value >= 1, result="refused")
    assert any("experiments not reloaded" in line and "experiments.yaml:1" in line for line in server.log)
    assert send(server, ["unit-0"])["unit-0"].assignment.config_generation == 1
    file.write_text(TEXT.replace("SAMPLING", "0") + "    share: 30%\n")
    assert "generation 2" in cli(server, "reload")
    before = {unit: summary.assignment.arm for unit, summary in summaries.items()}
    after = send(server, units)
    inside = {unit: s.assignment.arm for unit, s in after.items() if s.assignment.reason == "assigned"}
    assert set(inside) == {unit for unit in units if experiments.in_ramp("s", unit, 0.3)} and inside.items() <= before.items()

    assert "(stopped)" in cli(server, "stop", "flash-vs-standard", "--arm=flash", "--reason=not good")
    stopped = next(unit for unit in inside if inside[unit] == "flash")
    assert send(server, [stopped])[stopped].assignment.reason == "stopped"
    assert server.metric("precis_experiment_stopped", experiment="flash-vs-standard", arm="flash", guardrail="operator") == 1


def test_fixed_horizon_results_are_said_to_be_for_one_look(experiment, cli):
    run, file = experiment
    once = "hold for one look, the first at the planned number of units. Whoever looks again takes the always-valid ones."
    planned = lambda units: TEXT.replace("SAMPLING", "0").replace("min_units: 20", f"min_units: 20, planned_units: {units}")  # noqa: E731
    file.write_text(planned(10_000))
    server = run()
    send(server, [f"unit-{i}" for i in range(120)])
    early = cli(server, "report", "flash-vs-standard")
    file.write_text(planned(30))
    cli(server, "reload")
    late = cli(server, "report", "flash-vs-standard")
    column = [line for line in late.splitlines() if line.startswith("total_seconds") and " p50 " in line]
    assert once not in early and once in late and column and column[0].count("..") == 2, late
    # The verdict, which is read first, keeps to the interval that may be looked at again.
    arm = json.loads(cli(server, "report", "flash-vs-standard", "--json"))["arms"][1]
    assert "always-valid interval" in arm["verdict"] and any(effect.get("has_fixed") for effect in arm["effects"])


def test_a_crash_loses_nothing_that_was_answered(experiment, cli):
    run, _ = experiment
    server = run()
    summaries = send(server, [f"unit-{i}" for i in range(30)])
    with SummarizerClient(server.address) as client:
        for summary in list(summaries.values())[:10]:
            client.record_outcome(summary.request_id, {"thumbs": 1})
    server.process.kill()
    server.wait()
    server = run()
    report = json.loads(cli(server, "report", "flash-vs-standard", "--json"))
    assert sum(arm["requests"] for arm in report["arms"]) == 30, "an answered outcome's flush holds the requests before it"
    thumbs = [o for arm in report["arms"] for o in arm["outcomes"] if o["outcome"] == "thumbs"]
    assert sum(o["count"] for o in thumbs) == 10
    with SummarizerClient(server.address) as client:
        assert client.record_outcome(list(summaries.values())[3].request_id, {"thumbs": 1}).already_known == 1
        assert client.record_outcome(list(summaries.values())[20].request_id, {"thumbs": 1}).counted == 1


def test_shadow_pairs_are_nobodys_traffic(experiment, cli):
    run, file = experiment
    file.write_text(TEXT.replace("SAMPLING", "100%"))
    server = run()
    before = server.metric(FIRST_TOKEN)
    send(server, [f"unit-{i}" for i in range(6)], tokens=8)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        report = json.loads(cli(server, "report", "flash-vs-standard", "--json"))
        shadow = report["arms"][1]["shadow"]
        if shadow["pairs"] + shadow["dropped"] >= 6:
            break
        time.sleep(0.2)
    assert shadow["pairs"] >= 1 and shadow["identical"] == shadow["pairs"], "the same weights: flash and standard say the same"
    assert "interval and p are for one look" in cli(server, "report", "flash-vs-standard")
    assert shadow["token_agreement"] == 1 and shadow["rouge_l"] == 1
    assert sum(arm["requests"] for arm in report["arms"]) == 6
    assert "(shadow)" not in server.http("/metrics")[1]
    assert server.metric(FIRST_TOKEN) == before + 6
    assert server.metric(FIRST_TOKEN, experiment="flash-vs-standard") == 6


@pytest.mark.parametrize("batching", ["mixed", "homogeneous"])
def test_homogeneous_arms_never_share_a_step(experiment, batching):
    run, file = experiment
    file.write_text(TEXT.replace("SAMPLING", "0") + f"    batching: {batching}\n")
    server = run()

    def steps(composition):
        return server.metric("precis_step_duration_seconds_count", composition=composition)
    mixed_before = steps("mixed")
    units = [f"unit-{i}" for i in range(60)]
    summaries = send(server, units, tokens=24)
    assert {s.assignment.arm for s in summaries.values()} == {"control", "flash"} and {s.backend for s in summaries.values()} == {"standard", "flash"}
    assert (steps("mixed") > mixed_before) == (batching == "mixed") and steps("homogeneous") > 0
    # Whoever shares the step, the summary is the same.
    with SummarizerClient(server.address) as client:
        for unit in units[:5]:
            alone = client.summarize(Request(f"The {unit} went to town.", backend=summaries[unit].backend, options=GenerationOptions(max_new_tokens=24)))
            assert alone.text == summaries[unit].text


def test_under_load_shadow_work_is_shed_first(experiment):
    run, file = experiment
    file.write_text(TEXT.replace("SAMPLING", "100%"))
    server = run()

    def pairs(*results):
        return sum(server.metric("precis_shadow_pairs_total", result=result) for result in results)
    with SummarizerClient(server.address, retry=RetryPolicy(max_attempts=1)) as client, ThreadPoolExecutor(12) as pool:
        end = time.monotonic() + 4

        def user(seed):
            served = 0
            while time.monotonic() < end:
                client.summarize(Request(f"Number {served} of {seed} went to town.", unit_id=f"{seed}", options=GenerationOptions(max_new_tokens=32)))
                served += 1
            return served
        users = [pool.submit(user, seed) for seed in range(12)]
        time.sleep(3)
        during = pairs("identical", "different")
        served = sum(future.result() for future in users)  # every user is served
    assert served > 100 and server.metric("precis_requests_rejected_total") == 0
    # Of that many samples 16 wait and the rest was dropped; next to none found an idle moment.
    assert pairs("dropped") >= served - 16 - 16 and during <= 0.02 * served
    server.wait_metric("precis_shadow_pairs_total", lambda value: value >= 8, timeout=60, result="identical")  # once nobody asks
    assert pairs("failed") == 0


def test_the_operators_guide(tmp_path):
    """deploy/README.md leads from nothing to a running experiment: its commands, run as they stand there in an empty folder."""
    guide = (ROOT / "deploy/README.md").read_text().split("## A running experiment, from nothing")[1].split("\n## ")[0]
    commands = [line.strip() for line in re.findall(r"(?m)^ {7}(\S.*)$", guide)]
    assert len(commands) == 13
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/release").symlink_to(BUILD.resolve())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PRECIS_")} | {"PRECIS_LISTEN": "127.0.0.1:0", "PRECIS_METRICS_LISTEN": "127.0.0.1:0"}
    server, said = None, ""
    try:
        for command in commands:
            if "precis-server" in command:
                server = subprocess.Popen(command.split(), cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL, text=True)
                address = re.search(r"listening on (\S+)", server.stdout.readline())[1]
                while server.stdout.readline() != "ready\n":
                    assert server.poll() is None
                environment["PRECIS_SERVER"] = address
                continue
            result = subprocess.run(["bash", "-ec", command], cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=60)
            assert result.returncode == 0, (command, result.stderr)
            said += result.stdout
    finally:
        if server is not None:
            server.terminate()
            server.wait(30)
            server.stdout.close()
    for words in ("user-17: ", "is valid", "generation 2", "1 counted", "sample ratio: as configured", "(stopped)"):
        assert words in said, (words, said)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


def test_the_page(browser, experiment, cli):
    run, file = experiment
    file.write_text(TEXT.replace("SAMPLING", "10%").replace("min_units: 20", "min_units: 20, planned_units: 30"))
    server = run()
    for _ in range(6):
        summaries = send(server, [f"unit-{i}" for i in range(120)])
    with SummarizerClient(server.address) as client:
        for i, summary in enumerate(summaries.values()):
            client.record_outcome(summary.request_id, {"thumbs": i % 3 != 0})
    time.sleep(3)  # a few points of history
    folder = SCRATCH / "experiments"
    folder.mkdir(parents=True, exist_ok=True)
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 375), ("dark", 375)):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        problems = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.goto(f"http://{server.metrics_address}/experiments")
        expect(page.locator("#state")).to_have_text("1 experiment", timeout=30_000)
        text = page.inner_text("body")
        assert "flash-vs-standard" in text and "at p50 of total_seconds" in text and "720" in text or "360" in text, text
        # What is for one look says so, and every interval that is shown may be looked at again.
        assert "for one look, at the planned end" in text and "Intervals of effects are always valid" in text and not re.search("(?i)fixed.horizon", text), text
        assert "Their interval and p are for one look" in text and "p (one look)" in text, text
        assert not re.search(r"NaN|undefined|Infinity|null", text), text
        expect(page.locator("polyline.line")).to_have_count(1)
        expect(page.locator("polygon.area")).to_have_count(2)
        assert page.locator(".effects .span").count() >= 5
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=folder / f"{scheme}-{width}.png", full_page=True)
        context.close()
        assert problems == []
