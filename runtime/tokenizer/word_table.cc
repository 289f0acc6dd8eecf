#include "runtime/tokenizer/word_table.h"

#include <algorithm>
#include <bit>

namespace precis::runtime {

static_assert(std::endian::native == std::endian::little, "MakeSlot masks the bytes after the word");

WordTable::WordTable(size_t count)
    : slots_(std::bit_ceil(std::max<size_t>(2 * count, 2))),
      mask_(slots_.size() - 1),
      shift_(64 - std::countr_zero(slots_.size())) {}

void WordTable::Insert(std::string_view word, int32_t id) {
  Slot slot = MakeSlot(word, 0, word.size());
  slot.id = id;
  size_t i = Hash(slot);
  while (slots_[i].length != 0) i = (i + 1) & mask_;
  slots_[i] = slot;
}

}  // namespace precis::runtime
