"""Four servers behind client-side balancing: one is killed every few seconds under load, then all are restarted in turn with a new configuration. And a client
that weighs servers by the load that they report. With PRECIS_TEST_FULL=1 for six minutes."""

import json
import subprocess
import sys
import time

import pytest
from cluster import PORT, Cluster
from conftest import FULL, ROOT, SCRATCH

SERVERS, CONCURRENCY = 4, 8
STEADY_SECONDS, KILLS, KILL_SECONDS = (30, 60, 4) if FULL else (3, 4, 2.5)
EXPERIMENTS = """experiments:
  - name: attention
    salt: s
    arms: [{name: control, attention_backend: standard}, {name: flash, attention_backend: flash}]
    share: %d%%
"""
sys.path.insert(0, str(ROOT / "tests/integration"))


@pytest.fixture
def cluster():
    cluster = Cluster(SERVERS)
    yield cluster
    cluster.close()


@pytest.fixture
def server_of(cluster, server_binary, models):
    """start(index, *flags); all are stopped after the test, before the hosts go."""
    started = []

    def start(index, *flags, model="tiny-learned"):
        started.append(cluster.start(index, server_binary, f"--model=tiny={models[model]}", "--kv-cache-bytes=32MiB", "--threads=1", *flags))
        return started[-1]
    yield start
    for server in started:
        server.stop()


class Users:
    """load_worker.py on the client's host."""

    def __init__(self, cluster):
        self.process = subprocess.Popen([*cluster.client, sys.executable, str(ROOT / "tests/integration/load_worker.py"), cluster.target, str(CONCURRENCY),
                                         str(SCRATCH / "site")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "started\n"

    def phase(self, name):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()

    def report(self):
        out = self.process.communicate(timeout=120)[0]
        assert self.process.returncode == 0
        return json.loads(out)


def test_killed_and_restarted_under_load(cluster, server_of, tmp_path):
    file = tmp_path / "experiments.yaml"
    file.write_text(EXPERIMENTS % 60)
    flags = (f"--experiments-file={file}", "--drain-delay=300ms", "--drain-timeout=20s", "--experiments-reload=1h")
    servers = [server_of(i, *flags) for i in range(SERVERS)]
    for server in servers:
        server.wait_ready()
    users = Users(cluster)
    try:
        users.phase("steady")
        time.sleep(STEADY_SECONDS)
        users.phase("kills")
        for i in range(KILLS):
            victim = i % SERVERS
            servers[victim].process.kill()
            servers[victim].wait()
            time.sleep(KILL_SECONDS / 2)
            servers[victim] = server_of(victim, *flags).wait_ready()
            time.sleep(KILL_SECONDS / 2)
        users.phase("rolling")
        file.write_text(EXPERIMENTS % 100)
        for i, server in enumerate(servers):
            server.terminate()
            assert server.wait(40) == 0, "it drains"
            servers[i] = server_of(i, *flags).wait_ready()
        users.phase("after")
        time.sleep(STEADY_SECONDS / 2)
    finally:
        report = users.report()
    where = "network namespaces" if cluster.isolated else "loopback addresses (network namespaces may not be made here)"
    print(f"\n{SERVERS} servers in {where}, {CONCURRENCY} users, {KILLS} kills every {KILL_SECONDS} s, then a rolling restart: {len(report['failures'])} failures")
    for name, phase in report["phases"].items():
        print(f"  {name:8} {phase['requests']:7} requests, {phase['per_second']:8.1f}/s, p50 {1000 * phase['p50']:7.1f} ms, p99 {1000 * phase['p99']:8.1f} ms")
    assert report["failures"] == []
    assert {"steady", "kills", "rolling", "after"} <= report["phases"].keys()
    # Whoever had an arm kept it, over kills, servers and configurations; more units take part than before.
    assert all(len(arms) == 1 for arms in report["arms"].values()) and len(report["arms"]) == 120
    assert {arms[0] for arms in report["arms"].values()} == {"control", "flash"}


WEIGHTED = """
import json, sys, time
sys.path.insert(0, sys.argv[2])
import grpc
from precis_client._generated import summarizer_pb2 as pb, summarizer_pb2_grpc as rpc
shares = {}
for policy in ({"round_robin": {}}, {"weighted_round_robin": {"blackoutPeriod": "0s", "weightUpdatePeriod": "0.2s"}}):
    with grpc.insecure_channel(sys.argv[1], [("grpc.service_config", json.dumps({"loadBalancingConfig": [policy]}))]) as channel:
        stub = rpc.SummarizerStub(channel)
        def ask(i):
            options = pb.GenerationOptions(max_new_tokens=8, min_new_tokens=8)
            return stub.Summarize(pb.SummarizeRequest(document=b"The ship left. %d" % i, options=options), timeout=30).checkpoint
        # Reports count whole seconds and half seconds of processor time; both servers must have made some.
        begin, i = time.monotonic(), 0
        while time.monotonic() - begin < 3 or i < 20:
            ask(i)
            i += 1
        counted = [ask(1000 + k) for k in range(80)]
        shares[next(iter(policy))] = {name: counted.count(name) for name in set(counted)}
print(json.dumps(shares))
"""


def test_clients_can_weigh_servers_by_their_reported_load(cluster, server_of):
    """Two servers, one of which needs much more time for the same request. By turns both get the same; by the reports in the replies' trailers (ORCA:
    requests per second over utilisation) the quick one gets more."""
    for i, model in enumerate(["tiny-learned", "slow-alibi"]):
        server_of(i, model=model).wait_ready()
    target = "ipv4:" + ",".join(f"{host}:{PORT}" for host in cluster.hosts[:2])
    result = subprocess.run([*cluster.client, sys.executable, "-c", WEIGHTED, target, str(SCRATCH / "site")], text=True, capture_output=True, timeout=120)
    assert result.returncode == 0, result.stderr
    shares = json.loads(result.stdout)
    quick = {policy: counts.get("tiny-learned", 0) / sum(counts.values()) for policy, counts in shares.items()}
    print(f"\nshare of the quick server: {quick}")
    assert 0.45 < quick["round_robin"] < 0.55
    assert quick["weighted_round_robin"] > 0.65
