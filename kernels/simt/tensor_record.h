#ifndef PRECIS_KERNELS_SIMT_TENSOR_RECORD_H_
#define PRECIS_KERNELS_SIMT_TENSOR_RECORD_H_

#include <cstdint>

#include "kernels/cuda/platform/ptx_types.h"
#include "kernels/simt/context.h"

namespace precis::kernels::simt {

// What a TensorMap holds on the host.
struct TensorRecord {
  char* base;
  uint64_t strides[5];
  uint32_t dims[5];
  uint32_t box[5];
  uint8_t rank;
  uint8_t element_bytes;
  Swizzle swizzle;

  int64_t BoxBytes() const {
    int64_t bytes = element_bytes;
    for (int i = 0; i < rank; ++i) bytes *= box[i];
    return bytes;
  }
};
static_assert(sizeof(TensorRecord) <= sizeof(TensorMap));

// A bulk tensor copy that has been issued and has not landed.
struct TensorCopy {
  TensorRecord record;
  int coordinates[5];
  char* to;          // in shared memory; where a store reads
  Mbarrier* bar;     // null for a store
  Site site;         // of the issue
};

// Where byte `offset` of a tile lies in shared memory: the copy engine and the matrix units permute 16-byte chunks by bits of the address.
inline int64_t SwizzleOffset(int64_t offset, Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::k128: return offset ^ (((offset >> 7) & 7) << 4);
    case Swizzle::k64: return offset ^ (((offset >> 7) & 3) << 4);
    case Swizzle::k32: return offset ^ (((offset >> 7) & 1) << 4);
    case Swizzle::kNone: break;
  }
  return offset;
}

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_TENSOR_RECORD_H_
