"""Servers of the same experiments that ask each other over mutual TLS and with tokens: reports, outcomes, stops, refusals, files replaced while they run."""

import json
import os
import shutil
import socket
import subprocess
import time

import pytest
from pki import Pki
from precis_client import GenerationOptions, Request, SummarizerClient, Tls

EXPERIMENT = """experiments:
  - name: e
    salt: s
    arms: [{name: control, attention_backend: standard}, {name: flash, attention_backend: flash}]
"""
PEER, USER, OPERATOR = "peer-0123456789abcdef", "user-0123456789abcdef", "operator-0123456789abcdef"
TOKENS = f"{PEER} name=peer allow=experiments,outcomes\n{USER} name=user allow=summarize\n{OPERATOR} name=operator allow=experiments,outcomes,admin\n"


class Group:
    """Servers on one machine, each the peer of all, itself included."""

    def __init__(self, start, tool, folder, size):
        self.start, self.tool, self.folder = start, tool, folder
        (folder / "pki").mkdir()
        self.pki = Pki(folder / "pki")
        for name, text in (("experiments.yaml", EXPERIMENT), ("tokens", TOKENS), ("peer", PEER + "\n"), ("operator", OPERATOR)):
            (folder / name).write_text(text)
        sockets = [socket.socket() for _ in range(size)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        self.addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in sockets]
        for probe in sockets:
            probe.close()
        self.common = [f"--experiments-file={folder}/experiments.yaml", "--experiments-check=200ms", "--tls-reload=1s", "--auth-reload=100ms",
                       *[f"--experiment-peer={address}" for address in self.addresses]]
        self.secure = [f"--tls-cert={self.pki.folder}/server.pem", f"--tls-key={self.pki.folder}/server.key", f"--tls-client-ca={self.pki.folder}/ca.pem",
                       f"--auth-tokens-file={folder}/tokens"]
        self.shown = {"peer-tls-ca": f"{self.pki.folder}/ca.pem", "peer-tls-cert": f"{self.pki.folder}/server.pem",
                      "peer-tls-key": f"{self.pki.folder}/server.key", "peer-token-file": f"{folder}/peer"}

    def server(self, index, secure=True, **shown):
        """Starts one; `shown` replaces what it shows to its peers, None: nothing."""
        shown = self.shown | {key.replace("_", "-"): value for key, value in shown.items()}
        flags = [*self.common, *[f"--{key}={value}" for key, value in shown.items() if value is not None], *(self.secure if secure else [])]
        if not secure:  # it would ask itself over TLS
            flags.remove(f"--experiment-peer={self.addresses[index]}")
        return self.start(*flags, listen=self.addresses[index]).wait_ready()

    def send(self, server, units):
        tls = Tls(*(self.pki.read(name) for name in ("ca.pem", "client.pem", "client.key")))
        with SummarizerClient(server.address, tls=tls, token=USER) as client:
            return [client.summarize(Request("To town.", unit_id=unit, options=GenerationOptions(max_new_tokens=2))) for unit in units]

    def cli(self, server, *arguments, secure=True):
        flags = [f"--tls-ca={self.pki.folder}/ca.pem", f"--tls-cert={self.pki.folder}/client.pem", f"--tls-key={self.pki.folder}/client.key",
                 f"--token-file={self.folder}/operator"] if secure else []
        result = subprocess.run([self.tool("precis"), "experiments", *arguments, f"--server={server.address}", *flags], text=True, capture_output=True, timeout=60)
        assert result.returncode == 0, (result.stdout, result.stderr)
        return result.stdout

    def report(self, server, secure=True):
        """(requests of all arms, addresses found, what is missing)"""
        report = json.loads(self.cli(server, "report", "e", "--json", secure=secure))
        return sum(arm["requests"] for arm in report["arms"]), report["peers"], report["missing_peers"]


@pytest.fixture
def group(start, tool, tmp_path):
    return lambda size: Group(start, tool, tmp_path, size)


def eventually(what, timeout=20):
    end = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < end, value
        time.sleep(0.2)
    return value


def test_reports_outcomes_and_stops_over_mutual_tls_with_tokens(group):
    group = group(3)
    servers = [group.server(i) for i in range(3)]
    summaries = [group.send(server, [f"unit-{i}-{j}" for j in range(4 * (i + 1))]) for i, server in enumerate(servers)]
    for server in servers:
        requests, found, missing = group.report(server)
        assert (requests, len(found), missing) == (4 + 8 + 12, 2, []) and set(found) < set(group.addresses)
    # An outcome goes to whoever knows the request.
    assert "1 counted" in group.cli(servers[2], "record", summaries[0][0].request_id, "--outcome=thumbs=1")
    # A stop on one stops the arm on all.
    flash = next(s for s in summaries[0] if s.assignment.arm == "flash")
    unit = f"unit-0-{summaries[0].index(flash)}"
    group.cli(servers[1], "stop", "e", "--arm=flash", "--reason=enough")
    for server in servers:
        eventually(lambda: group.send(server, [unit])[0].assignment.reason == "stopped")  # noqa: B023


@pytest.mark.parametrize(("shown", "words"), [
    ({"peer_tls_ca": None, "peer_tls_cert": None, "peer_tls_key": None}, ""),  # plain text to a port that speaks TLS
    ({"peer_tls_ca": "other/ca.pem"}, ""),
    ({"peer_tls_cert": None, "peer_tls_key": None}, ""),
    ({"peer_tls_cert": "other/client.pem", "peer_tls_key": "other/client.key"}, ""),
    ({"peer_tls_name": "elsewhere.example"}, ""),
    ({"peer_token_file": None}, "token"),
    ({"peer_token_file": "unknown"}, "token"),
    ({"peer_token_file": "user"}, "needs experiments"),
])
def test_who_shows_too_little_is_told_nothing(group, tmp_path, shown, words):
    group = group(2)
    (tmp_path / "other").mkdir()
    Pki(tmp_path / "other")
    (tmp_path / "unknown").write_text("unknown-0123456789abcdef")
    (tmp_path / "user").write_text(USER)
    group.send(group.server(0), ["unit"])
    # A server that asks for nothing itself may leave any of it out.
    stranger = group.server(1, secure=False, **{key: value and str(tmp_path / value) for key, value in shown.items()})
    requests, found, missing = group.report(stranger, secure=False)
    assert (requests, found, len(missing)) == (0, [], 1) and missing[0].startswith(group.addresses[0] + ": ") and words in missing[0], missing


def test_the_same_stranger_with_all_of_it_is_answered(group):
    group = group(2)
    group.send(group.server(0), ["unit"])
    assert group.report(group.server(1, secure=False), secure=False) == (1, [group.addresses[0]], [])


def test_files_are_replaced_while_servers_run(group, tmp_path):
    group = group(2)
    shutil.copy(group.pki.folder / "ca.pem", tmp_path)
    (tmp_path / "second").write_text(PEER)
    first, second = group.server(0), group.server(1, peer_token_file=f"{tmp_path}/second", peer_tls_ca=f"{tmp_path}/ca.pem")
    here = ([group.addresses[0]], [])

    def found():
        try:
            return group.report(second)[1:]
        except AssertionError:
            return None, None  # its own files are being replaced, too

    def nobody():
        return found()[0] == []
    assert found() == here
    # The token that peers show: a new one, first where it is known, then where it is shown.
    (tmp_path / "tokens").write_text(TOKENS.replace(PEER, "next-0123456789abcdef"))
    eventually(nobody)
    (tmp_path / "second").write_text("two words")  # can't be used: the old one stays, and the log says so
    eventually(lambda: any("one token and nothing else" in line for line in second.log))
    (tmp_path / "second").write_text("next-0123456789abcdef")
    eventually(lambda: found() == here)
    # Another authority: the first server begins anew with it, the second one's files follow.
    first.stop()
    os.replace(group.pki.folder / "ca.pem", tmp_path / "old-ca.pem")
    group.pki = Pki(group.pki.folder)
    group.server(0)
    eventually(nobody)
    os.replace(shutil.copy(group.pki.folder / "ca.pem", tmp_path / "new"), tmp_path / "ca.pem")
    eventually(lambda: found() == here, timeout=60)


@pytest.mark.parametrize(("left_out", "words"), [
    (["peer-tls-ca", "peer-tls-cert", "peer-tls-key"], "--experiment-peer needs --peer-tls-ca: this server speaks TLS"),
    (["peer-tls-cert", "peer-tls-key"], "--experiment-peer needs --peer-tls-cert and --peer-tls-key"),
    (["peer-token-file"], "--experiment-peer needs --peer-token-file"),
    (["peer-tls-key"], "need each other"),
])
def test_a_server_that_its_like_would_refuse_does_not_start(group, server_binary, models, left_out, words):
    group = group(1)
    flags = [f"--{key}={value}" for key, value in group.shown.items() if key not in left_out]
    result = subprocess.run([str(server_binary), f"--model=tiny={models['tiny-learned']}", *group.common, *group.secure, *flags, "--dry-run"], text=True,
                            capture_output=True, timeout=30)
    assert result.returncode == 2 and words in result.stderr, result.stderr
