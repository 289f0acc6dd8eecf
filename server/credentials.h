#ifndef PRECIS_SERVER_CREDENTIALS_H_
#define PRECIS_SERVER_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/status.h"
#include "server/logger.h"
#include "server/options.h"

namespace precis::server {

// INVALID_ARGUMENT if the TLS files can't be read, are not whole PEM, or the key doesn't belong to the certificate.
absl::Status CheckTlsFiles(const ServerOptions& options);

// Plain text, TLS or mutual TLS, as the options say. New content of the files is used for new connections; they may be replaced one after
// the other, in any order: until they belong together the old ones stay (see TlsWatcher). The result outlives the server that uses it;
// `log` outlives both.
std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const ServerOptions& options, Logger* log);

}  // namespace precis::server

#endif  // PRECIS_SERVER_CREDENTIALS_H_
