"""What deploy/ gives to Docker and systemd: checked by their own tools, and its configuration by the server itself."""

import re
import subprocess

from conftest import ROOT


def test_dockerfile():
    hadolint = ROOT / ".venv/bin/hadolint"
    result = subprocess.run([str(hadolint), "--failure-threshold=info", str(ROOT / "deploy/Dockerfile")], text=True, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stdout
    bad = subprocess.run([str(hadolint), "-"], input="FROM debian\nRUN cd / && sudo ls\n", text=True, capture_output=True, timeout=60)
    assert bad.returncode != 0 and "DL3006" in bad.stdout
    stages = re.split(r"(?m)^FROM ", (ROOT / "deploy/Dockerfile").read_text())[1:]
    for stage in (s for s in stages if s.startswith("base")):
        assert stage.rstrip().endswith("USER 10001:10001"), "both images end as a user without rights"
    sources = {word for line in re.findall(r"(?m)^COPY (?!--)(.*)", "\n".join(stages)) for word in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)


def test_systemd_unit(tmp_path):
    unit = ROOT / "deploy/systemd/precis.service"
    # The programs that it names are not installed here.
    copy = tmp_path / "precis.service"
    copy.write_text(re.sub(r"/usr/local/bin/precis-server", "/bin/true", unit.read_text()))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)], text=True, capture_output=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, ""), result.stderr
    copy.write_text(copy.read_text() + "Restarts=yes\n")
    assert "Restarts" in subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], text=True, capture_output=True, timeout=60).stderr
    safe = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)], text=True, capture_output=True, timeout=60)
    assert safe.returncode == 0, safe.stdout[-300:]  # 1.5 of 10; 9.6 is a unit without any of it
    with_gpu = tmp_path / "gpu.service"
    with_gpu.write_text(unit.read_text().replace("[Install]", (ROOT / "deploy/systemd/precis-gpu.conf").read_text() + "\n[Install]"))
    assert subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", str(with_gpu)], capture_output=True, timeout=60).returncode == 0


def test_systemd_configuration(server_binary, tmp_path):
    text = (ROOT / "deploy/systemd/precis.yaml").read_text()
    (tmp_path / "experiments.yaml").write_text((ROOT / "deploy/experiments.yaml").read_text())
    text = text.replace("/usr/local/share/precis/models", str(ROOT / "deploy/models")).replace("/etc/precis", str(tmp_path)).replace("/var/lib/precis", str(tmp_path))
    (tmp_path / "precis.yaml").write_text(text)
    result = subprocess.run([str(server_binary), f"--config={tmp_path}/precis.yaml", "--dry-run"], text=True, capture_output=True, timeout=30)
    assert result.returncode == 0, result.stderr
    stop = int(re.search(r"TimeoutStopSec=(\d+)s", (ROOT / "deploy/systemd/precis.service").read_text())[1])
    assert stop > sum(int(s) for s in re.findall(r"(?m)^drain_\w+: (\d+)s", text))
