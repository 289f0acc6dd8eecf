#include "kernels/simt/tma.h"

#include <cstring>

#include "kernels/cuda/platform/tensor_map.h"
#include "kernels/simt/block.h"
#include "kernels/simt/race.h"
#include "kernels/simt/simt_ptx.h"

namespace precis::kernels::simt {
namespace {

TensorRecord RecordOf(const TensorMap& map) {
  TensorRecord record;
  std::memcpy(&record, &map, sizeof(record));
  return record;
}

int64_t SwizzleSpan(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::k128: return 128;
    case Swizzle::k64: return 64;
    case Swizzle::k32: return 32;
    case Swizzle::kNone: break;
  }
  return int64_t{1} << 30;
}

// The element's address, or null outside the tensor.
const char* ElementAt(const TensorCopy& copy, const int64_t (&at)[5]) {
  const char* address = copy.record.base;
  for (int i = 0; i < copy.record.rank; ++i) {
    const int64_t index = copy.coordinates[i] + at[i];
    if (index < 0 || index >= static_cast<int64_t>(copy.record.dims[i])) return nullptr;
    address += index * static_cast<int64_t>(copy.record.strides[i]);
  }
  return address;
}

}  // namespace

void CopyBox(const TensorCopy& copy, char* arena) {
  const TensorRecord& record = copy.record;
  const int64_t begin = copy.to - arena;
  int64_t at[5] = {};
  for (int64_t offset = 0; offset < record.BoxBytes(); offset += record.element_bytes) {
    char* to = arena + SwizzleOffset(begin + offset, record.swizzle);
    const char* from = ElementAt(copy, at);
    if (from != nullptr) {
      std::memcpy(to, from, record.element_bytes);
    } else {
      std::memset(to, 0, record.element_bytes);
    }
    for (int i = 0; i < record.rank && ++at[i] == static_cast<int64_t>(record.box[i]); ++i) at[i] = 0;
  }
}

void StoreBox(const TensorCopy& copy, const char* arena, const char* async_view) {
  const TensorRecord& record = copy.record;
  const int64_t begin = copy.to - arena;
  int64_t at[5] = {};
  for (int64_t offset = 0; offset < record.BoxBytes(); offset += record.element_bytes) {
    char* to = const_cast<char*>(ElementAt(copy, at));
    if (to != nullptr) std::memcpy(to, async_view + SwizzleOffset(begin + offset, record.swizzle), record.element_bytes);
    for (int i = 0; i < record.rank && ++at[i] == static_cast<int64_t>(record.box[i]); ++i) at[i] = 0;
  }
}

namespace {

// Where Hopper stops with "illegal instruction" (seen on H100 and H200; tests/gpu/instructions compares what is allowed).
void CheckCoordinates(const TensorCopy& copy, bool store) {
  if (copy.coordinates[0] * copy.record.element_bytes % 16 != 0) Fail("a tensor copy's first coordinate must be a multiple of 16 bytes", copy.site);
  for (int i = 0; store && i < copy.record.rank; ++i) {
    if (copy.coordinates[i] < 0) Fail("a tensor store begins before the tensor", copy.site);
  }
}

TensorCopy CheckedCopy(const void* shared, const TensorMap* map, Mbarrier* bar, int rank, const int (&coordinates)[5], Site site) {
  TensorCopy copy;
  copy.record = RecordOf(*map);
  copy.site = site;
  if (copy.record.rank != rank) Fail("a tensor copy of another rank than its map", site);
  copy.to = const_cast<char*>(static_cast<const char*>(shared));
  copy.bar = bar;
  std::memcpy(copy.coordinates, coordinates, sizeof(coordinates));
  CheckShared(shared, static_cast<size_t>(copy.record.BoxBytes()), "a tensor copy", site);
  CheckCoordinates(copy, bar == nullptr);
  if ((copy.to - Current().shared) % 128 != 0) Fail("a tensor copy's shared address must be a multiple of 128", site);
  return copy;
}

}  // namespace

void TmaLoad(void* shared, const TensorMap* map, Mbarrier* bar, int rank, const int (&coordinates)[5], Site site) {
  SharedArena& arena = Current().owner->arena();
  TensorCopy copy;
  {
    const Unwatched unwatched;
    copy = CheckedCopy(shared, map, bar, rank, coordinates, site);
    CheckShared(bar, sizeof(*bar), "a tensor copy's mbarrier", site);
    std::memset(arena.async_view() + (copy.to - arena.data()), 0xff, static_cast<size_t>(copy.record.BoxBytes()));
  }
  std::memset(shared, 0xff, static_cast<size_t>(copy.record.BoxBytes()));  // to the thread sanitizer, the copy's write
  Release(bar);
  const Unwatched unwatched;
  Current().owner->AddTensorCopy(copy);
}

void TmaStore(const TensorMap* map, const void* shared, int rank, const int (&coordinates)[5], Site site) {
  const Unwatched unwatched;
  Current().fiber->open_stores.push_back(CheckedCopy(shared, map, nullptr, rank, coordinates, site));
}

void TmaStoreCommit() {
  const Unwatched unwatched;
  Fiber& fiber = *Current().fiber;
  fiber.store_groups.push_back(std::move(fiber.open_stores));
  fiber.open_stores.clear();
}

void TmaStoreWaitGroups(int pending) {
  const Unwatched unwatched;
  Current().owner->LandStores(static_cast<size_t>(pending));
}

void FenceProxyAsync() {
  const Unwatched unwatched;
  Current().owner->arena().Publish();
}

bool MakeTensorMap(const TensorMapSpec& spec, TensorMap* map) {
  if (spec.rank < 1 || spec.rank > 5 || reinterpret_cast<uintptr_t>(spec.base) % 16 != 0) return false;
  if (static_cast<int64_t>(spec.box[0]) * spec.element_bytes > SwizzleSpan(spec.swizzle)) return false;
  TensorRecord record = {};
  record.base = static_cast<char*>(spec.base);
  record.rank = static_cast<uint8_t>(spec.rank);
  record.element_bytes = static_cast<uint8_t>(spec.element_bytes);
  record.swizzle = spec.swizzle;
  for (int i = 0; i < spec.rank; ++i) {
    if (spec.dims[i] == 0 || spec.dims[i] > (uint64_t{1} << 32) - 1 || spec.box[i] == 0 || spec.box[i] > 256) return false;
    if (i > 0 && spec.strides[i] % 16 != 0) return false;
    record.dims[i] = static_cast<uint32_t>(spec.dims[i]);
    record.box[i] = spec.box[i];
    record.strides[i] = i == 0 ? static_cast<uint64_t>(spec.element_bytes) : spec.strides[i];
  }
  *map = TensorMap();
  std::memcpy(map, &record, sizeof(record));
  return true;
}

}  // namespace precis::kernels::simt
