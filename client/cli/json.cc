#include "client/cli/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace precis::cli {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// FinishReason, FINISH_REASON_END_OF_TEXT -> "end_of_text".
std::string EnumName(const EnumValueDescriptor* value) {
  std::string prefix;
  for (char c : value->type()->name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  absl::string_view name = value->name();
  if (absl::StartsWith(name, prefix + "_")) name.remove_prefix(prefix.size() + 1);
  return absl::AsciiStrToLower(name);
}

// `index` is -1 for a field that is not repeated.
Json FieldToJson(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* r = message.GetReflection();
#define PRECIS_FIELD(Type) \
  (index < 0 ? r->Get##Type(message, field) : r->GetRepeated##Type(message, field, index))
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return PRECIS_FIELD(Int32);
    case FieldDescriptor::CPPTYPE_INT64:
      return PRECIS_FIELD(Int64);
    case FieldDescriptor::CPPTYPE_UINT32:
      return PRECIS_FIELD(UInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return PRECIS_FIELD(UInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return PRECIS_FIELD(Double);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return PRECIS_FIELD(Float);
    case FieldDescriptor::CPPTYPE_BOOL:
      return PRECIS_FIELD(Bool);
    case FieldDescriptor::CPPTYPE_STRING:
      return PRECIS_FIELD(String);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumName(PRECIS_FIELD(Enum));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(PRECIS_FIELD(Message));
  }
#undef PRECIS_FIELD
  return nullptr;
}

}  // namespace

Json MessageToJson(const Message& message) {
  Json json = Json::object();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (!field->is_repeated()) {
      const bool absent = field->has_optional_keyword() && !message.GetReflection()->HasField(message, field);
      json[field->name()] = absent ? Json() : FieldToJson(message, field, -1);
      continue;
    }
    Json array = Json::array();
    for (int k = 0; k < message.GetReflection()->FieldSize(message, field); ++k) {
      array.push_back(FieldToJson(message, field, k));
    }
    json[field->name()] = std::move(array);
  }
  return json;
}

Json ResponseToJson(const v1::SummarizeResponse& response) {
  const Json all = MessageToJson(response);
  Json json;
  for (const auto& [key, field] : {std::pair("summary", "summary"),
                                   {"token_ids", "token_ids"},
                                   {"finish_reason", "finish_reason"},
                                   {"backend", "attention_backend"},
                                   {"model", "model"},
                                   {"checkpoint", "checkpoint"},
                                   {"assignment", "assignment"},
                                   {"accounting", "accounting"},
                                   {"client_request_id", "client_request_id"},
                                   {"request_id", "request_id"}}) {
    json[key] = all.at(field);
  }
  return json;
}

Json ErrorToJson(const absl::Status& status) {
  return {{"error",
           {{"code", absl::StatusCodeToString(status.code())}, {"message", std::string(status.message())}}}};
}

std::string Dump(const Json& json, bool indented) {
  return json.dump(indented ? 2 : -1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace precis::cli
