#include "server/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <string>

#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/call_info.h"
#include "server/status_mapping.h"
#include "server/text.h"

namespace precis::server {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

constexpr const char* kServices[] = {"precis.v1.Summarizer", "precis.v1.Experiments", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                                     "grpc.reflection.v1alpha.ServerReflection"};

// The file and all that it imports, each once.
template <class Files>
void AddFiles(const FileDescriptor* file, std::set<const FileDescriptor*>* seen, Files* out) {
  if (!seen->insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  out->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) AddFiles(file->dependency(i), seen, out);
}

template <class Response>
void SetError(grpc::StatusCode code, const std::string& message, Response* response) {
  response->mutable_error_response()->set_error_code(code);
  response->mutable_error_response()->set_error_message(message);
}

template <class Response>
void SetFile(const FileDescriptor* file, const std::string& what, Response* response) {
  if (file == nullptr) return SetError(grpc::StatusCode::NOT_FOUND, StrCat("no ", what, " here"), response);
  std::set<const FileDescriptor*> seen;
  AddFiles(file, &seen, response->mutable_file_descriptor_response());
}

template <class Request>
const FileDescriptor* FindExtension(const DescriptorPool& pool, const Request& request) {
  const auto* type = pool.FindMessageTypeByName(request.containing_type());
  if (type == nullptr) return nullptr;
  const FieldDescriptor* field = pool.FindExtensionByNumber(type, request.extension_number());
  return field == nullptr ? nullptr : field->file();
}

template <class Response>
void SetExtensionNumbers(const DescriptorPool& pool, const std::string& name, Response* response) {
  const auto* type = pool.FindMessageTypeByName(name);
  if (type == nullptr) return SetError(grpc::StatusCode::NOT_FOUND, StrCat("no message '", name, "' here"), response);
  std::vector<const FieldDescriptor*> extensions;
  pool.FindAllExtensions(type, &extensions);
  auto* numbers = response->mutable_all_extension_numbers_response();
  numbers->set_base_type_name(name);
  for (const FieldDescriptor* extension : extensions) numbers->add_extension_number(extension->number());
}

template <class Request, class Response>
void Answer(const Request& request, Response* response) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  response->set_valid_host(request.host());
  *response->mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const char* name : kServices) response->mutable_list_services_response()->add_service()->set_name(name);
      return;
    case Request::kFileByFilename:
      return SetFile(pool.FindFileByName(request.file_by_filename()),
                     StrCat("file '", request.file_by_filename(), "'"), response);
    case Request::kFileContainingSymbol:
      return SetFile(pool.FindFileContainingSymbol(request.file_containing_symbol()),
                     StrCat("symbol '", request.file_containing_symbol(), "'"), response);
    case Request::kFileContainingExtension:
      return SetFile(FindExtension(pool, request.file_containing_extension()), "such extension", response);
    case Request::kAllExtensionNumbersOfType:
      return SetExtensionNumbers(pool, request.all_extension_numbers_of_type(), response);
    default: return SetError(grpc::StatusCode::INVALID_ARGUMENT, "the request asks for nothing", response);
  }
}

// One operation is pending at a time, so nothing needs a lock.
template <class Request, class Response>
class Reactor final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  Reactor(ServerCore* core, grpc::CallbackServerContext* context) {
    CallInfo info = ReadCallInfo(*context, "ServerReflectionInfo");
    const absl::Status status = core->Authenticate(Permission::kReflection, &info);
    if (status.ok()) {
      this->StartRead(&request_);
    } else {
      core->metrics->OnRefused({"none", "none", "cpu"}, "auth");
      this->Finish(ToWireStatus(status, absl::ZeroDuration()).status);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return this->Finish(grpc::Status::OK);
    response_.Clear();
    Answer(request_, &response_);
    this->StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return this->Finish(grpc::Status::CANCELLED);
    this->StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  Request request_;
  Response response_;
};

template <class Base, class Request, class Response>
class Service final : public Base {
 public:
  explicit Service(ServerCore* core) : core_(core) {}
  grpc::ServerBidiReactor<Request, Response>* ServerReflectionInfo(grpc::CallbackServerContext* context) override {
    return new Reactor<Request, Response>(core_, context);
  }

 private:
  ServerCore* const core_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeReflectionServices(ServerCore* core) {
  namespace v1 = grpc::reflection::v1;
  namespace v1alpha = grpc::reflection::v1alpha;
  using V1 = Service<v1::ServerReflection::CallbackService, v1::ServerReflectionRequest, v1::ServerReflectionResponse>;
  using V1Alpha = Service<v1alpha::ServerReflection::CallbackService, v1alpha::ServerReflectionRequest,
                          v1alpha::ServerReflectionResponse>;
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(std::make_unique<V1>(core));
  services.push_back(std::make_unique<V1Alpha>(core));
  return services;
}

}  // namespace precis::server
