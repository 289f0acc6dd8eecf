#ifndef PRECIS_CLIENT_CLI_JSON_H_
#define PRECIS_CLIENT_CLI_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "precis/v1/summarizer.pb.h"

namespace precis::cli {

using Json = nlohmann::ordered_json;

// Every field under its name in the proto, defaults included, optional ones that are not set as null; 64-bit integers are numbers; enums are lower-case
// names without their prefix (FINISH_REASON_END_OF_TEXT: "end_of_text").
Json MessageToJson(const google::protobuf::Message& message);

// {summary, token_ids, finish_reason, backend, model, checkpoint, assignment, accounting, client_request_id, request_id}
Json ResponseToJson(const v1::SummarizeResponse& response);

// {"error": {"code": "NOT_FOUND", "message": ...}}
Json ErrorToJson(const absl::Status& status);

// One line, or indented; never throws: text that is no UTF-8 gets U+FFFD.
std::string Dump(const Json& json, bool indented);

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_JSON_H_
