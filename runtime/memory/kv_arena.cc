#include "runtime/memory/kv_arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"

namespace precis::runtime {
namespace {

int64_t OsPageBytes() {
  static const int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

absl::StatusOr<std::unique_ptr<KvArena>> KvArena::Create(int64_t pages, int64_t page_bytes, bool huge_pages) {
  if (pages < 1 || page_bytes < 1 || pages > std::numeric_limits<int64_t>::max() / 2 / page_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("A KV arena of ", pages, " pages of ", page_bytes, " bytes is not possible."));
  }
  const int64_t bytes = RoundUp(pages * page_bytes, OsPageBytes());
  void* base =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("Can't reserve ", bytes, " bytes of address space for the KV cache: ", strerror(errno),
                     ". Give a smaller --kv-cache-bytes, or raise the limit on virtual memory (ulimit -v)."));
  }
  madvise(base, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // a hint: failure changes nothing
  return std::unique_ptr<KvArena>(new KvArena(static_cast<char*>(base), pages, page_bytes, bytes));
}

KvArena::~KvArena() { munmap(base_, bytes_); }

void KvArena::Discard(int64_t page) {
  const int64_t begin = RoundUp(page * page_bytes_, OsPageBytes());
  const int64_t end = (page + 1) * page_bytes_ / OsPageBytes() * OsPageBytes();
  if (begin < end) madvise(base_ + begin, end - begin, MADV_DONTNEED);
}

int64_t KvArena::ResidentBytes() const {
  std::vector<unsigned char> resident(bytes_ / OsPageBytes());
  if (mincore(base_, bytes_, resident.data()) != 0) return -1;
  int64_t count = 0;
  for (unsigned char page : resident) count += page & 1;
  return count * OsPageBytes();
}

}  // namespace precis::runtime
