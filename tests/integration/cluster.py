"""Several servers on hosts of their own: network namespaces joined by a bridge in the client's namespace, so that a killed host is really gone and no
address of this machine is used. Where namespaces may not be made, loopback addresses take their place."""

import os
import subprocess

from server_process import ServerProcess

PORT = 50051


class Cluster:
    """hosts[i] is an address; `client` is the command prefix that runs a program on the client's host."""

    def __init__(self, count: int) -> None:
        self.tag = f"pc{os.getpid() % 100000}"
        self.namespaces: list[str] = []
        self.isolated = self._ip("netns", "add", f"{self.tag}c", check=False)
        if not self.isolated:
            self.hosts = [f"127.0.0.{i + 2}" for i in range(count)]
            self.client: list[str] = []
            self.prefixes: list[list[str]] = [[] for _ in range(count)]
            return
        self.namespaces.append(f"{self.tag}c")
        self.hosts = [f"10.77.0.{i + 1}" for i in range(count)]
        self.client = self._on("c")
        self._ip("-n", f"{self.tag}c", "link", "add", "br0", "type", "bridge")
        self._up("c", "br0", "10.77.0.254")
        for i, host in enumerate(self.hosts):
            self._ip("netns", "add", f"{self.tag}{i}")
            self.namespaces.append(f"{self.tag}{i}")
            self._ip("-n", f"{self.tag}c", "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", f"{self.tag}{i}")
            self._ip("-n", f"{self.tag}c", "link", "set", f"v{i}", "master", "br0", "up")
            self._up(str(i), "eth0", host)
        self.prefixes = [self._on(str(i)) for i in range(count)]

    @staticmethod
    def _ip(*arguments: str, check: bool = True) -> bool:
        return subprocess.run(["ip", *arguments], check=check, capture_output=True, timeout=30).returncode == 0

    def _on(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.tag}{name}"]

    def _up(self, name: str, device: str, address: str) -> None:
        namespace = f"{self.tag}{name}"
        self._ip("-n", namespace, "address", "add", f"{address}/24", "dev", device)
        self._ip("-n", namespace, "link", "set", device, "up")
        self._ip("-n", namespace, "link", "set", "lo", "up")

    @property
    def target(self) -> str:
        """All hosts as one gRPC name, which a client balances over."""
        return "ipv4:" + ",".join(f"{host}:{PORT}" for host in self.hosts)

    def start(self, index: int, binary, *flags: str) -> ServerProcess:
        return ServerProcess(binary, *flags, listen=f"{self.hosts[index]}:{PORT}", prefix=self.prefixes[index])

    def close(self) -> None:
        for namespace in self.namespaces:
            self._ip("netns", "delete", namespace, check=False)
