#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/simt/block.h"

namespace precis::kernels::simt {
namespace {

constexpr std::align_val_t kAlignment{1024};
constexpr char kPoison = static_cast<char>(0xff);  // NaN in bf16 and f32

#if defined(__SANITIZE_ADDRESS__)
constexpr int kCanary = 0;  // the sanitizer's red zones follow at once
#else
constexpr int kCanary = 1024;
#endif
constexpr char kCanaryByte = 0x5a;

}  // namespace

SharedArena::SharedArena(int bytes)
    : bytes_(bytes), data_(static_cast<char*>(::operator new(static_cast<size_t>(bytes) + 2 * kCanary, kAlignment)) + kCanary),
      async_view_(static_cast<size_t>(bytes)) {
  std::memset(data_ - kCanary, kCanaryByte, kCanary);
  std::memset(data_ + bytes_, kCanaryByte, kCanary);
}

SharedArena::~SharedArena() { ::operator delete(data_ - kCanary, kAlignment); }

void SharedArena::Poison() {
  std::memset(data_, kPoison, static_cast<size_t>(bytes_));
  std::fill(async_view_.begin(), async_view_.end(), kPoison);
}

void SharedArena::Publish() { std::copy(data_, data_ + bytes_, async_view_.begin()); }

bool SharedArena::Poisoned(const char* from, int64_t bytes) const {
  return std::all_of(from, from + bytes, [](char c) { return c == kPoison; });
}

bool SharedArena::Intact() const {
  const auto intact = [](const char* from) { return std::all_of(from, from + kCanary, [](char c) { return c == kCanaryByte; }); };
  return intact(data_ - kCanary) && intact(data_ + bytes_);
}

}  // namespace precis::kernels::simt
