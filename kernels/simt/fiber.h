#ifndef PRECIS_KERNELS_SIMT_FIBER_H_
#define PRECIS_KERNELS_SIMT_FIBER_H_

// A stack that can be switched to and away from, on one host thread. Tells the address sanitizer of every switch.

#include <cstddef>

namespace precis::kernels::simt {

class Stack {
 public:
  Stack();   // ends the process if the system has no memory
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  // Sets the stack up so that the first SwitchTo calls entry(argument), which must never return.
  void Prepare(void (*entry)(void*), void* argument);

  // The host thread's own stack switches to this one, until it calls SwitchBack.
  void SwitchTo();
  // Called on this stack. `last`: nobody will switch to it again before the next Prepare.
  void SwitchBack(bool last);

 private:
  static void Start();

  char* base_ = nullptr;  // lowest usable byte
  void* pointer_ = nullptr;
  void* caller_ = nullptr;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  // For the sanitizer.
  [[maybe_unused]] void* caller_fake_ = nullptr;
  [[maybe_unused]] void* own_fake_ = nullptr;
  [[maybe_unused]] const void* caller_base_ = nullptr;
  [[maybe_unused]] size_t caller_size_ = 0;
  [[maybe_unused]] void* thread_ = nullptr;  // to the thread sanitizer
  [[maybe_unused]] void* caller_thread_ = nullptr;
  bool abandoned_ = false;  // left for good in the middle of a call
};

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_FIBER_H_
