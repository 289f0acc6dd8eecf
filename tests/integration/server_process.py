"""The precis-server binary as a process of a test: started on free ports, always stopped."""

import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path


class ServerProcess:
    """Starts at once; wait_ready() waits until models are loaded. Standard output and error are kept in `lines` and `log`."""

    def __init__(self, binary: Path, *arguments: str, listen: str = "127.0.0.1:0", prefix: list[str] | None = None) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PRECIS_")}
        self.process = subprocess.Popen(
            [*(prefix or []), str(binary), f"--listen={listen}", "--metrics-listen=127.0.0.1:0", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env=environment)
        self.lines: list[str] = []
        self.log: list[str] = []
        self._changed = threading.Condition()
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True)
                         for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.log))]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe, into: list[str]) -> None:
        for line in pipe:
            with self._changed:
                into.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_line(self, pattern: str, timeout: float = 30) -> re.Match:
        """The first line of standard output that matches."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.lines:
                    if match := re.search(pattern, line):
                        return match
                remaining = end - time.monotonic()
                if remaining <= 0 or (self.process.poll() is not None and not self._changed.wait(0.2)):
                    raise AssertionError(f"no line {pattern!r} from the server (exit {self.process.poll()}):\n"
                                         + "\n".join(self.lines + self.log[-20:]))
                self._changed.wait(min(remaining, 0.2))

    def wait_ready(self) -> "ServerProcess":
        self.wait_line("^ready$")
        return self

    @property
    def address(self) -> str:
        return self.wait_line(r"^listening on (\S+)").group(1)

    @property
    def metrics_address(self) -> str:
        return self.wait_line(r"^metrics on (?:http://)?([^/\s]+)").group(1)

    def http(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.metrics_address}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        total = 0.0
        for line in self.http("/metrics")[1].splitlines():
            match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
            if match is None or match.group(1) != name:
                continue
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                total += float(match.group(3))
        return total

    def wait_metric(self, name: str, condition, timeout: float = 10, **labels: str) -> float:
        """Waits until condition(value)."""
        end = time.monotonic() + timeout
        while True:
            value = self.metric(name, **labels)
            if condition(value):
                return value
            assert time.monotonic() < end, f"{name}{labels} is {value}"
            time.sleep(0.01)

    def wait_idle(self, timeout: float = 10) -> None:
        """No request runs or waits and no block of the KV cache is held by one."""
        for name in ("precis_requests_running", "precis_requests_waiting", "precis_kv_cache_utilization_ratio"):
            self.wait_metric(name, lambda value: value == 0, timeout)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 60) -> int:
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *unused) -> None:
        self.stop()
