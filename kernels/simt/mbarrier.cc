#include <cstring>

#include "kernels/simt/block.h"
#include "kernels/simt/mbarrier_state.h"
#include "kernels/simt/race.h"
#include "kernels/simt/simt_ptx.h"

namespace precis::kernels::simt {
namespace {

void Write(Mbarrier& bar, const MbarrierState& state) { std::memcpy(&bar.state, &state, sizeof(state)); }

void EndPhaseIfDone(MbarrierState& state) {
  if (state.missing != 0 || state.bytes != 0) return;
  state.phase ^= 1;
  state.missing = state.expected;
}

MbarrierState Checked(Mbarrier* bar, Site site) {
  CheckShared(bar, sizeof(*bar), "an mbarrier", site);
  const MbarrierState state = Read(*bar);
  if (state.expected == 0 || state.expected > 1024) Fail("an mbarrier is used that was not initialised", site);
  return state;
}

void Arrive(Mbarrier* bar, uint32_t bytes, Site site) {
  const Unwatched unwatched;
  Release(bar);
  MbarrierState state = Checked(bar, site);
  if (state.missing == 0) Fail("more arrivals at an mbarrier than its phase expects", site);
  state.bytes += static_cast<int32_t>(bytes);
  --state.missing;
  EndPhaseIfDone(state);
  Write(*bar, state);
  Current().owner->MbarrierChanged(bar);
}

}  // namespace

MbarrierState Read(const Mbarrier& bar) {
  MbarrierState state;
  std::memcpy(&state, &bar.state, sizeof(state));
  return state;
}

bool PhaseEnded(const Mbarrier& bar, int parity) { return Read(bar).phase != (parity & 1); }

void CompleteBytes(Mbarrier& bar, int64_t bytes) {
  MbarrierState state = Read(bar);
  state.bytes -= static_cast<int32_t>(bytes);
  EndPhaseIfDone(state);
  Write(bar, state);
}

void MbarrierInit(Mbarrier* bar, int count, Site site) {
  const Unwatched unwatched;
  CheckShared(bar, sizeof(*bar), "an mbarrier", site);
  if (count < 1 || count > 1024) Fail("an mbarrier expects 1 to 1,024 arrivals", site);
  MbarrierState state = {};
  state.expected = static_cast<uint16_t>(count);
  state.missing = static_cast<uint16_t>(count) & 0x7fff;
  Write(*bar, state);
}

void MbarrierInvalidate(Mbarrier* bar, Site site) {
  const Unwatched unwatched;
  Checked(bar, site);
  std::memset(&bar->state, 0xff, sizeof(bar->state));
}

void MbarrierArrive(Mbarrier* bar, Site site) { Arrive(bar, 0, site); }
void MbarrierArriveExpectTx(Mbarrier* bar, uint32_t bytes, Site site) { Arrive(bar, bytes, site); }

void MbarrierWait(Mbarrier* bar, int parity, Site site) {
  const Unwatched unwatched;
  Checked(bar, site);
  Current().owner->MbarrierWait(bar, parity, site);
}

}  // namespace precis::kernels::simt
