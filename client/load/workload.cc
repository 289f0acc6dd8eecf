#include "client/load/workload.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/files.h"

namespace precis::load {
namespace {

constexpr int kMaxWords = 1000000;
constexpr const char* kWords[] = {
    "the",     "city",    "council", "of",       "a",        "small",   "town",    "said",    "on",      "Monday",
    "that",    "it",      "would",   "build",    "new",      "bridge",  "over",    "river",   "after",   "years",
    "debate",  "about",   "cost",    "and",      "traffic",  "people",  "who",     "live",    "near",    "market",
    "have",    "asked",   "for",     "safer",    "roads",    "while",   "shops",   "fear",    "losing",  "customers",
    "during",  "work",    "which",   "will",     "take",     "eighteen", "months", "officials", "expect", "report"};

}  // namespace

Workload::Workload(const Options& options)
    : prototype_(options.request.ToRequest()), random_(options.load_seed) {}

absl::StatusOr<Workload> Workload::Create(const Options& options) {
  Workload workload(options);
  absl::Status status = workload.ParseMix(options.backends);
  if (!status.ok()) return status;
  status = workload.ParseSynthetic(options.synthetic);
  if (!status.ok()) return status;
  for (const std::string& file : options.files) {
    auto document = cli::ReadInput(file);
    if (!document.ok()) return document.status();
    workload.documents_.push_back(*std::move(document));
  }
  return workload;
}

absl::Status Workload::ParseMix(const std::string& text) {
  if (text.empty()) {
    backends_ = {prototype_.attention_backend()};
    weights_ = {1};
    return absl::OkStatus();
  }
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(part, absl::MaxSplits(':', 1));
    double weight = 1;
    const bool valid = pair.second.empty() || (absl::SimpleAtod(pair.second, &weight) && weight > 0);
    if (pair.first.empty() || !valid || !(weight < 1e9)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--backends=", text, ": '", part, "' is not NAME or NAME:WEIGHT with a weight above 0"));
    }
    backends_.push_back(pair.first);
    weights_.push_back(weight);
  }
  return absl::OkStatus();
}

absl::Status Workload::ParseSynthetic(const std::string& text) {
  const std::pair<std::string, std::string> range = absl::StrSplit(text, absl::MaxSplits('-', 1));
  const std::string& high = range.second.empty() ? range.first : range.second;
  if (!absl::SimpleAtoi(range.first, &low_words_) || !absl::SimpleAtoi(high, &high_words_) || low_words_ < 1 ||
      high_words_ < low_words_ || high_words_ > kMaxWords) {
    return absl::InvalidArgumentError(
        absl::StrCat("--synthetic=", text, ": give N or LOW-HIGH words, from 1 to ", kMaxWords));
  }
  return absl::OkStatus();
}

std::string Workload::NextDocument() {
  if (!documents_.empty()) return documents_[next_document_++ % documents_.size()];
  std::string text;
  const int words = std::uniform_int_distribution<int>(low_words_, high_words_)(random_);
  for (int i = 0; i < words; ++i) absl::StrAppend(&text, i == 0 ? "" : " ", kWords[random_() % std::size(kWords)]);
  return text + ".";
}

v1::SummarizeRequest Workload::NextRequest() {
  v1::SummarizeRequest request = prototype_;
  std::discrete_distribution<size_t> pick(weights_.begin(), weights_.end());
  request.set_attention_backend(backends_[pick(random_)]);
  request.set_document(NextDocument());
  return request;
}

absl::Duration Workload::NextGap(double rate) {
  return absl::Seconds(std::exponential_distribution<double>(rate)(random_));
}

}  // namespace precis::load
