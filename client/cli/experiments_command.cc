#include "client/cli/experiments_command.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/exit_code.h"
#include "client/cli/experiments_report.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "client/internal/connection.h"
#include "client/internal/status.h"
#include "precis/v1/experiments.grpc.pb.h"

namespace precis::cli {
namespace {

using Stub = v1::Experiments::Stub;

int UsageError(const std::string& message) {
  std::cerr << "error: " << message << std::endl;
  return kExitUsage;
}

bool ReadFile(const std::string& path, std::string* out) {
  if (path == "-") {
    out->assign(std::istreambuf_iterator<char>(std::cin), {});
    return true;
  }
  std::ifstream stream(path, std::ios::binary);
  out->assign(std::istreambuf_iterator<char>(stream), {});
  return stream.good() || stream.eof();
}

// "key=value"
bool Split(const std::string& text, std::string* key, std::string* value) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return false;
  *key = text.substr(0, equals);
  *value = text.substr(equals + 1);
  return true;
}

// One JSON object a line: unit_id, model, attention_backend, metadata, unix_seconds, all optional.
bool ReadTraffic(const std::string& path, v1::ValidateExperimentsRequest* request, std::string* error) {
  std::string text;
  if (!ReadFile(path, &text)) {
    *error = absl::StrCat("can't read '", path, "'");
    return false;
  }
  size_t begin = 0;
  for (int line = 1; begin < text.size(); ++line) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    const std::string one = text.substr(begin, end - begin);
    begin = end + 1;
    if (one.find_first_not_of(" \r\t") == std::string::npos) continue;
    const Json json = Json::parse(one, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      *error = absl::StrCat(path, ":", line, ": not a JSON object");
      return false;
    }
    v1::RecordedRequest* out = request->add_traffic();
    for (const auto& [key, value] : json.items()) {
      if (key == "unit_id" && value.is_string()) out->set_unit_id(value.get<std::string>());
      if (key == "model" && value.is_string()) out->set_model(value.get<std::string>());
      if (key == "attention_backend" && value.is_string()) out->set_attention_backend(value.get<std::string>());
      if (key == "unix_seconds" && value.is_number_integer()) out->set_unix_seconds(value.get<int64_t>());
      if (key != "metadata" || !value.is_object()) continue;
      for (const auto& [name, of] : value.items()) {
        if (of.is_string()) (*out->mutable_metadata())[name] = of.get<std::string>();
      }
    }
  }
  return true;
}

std::string ArmsText(const v1::Experiment& experiment) {
  std::string out;
  for (const v1::ExperimentArm& arm : experiment.arms()) {
    absl::StrAppend(&out, out.empty() ? "" : ", ", arm.name(), arm.name() == experiment.control() ? "*" : "", "=", arm.attention_backend(), ":", arm.weight(),
                    arm.state() == v1::ARM_STATE_STOPPED ? " (stopped)" : "");
  }
  return out;
}

void PrintExperiments(const google::protobuf::RepeatedPtrField<v1::Experiment>& experiments) {
  Table table({"EXPERIMENT", "MODEL", "SHARE", "BATCHING", "LAYER", "SHADOW", "ARMS"});
  for (const v1::Experiment& e : experiments) {
    table.Add({e.name(), e.model().empty() ? "any" : e.model(), absl::StrFormat("%.4g%%", 100 * e.share()), e.batching(), e.layer().empty() ? "-" : e.layer(),
               absl::StrFormat("%.4g%%", 100 * e.shadow_sampling()), ArmsText(e)});
  }
  std::cout << table.ToString() << "(* the control)\n";
}

std::string ReasonName(v1::AssignmentReason reason) {
  std::string name = v1::AssignmentReason_Name(reason).substr(18);
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  return name;
}

}  // namespace

CLI::App* ExperimentsCommand::Add(CLI::App* app, const char* name, const char* description, const char* example, int (ExperimentsCommand::*run)()) {
  CLI::App* sub = app->add_subcommand(name, description);
  sub->add_flag("--json", json_, "Print the answer in JSON");
  sub->footer(absl::StrCat("Example:\n  ", example, "\n\n", kExitCodeHelp));
  sub->callback([this, run] { run_ = run; });
  connection_.AddTo(sub);
  return sub;
}

void ExperimentsCommand::AddTo(CLI::App* app) {
  app->require_subcommand(1);
  app->footer(absl::StrCat("Examples:\n  precis experiments list\n  precis experiments report flash-vs-standard\n"
                           "  precis experiments validate new.yaml --traffic=recorded.jsonl\n\n",
                           kExitCodeHelp));
  Add(app, "list", "The experiments that run", "precis experiments list", &ExperimentsCommand::List);
  Add(app, "show", "One experiment, in JSON", "precis experiments show flash-vs-standard", &ExperimentsCommand::Show)
      ->add_option("name", name_, "The experiment")
      ->required();
  CLI::App* report = Add(app, "report", "What an experiment found", "precis experiments report flash-vs-standard", &ExperimentsCommand::Report);
  report->add_option("name", name_, "The experiment")->required();
  report->add_flag("--local-only", local_only_, "Leave the server's peers out");
  CLI::App* validate = Add(app, "validate", "Check a file against the server's models without taking it",
                           "precis experiments validate new.yaml --traffic=recorded.jsonl", &ExperimentsCommand::Validate);
  validate->add_option("file", file_, "An experiments file (-: standard input)")->required();
  validate->add_option("--traffic", traffic_, "Recorded requests, a JSON object a line: unit_id, model, attention_backend, metadata, unix_seconds; says what each would get");
  CLI::App* assign = Add(app, "assign", "What a unit would get", "precis experiments assign --unit=user-17 --metadata=x-tenant=a", &ExperimentsCommand::Assign);
  assign->add_option("--unit", unit_, "The unit id")->required();
  assign->add_option("--model", model_, "The model that the request names [none]");
  assign->add_option("--backend", backend_, "The attention backend that the request names [none]");
  assign->add_option("--metadata", metadata_, "KEY=VALUE of the request's metadata; repeat it for more");
  CLI::App* record = Add(app, "record", "Record what a reader thought of an answer", "precis experiments record 4f2a9c --outcome=thumbs=1 --outcome=edit_ratio=0.1",
                         &ExperimentsCommand::Record);
  record->add_option("request_id", request_id_, "The reply's request_id")->required();
  record->add_option("--outcome", outcomes_, "thumbs=0|1, edit_ratio=0..1 or score=NUMBER; repeat it for more")->required();
  CLI::App* stop = Add(app, "stop", "Stop an arm, or the whole experiment", "precis experiments stop flash-vs-standard --arm=flash --reason='bad summaries'",
                       &ExperimentsCommand::Stop);
  stop->add_option("name", name_, "The experiment")->required();
  stop->add_option("--arm", arm_, "The arm [all]");
  stop->add_option("--reason", reason_, "For the log, the report and replies")->required();
  Add(app, "reload", "Let the server read its experiments file again", "precis experiments reload", &ExperimentsCommand::Reload);
}

int ExperimentsCommand::Run() { return run_ == nullptr ? kExitUsage : (this->*run_)(); }

template <typename Request, typename Response, typename Method>
int ExperimentsCommand::Call(const Request& request, Response* response, Method method) {
  const auto options = connection_.ToOptions();
  if (!options.ok()) {
    ReportError(options.status());
    return absl::IsNotFound(options.status()) ? kExitInput : kExitUsage;
  }
  const auto channel = client::Connect(*options);
  if (!channel.ok()) {
    ReportError(channel.status());
    return absl::IsNotFound(channel.status()) ? kExitInput : kExitUsage;
  }
  const std::unique_ptr<Stub> stub = v1::Experiments::NewStub(*channel);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + connection_.Deadline()));
  if (!options->bearer_token.empty()) context.AddMetadata("authorization", "Bearer " + options->bearer_token);
  const grpc::Status status = (stub.get()->*method)(&context, request, response);
  if (!status.ok()) return ReportError(client::ToAbslStatus(status, &context, options->address));
  if (json_) std::cout << Dump(MessageToJson(*response), true) << std::endl;
  return kExitOk;
}

int ExperimentsCommand::List() {
  v1::ListExperimentsResponse response;
  const int code = Call(v1::ListExperimentsRequest(), &response, &Stub::ListExperiments);
  if (code == kExitOk && !json_) PrintExperiments(response.experiments());
  return code;
}

int ExperimentsCommand::Show() {
  json_ = true;
  v1::GetExperimentRequest request;
  request.set_name(name_);
  v1::Experiment response;
  return Call(request, &response, &Stub::GetExperiment);
}

int ExperimentsCommand::Report() {
  v1::GetReportRequest request;
  request.set_name(name_);
  request.set_local_only(local_only_);
  v1::Report response;
  const int code = Call(request, &response, &Stub::GetReport);
  if (code == kExitOk && !json_) std::cout << ReportText(response);
  return code;
}

int ExperimentsCommand::Validate() {
  v1::ValidateExperimentsRequest request;
  request.set_file_name(file_);
  if (!ReadFile(file_, request.mutable_yaml())) {
    std::cerr << "error: can't read '" << file_ << "'" << std::endl;
    return kExitInput;
  }
  std::string error;
  if (!traffic_.empty() && !ReadTraffic(traffic_, &request, &error)) {
    std::cerr << "error: " << error << std::endl;
    return kExitInput;
  }
  v1::ValidateExperimentsResponse response;
  const int code = Call(request, &response, &Stub::ValidateExperiments);
  if (code != kExitOk || json_) return code;
  std::cout << file_ << " is valid\n";
  PrintExperiments(response.experiments());
  if (traffic_.empty()) return code;
  Table table({"EXPERIMENT", "ARM", "REASON", "REQUESTS", "UNITS", "MOVED"});
  for (const auto& count : response.counts()) {
    table.Add({count.experiment().empty() ? "-" : count.experiment(), count.arm().empty() ? "-" : count.arm(), count.reason(), absl::StrCat(count.requests()),
               absl::StrCat(count.units()), absl::StrCat(count.moved())});
  }
  std::cout << "\n" << table.ToString() << "(" << response.units() << " units; moved: to another arm than they have now)\n";
  return code;
}

int ExperimentsCommand::Assign() {
  v1::AssignRequest request;
  request.mutable_request()->set_unit_id(unit_);
  request.mutable_request()->set_model(model_);
  request.mutable_request()->set_attention_backend(backend_);
  for (const std::string& text : metadata_) {
    std::string key, value;
    if (!Split(text, &key, &value)) return UsageError(absl::StrCat("--metadata=", text, ": expected KEY=VALUE"));
    (*request.mutable_request()->mutable_metadata())[key] = value;
  }
  v1::AssignResponse response;
  const int code = Call(request, &response, &Stub::Assign);
  if (code != kExitOk || json_) return code;
  const v1::Assignment& a = response.assignment();
  std::cout << unit_ << ": " << (a.experiment().empty() ? "no experiment" : absl::StrCat(a.experiment(), "/", a.arm().empty() ? "none" : a.arm())) << ", "
            << ReasonName(a.reason()) << (a.detail().empty() ? "" : absl::StrCat(" (", a.detail(), ")")) << ", model " << response.model() << ", backend "
            << response.attention_backend() << "\n";
  return code;
}

int ExperimentsCommand::Record() {
  v1::RecordOutcomeRequest request;
  request.set_request_id(request_id_);
  for (const std::string& text : outcomes_) {
    std::string key, value;
    double number = 0;
    if (!Split(text, &key, &value) || !absl::SimpleAtod(value, &number)) return UsageError(absl::StrCat("--outcome=", text, ": expected NAME=NUMBER"));
    v1::Outcome* outcome = request.add_outcomes();
    outcome->set_name(key);
    outcome->set_value(number);
  }
  v1::RecordOutcomeResponse response;
  const int code = Call(request, &response, &Stub::RecordOutcome);
  if (code == kExitOk && !json_) {
    std::cout << response.counted() << " counted, " << response.already_known() << " known already, for " << response.experiment() << "/" << response.arm() << "\n";
  }
  return code;
}

int ExperimentsCommand::Stop() {
  v1::StopExperimentRequest request;
  request.set_name(name_);
  request.set_arm(arm_);
  request.set_reason(reason_);
  v1::Experiment response;
  const int code = Call(request, &response, &Stub::StopExperiment);
  if (code == kExitOk && !json_) std::cout << response.name() << ": " << ArmsText(response) << "\n";
  return code;
}

int ExperimentsCommand::Reload() {
  v1::ReloadExperimentsResponse response;
  const int code = Call(v1::ReloadExperimentsRequest(), &response, &Stub::ReloadExperiments);
  if (code == kExitOk && !json_) std::cout << (response.changed() ? "reloaded" : "unchanged") << ", generation " << response.config_generation() << "\n";
  return code;
}

}  // namespace precis::cli
