"""A real Prometheus scrapes a real, loaded server: every panel of every Grafana dashboard has data, and every rule can be evaluated. Energy and GPU
panels have data only where a GPU is; they are left out here."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from conftest import ROOT
from precis_client import DeadlineExceeded, GenerationOptions, Request, RetryPolicy, SummarizerClient
from tiny_model import article

sys.path.insert(0, str(ROOT / "tests/support"))
from prometheus import fetch, panels_without_data, prometheus, query, wait_for_scrapes  # noqa: E402

EXPERIMENT = """experiments:
  - name: attention
    model: tiny
    arms:
      - {name: control, attention_backend: standard}
      - {name: flash, attention_backend: flash}
      - {name: alibi, attention_backend: flash_alibi}
      - {name: stopped, attention_backend: standard_alibi}
    shadow: {sampling: 20%}
    analysis: {min_units: 10}
"""
SHORT = GenerationOptions(max_new_tokens=8)
ENDLESS = GenerationOptions(max_new_tokens=2000, min_new_tokens=2000)


class Load:
    """Users, until stop(): sound requests of many units, and those that give up."""

    def __init__(self, address):
        self.client, self.ended, self.served = SummarizerClient(address, retry=RetryPolicy(max_attempts=1)), threading.Event(), []
        self.failure = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            for i in range(100_000):
                # Now and then a pause, for shadow pairs.
                if self.ended.wait(1 if i % 25 == 24 else 0.01):
                    return
                self.served.append(self.client.summarize(Request(article(30, seed=i), unit_id=f"unit-{i % 400}", options=SHORT), timeout=60))
                if i % 40 == 0:
                    self._give_up()
        except Exception as error:  # shown by stop()
            self.failure = error

    def _give_up(self):
        with self.client.stream(Request("text", model="slow", options=ENDLESS), timeout=60) as stream:
            next(stream)  # closing it cancels
        # More than the batch has rows: some are out of time while they run, others in the queue.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._run_out_of_time, range(8)))

    def _run_out_of_time(self, i):
        with contextlib.suppress(DeadlineExceeded):
            self.client.summarize(Request(f"text {i}", model="slow", options=ENDLESS), timeout=0.5)

    def stop(self):
        self.ended.set()
        self.thread.join()
        self.client.close()
        assert self.failure is None, self.failure


def test_every_panel_has_data_of_a_loaded_server(start, models, tool, tmp_path):
    file = tmp_path / "experiments.yaml"
    file.write_text(EXPERIMENT)
    server = start(f"--experiments-file={file}", f"--experiments-state={tmp_path}/state", "--experiments-check=300ms", "--experiments-reload=200ms", "--max-batch-rows=4",
                   f"--model=slow={models['slow-alibi']}").wait_ready()
    with prometheus(tmp_path, server.metrics_address) as scraper:
        load = Load(server.address)
        try:
            while len(load.served) < 60 and load.failure is None:
                time.sleep(0.1)
            for summary in load.served[:20]:
                load.client.record_outcome(summary.request_id, {"thumbs": 1, "score": 3})
            subprocess.run([tool("precis"), "experiments", "stop", "attention", "--arm=stopped", "--reason=test", f"--server={server.address}"],
                           check=True, capture_output=True, timeout=30)
            wait_for_scrapes(scraper, 12)
            file.write_text(EXPERIMENT + "    share: 90%\n")
            server.wait_metric("precis_experiments_reloads_total", lambda value: value >= 1, result="taken")
            missing, end = [None], time.monotonic() + 90
            while missing and time.monotonic() < end:  # shadow pairs wait for an idle moment
                time.sleep(1)
                missing = panels_without_data(scraper)
        finally:
            load.stop()
        assert missing == [], "\n".join(f"{board}: {title}" for board, title, _ in missing)
        groups = json.loads(fetch(f"{scraper}/api/v1/rules"))["data"]["groups"]
        assert [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []
        assert query(scraper, "sum(increase(gen_ai_server_request_duration_seconds_count[5m]))")[0] > 30
        assert query(scraper, 'max(precis_experiment_stopped{arm="stopped"})') == [1]
