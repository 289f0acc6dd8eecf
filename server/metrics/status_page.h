#ifndef PRECIS_SERVER_METRICS_STATUS_PAGE_H_
#define PRECIS_SERVER_METRICS_STATUS_PAGE_H_

#include <string_view>

namespace precis::server {

// The status page: one HTML document with its style and script inside, made from status_page/ at build time. Each
// PRECIS_NONCE in it is to be replaced by the response's nonce.
extern const std::string_view kStatusPage;
// What experiments found, from experiments_page/; the same rule.
extern const std::string_view kExperimentsPage;

}  // namespace precis::server

#endif  // PRECIS_SERVER_METRICS_STATUS_PAGE_H_
