#include "kernels/simt/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if !defined(__x86_64__)
#error "kernels/simt/fiber.cc switches stacks in x86-64 assembly; another processor needs its own dozen lines"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define PRECIS_SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PRECIS_SIMT_ASAN 1
#endif
#endif

#ifdef PRECIS_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a call must keep and the stack pointer to *save, and goes on with those of `load`.
extern "C" void precis_simt_switch(void** save, void* load);
asm(R"(
.text
.type precis_simt_switch, @function
precis_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size precis_simt_switch, .-precis_simt_switch
)");

#include "kernels/simt/race.h"

namespace precis::kernels::simt {
namespace {

#if defined(PRECIS_SIMT_ASAN) || defined(PRECIS_SIMT_TSAN)
constexpr size_t kStackBytes = size_t{512} << 10;  // the sanitizer's frames are large
#else
constexpr size_t kStackBytes = size_t{128} << 10;
#endif
constexpr size_t kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;

thread_local Stack* starting = nullptr;

}  // namespace

Stack::Stack() {
  void* memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
    std::perror("simt: no memory for a thread's stack");
    std::abort();
  }
  base_ = static_cast<char*>(memory) + kGuardBytes;
}

Stack::~Stack() {
#ifdef PRECIS_SIMT_TSAN
  if (thread_ != nullptr && !abandoned_) __tsan_destroy_fiber(thread_);
#endif
  munmap(base_ - kGuardBytes, kStackBytes + kGuardBytes);
}

void Stack::Prepare(void (*entry)(void*), void* argument) {
  entry_ = entry;
  argument_ = argument;
  own_fake_ = nullptr;
#ifdef PRECIS_SIMT_ASAN
  __asan_unpoison_memory_region(base_, kStackBytes);
#endif
#ifdef PRECIS_SIMT_TSAN
  if (thread_ == nullptr || abandoned_) thread_ = __tsan_create_fiber(0);
#endif
  abandoned_ = true;  // until it ends
  // As if Start had been called: the return address where the stack is 16-byte aligned, below it what the switch pops.
  void** top = reinterpret_cast<void**>(base_ + kStackBytes) - 1;
  *--top = reinterpret_cast<void*>(&Stack::Start);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  pointer_ = top;
}

void Stack::Start() {
  Stack* self = starting;
#ifdef PRECIS_SIMT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->caller_base_, &self->caller_size_);
#endif
  self->entry_(self->argument_);
  std::abort();
}

void Stack::SwitchTo() {
  starting = this;
#ifdef PRECIS_SIMT_TSAN
  caller_thread_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef PRECIS_SIMT_ASAN
  __sanitizer_start_switch_fiber(&caller_fake_, base_, kStackBytes);
#endif
  precis_simt_switch(&caller_, pointer_);
#ifdef PRECIS_SIMT_ASAN
  __sanitizer_finish_switch_fiber(caller_fake_, nullptr, nullptr);
#endif
}

void Stack::SwitchBack(bool last) {
  if (last) abandoned_ = false;
#ifdef PRECIS_SIMT_TSAN
  __tsan_switch_to_fiber(caller_thread_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef PRECIS_SIMT_ASAN
  __sanitizer_start_switch_fiber(last ? nullptr : &own_fake_, caller_base_, caller_size_);
#endif
  precis_simt_switch(&pointer_, caller_);
#ifdef PRECIS_SIMT_ASAN
  __sanitizer_finish_switch_fiber(own_fake_, &caller_base_, &caller_size_);
#endif
}

}  // namespace precis::kernels::simt
