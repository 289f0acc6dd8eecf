#ifndef PRECIS_SERVER_CONVERSION_H_
#define PRECIS_SERVER_CONVERSION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "precis/v1/summarizer.pb.h"
#include "runtime/engine.h"
#include "server/experiments/assignment.h"

namespace precis::server {

// The checks that need no model: sizes, UTF-8, enums. INVALID_ARGUMENT says what was given and what is allowed. Never crashes, whatever the
// message holds.
absl::Status ValidateRequest(const precis::v1::SummarizeRequest& request, int64_t max_document_bytes);

// Of a valid request. Model and backend as in the request; deadline and labels are left to the caller.
runtime::Request ToRuntimeRequest(const precis::v1::SummarizeRequest& request);

void FillResponse(const runtime::Result& result, const precis::v1::SummarizeRequest& request, precis::v1::SummarizeResponse* response);
void FillModels(const runtime::Catalog& catalog, precis::v1::ListModelsResponse* response);
void FillBackends(const runtime::Catalog& catalog, precis::v1::ListBackendsResponse* response);
precis::v1::AssignmentReason ToProto(AssignmentReason reason);

}  // namespace precis::server

#endif  // PRECIS_SERVER_CONVERSION_H_
