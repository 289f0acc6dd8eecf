#!/usr/bin/env python3
"""What shadow replays cost the users of the same server: latency of the same requests with and without them, in alternating rounds.

  shadow.py                                  # build/release, the embedded models
  shadow.py --build=build/release --rounds=3 --rate=4 --seconds=15
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """experiments:
  - name: shadowed
    arms: [{name: control, attention_backend: standard}, {name: flash, attention_backend: flash}]
    shadow: {sampling: %s}
"""


def start(build, sampling, folder):
    file = Path(folder) / f"{sampling}.yaml"
    file.write_text(EXPERIMENT % sampling)
    models = [f"--model=news={ROOT}/deploy/models/precis-small-{kind}" for kind in ("learned", "alibi")]
    process = subprocess.Popen([build / "server/precis-server", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", f"--experiments-file={file}", *models],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = []
    while "ready\n" not in lines:
        lines.append(process.stdout.readline())
        if not lines[-1]:
            raise SystemExit("shadow.py: the server did not start")
    text = "".join(lines)
    return process, re.search(r"listening on (\S+)", text)[1], re.search(r"metrics on (\S+)", text)[1]


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--client", type=Path, help="where precis_client is installed [BUILD/integration/site]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=4, help="requests per second")
    parser.add_argument("--seconds", type=float, default=15, help="of one round")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.client or arguments.build / "integration/site"))
    import urllib.request

    found, pairs = {"0": [], "100%": []}, 0
    with tempfile.TemporaryDirectory() as folder:
        servers = {sampling: start(arguments.build, sampling, folder) for sampling in found}
        try:
            for seed in range(arguments.rounds):
                for sampling, (_, address, _) in servers.items():
                    found[sampling].append(load(address, arguments.rate, arguments.seconds, seed))
            text = urllib.request.urlopen(servers["100%"][2] + "metrics").read().decode()
            pairs = {m[1]: int(float(m[2])) for m in re.finditer(r'precis_shadow_pairs_total\{.*result="(\w+)"\} (\S+)', text)}
        finally:
            for process, _, _ in servers.values():
                process.terminate()
                process.wait()
    print(f"{'shadow':>8} {'requests':>8} {'p50 ms':>8} {'p99 ms':>8}  p99 of each round")
    for sampling, rounds in found.items():
        quantile = lambda values, p: 1000 * statistics.quantiles(values, n=100)[p - 1]  # noqa: E731
        everything = [x for one in rounds for x in one]
        print(f"{sampling:>8} {len(everything):8} {quantile(everything, 50):8.1f} {quantile(everything, 99):8.1f}  " + " ".join(f"{quantile(x, 99):.1f}" for x in rounds))
    print(f"pairs: {pairs}")


if __name__ == "__main__":
    main()
