#ifndef PRECIS_CLIENT_LOAD_SVG_H_
#define PRECIS_CLIENT_LOAD_SVG_H_

#include <string>
#include <vector>

#include "client/load/samples.h"

namespace precis::load {

// A chart of the stages, without scripts or outside resources: for each, the distribution of the latency and of the time
// to first token by backend; with several rates, the p50 and p95 over the rate on top.
std::string DrawSvg(const std::vector<Stage>& stages, const std::string& title);

}  // namespace precis::load

#endif  // PRECIS_CLIENT_LOAD_SVG_H_
