"""Starts the demo program: the metrics port over a simulated engine."""

import contextlib
import os
import subprocess
import urllib.request


@contextlib.contextmanager
def demo(*flags):
    """Yields (url, process); the program has ended afterwards."""
    process = subprocess.Popen([os.environ["PRECIS_DEMO"], *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().split()[1]}", process
    finally:
        if not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()
