#include "client/eval/run/answer.h"

namespace precis::eval {

double Answer::Cost(const char* field) const {
  const auto found = accounting.find(field);
  return found != accounting.end() && found->is_number() ? found->get<double>() : 0;
}

Json AnswerToJson(const Answer& answer) {
  Json json = {{"document", answer.document}, {"backend", answer.backend}, {"phase", answer.phase}};
  if (!answer.ok()) {
    json["error"] = answer.error;
    return json;
  }
  json["summary"] = answer.summary;
  json["finish_reason"] = answer.finish_reason;
  json["model"] = answer.model;
  json["checkpoint"] = answer.checkpoint;
  json["accounting"] = answer.accounting;
  json["client_seconds"] = answer.client_seconds;
  json["client_first_token_seconds"] = answer.client_first_token_seconds;
  json["cached"] = answer.cached;
  return json;
}

absl::StatusOr<Answer> AnswerFromJson(const Json& json) {
  if (!json.is_object() || !json.contains("document") || !json["document"].is_number_integer() || !json.contains("backend")) {
    return absl::InvalidArgumentError("no answer");
  }
  try {
    Answer answer{.document = json["document"].get<int64_t>(), .backend = json["backend"].get<std::string>()};
    answer.phase = json.value("phase", answer.phase);
    answer.error = json.value("error", "");
    answer.summary = json.value("summary", "");
    answer.finish_reason = json.value("finish_reason", "");
    answer.model = json.value("model", "");
    answer.checkpoint = json.value("checkpoint", "");
    answer.accounting = json.value("accounting", Json::object());
    answer.client_seconds = json.value("client_seconds", 0.0);
    answer.client_first_token_seconds = json.value("client_first_token_seconds", 0.0);
    answer.cached = json.value("cached", false);
    return answer;
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("no answer");
  }
}

}  // namespace precis::eval
