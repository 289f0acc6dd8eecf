"""Installs client/python as a user would (pip, stubs generated) into a temporary folder and starts a fake server."""

import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _install(target: Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
                    "--target", str(target), str(ROOT / "client/python")], check=True, timeout=300)


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    _install(target)
    sys.path.insert(0, str(target))
    return target


class Fake:
    """Scripted failures, then the document's words as a summary."""

    def __init__(self):
        import grpc
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc
        from precis_client._generated import summarizer_pb2 as pb
        from precis_client._generated import summarizer_pb2_grpc as pb_grpc
        self.pb = pb
        self.failures = []  # (grpc code, message, pushback or None)
        self.break_after = None  # SummarizeMany: break the stream after so many answers
        self.requests = []
        self.times = []
        self.metadata = {}
        self.all_metadata = []
        self.cancelled = 0
        self.word_delay = 0.0
        self.delays = []  # seconds that the next calls take; less if they are cancelled
        fake = self

        class Service(pb_grpc.SummarizerServicer):
            def Summarize(self, request, context):
                fake.enter(request, context)
                return fake.response(request)

            def StreamSummarize(self, request, context):
                fake.enter(request, context)
                for i, word in enumerate(request.document.decode().split()):
                    fake.pause(context)
                    yield pb.StreamSummarizeResponse(delta=(" " if i else "") + word)
                    if word == "BREAK":
                        context.abort(grpc.StatusCode.UNAVAILABLE, "broken in the middle")
                yield pb.StreamSummarizeResponse(result=fake.response(request))

            def SummarizeMany(self, requests, context):
                answers = 0
                for request in requests:
                    fake.requests.append(request)
                    if fake.break_after == answers:
                        fake.break_after = None
                        context.abort(grpc.StatusCode.UNAVAILABLE, "the stream breaks")
                    answers += 1
                    answer = pb.SummarizeManyResponse(client_request_id=request.client_request_id)
                    if fake.failures:
                        code, message, pushback = fake.failures.pop(0)
                        answer.error.code = code.value[0]
                        answer.error.message = message
                        answer.error.retry_after_ms = int(pushback or 0)
                    else:
                        answer.result.CopyFrom(fake.response(request))
                    yield answer

            def ListModels(self, request, context):
                fake.enter(request, context)
                checkpoint = pb.Checkpoint(name="c", layers=2, attention_backends=["flash"])
                return pb.ListModelsResponse(
                    models=[pb.Model(name="fake", default_attention_backend="flash", checkpoints=[checkpoint])])

            def ListBackends(self, request, context):
                return pb.ListBackendsResponse(device="cpu", backends=[pb.AttentionBackend(name="flash", models=["fake"])])

        self.server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_SummarizerServicer_to_server(Service(), self.server)
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def enter(self, request, context):
        self.requests.append(request)
        self.times.append(time.monotonic())
        self.metadata = dict(context.invocation_metadata())
        self.all_metadata.append(self.metadata)
        failures = [self.failures.pop(0)] if self.failures else []
        if self.delays:
            self.wait(context, self.delays.pop(0))
        if failures:
            code, message, pushback = failures[0]
            if pushback is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
            context.abort(code, message)

    def pause(self, context):
        self.wait(context, self.word_delay)

    def wait(self, context, seconds):
        gone = threading.Event()
        if not context.add_callback(gone.set) or gone.wait(seconds):
            self.cancelled += 1
            raise RuntimeError("cancelled")

    def response(self, request):
        pb = self.pb
        return pb.SummarizeResponse(
            summary=" ".join(request.document.decode().split()), token_ids=[1, 2], model=request.model or "fake",
            attention_backend=request.attention_backend or "flash", checkpoint="c",
            finish_reason=pb.FINISH_REASON_END_OF_TEXT, client_request_id=request.client_request_id,
            assignment=pb.Assignment(reason=pb.ASSIGNMENT_REASON_FORCED),
            accounting=pb.Accounting(prompt_tokens=7, kv_cache_peak_bytes=1 << 40, total_seconds=0.5))


@pytest.fixture
def fake(installed):
    server = Fake()
    yield server
    server.server.stop(0).wait()
