"""The Helm chart: what it renders, held to schemas, and its configuration, given to the server itself."""

import copy
import json
import os
import re
import subprocess

import custom_resources
import jsonschema
import kubernetes_validate
import pytest
import yaml
from conftest import ROOT

CHART = ROOT / "deploy/helm/precis"
VERSION = "1.31"  # of Kubernetes: its schema is in kubernetes-validate
EXPERIMENTS = yaml.safe_load((ROOT / "deploy/experiments.yaml").read_text())["experiments"]
EVERYTHING = {
    "replicas": 4, "gpu": {"enabled": True}, "experimentsState": {"enabled": True, "storageClassName": "fast"},
    "modelVolume": {"persistentVolumeClaim": {"claimName": "models"}}, "models": [{"name": "news", "path": "/models/mounted/news"}],
    "config": {"kv_cache_bytes": "4GiB", "log_level": "warning"}, "experiments": EXPERIMENTS,
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "podAnnotations": {"a": "b"}, "podLabels": {"team": "x"}, "nodeSelector": {"gpu": "h100"}, "priorityClassName": "high",
    "tolerations": [{"key": "gpu", "operator": "Exists"}], "imagePullSecrets": [{"name": "registry"}],
    "affinity": {"podAntiAffinity": {}}, "serviceAccount": {"annotations": {"c": "d"}},
}
CASES = {
    "defaults": {},
    "everything": EVERYTHING,
    "keda": {"autoscaling": {"enabled": True, "p95Seconds": 2}, "tls": {"secretName": "tls", "mutual": True}, "auth": {"secretName": "tokens"}},
    "secure peers": {"experimentsState": {"enabled": True}, "tls": {"secretName": "tls", "mutual": True, "peerName": "x"}, "auth": {"secretName": "tokens"}},
    "peers in a mesh": {"experimentsState": {"enabled": True}, "auth": {"secretName": "tokens", "plaintextPeers": True}},
    "hpa": {"autoscaling": {"enabled": True, "kind": "hpa"}, "networkPolicy": {"enabled": False}, "serviceAccount": {"create": False}},
}


@pytest.fixture(scope="module")
def helm(tool, tmp_path_factory):
    """helm(values, code=0) -> (resources by kind, standard error)"""
    folder = tmp_path_factory.mktemp("helm")

    def run(values, code=0):
        file = folder / "values.yaml"
        file.write_text(json.dumps(values))
        result = subprocess.run([tool("helm"), "template", "news", str(CHART), "--namespace=prod", f"--kube-version={VERSION}.0", f"--values={file}"],
                                text=True, capture_output=True, timeout=60, env=os.environ | {"HOME": str(folder)})
        assert result.returncode == code, result.stderr
        (folder / "out.yaml").write_text(result.stdout)
        resources = [r for r in yaml.safe_load_all(result.stdout) if r]
        return {f"{r['kind']}/{r['metadata']['name']}": r for r in resources}, result.stderr
    run.folder = folder
    return run


def test_helm_lints_the_chart(tool):
    result = subprocess.run([tool("helm"), "lint", "--strict", f"--kube-version={VERSION}.0", str(CHART)], text=True, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", CASES)
def test_resources_fit_kubernetes_schema(helm, case):
    for resource in helm(CASES[case])[0].values():
        if custom_resources.is_custom(resource):
            custom_resources.validate(resource, VERSION)
        else:
            kubernetes_validate.validate(resource, VERSION, strict=True)


MISTAKES = [  # resource, where in it, what is put there, what is said of it
    ("ServiceMonitor", ["spec", "endpoints", 0, "intervall"], "15s", "'intervall' was unexpected"),
    ("ServiceMonitor", ["spec", "endpoints", 0, "interval"], "15 s", "does not match"),
    ("ServiceMonitor", ["spec", "endpoints", 0, "port"], 9464, "is not of type 'string'"),
    ("ServiceMonitor", ["spec", "selector"], None, "is not of type 'object'"),
    ("ServiceMonitor", ["metadata", "lables"], {}, "'lables' was unexpected"),
    ("ServiceMonitor", ["specs"], {}, "unknown fields ['specs']"),
    ("PrometheusRule", ["spec", "groups", 0, "rules", 0, "recrod"], "x", "'recrod' was unexpected"),
    ("PrometheusRule", ["spec", "groups", 1, "name"], "precis-recording", "two items are called"),
    ("ScaledObject", ["spec", "triggers", 0, "threshold"], "4", "'threshold' was unexpected"),
    ("ScaledObject", ["spec", "triggers", 0, "metadata", "threshold"], 4, "is not of type 'string'"),
    ("ScaledObject", ["spec", "triggers", 0, "metricType"], "Average", "is not one of"),
    ("ScaledObject", ["spec", "minReplicaCount"], 99, "is above maxReplicaCount"),
    ("ScaledObject", ["spec", "advanced", "behavior"], {}, "'behavior' was unexpected"),
]


@pytest.mark.parametrize(("kind", "path", "value", "words"), MISTAKES)
def test_custom_schemas_would_speak(helm, kind, path, value, words):
    resource = copy.deepcopy(helm(CASES["keda" if kind == "ScaledObject" else "everything"])[0][f"{kind}/news-precis"])
    custom_resources.validate(resource, VERSION)
    place = resource
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError) as error:
        custom_resources.validate(resource, VERSION)
    assert words in error.value.message


def test_the_schema_would_speak(helm):
    deployment = helm({})[0]["Deployment/news-precis"]
    deployment["spec"]["template"]["spec"]["containers"][0]["probes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_the_server_takes_the_charts_configuration(helm, server_binary, models, tmp_path, case):
    resources = helm(CASES[case])[0]
    text = resources["ConfigMap/news-precis-config"]["data"]["config.yaml"]
    (tmp_path / "experiments.yaml").write_text(resources["ConfigMap/news-precis-experiments"]["data"]["experiments.yaml"])
    (tmp_path / "tokens").write_text("right-token-0123456789abcdef\n")
    (tmp_path / "peer").write_text("right-token-0123456789abcdef\n")
    text = text.replace("/etc/precis/experiments", str(tmp_path)).replace("/etc/precis/auth", str(tmp_path)).replace("/var/lib/precis", str(tmp_path))
    text = re.sub(r"=/models/\S*alibi", f"={models['tiny-alibi']}", re.sub(r"=/models/(?!\S*alibi)[^\"]*", f"={models['tiny-learned']}", text))
    if "tls_cert" in text:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "tls.crt", "-subj", "/CN=x"],
                       cwd=tmp_path, check=True, capture_output=True, timeout=60)
        (tmp_path / "ca.crt").write_text((tmp_path / "tls.crt").read_text())
        text = text.replace("/etc/precis/tls", str(tmp_path))
    assert "/etc/precis" not in text
    (tmp_path / "config.yaml").write_text(text)
    result = subprocess.run([str(server_binary), f"--config={tmp_path}/config.yaml", "--dry-run"], text=True, capture_output=True, timeout=30)
    assert result.returncode == 0, result.stderr


def pod(resources):
    workload = next(r for r in resources.values() if r["kind"] in ("Deployment", "StatefulSet"))
    return workload, workload["spec"]["template"]["spec"]


def test_pods_are_locked_down_and_drain(helm):
    for values in CASES.values():
        workload, spec = pod(helm(values)[0])
        server = spec["containers"][0]
        assert server["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= server.keys()
        assert spec["terminationGracePeriodSeconds"] >= 10 + 60 + 3  # preStop, delay and timeout fit
        assert server["lifecycle"]["preStop"]
        assert {c["topologyKey"] for c in spec["topologySpreadConstraints"]} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        mounted = {m["name"] for m in server["volumeMounts"]}
        claims = {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])}
        assert mounted == {v["name"] for v in spec["volumes"]} | claims


def test_one_process_a_gpu(helm):
    resources = helm(EVERYTHING)[0]
    workload, spec = pod(resources)
    limits = spec["containers"][0]["resources"]
    assert limits["limits"]["nvidia.com/gpu"] == limits["requests"]["nvidia.com/gpu"] == 1 and spec["containers"][0]["image"].endswith("-cuda")
    config = yaml.safe_load(resources["ConfigMap/news-precis-config"]["data"]["config.yaml"])
    assert config["device"] == "cuda" and config["kv_cache_bytes"] == "4GiB"
    assert config["experiment_peer"][3] == "news-precis-3.news-precis-headless:50051" and len(config["experiment_peer"]) == workload["spec"]["replicas"]
    assert workload["spec"]["serviceName"] in {r["metadata"]["name"] for r in resources.values() if r["kind"] == "Service"}


def test_peers_are_asked_as_servers_ask(helm):
    """What the server needs of its clients, it shows to its peers."""
    config = yaml.safe_load(helm(CASES["secure peers"])[0]["ConfigMap/news-precis-config"]["data"]["config.yaml"])
    assert config["peer_tls_ca"] == config["tls_client_ca"] and config["peer_tls_cert"] == config["tls_cert"] and config["peer_tls_key"] == config["tls_key"]
    assert config["peer_token_file"].rpartition("/")[0] == config["auth_tokens_file"].rpartition("/")[0] and config["peer_tls_name"] == "x"
    assert "peer_plaintext_token" not in config
    config = yaml.safe_load(helm(CASES["peers in a mesh"])[0]["ConfigMap/news-precis-config"]["data"]["config.yaml"])
    assert config["peer_plaintext_token"] == "on" and "peer_tls_ca" not in config
    assert "peer_token_file" not in helm(CASES["keda"])[0]["ConfigMap/news-precis-config"]["data"]["config.yaml"]


def test_autoscaling_watches_the_queue(helm, tmp_path):
    scaled = helm(CASES["keda"])[0]["ScaledObject/news-precis"]["spec"]
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "news-precis"}
    assert "replicas" not in helm(CASES["keda"])[0]["Deployment/news-precis"]["spec"]
    queries = [t["metadata"]["query"] for t in scaled["triggers"]]
    assert "precis_requests_waiting" in queries[0] and "gen_ai_server_request_duration_seconds_bucket" in queries[1]
    rules = tmp_path / "rules.yml"
    rules.write_text(json.dumps({"groups": [{"name": "g", "rules": [{"record": f"r{i}", "expr": q} for i, q in enumerate(queries)]}]}))
    subprocess.run(["promtool", "check", "rules", str(rules)], check=True, capture_output=True)
    metric = helm(CASES["hpa"])[0]["HorizontalPodAutoscaler/news-precis"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert metric == "precis_requests_waiting"


def test_monitoring_resources(helm, tmp_path):
    resources = helm(EVERYTHING)[0]
    rules = tmp_path / "rules.yml"
    rules.write_text(json.dumps(resources["PrometheusRule/news-precis"]["spec"]))
    assert json.loads(rules.read_text()) == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    subprocess.run(["promtool", "check", "rules", str(rules)], check=True, capture_output=True)
    boards = resources["ConfigMap/news-precis-dashboards"]["data"]
    assert {name: json.loads(text) for name, text in boards.items()} == {
        f.name: json.loads(f.read_text()) for f in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
    # The monitor selects the service that has the port.
    monitor = resources["ServiceMonitor/news-precis"]["spec"]
    selected = [r for r in resources.values() if r["kind"] == "Service" and monitor["selector"]["matchLabels"].items() <= r["metadata"]["labels"].items()
                and any(p["name"] == monitor["endpoints"][0]["port"] for p in r["spec"]["ports"])]
    assert len(selected) == 1


@pytest.mark.parametrize(("values", "words"), [
    ({"config": {"listen": "x:1"}}, "config.listen is set by the chart"),
    ({"models": []}, "at least one"),
    ({"autoscaling": {"enabled": True, "kind": "magic"}}, "keda or hpa"),
    ({"autoscaling": {"enabled": True}, "experimentsState": {"enabled": True}}, "exclude each other"),
    ({"auth": {"secretName": "tokens"}, "experimentsState": {"enabled": True}}, "in plain text"),
    ({"config": {"peer_token_file": "x"}}, "config.peer_token_file is set by the chart"),
])
def test_bad_values_are_refused(helm, values, words):
    assert words in helm(values, code=1)[1]


def test_an_experiment_changes_no_pod(helm):
    """Servers read it again by themselves; any other setting rolls them."""
    template = lambda values: pod(helm(values)[0])[0]["spec"]["template"]  # noqa: E731
    assert template({}) == template({"experiments": EXPERIMENTS})
    assert template({}) != template({"config": {"log_level": "error"}})
