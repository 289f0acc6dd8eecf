#ifndef PRECIS_KERNELS_SIMT_BLOCK_H_
#define PRECIS_KERNELS_SIMT_BLOCK_H_

// One thread block under way: its threads as fibers, its barriers, its copies that have not landed yet.

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/platform/launch.h"
#include "kernels/simt/context.h"
#include "kernels/simt/fiber.h"
#include "kernels/simt/tensor_record.h"
#include "kernels/simt/wgmma_queue.h"

namespace precis::kernels::simt {

// cp.async of one thread.
struct PendingCopy {
  void* to;
  const void* from;
  bool valid;
  Site site;
};

struct Fiber {
  Stack stack;
  Context context;
  bool done = false;
  const char* waits_for = "";  // for the deadlock report
  int wait_detail = 0;
  Site wait_site;
  std::vector<PendingCopy> open_copies;
  std::deque<std::vector<PendingCopy>> copy_groups;
  std::vector<TensorCopy> open_stores;
  std::deque<std::vector<TensorCopy>> store_groups;
  WgmmaQueue wgmma;
};

// Shared memory of exactly so many bytes, poisoned with NaN; a write outside is found by the address sanitizer, or else by Intact.
class SharedArena {
 public:
  explicit SharedArena(int bytes);
  ~SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;
  char* data() { return data_; }
  // What the asynchronous proxy (wgmma, bulk stores) sees of it: stores of threads appear here at FenceProxyAsync.
  char* async_view() { return async_view_.data(); }
  void Publish();
  int bytes() const { return bytes_; }
  void Poison();
  // Nobody has written there since the poison.
  bool Poisoned(const char* from, int64_t bytes) const;
  bool Intact() const;

 private:
  const int bytes_;
  char* data_;
  std::vector<char> async_view_;
};

class Block {
 public:
  Block(const LaunchConfig& config, std::mt19937_64& random, const std::function<void()>& thread, bool shuffle);
  ~Block();

  // False if a bug was found; report() says which.
  bool Run(Index3 index);
  const std::string& report() const { return report_; }

  // From the running fiber.
  void BarrierSync(int id, int threads, Site site);
  void BarrierArrive(int id, int threads, Site site);
  void WarpMeet(const char* kind, const void* in, size_t in_bytes, void* out, size_t out_bytes, void (*run)(WarpExchange&), bool orders,
                Site site);
  void MbarrierWait(Mbarrier* bar, int parity, Site site);
  void MbarrierChanged(Mbarrier* bar);  // its phase may have ended: wakes who waits
  void AddTensorCopy(const TensorCopy& copy);
  void LandStores(size_t pending);  // of the running thread, all but so many groups
  [[noreturn]] void Touched(const char* what, Site site);
  [[noreturn]] void Fail(std::string message, Site site);

  char* shared() { return arena_.data(); }
  SharedArena& arena() { return arena_; }
  int shared_bytes() const { return arena_.bytes(); }

 private:
  struct Barrier {
    int expected = 0;
    int arrived = 0;
    unsigned round = 0;
    char order[2] = {};  // addresses that the thread sanitizer orders by
    std::vector<Fiber*> waiters;
  };
  struct Warp {
    int lanes = 0;
    int arrived = 0;
    unsigned round = 0;
    char order[2] = {};
    const char* kind = nullptr;
    Site site;
    std::vector<Fiber*> waiters;
    WarpExchange exchange;
  };

  static void Enter(void* fiber);
  void Start(Index3 index);
  void Finish();
  void Wait(const char* reason, int detail, Site site);
  void Count(Barrier& barrier, int id, int threads, Site site);
  void Wake(std::vector<Fiber*>& waiters);
  void Land(Mbarrier* bar);
  void ReportDeadlock();
  std::string Where(const Fiber& fiber) const;
  Fiber& Running() { return *Current().fiber; }

  const std::function<void()>& thread_;
  std::mt19937_64& random_;
  const bool shuffle_;
  SharedArena arena_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> ready_;
  std::array<Barrier, 16> barriers_;
  std::vector<Warp> warps_;
  std::vector<TensorCopy> tensor_copies_;
  std::unordered_map<Mbarrier*, std::vector<Fiber*>> mbarrier_waiters_;
  std::string report_;
};

}  // namespace precis::kernels::simt

#endif  // PRECIS_KERNELS_SIMT_BLOCK_H_
