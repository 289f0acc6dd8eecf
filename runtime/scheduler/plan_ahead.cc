// Scheduler::PlanAhead: the next step's rows before those of the last one are completed.
#include <algorithm>

#include "runtime/scheduler/scheduler.h"

namespace precis::runtime {

using kernels::kPageTokens;

bool Scheduler::MayRunAhead(absl::Span<const PlannedRow> rows, absl::Time now) const {
  if (waiting_.size() > 0 || rows.size() != running_.size()) return false;
  return std::all_of(rows.begin(), rows.end(), [now](const PlannedRow& row) {
    const Sequence& sequence = *row.sequence;
    return row.sample && sequence.spec.beams == 1 && sequence.cancelled > now && sequence.spec.deadline > now;
  });
}

std::vector<PlannedRow> Scheduler::PlanAhead(absl::Span<const PlannedRow> rows, absl::Time now, std::vector<int>* after) {
  std::vector<PlannedRow> next;
  after->clear();
  if (!MayRunAhead(rows, now)) return next;
  for (size_t i = 0; i < rows.size(); ++i) {
    Sequence* const sequence = rows[i].sequence;
    if (static_cast<int>(sequence->generated.size()) + 1 >= sequence->spec.max_new_tokens) continue;
    const int position = rows[i].position + rows[i].count;
    if (position / kPageTokens == static_cast<int>(sequence->pages.size())) {
      AccountPages(sequence, now);
      if (!cache_.Grow(sequence->spec.pool, 1, &sequence->pages)) {
        after->clear();
        return {};  // pages that others got are theirs for the next plan
      }
      sequence->held_pages = static_cast<int64_t>(sequence->pages.size());  // no beams
      sequence->peak_pages = std::max(sequence->peak_pages, sequence->held_pages);
    }
    next.push_back({sequence, 0, position, 1, /*replay=*/false, /*sample=*/true});
    after->push_back(static_cast<int>(i));
  }
  return next;
}

}  // namespace precis::runtime
