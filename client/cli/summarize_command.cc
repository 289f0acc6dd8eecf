#include "client/cli/summarize_command.h"

#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/files.h"
#include "client/cli/json.h"

namespace precis::cli {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  precis summarize article.txt\n"
    "  precis summarize article.txt --backend=flash_alibi --max-new-tokens=64 --stream\n"
    "  curl -s https://example.org/news.txt | precis summarize - --json\n"
    "  precis summarize a.txt b.txt c.txt --many --json   # one stream, a line as each finishes\n"
    "  precis summarize a.txt --server=dns:///news-precis-headless:50051 --hedge-delay=2s\n"
    "  precis summarize a.txt --server=summaries.example.org:443 --tls --token-file=token\n\n";

}  // namespace

void SummarizeCommand::AddTo(CLI::App* app) {
  app->add_option("FILE", files_, "Documents in UTF-8; - is the standard input")->required();
  app->add_flag("--stream", stream_, "Print the text as it is generated (with --json: a line for each piece)");
  app->add_flag("--json", json_, "Print JSON; several documents: an object a line, with \"file\"");
  app->add_flag("--many", many_, "Send all documents over one stream; answers come as they finish")
      ->excludes("--stream");
  app->add_option("--hedge-delay", hedge_delay_, "If no answer came in this time, ask another server too (--server with several addresses); the first answer counts")
      ->check(kPositiveDuration)
      ->excludes("--stream", "--many");
  app->add_option("--hedge-budget", hedge_budget_, "The share of the documents that may be sent twice, after five that may always")
      ->check(CLI::Range(0.001, 1.0))
      ->capture_default_str()
      ->needs("--hedge-delay");
  request_.AddTo(app);
  connection_.AddTo(app);
  app->footer(absl::StrCat(kExamples, kExitCodeHelp));
}

int SummarizeCommand::Run() {
  auto options = connection_.ToOptions();
  if (options.ok() && !hedge_delay_.empty()) {
    absl::ParseDuration(hedge_delay_, &options->hedge.delay);  // the flag was checked while parsing
    options->hedge.budget = hedge_budget_;
  }
  auto client = options.ok() ? client::SummarizerClient::Create(*options)
                             : absl::StatusOr<std::unique_ptr<client::SummarizerClient>>(options.status());
  if (!client.ok()) {
    ReportError(client.status());
    return absl::IsNotFound(client.status()) ? kExitInput : kExitUsage;
  }
  if (many_) return RunMany(client->get());
  int code = kExitOk;
  for (const std::string& file : files_) {
    if (const int failed = RunOne(client->get(), file); failed != kExitOk) code = failed;
  }
  return code;
}

int SummarizeCommand::RunOne(client::SummarizerClient* client, const std::string& file) {
  auto document = ReadInput(file);
  if (!document.ok()) {
    PrintError(file, document.status());
    return kExitInput;
  }
  v1::SummarizeRequest request = request_.ToRequest();
  request.set_document(*std::move(document));
  request.set_return_token_ids(json_);
  if (stream_ && several() && !json_) std::cout << "== " << file << " ==\n";
  auto response = stream_ ? Stream(client, request) : client->Summarize(request, Call());
  if (!response.ok()) return PrintError(file, response.status());
  PrintResponse(file, *response);
  return kExitOk;
}

absl::StatusOr<v1::SummarizeResponse> SummarizeCommand::Stream(client::SummarizerClient* client,
                                                               const v1::SummarizeRequest& request) {
  const auto on_delta = [this](std::string_view delta) {
    std::cout << (json_ ? Dump({{"delta", std::string(delta)}}, false) + "\n" : std::string(delta)) << std::flush;
    return std::cout.good();  // nobody reads us any more: stop the server's work too
  };
  auto response = client->StreamSummarize(request, on_delta, Call());
  if (!json_) std::cout << std::endl;
  return response;
}

void SummarizeCommand::PrintResponse(const std::string& file, const v1::SummarizeResponse& response) const {
  if (json_) {
    Json json = ResponseToJson(response);
    if (several()) json["file"] = file;
    std::cout << Dump(json, !several() && !stream_) << std::endl;
    return;
  }
  if (stream_) return;  // printed already
  if (several()) std::cout << "== " << file << " ==\n";
  std::cout << response.summary() << std::endl;
}

int SummarizeCommand::PrintError(const std::string& file, const absl::Status& status) const {
  if (json_ && several()) {
    Json json = ErrorToJson(status);
    json["file"] = file;
    std::cout << Dump(json, false) << std::endl;
  }
  if (several()) std::cerr << file << ": ";
  return ReportError(status);
}

int SummarizeCommand::RunMany(client::SummarizerClient* client) {
  int code = kExitOk;
  size_t taken = 0;
  absl::Mutex mutex;  // `next` runs on another thread than the answers
  const auto next = [&](v1::SummarizeRequest* request) {
    while (taken < files_.size()) {
      const size_t index = taken++;
      auto document = ReadInput(files_[index]);
      if (!document.ok()) {
        absl::MutexLock lock(&mutex);
        PrintError(files_[index], document.status());
        code = kExitInput;
        continue;
      }
      *request = request_.ToRequest();
      request->set_document(*std::move(document));
      request->set_return_token_ids(json_);
      request->set_client_request_id(absl::StrCat(index));
      return true;
    }
    return false;
  };
  const auto on_answer = [&](const v1::SummarizeManyResponse& answer) {
    size_t index = 0;
    if (!absl::SimpleAtoi(answer.client_request_id(), &index) || index >= files_.size()) return;
    absl::MutexLock lock(&mutex);
    if (!answer.has_error()) return PrintResponse(files_[index], answer.result());
    const absl::Status status(static_cast<absl::StatusCode>(answer.error().code()), answer.error().message());
    code = PrintError(files_[index], status);
  };
  const absl::Status status = client->SummarizeMany(next, on_answer, {.call = Call()});
  return status.ok() || code != kExitOk ? code : ReportError(status);
}

}  // namespace precis::cli
