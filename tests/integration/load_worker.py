"""Users of a cluster, as a process of their own: load_worker.py TARGET CONCURRENCY SITE. A line on standard input names the phase that begins; the end of
the input ends it. Writes what happened as JSON, and `started` once the first answer came."""

import asyncio
import json
import sys
import time

target, concurrency, site = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.path.insert(0, site)
from precis_client import AsyncSummarizerClient, GenerationOptions, PrecisError, Request  # noqa: E402

UNITS = 120
DOCUMENT = "The ship left the harbour at dawn and came back at night. "


class Users:
    def __init__(self):
        self.phase, self.ended = "start", False
        self.latencies, self.failures, self.seconds = {}, [], {}
        self.arms, self.generations, self.checkpoints = {}, set(), {}
        self.began = time.monotonic()

    def begin(self, phase):
        now = time.monotonic()
        self.seconds[self.phase] = self.seconds.get(self.phase, 0) + now - self.began
        self.phase, self.began = phase, now

    async def one(self, client, i):
        phase, began, unit = self.phase, time.monotonic(), f"unit-{i % UNITS}"
        try:
            summary = await client.summarize(Request(DOCUMENT + unit, unit_id=unit, options=GenerationOptions(max_new_tokens=8)), timeout=30)
        except PrecisError as error:
            self.failures.append(f"{phase}: {error}")
            return
        self.latencies.setdefault(phase, []).append(time.monotonic() - began)
        self.generations.add(summary.assignment.config_generation)
        self.checkpoints[summary.checkpoint] = self.checkpoints.get(summary.checkpoint, 0) + 1
        if summary.assignment.reason == "assigned":
            arms = self.arms.setdefault(unit, [])
            if summary.assignment.arm not in arms:
                arms.append(summary.assignment.arm)

    async def run(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async with AsyncSummarizerClient(target) as client:
            await client.summarize("first", timeout=60)
            print("started", flush=True)
            counter = iter(range(10**9))

            async def user():
                while not self.ended:
                    await self.one(client, next(counter))
            users = [asyncio.create_task(user()) for _ in range(concurrency)]
            while line := await reader.readline():
                self.begin(line.decode().strip())
            self.ended = True
            await asyncio.gather(*users)
        self.begin("end")

    def report(self):
        def quantile(values, q):
            return sorted(values)[min(len(values) - 1, int(q * len(values)))]
        phases = {name: {"requests": len(values), "per_second": len(values) / self.seconds[name], "p50": quantile(values, 0.5), "p99": quantile(values, 0.99)}
                  for name, values in self.latencies.items()}
        return {"phases": phases, "failures": self.failures, "arms": self.arms, "generations": sorted(self.generations), "checkpoints": self.checkpoints}


users = Users()
asyncio.run(users.run())
print(json.dumps(users.report()))
