#ifndef PRECIS_CLIENT_EVAL_RUN_RUN_OPTIONS_H_
#define PRECIS_CLIENT_EVAL_RUN_RUN_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/eval/data/dataset.h"
#include "client/summarizer_client.h"

namespace precis::eval {

// What is compared: a backend, with options of its own if wanted. The name stands for it everywhere: in journals, tables and charts.
struct Contender {
  std::string name;                // "flash", "flash+num-beams=4"
  v1::SummarizeRequest prototype;  // all but the document
};

struct RunOptions {
  DatasetOptions data;
  client::ConnectionOptions connection;
  absl::Duration deadline = absl::Seconds(60);  // of each request
  v1::SummarizeRequest prototype;               // what contenders have in common; all but document and backend
  std::vector<Contender> contenders;            // names differ; empty: each backend that the server's models serve, with `prototype`
  std::string out;                              // the run's folder
  std::string cache;                            // the answer cache's folder; empty: none
  bool fresh = false;                           // forget what `out` holds
  bool quiet = false;
  int concurrency = 4;                          // requests in flight while documents are summarised
  int warmup = 2;                               // requests of each backend before anything is measured, at least 1
  std::vector<int> lengths;                     // words of the documents of the length sweep; empty: none
  int length_repeats = 5;
  std::vector<double> rates;                    // requests per second of the open loop, one after the other; empty: none
  int open_loop_requests = 30;                  // of each backend and rate
  uint64_t order_seed = 1;                      // of the order of documents and backends
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_RUN_RUN_OPTIONS_H_
