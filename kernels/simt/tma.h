#ifndef PRECIS_KERNELS_SIMT_TMA_H_
#define PRECIS_KERNELS_SIMT_TMA_H_

#include "kernels/simt/tensor_record.h"

namespace precis::kernels::simt {

// Moves the box: what lies outside the tensor becomes zero; 16-byte chunks are swizzled by their address from the arena's start.
void CopyBox(const TensorCopy& copy, char* arena);

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_TMA_H_
