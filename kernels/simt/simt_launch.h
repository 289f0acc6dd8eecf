#ifndef PRECIS_KERNELS_SIMT_SIMT_LAUNCH_H_
#define PRECIS_KERNELS_SIMT_SIMT_LAUNCH_H_

// launch.h for the host. Include launch.h, not this.

#include <functional>
#include <string>
#include <type_traits>

namespace precis::kernels::simt {

// Runs a grid: blocks one after the other in an order drawn from the seed, the threads of a block as fibers, switched where they wait, the next one drawn
// from the seed. Returns when the grid is done or a bug was found.
void RunGrid(const LaunchConfig& config, const std::function<void()>& thread);

template <class... P, class... A>
void Launch(void (*kernel)(P...), const LaunchConfig& config, A&&... arguments) {
  RunGrid(config, [&] { kernel(static_cast<std::decay_t<P>>(arguments)...); });
}

// Of the calling host thread. The seed of the next grids' orders; 0 means first to last, without chance.
void SetSeed(uint64_t seed);
// The report of the first bug that a grid had since the last call ("" if none), and forgets it. While one is kept, Launch does nothing.
std::string TakeReport();
// Without a keeper, a bug ends the process with the report on stderr: for programs that never call TakeReport.
void KeepReports(bool keep);

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_SIMT_LAUNCH_H_
