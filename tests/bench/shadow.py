#!/usr/bin/env python3
"""What shadow replays cost the users of the same server: latency of the same requests with and without them, in alternating rounds. Ends within two
minutes; nothing else should run on the machine.

  shadow.py                                  # build/release, the embedded models
  shadow.py --build=build/release --rounds=4 --rate=4 --seconds=10

The difference of the p99s comes with a 95% bootstrap interval over requests: shadow is within noise if the interval holds 0.
"""

import argparse
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """experiments:
  - name: shadowed
    arms: [{name: control, attention_backend: standard}, {name: flash, attention_backend: flash}]
    shadow: {sampling: %s}
"""
OFF, ON = "0", "100%"


class Server:
    def __init__(self, build, sampling, folder):
        file = Path(folder) / f"{sampling}.yaml"
        file.write_text(EXPERIMENT % sampling)
        models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
        self.process = subprocess.Popen([build / "server/precis-server", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--drain-timeout=5s",
                                         f"--experiments-file={file}", *models], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        text = ""
        while "\nready\n" not in text:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("shadow.py: the server did not start")
            text += line
        self.address, self.metrics = re.search(r"listening on (\S+)", text)[1], re.search(r"metrics on (\S+)", text)[1]
        self.latencies = []  # by round

    def pairs(self):
        """{result: count} of replayed pairs."""
        text = urllib.request.urlopen(self.metrics + "metrics").read().decode()
        return {m[1]: int(float(m[2])) for m in re.finditer(r'precis_shadow_pairs_total\{.*result="(\w+)"\} (\S+)', text)}

    def settle(self, bound=6):
        """Waits until the last round's replays are over, so that they don't run into the other server's round."""
        end, last = time.monotonic() + bound, None
        while time.monotonic() < end:
            now = self.pairs()
            if now == last:
                return
            last = now
            time.sleep(1)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def load(address, rate, seconds, seed):
    """Latencies in seconds of requests that come at random, as users' do."""
    from precis_client import GenerationOptions, PrecisError, Request, SummarizerClient
    documents = [p.read_text()[:600] for p in sorted((ROOT / "deploy/samples").glob("*.txt"))]
    rng, latencies, failures, threads = random.Random(seed), [], [], []
    with SummarizerClient(address) as client:
        def one(i):
            begin = time.monotonic()
            try:
                client.summarize(Request(f"{i} {documents[i % len(documents)]}", unit_id=f"u{i}", options=GenerationOptions(max_new_tokens=32)))
                latencies.append(time.monotonic() - begin)
            except PrecisError as error:
                failures.append(error)
        end, i = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            time.sleep(rng.expovariate(rate))
            threads.append(threading.Thread(target=one, args=(i,)))
            threads[-1].start()
            i += 1
        for thread in threads:
            thread.join()
    if failures:
        raise SystemExit(f"shadow.py: {len(failures)} requests failed, the first with: {failures[0]}")
    return latencies


def quantile(values, p):
    """In milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(p * len(values)))]


def bootstrap(off, on, p, resamples=2000):
    """95% interval of quantile(on) - quantile(off), requests drawn anew."""
    rng = random.Random(0)
    draws = sorted(quantile(rng.choices(on, k=len(on)), p) - quantile(rng.choices(off, k=len(off)), p) for _ in range(resamples))
    return draws[int(0.025 * resamples)], draws[int(0.975 * resamples)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--client", type=Path, help="where precis_client is installed [BUILD/integration/site]")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rate", type=float, default=4, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10, help="of one round")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.client or arguments.build / "integration/site"))

    with tempfile.TemporaryDirectory() as folder:
        servers = {sampling: Server(arguments.build, sampling, folder) for sampling in (OFF, ON)}
        try:
            for seed in range(arguments.rounds):
                for sampling in (OFF, ON) if seed % 2 == 0 else (ON, OFF):
                    servers[sampling].latencies.append(load(servers[sampling].address, arguments.rate, arguments.seconds, seed))
                    servers[ON].settle()
            pairs = servers[ON].pairs()
        finally:
            for server in servers.values():
                server.stop()
    print(f"{'shadow':>8} {'requests':>8} {'p50 ms':>8} {'p99 ms':>8}  p99 of each round")
    together = {}
    for sampling, server in servers.items():
        everything = together[sampling] = [x for one in server.latencies for x in one]
        print(f"{sampling:>8} {len(everything):8} {quantile(everything, 0.5):8.1f} {quantile(everything, 0.99):8.1f}  "
              + " ".join(f"{quantile(x, 0.99):.1f}" for x in server.latencies))
    print(f"pairs: {pairs}")
    for name, p in (("p50", 0.5), ("p99", 0.99)):
        low, high = bootstrap(together[OFF], together[ON], p)
        noise = statistics.stdev([quantile(x, p) for x in servers[OFF].latencies]) if arguments.rounds > 1 else 0
        print(f"{name} with shadow minus without: {low:+.1f} .. {high:+.1f} ms; rounds without shadow differ by {noise:.1f} ms (sd): "
              + ("within noise" if low <= 0 <= high else "NOT within noise"))


if __name__ == "__main__":
    main()
