#ifndef PRECIS_RUNTIME_MEMORY_KV_ARENA_H_
#define PRECIS_RUNTIME_MEMORY_KV_ARENA_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace precis::runtime {

// The address space of one checkpoint's KV pages. Reserves `pages` pages without memory behind them; the kernel supplies
// memory when a page is first written, and takes it back at Discard. Not thread-safe.
class KvArena {
 public:
  // `huge_pages`: let the kernel use huge pages. Only where the whole arena may become resident, since memory then comes in 2 MiB pieces.
  static absl::StatusOr<std::unique_ptr<KvArena>> Create(int64_t pages, int64_t page_bytes, bool huge_pages);
  ~KvArena();
  KvArena(const KvArena&) = delete;
  KvArena& operator=(const KvArena&) = delete;

  char* base() const { return base_; }
  int64_t pages() const { return pages_; }

  // Gives the memory of a page back; its content is lost. Operating-system pages that it shares with a neighbour stay.
  void Discard(int64_t page);

  // Bytes that have memory behind them now (asks the kernel; for tests and diagnosis).
  int64_t ResidentBytes() const;

 private:
  KvArena(char* base, int64_t pages, int64_t page_bytes, int64_t bytes)
      : base_(base), pages_(pages), page_bytes_(page_bytes), bytes_(bytes) {}

  char* const base_;
  const int64_t pages_;
  const int64_t page_bytes_;
  const int64_t bytes_;  // mapped
};

}  // namespace precis::runtime

#endif  // PRECIS_RUNTIME_MEMORY_KV_ARENA_H_
