#include "runtime/model/json_object.h"
#include "runtime/model/text.h"

#include <set>
#include <string>

namespace precis::runtime {

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view json, std::string_view file_name) {
  bool too_deep = false;
  std::string twice;
  bool has_twice = false;
  std::set<std::string> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (depth > kMaxJsonDepth) too_deep = true;
    if (event == nlohmann::json::parse_event_t::key && depth == 1) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.insert(key).second && !has_twice) {
        twice = key;
        has_twice = true;
      }
    }
    return !too_deep;  // false drops the value, so that nothing deep is ever built
  };
  nlohmann::json object = nlohmann::json::parse(json.begin(), json.end(), watch, /*allow_exceptions=*/false);
  if (too_deep) return JsonError(file_name, Cat("is nested deeper than ", kMaxJsonDepth, " levels"));
  if (object.is_discarded()) return JsonError(file_name, "is not valid JSON");
  if (!object.is_object()) return JsonError(file_name, "must hold a JSON object");
  if (has_twice) return JsonError(file_name, Cat("'", Printable(twice), "' is given twice"));
  return object;
}

}  // namespace precis::runtime
