#ifndef PRECIS_SERVER_CREDENTIALS_H_
#define PRECIS_SERVER_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/status.h"
#include "server/options.h"

namespace precis::server {

// INVALID_ARGUMENT if the TLS files can't be read, are no PEM, or the key doesn't belong to the certificate.
absl::Status CheckTlsFiles(const ServerOptions& options);

// Plain text, TLS or mutual TLS, as the options say. The files are watched and new content is used for new connections; replace them
// together (rename a folder or move a symbolic link), since a certificate and a key that don't match fail every handshake
// until they do.
std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const ServerOptions& options);

}  // namespace precis::server

#endif  // PRECIS_SERVER_CREDENTIALS_H_
