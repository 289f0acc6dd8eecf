#include <cstring>
#include <new>

#include "kernels/simt/block.h"

namespace precis::kernels::simt {
namespace {

constexpr std::align_val_t kAlignment{1024};
constexpr char kPoison = static_cast<char>(0xff);  // NaN in bf16 and f32

#if defined(__SANITIZE_ADDRESS__)
constexpr int kCanary = 0;  // the sanitizer's red zone follows at once
#else
constexpr int kCanary = 256;
#endif
constexpr char kCanaryByte = 0x5a;

}  // namespace

SharedArena::SharedArena(int bytes) : bytes_(bytes), data_(static_cast<char*>(::operator new(static_cast<size_t>(bytes) + kCanary, kAlignment))) {
  std::memset(data_ + bytes_, kCanaryByte, kCanary);
}

SharedArena::~SharedArena() { ::operator delete(data_, kAlignment); }

void SharedArena::Poison() { std::memset(data_, kPoison, static_cast<size_t>(bytes_)); }

bool SharedArena::Intact() const {
  for (int i = 0; i < kCanary; ++i) {
    if (data_[bytes_ + i] != kCanaryByte) return false;
  }
  return true;
}

}  // namespace precis::kernels::simt
