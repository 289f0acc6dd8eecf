#ifndef PRECIS_KERNELS_SIMT_RACE_H_
#define PRECIS_KERNELS_SIMT_RACE_H_

// What the thread sanitizer is told. Every CUDA thread is a fiber of its own to it, and fibers are ordered only by what orders them on a device: barriers,
// SyncWarp, mbarriers, atomics. So a race is found in any order of the fibers. Without the sanitizer all of this is nothing.

#if defined(__SANITIZE_THREAD__)
#define PRECIS_SIMT_TSAN 1
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace precis::kernels::simt {

#ifdef PRECIS_SIMT_TSAN
// Everything a thread did so far happens before what others do after Acquire of the same address.
inline void Release(void* address) { __tsan_release(address); }
inline void Acquire(void* address) { __tsan_acquire(address); }

// The emulator's own data are not the kernel's: accesses are not watched.
class Unwatched {
 public:
  Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
};
#else
inline void Release(void*) {}
inline void Acquire(void*) {}
class Unwatched {
 public:
  Unwatched() {}
  ~Unwatched() {}
};
#endif

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_RACE_H_
