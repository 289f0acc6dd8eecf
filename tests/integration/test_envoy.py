"""deploy/proxy/envoy.yaml, without an Envoy: its fields, types and rules by Envoy's own API (tools/envoy-check), and the settings that calls depend on."""

import json
import re
import subprocess

import pytest
import yaml
from conftest import ROOT

FILE = ROOT / "deploy/proxy/envoy.yaml"
# What retry_on may name here, of x-envoy-retry-on and x-envoy-retry-grpc-on; Envoy ignores a wrong name, so nobody would notice.
CONDITIONS = {"connect-failure", "refused-stream", "reset-before-request", "unavailable"}


@pytest.fixture
def check(tool, tmp_path):
    """check(text) -> (configuration or None, what was said)"""
    def run(text):
        (tmp_path / "envoy.yaml").write_text(text)
        result = subprocess.run([tool("envoy-check"), str(tmp_path / "envoy.yaml")], text=True, capture_output=True, timeout=30)
        assert result.returncode in (0, 1), result.stderr
        return json.loads(result.stdout) if result.returncode == 0 else None, result.stderr
    return run


def test_fields_and_rules(check):
    config, said = check(FILE.read_text())
    assert said == "" and config is not None, said


@pytest.mark.parametrize(("old", "new", "words"), [
    ("connect_timeout", "conect_timeout", 'unknown field "conect_timeout"'),
    ("stat_prefix", "stat_prefixes", 'unknown field "stat_prefixes"'),  # within a typed_config
    ("grpc_health_check", "grpc_health", 'unknown field "grpc_health"'),
    ("port_value: 50051", "port_value: 70000", "PortValue"),
    ("connect_timeout: 1s", "connect_timeout: 0s", "ConnectTimeout"),
    ("connect_timeout: 1s", "connect_timeout: 1", "unexpected token 1"),
    ("unhealthy_threshold: 1, ", "", "UnhealthyThreshold"),
    ("max_concurrent_streams: 1024", "max_concurrent_streams: 0", "MaxConcurrentStreams"),  # within a typed_config
    ("explicit_http_config: {http2_protocol_options: {}}", "common_http_protocol_options: {}", "UpstreamProtocolOptions"),
    ("codec_type: HTTP2", "codec_type: HTTP_2", "HTTP_2"),
    ("v3.Router", "v3.Routter", "v3.Routter"),
    ("connect_timeout: 1s", "connect_timeout: 1s\n      connect_timeout: 2s", "already set"),
])
def test_mistakes_are_found(check, old, new, words):
    text = FILE.read_text()
    assert old in text
    config, said = check(text.replace(old, new))
    assert config is None and re.search(words, said), said


def test_deprecated_fields_are_named(check):
    assert "dns_refresh_rate is deprecated" in check(FILE.read_text().replace("connect_timeout: 1s", "connect_timeout: 1s\n      dns_refresh_rate: 5s"))[1]


def seconds(text):
    return float(re.fullmatch(r"([\d.]+)s", text)[1])


def test_settings_that_calls_depend_on(check):
    static = check(FILE.read_text())[0]["static_resources"]
    manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    cluster = static["clusters"][0]
    # Deadlines are the clients', of whatever length; 0: none of Envoy's own. What may idle is as patient as the other proxies.
    assert seconds(route["timeout"]) == 0 and seconds(route["max_stream_duration"]["grpc_timeout_header_max"]) == 0
    others = re.findall(r"grpc_read_timeout (\d+)s", (FILE.parent / "nginx.conf").read_text()) + re.findall(
        r"timeout server (\d+)s", (FILE.parent / "haproxy.cfg").read_text())
    assert len(others) == 2 and seconds(manager["stream_idle_timeout"]) >= max(map(int, others))
    # HTTP/2 on both sides; one connection's streams fit into a server's.
    assert manager["codec_type"] == "HTTP2"
    protocol = cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    assert "http2_protocol_options" in protocol["explicit_http_config"]
    limit = int(re.search(r"max_streams_per_connection = (\d+)", (ROOT / "server/options.h").read_text())[1])
    assert 0 < manager["http2_protocol_options"]["max_concurrent_streams"] <= limit
    # A server that begins to drain is left out before it refuses.
    health, = cluster["health_checks"]
    delay = yaml.safe_load((ROOT / "deploy/helm/precis/values.yaml").read_text())["drain"]["delaySeconds"]
    assert "grpc_health_check" in health and health["unhealthy_threshold"] == 1 and seconds(health["interval"]) + seconds(health["timeout"]) < delay
    # A retry goes to another server, and only what no server answered is retried, or UNAVAILABLE.
    policy = route["retry_policy"]
    assert set(policy["retry_on"].split(",")) <= CONDITIONS and policy["retry_host_predicate"] and 1 <= policy["num_retries"] <= 3
    assert route["cluster"] == cluster["name"] == cluster["load_assignment"]["cluster_name"]
    assert cluster["load_balancing_policy"]["policies"][0]["typed_extension_config"]["typed_config"]["@type"].endswith("ClientSideWeightedRoundRobin")
