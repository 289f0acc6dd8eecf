#ifndef PRECIS_KERNELS_CPU_PACK_PANELS_H_
#define PRECIS_KERNELS_CPU_PACK_PANELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/ops.h"

namespace precis::kernels {

// Packs the panel of outputs [first_output, first_output + layout.panel_width) of `source` into `panel`: [depth / unit][panel_width][unit] elements of
// `dtype`; outputs and inputs past the end become 0. int8: writes the outputs' scales to scales[0 .. panel_width).
void PackPanel(const WeightSource& source, DType dtype, const PanelLayout& layout, int64_t depth,
               int64_t first_output, char* panel, float* scales);

// The reverse, for one output: weights [0, in) as float.
void UnpackOutput(const char* panel, DType dtype, const PanelLayout& layout, int64_t in, int column, float scale,
                  float* row);

}  // namespace precis::kernels

#endif  // PRECIS_KERNELS_CPU_PACK_PANELS_H_
