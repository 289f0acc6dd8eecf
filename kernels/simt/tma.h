#ifndef PRECIS_KERNELS_SIMT_TMA_H_
#define PRECIS_KERNELS_SIMT_TMA_H_

#include "kernels/simt/tensor_record.h"

namespace precis::kernels::simt {

// Moves the box: what lies outside the tensor becomes zero; 16-byte chunks are swizzled by their address from the arena's start.
void CopyBox(const TensorCopy& copy, char* arena);
// The other way, from what the asynchronous proxy sees; nothing is written outside the tensor.
void StoreBox(const TensorCopy& copy, const char* arena, const char* async_view);

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_TMA_H_
