#include <limits>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "kernels/device.h"
#include "server/option_value.h"
#include "server/options.h"
#include "server/text.h"

namespace precis::server {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 44;

// The ways an option is read from and written to its field. `field` is a function from options to the field.
template <typename Field>
OptionSpec Text(Field field) {
  OptionSpec spec;
  spec.set = [field](ServerOptions& o, std::string_view text) {
    field(o) = std::string(text);
    return absl::OkStatus();
  };
  spec.get = [field](const ServerOptions& o) {
    return std::vector<std::string>{field(const_cast<ServerOptions&>(o))};
  };
  return spec;
}

template <typename Field>
OptionSpec Integer(Field field, int64_t low, int64_t high) {
  OptionSpec spec;
  spec.set = [=](ServerOptions& o, std::string_view text) {
    absl::StatusOr<int64_t> value = ParseInteger(text, low, high);
    if (value.ok()) field(o) = static_cast<std::decay_t<decltype(field(o))>>(*value);
    return value.status();
  };
  spec.get = [field](const ServerOptions& o) {
    return std::vector<std::string>{StrCat(field(const_cast<ServerOptions&>(o)))};
  };
  return spec;
}

template <typename Field>
OptionSpec Bytes(Field field, int64_t low, int64_t high) {
  OptionSpec spec;
  spec.set = [=](ServerOptions& o, std::string_view text) {
    absl::StatusOr<int64_t> value = ParseBytes(text, low, high);
    if (value.ok()) field(o) = *value;
    return value.status();
  };
  spec.get = [field](const ServerOptions& o) {
    return std::vector<std::string>{FormatBytes(field(const_cast<ServerOptions&>(o)))};
  };
  return spec;
}

template <typename Field>
OptionSpec Time(Field field, absl::Duration low, absl::Duration high) {
  OptionSpec spec;
  spec.set = [=](ServerOptions& o, std::string_view text) {
    absl::StatusOr<absl::Duration> value = ParseTime(text, low, high);
    if (value.ok()) field(o) = *value;
    return value.status();
  };
  spec.get = [field](const ServerOptions& o) {
    return std::vector<std::string>{FormatTime(field(const_cast<ServerOptions&>(o)))};
  };
  return spec;
}

template <typename Field>
OptionSpec Switch(Field field) {
  OptionSpec spec;
  spec.is_switch = true;
  spec.set = [field](ServerOptions& o, std::string_view text) {
    absl::StatusOr<bool> value = ParseSwitch(text);
    if (value.ok()) field(o) = *value;
    return value.status();
  };
  spec.get = [field](const ServerOptions& o) {
    return std::vector<std::string>{field(const_cast<ServerOptions&>(o)) ? "on" : "off"};
  };
  return spec;
}

// One of a list of words; the field holds the value beside the word.
template <typename Field, typename Value>
OptionSpec Choice(Field field, std::vector<std::pair<std::string, Value>> choices) {
  OptionSpec spec;
  spec.set = [=](ServerOptions& o, std::string_view text) {
    for (const auto& [word, value] : choices) {
      if (word != text) continue;
      field(o) = value;
      return absl::OkStatus();
    }
    const auto word = [](std::string* out, const auto& choice) { out->append(choice.first); };
    return absl::InvalidArgumentError(StrCat("expected one of ", absl::StrJoin(choices, ", ", word)));
  };
  spec.get = [=](const ServerOptions& o) {
    for (const auto& [word, value] : choices) {
      if (value == field(const_cast<ServerOptions&>(o))) return std::vector<std::string>{word};
    }
    return std::vector<std::string>{};
  };
  return spec;
}

template <typename Field>
OptionSpec Word(Field field, const std::vector<std::string>& words) {
  std::vector<std::pair<std::string, std::string>> choices;
  for (const std::string& word : words) choices.emplace_back(word, word);
  return Choice(field, choices);
}

OptionSpec Models() {
  OptionSpec spec;
  spec.repeated = true;
  spec.set = [](ServerOptions& o, std::string_view text) {
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
      return absl::InvalidArgumentError("expected NAME=DIR, such as news=/srv/models/news");
    }
    o.models.push_back({std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))});
    return absl::OkStatus();
  };
  spec.get = [](const ServerOptions& o) {
    std::vector<std::string> values;
    for (const runtime::ModelSpec& m : o.models) values.push_back(StrCat(m.name, "=", m.directory));
    return values;
  };
  spec.clear = [](ServerOptions& o) { o.models.clear(); };
  return spec;
}

class TableBuilder {
 public:
  void Group(std::string name) { group_ = std::move(name); }
  void Add(std::string name, std::string value, OptionSpec spec, std::string help) {
    spec.name = std::move(name);
    spec.value = std::move(value);
    spec.help = std::move(help);
    spec.group = group_;
    table_.push_back(std::move(spec));
  }
  std::vector<OptionSpec> Take() { return std::move(table_); }

 private:
  std::string group_;
  std::vector<OptionSpec> table_;
};

#define FIELD(member) [](ServerOptions& o) -> auto& { return o.member; }

constexpr absl::Duration kForever = absl::InfiniteDuration();

void AddModelOptions(TableBuilder& t) {
  t.Group("Models");
  t.Add("model", "NAME=DIR", Models(),
        "A model folder in Hugging Face form. Repeat it for more models; the same name again adds a checkpoint, and the "
        "attention backend of a request picks among them. PRECIS_MODEL separates several by commas.");
  t.Add("device", "NAME", Word(FIELD(device), {"auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3", "simt"}),
        "Where models run: cpu, cuda, cuda:N, simt (the GPU kernels run by the host: tests), or auto (cuda where it opens, else cpu).");
  t.Add("weights", "DTYPE", Word(FIELD(weights), {"auto", "f32", "bf16", "int8"}),
        "How weights are held: auto (as the checkpoint), f32, bf16 or int8.");
  t.Add("kv-cache-dtype", "DTYPE", Word(FIELD(kv_cache_dtype), {"auto", "f32", "bf16"}),
        "How keys and values are held on the CPU: auto (f32 with f32 weights, else bf16), f32, or bf16 (half the memory).");
  t.Add("cpu-isa", "ISA", Word(FIELD(cpu_isa), {"auto", "portable", "avx2", "avx512"}),
        "Kernels to use: auto (the best that the machine runs), portable, avx2 or avx512.");
  t.Add("alibi-context-tokens", "N", Integer(FIELD(alibi_context_tokens), 64, 1 << 20),
        "The longest prompt and summary together, for ALiBi checkpoints.");
}

void AddEngineOptions(TableBuilder& t) {
  t.Group("Engine");
  t.Add("threads", "N", Integer(FIELD(engine.threads), 0, 1024), "Threads that compute; 0 = the machine's cores.");
  t.Add("kv-cache-bytes", "BYTES", Bytes(FIELD(engine.kv_cache_bytes), 1 << 16, kMaxBytes),
        "Memory for keys and values, for all checkpoints together; never exceeded.");
  t.Add("attention-workspace-bytes", "BYTES", Bytes(FIELD(engine.attention_workspace_bytes), 1 << 16, kMaxBytes),
        "Score matrices above this are computed in chunks of rows.");
  t.Add("max-queued-requests", "N", Integer(FIELD(engine.max_queued_requests), 1, 1 << 20),
        "Requests waiting; one more is refused with RESOURCE_EXHAUSTED.");
  t.Add("max-queued-tokens", "N", Integer(FIELD(engine.max_queued_tokens), 1, int64_t{1} << 40),
        "Prompt tokens waiting; more are refused with RESOURCE_EXHAUSTED.");
  t.Add("max-step-tokens", "N", Integer(FIELD(engine.max_step_tokens), 1, 1 << 20),
        "Tokens in one step of the engine (chunked prefill).");
  t.Add("max-batch-rows", "N", Integer(FIELD(engine.max_batch_rows), 1, 1 << 16), "Sequences in one step of the engine.");
  t.Add("prefix-cache", "on|off", Switch(FIELD(engine.prefix_cache)), "Reuse keys and values of equal beginnings.");
  t.Add("batch-invariant", "on|off", Switch(FIELD(engine.batch_invariant)),
        "The same request gives the same bits whatever else is in the batch.");
  t.Add("priority-aging", "TIME", Time(FIELD(engine.priority_aging), absl::Milliseconds(1), kForever),
        "Waiting this long raises a request by one class.");
}

void AddNetworkOptions(TableBuilder& t) {
  t.Group("Network");
  t.Add("listen", "HOST:PORT", Text(FIELD(listen)),
        "Address of the gRPC server; port 0 takes a free one and prints it. unix:PATH works too.");
  t.Add("metrics-listen", "HOST:PORT", Text(FIELD(metrics_listen)),
        "Address of /metrics, /healthz, /readyz and the status page; off = none.");
  t.Add("max-document-bytes", "BYTES", Bytes(FIELD(max_document_bytes), 1, int64_t{1} << 30),
        "The largest document; a larger one is refused with INVALID_ARGUMENT.");
  t.Add("max-message-bytes", "BYTES", Bytes(FIELD(max_message_bytes), 1024, std::numeric_limits<int32_t>::max()),
        "The largest gRPC message; gRPC refuses a larger one with RESOURCE_EXHAUSTED before it is read.");
  t.Add("max-streams-per-connection", "N", Integer(FIELD(max_streams_per_connection), 1, 1 << 20),
        "Calls at once on one connection; more wait in the client.");
  t.Add("many-in-flight", "N", Integer(FIELD(many_in_flight), 1, 1 << 16),
        "Unanswered requests of one SummarizeMany stream; the server reads no further above it.");
  t.Add("keepalive-time", "TIME", Time(FIELD(keepalive_time), absl::Seconds(1), kForever),
        "Ping a silent client after this.");
  t.Add("keepalive-timeout", "TIME", Time(FIELD(keepalive_timeout), absl::Milliseconds(100), kForever),
        "Close the connection if the ping is not answered in this time.");
  t.Add("keepalive-min-interval", "TIME", Time(FIELD(keepalive_min_interval), absl::ZeroDuration(), kForever),
        "Clients that ping more often are disconnected.");
  t.Add("max-connection-age", "TIME", Time(FIELD(max_connection_age), absl::Seconds(1), kForever),
        "Ask clients to reconnect after this (spreads load after scaling).");
  t.Add("max-connection-age-grace", "TIME", Time(FIELD(max_connection_age_grace), absl::ZeroDuration(), kForever),
        "Time for calls in flight after that.");
  t.Add("max-connection-idle", "TIME", Time(FIELD(max_connection_idle), absl::Seconds(1), kForever),
        "Close connections without calls after this.");
}

void AddSecurityOptions(TableBuilder& t) {
  t.Group("Security");
  t.Add("tls-cert", "FILE", Text(FIELD(tls_cert)), "Certificate chain (PEM); turns TLS on. Needs --tls-key.");
  t.Add("tls-key", "FILE", Text(FIELD(tls_key)), "Private key (PEM) of --tls-cert.");
  t.Add("tls-client-ca", "FILE", Text(FIELD(tls_client_ca)),
        "Mutual TLS: clients must show a certificate signed by one of these (PEM).");
  t.Add("tls-reload", "TIME", Time(FIELD(tls_reload), absl::Seconds(1), absl::Hours(24)),
        "How often, at most, the TLS files are looked at when a client connects; new content needs no restart.");
  t.Add("auth-tokens-file", "FILE", Text(FIELD(auth_tokens_file)),
        "Bearer tokens, one a line, with what each allows; calls must carry one as 'authorization: Bearer TOKEN'.");
  t.Add("auth-reload", "TIME", Time(FIELD(auth_reload), absl::Milliseconds(100), absl::Hours(24)),
        "How often the tokens file is looked at.");
  t.Add("reflection", "on|off", Switch(FIELD(reflection)), "Server reflection, for grpcurl and the like.");
}

void AddExperimentOptions(TableBuilder& t) {
  t.Group("Experiments");
  t.Add("experiments-file", "FILE", Text(FIELD(experiments_file)),
        "Experiments (YAML, a section experiments:), read again when it changes; instead of the section of --config.");
  t.Add("experiments-state", "FILE", Text(FIELD(experiments_state)),
        "Keeps what experiments found over restarts (SQLite); one file a server. Empty = memory only.");
  t.Add("experiments-reload", "TIME", Time(FIELD(experiments_reload), absl::Milliseconds(50), absl::Hours(24)),
        "How often the file with the experiments is looked at.");
  t.Add("experiments-flush", "TIME", Time(FIELD(experiments_flush), absl::Milliseconds(10), absl::Minutes(10)),
        "How often the state is written: what a crash may lose. Outcomes by RPC are written before they are answered.");
  t.Add("experiments-check", "TIME", Time(FIELD(experiments_check), absl::Milliseconds(50), absl::Hours(1)),
        "How often guardrails are looked at.");
  t.Add("outcome-window", "TIME", Time(FIELD(outcome_window), absl::Seconds(1), absl::Hours(24 * 31)),
        "How late after its request an outcome may come.");
}

void AddPeerOptions(TableBuilder& t) {
  t.Group("Peers");
  OptionSpec peers;
  peers.repeated = true;
  peers.set = [](ServerOptions& o, std::string_view text) {
    if (text.find(':') == std::string_view::npos) return absl::InvalidArgumentError("expected HOST:PORT");
    o.experiment_peers.emplace_back(text);
    return absl::OkStatus();
  };
  peers.get = [](const ServerOptions& o) { return o.experiment_peers; };
  peers.clear = [](ServerOptions& o) { o.experiment_peers.clear(); };
  t.Add("experiment-peer", "HOST:PORT", std::move(peers),
        "Another server of the same experiments; reports merge what it found. Repeat it for more.");
  t.Add("peer-tls-ca", "FILE", Text(FIELD(peer_tls_ca)),
        "Ask peers over TLS: their certificates must be signed by one of these (PEM). Read again as the TLS files are, and so are the next two.");
  t.Add("peer-tls-cert", "FILE", Text(FIELD(peer_tls_cert)), "Certificate chain (PEM) to show to peers, for mutual TLS. Needs --peer-tls-key.");
  t.Add("peer-tls-key", "FILE", Text(FIELD(peer_tls_key)), "Private key (PEM) of --peer-tls-cert.");
  t.Add("peer-tls-name", "NAME", Text(FIELD(peer_tls_name)), "Name to expect in the peers' certificates, instead of each address's host.");
  t.Add("peer-token-file", "FILE", Text(FIELD(peer_token_file)),
        "Holds the bearer token to show to peers; theirs must allow it experiments and outcomes. Read at each call.");
  t.Add("peer-plaintext-token", "on|off", Switch(FIELD(peer_plaintext_token)),
        "Send that token without TLS to other machines, too (where a mesh or tunnel encrypts).");
}

void AddOperationOptions(TableBuilder& t) {
  t.Group("Operation");
  t.Add("drain-delay", "TIME", Time(FIELD(drain_delay), absl::ZeroDuration(), absl::Hours(1)),
        "After SIGTERM: not ready, but still serving for this long, until load balancers have noticed.");
  t.Add("drain-timeout", "TIME", Time(FIELD(drain_timeout), absl::ZeroDuration(), absl::Hours(24)),
        "Then: time for requests in flight.");
  t.Add("log-format", "FORMAT",
        Choice(FIELD(log_format),
               std::vector<std::pair<std::string, LogFormat>>{{"json", LogFormat::kJson}, {"text", LogFormat::kText}}),
        "json or text; one line an event.");
  t.Add("log-level", "LEVEL",
        Choice(FIELD(log_level), std::vector<std::pair<std::string, LogLevel>>{{"debug", LogLevel::kDebug},
                                                                               {"info", LogLevel::kInfo},
                                                                               {"warning", LogLevel::kWarning},
                                                                               {"error", LogLevel::kError},
                                                                               {"off", LogLevel::kOff}}),
        "debug, info, warning, error or off.");
  t.Add("log-file", "FILE", Text(FIELD(log_file)), "Append to this file (SIGHUP opens it again); empty = standard error.");
  t.Add("log-documents", "on|off", Switch(FIELD(log_documents)),
        "Put documents and summaries into the log. They are private unless you know otherwise.");
}

}  // namespace

absl::Span<const OptionSpec> OptionTable() {
  static const auto* const table = [] {
    TableBuilder t;
    AddNetworkOptions(t);
    AddModelOptions(t);
    AddEngineOptions(t);
    AddSecurityOptions(t);
    AddExperimentOptions(t);
    AddPeerOptions(t);
    AddOperationOptions(t);
    return new std::vector<OptionSpec>(t.Take());
  }();
  return *table;
}

std::string FlagName(const OptionSpec& spec) { return "--" + spec.name; }
std::string KeyName(const OptionSpec& spec) { return absl::StrReplaceAll(spec.name, {{"-", "_"}}); }
std::string EnvironmentName(const OptionSpec& spec) {
  return "PRECIS_" + absl::AsciiStrToUpper(KeyName(spec));
}

}  // namespace precis::server
