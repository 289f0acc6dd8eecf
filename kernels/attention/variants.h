#ifndef PRECIS_KERNELS_ATTENTION_VARIANTS_H_
#define PRECIS_KERNELS_ATTENTION_VARIANTS_H_

#include "kernels/attention/variants/flash.h"
#include "kernels/attention/variants/flash_alibi.h"
#include "kernels/attention/variants/standard.h"
#include "kernels/attention/variants/standard_alibi.h"

namespace precis::kernels::variants {

template <class... Variants>
struct List {
  static constexpr int kCount = sizeof...(Variants);
};

// The attention backends: the only place that names them all.
using All = List<Standard, StandardAlibi, Flash, FlashAlibi>;

}  // namespace precis::kernels::variants

#endif  // PRECIS_KERNELS_ATTENTION_VARIANTS_H_
