#include "kernels/simt/block.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "kernels/simt/mbarrier_state.h"
#include "kernels/simt/race.h"
#include "kernels/simt/tma.h"

namespace precis::kernels::simt {
namespace {

thread_local Context* current = nullptr;

std::string Triple(const Index3& i) {
  char text[48];
  std::snprintf(text, sizeof(text), "(%u, %u, %u)", i.x, i.y, i.z);
  return text;
}
std::string Place(Site site) {
  const std::string file = site.file_name();
  return file.substr(file.find("kernels/") == std::string::npos ? 0 : file.rfind("kernels/")) + ":" + std::to_string(site.line());
}

}  // namespace

Context& Current() { return *current; }

void Fail(std::string message, Site site) { Current().owner->Fail(std::move(message), site); }
void BarrierSync(int id, int threads, Site site) { Current().owner->BarrierSync(id, threads, site); }
void BarrierArrive(int id, int threads, Site site) { Current().owner->BarrierArrive(id, threads, site); }
void WarpMeet(const char* kind, const void* in, size_t in_bytes, void* out, size_t out_bytes, void (*run)(WarpExchange&), bool orders, Site site) {
  Current().owner->WarpMeet(kind, in, in_bytes, out, out_bytes, run, orders, site);
}

Block::Block(const LaunchConfig& config, std::mt19937_64& random, const std::function<void()>& thread, bool shuffle)
    : thread_(thread), random_(random), shuffle_(shuffle), arena_(config.shared_bytes) {
  const Index3 size = {static_cast<unsigned>(config.block.x), static_cast<unsigned>(config.block.y), static_cast<unsigned>(config.block.z)};
  const Index3 grid = {static_cast<unsigned>(config.grid.x), static_cast<unsigned>(config.grid.y), static_cast<unsigned>(config.grid.z)};
  const unsigned threads = size.x * size.y * size.z;
  warps_.resize((threads + 31) / 32);
  for (unsigned i = 0; i < threads; ++i) {
    auto fiber = std::make_unique<Fiber>();
    Context& c = fiber->context;
    c.thread = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    c.block_size = size;
    c.grid = grid;
    c.shared = arena_.data();
    c.shared_bytes = arena_.bytes();
    c.lane = static_cast<int>(i % 32);
    c.owner = this;
    c.fiber = fiber.get();
    ++warps_[i / 32].lanes;
    fibers_.push_back(std::move(fiber));
  }
}

Block::~Block() = default;

void Block::Enter(void* argument) {
  Fiber* fiber = static_cast<Fiber*>(argument);
  Block* block = fiber->context.owner;
  Acquire(block);
  block->thread_();
  Release(block);
  fiber->done = true;
  fiber->stack.SwitchBack(/*last=*/true);
}

void Block::Start(Index3 index) {
  arena_.Poison();
  ready_.clear();
  tensor_copies_.clear();
  mbarrier_waiters_.clear();
  for (Barrier& barrier : barriers_) barrier = Barrier();
  for (Warp& warp : warps_) {
    warp.arrived = 0;
    warp.waiters.clear();
  }
  for (auto& fiber : fibers_) {
    fiber->done = false;
    fiber->context.block = index;
    fiber->open_copies.clear();
    fiber->copy_groups.clear();
    fiber->open_stores.clear();
    fiber->store_groups.clear();
    fiber->wgmma.Clear();
    fiber->stack.Prepare(&Block::Enter, fiber.get());
    ready_.push_back(fiber.get());
  }
  if (!shuffle_) std::reverse(ready_.begin(), ready_.end());
}

bool Block::Run(Index3 index) {
  Start(index);
  while (!ready_.empty() && report_.empty()) {
    if (shuffle_) std::swap(ready_[random_() % ready_.size()], ready_.back());
    Fiber* fiber = ready_.back();
    ready_.pop_back();
    current = &fiber->context;
    fiber->stack.SwitchTo();
  }
  if (report_.empty()) Finish();
  current = nullptr;
  return report_.empty();
}

// What must hold when no thread can go on.
void Block::Finish() {
  if (!std::all_of(fibers_.begin(), fibers_.end(), [](const auto& fiber) { return fiber->done; })) return ReportDeadlock();
  const std::string where = "simt: block " + Triple(fibers_.front()->context.block) + ": ";
  if (!arena_.Intact()) report_ = where + "shared memory was written outside its bounds (" + std::to_string(arena_.bytes()) + " bytes)";
  if (!tensor_copies_.empty()) report_ = where + "the block ended with " + std::to_string(tensor_copies_.size()) + " tensor copies that nobody waited for";
  for (const auto& fiber : fibers_) {
    if (!fiber->open_stores.empty() || !fiber->store_groups.empty()) report_ = where + "thread " + Triple(fiber->context.thread) + " ended with bulk stores that it did not wait for";
    if (!fiber->wgmma.open.empty() || !fiber->wgmma.groups.empty()) report_ = where + "thread " + Triple(fiber->context.thread) + " ended with products that it did not wait for";
  }
}

std::string Block::Where(const Fiber& fiber) const {
  return "block " + Triple(fiber.context.block) + " thread " + Triple(fiber.context.thread);
}

void Block::ReportDeadlock() {
  std::map<std::string, std::pair<int, std::string>> reasons;  // how many, and the first one
  for (const auto& fiber : fibers_) {
    std::string reason = "have ended";
    if (!fiber->done) reason = std::string("wait for ") + fiber->waits_for + " " + std::to_string(fiber->wait_detail) + " at " + Place(fiber->wait_site);
    auto& [count, first] = reasons[reason];
    if (count++ == 0) first = Triple(fiber->context.thread);
  }
  report_ = "simt: deadlock in block " + Triple(fibers_.front()->context.block) + ":";
  for (const auto& [reason, who] : reasons) report_ += "\n  " + std::to_string(who.first) + " threads (first: " + who.second + ") " + reason;
}

void Block::Fail(std::string message, Site site) {
  {
    const std::string text = std::move(message);  // nothing may be left on a stack that is given up
    report_ = "simt: " + text + "\n  at " + Place(site) + ", " + Where(Running());
  }
  Running().stack.SwitchBack(/*last=*/false);
  std::abort();
}

void Block::Wait(const char* reason, int detail, Site site) {
  Fiber& fiber = Running();
  fiber.waits_for = reason;
  fiber.wait_detail = detail;
  fiber.wait_site = site;
  fiber.stack.SwitchBack(/*last=*/false);
}

void Block::Wake(std::vector<Fiber*>& waiters) {
  ready_.insert(ready_.end(), waiters.begin(), waiters.end());
  waiters.clear();
}

void Block::Count(Barrier& barrier, int id, int threads, Site site) {
  if (threads <= 0 || threads % 32 != 0 || threads > static_cast<int>((fibers_.size() + 31) / 32 * 32)) {
    if (id != 0 || threads != static_cast<int>(fibers_.size())) Fail("a barrier's number of threads must be a multiple of 32 within the block", site);
  }
  if (barrier.arrived == 0) barrier.expected = threads;
  if (barrier.expected != threads) Fail("threads come to one barrier with different numbers of threads", site);
  ++barrier.arrived;
}

void Block::BarrierSync(int id, int threads, Site site) {
  const Unwatched unwatched;
  if (id < 0 || id >= static_cast<int>(barriers_.size())) Fail("barriers are numbered 0 to 15", site);
  Barrier& barrier = barriers_[static_cast<size_t>(id)];
  Count(barrier, id, threads, site);
  char* order = &barrier.order[barrier.round % 2];
  Release(order);
  if (barrier.arrived == barrier.expected) {
    barrier.arrived = 0;
    ++barrier.round;
    Wake(barrier.waiters);
    Acquire(order);
    if (!shuffle_) return;
    // Nobody has a right to go first.
    ready_.push_back(&Running());
    Wait("its turn after barrier", id, site);
    return;
  }
  barrier.waiters.push_back(&Running());
  Wait("barrier", id, site);
  Acquire(order);
}

void Block::BarrierArrive(int id, int threads, Site site) {
  const Unwatched unwatched;
  if (id < 0 || id >= static_cast<int>(barriers_.size())) Fail("barriers are numbered 0 to 15", site);
  Barrier& barrier = barriers_[static_cast<size_t>(id)];
  Count(barrier, id, threads, site);
  Release(&barrier.order[barrier.round % 2]);
  if (barrier.arrived < barrier.expected) return;
  barrier.arrived = 0;
  ++barrier.round;
  Wake(barrier.waiters);
}

void Block::WarpMeet(const char* kind, const void* in, size_t in_bytes, void* out, size_t out_bytes, void (*run)(WarpExchange&), bool orders, Site site) {
  const Unwatched unwatched;
  const Context& c = Current();
  const unsigned thread = c.thread.x + c.block_size.x * (c.thread.y + c.block_size.y * c.thread.z);
  Warp& warp = warps_[thread / 32];
  if (warp.arrived == 0) {
    warp.kind = kind;
    warp.site = site;
  } else if (std::strcmp(warp.kind, kind) != 0 || warp.site.line() != site.line() || std::strcmp(warp.site.file_name(), site.file_name()) != 0) {
    Fail(std::string("divergent warp: a lane is at ") + kind + ", others at " + warp.kind + " (" + Place(warp.site) + ")", site);
  }
  if (in_bytes > 0) std::memcpy(warp.exchange.in[c.lane], in, in_bytes);
  char* order = &warp.order[warp.round % 2];
  if (orders) Release(order);
  if (++warp.arrived < warp.lanes) {
    warp.waiters.push_back(&Running());
    Wait(kind, static_cast<int>(thread / 32), site);
  } else {
    warp.arrived = 0;
    ++warp.round;
    if (run != nullptr) run(warp.exchange);
    Wake(warp.waiters);
  }
  if (orders) Acquire(order);
  if (out_bytes > 0) std::memcpy(out, warp.exchange.out[Current().lane], out_bytes);
}

void Block::MbarrierWait(Mbarrier* bar, int parity, Site site) {
  while (!PhaseEnded(*bar, parity)) {
    Land(bar);
    if (PhaseEnded(*bar, parity)) break;
    mbarrier_waiters_[bar].push_back(&Running());
    Wait("mbarrier at shared byte", static_cast<int>(reinterpret_cast<char*>(bar) - arena_.data()), site);
  }
  Acquire(bar);
}

void Block::MbarrierChanged(Mbarrier* bar) {
  const auto waiters = mbarrier_waiters_.find(bar);
  if (waiters != mbarrier_waiters_.end()) Wake(waiters->second);
}

void Block::AddTensorCopy(const TensorCopy& copy) {
  tensor_copies_.push_back(copy);
  const auto waiters = mbarrier_waiters_.find(copy.bar);
  if (waiters != mbarrier_waiters_.end() && !waiters->second.empty()) Land(copy.bar);
}

// Copies land when somebody waits for them, not before.
void Block::Land(Mbarrier* bar) {
  const auto first = std::stable_partition(tensor_copies_.begin(), tensor_copies_.end(), [&](const TensorCopy& copy) { return copy.bar != bar; });
  const std::vector<TensorCopy> landing(first, tensor_copies_.end());
  tensor_copies_.erase(first, tensor_copies_.end());
  bool touched = false;
  Site site;
  for (const TensorCopy& copy : landing) {
    if (!arena_.Poisoned(copy.to, copy.record.BoxBytes())) {
      touched = true;
      site = copy.site;
    }
    CopyBox(copy, arena_.data());
    std::memcpy(arena_.async_view() + (copy.to - arena_.data()), copy.to, static_cast<size_t>(copy.record.BoxBytes()));
    CompleteBytes(*bar, copy.record.BoxBytes());
  }
  if (touched) Touched("tensor copy", site);
  if (!landing.empty()) MbarrierChanged(bar);
}

void Block::Touched(const char* what, Site site) { Fail(std::string("the target of a ") + what + " was written while the copy was under way", site); }

void Block::LandStores(size_t pending) {
  auto& groups = Running().store_groups;
  for (; groups.size() > pending; groups.pop_front()) {
    for (const TensorCopy& copy : groups.front()) StoreBox(copy, arena_.data(), arena_.async_view());
  }
}

}  // namespace precis::kernels::simt
