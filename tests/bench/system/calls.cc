// A call to the engine itself, the same call through gRPC's client and server, and an empty call (a health check). ../grpc_bench.cc takes them in turns for the difference.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "client/summarizer_client.h"
#include "server/process.h"
#include "tests/bench/system/system_bench.h"

namespace precis::bench {
namespace {

struct World {
  std::unique_ptr<server::Metrics> metrics;
  std::unique_ptr<server::Logger> log;
  std::unique_ptr<server::Server> server;
  std::unique_ptr<client::SummarizerClient> client;
  runtime::Engine* engine = nullptr;
};

std::unique_ptr<World>& TheWorld() {
  static std::unique_ptr<World> world;
  return world;
}

World& Start() {
  std::unique_ptr<World>& world = TheWorld();
  if (world != nullptr) return *world;
  world = std::make_unique<World>();
  server::Configuration configuration;
  configuration.options.listen = "127.0.0.1:0";
  configuration.options.metrics_listen = "off";
  configuration.options.log_file = "/dev/null";
  configuration.options.models = {{"bench", ModelFolder()}};
  configuration.options.engine.threads = Threads();
  world->metrics = server::Metrics::Create({"bench", "bench", "bench", "bench"});
  world->log = Must(server::Logger::Open({server::LogFormat::kJson, server::LogLevel::kInfo, "/dev/null", 1 << 20}));
  world->server = Must(server::Server::Start(configuration, world->metrics.get(), world->log.get()));
  Check(world->server->Load([&]() -> absl::StatusOr<std::unique_ptr<runtime::Engine>> {
    auto engine = Must(server::CreateEngine(configuration.options, world->metrics.get()));
    world->engine = engine.get();
    return engine;
  }));
  world->client = Must(client::SummarizerClient::Create({.address = world->server->address()}));
  return *world;
}

void EngineCall(benchmark::State& state) {
  World& world = Start();
  for (auto _ : state) {
    runtime::Request request;
    request.document = Text(40);
    request.options.max_new_tokens = request.options.min_new_tokens = 1;
    absl::Notification done;
    Must(world.engine->Submit(std::move(request), {nullptr, [&](absl::StatusOr<runtime::Result> result) {
                                                     Check(result.status());
                                                     done.Notify();
                                                   }}));
    done.WaitForNotification();
  }
}

void GrpcCall(benchmark::State& state) {
  World& world = Start();
  for (auto _ : state) {
    v1::SummarizeRequest request;
    request.set_document(Text(40));
    request.mutable_options()->set_max_new_tokens(1);
    request.mutable_options()->set_min_new_tokens(1);
    Must(world.client->Summarize(request));
  }
}

void EmptyCall(benchmark::State& state) {
  World& world = Start();
  for (auto _ : state) Must(world.client->CheckHealth());
}

}  // namespace

void RegisterCalls() {
  benchmark::RegisterBenchmark("Call/engine", EngineCall)->UseRealTime()->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("Call/grpc", GrpcCall)->UseRealTime()->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("Call/empty", EmptyCall)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void StopServer() {
  std::unique_ptr<World>& world = TheWorld();
  if (world == nullptr) return;
  world->client.reset();
  world->server->Drain();
  world.reset();
}

}  // namespace precis::bench
