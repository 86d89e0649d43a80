#include "pool.hpp"

#include <cstdio>
#include <cstdlib>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define TW_PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define TW_PAUSE() asm volatile("isb")  // `yield` takes no time on most of them
#else
#define TW_PAUSE() ((void)0)
#endif

namespace tongwen {
namespace {

constexpr int kSpins = 2000;
constexpr int kYields = 400;
constexpr size_t kPage = 2 << 20;

// Spins, then yields, until `done`; false when patience is over.
template <class Done>
bool wait_a_while(Done done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    TW_PAUSE();
  }
  for (int i = 0; i < kYields; ++i) {
    if (done()) return true;
    std::this_thread::yield();
  }
  return false;
}

long process() {
#if defined(__unix__) || defined(__APPLE__)
  return getpid();
#else
  return 0;  // no fork there
#endif
}

size_t rounded_up(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Whole processors of the cgroup's quota (`cpu.max`: quota and period); 0: no limit.
int cgroup_limit() {
  std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file) return 0;
  long quota = 0, period = 0;
  const int found = std::fscanf(file, "%ld %ld", &quota, &period);  // "max" does not scan
  std::fclose(file);
  return found == 2 && quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
}

int processors() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int usable_threads() {
  if (const char* asked = std::getenv("OMP_NUM_THREADS"))
    if (const int threads = std::atoi(asked); threads > 0) return threads;
  int threads = processors();
  if (const int limit = cgroup_limit(); limit && limit < threads) threads = limit;
  return threads > 0 ? threads : 1;
}

uint8_t* allocate_pages(size_t bytes) {
  bytes = rounded_up(bytes);
  void* pages = std::aligned_alloc(kPage, bytes);
  if (!pages) throw std::bad_alloc();
#if defined(__linux__)
  madvise(pages, bytes, MADV_HUGEPAGE);
#endif
  return static_cast<uint8_t*>(pages);
}

void free_pages(uint8_t* pages, size_t) { std::free(pages); }

int Team::take() { return pool->take(); }
void Team::wait() { pool->wait(); }

Pool::Pool(int threads) : threads_(threads), owner_(process()), scratch_(threads + 1, nullptr) {
  reserve(kTileRows, 1024);
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { serve(thread); });
}

Pool::~Pool() {
  if (process() != owner_) {
    for (std::thread& worker : workers_) worker.detach();  // they live in the parent
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  for (uint8_t* scratch : scratch_) free_pages(scratch, 0);
}

void Pool::reserve(size_t rows, size_t columns) {
  const auto grow = [](uint8_t*& scratch, size_t bytes) {
    uint8_t* larger = allocate_pages(bytes);
    free_pages(scratch, 0);
    scratch = larger;
  };
  const size_t common = scratch_bytes((rows + kTileRows - 1) / kTileRows * kTileRows, columns);
  const size_t alone = scratch_bytes(kTileRows, columns);
  if (common > common_bytes_) {
    grow(scratch_[0], common);
    common_bytes_ = common;
  }
  if (alone <= local_activations_) return;
  const size_t activations = (alone + 63) / 64 * 64;
  // Products and attention never run at once; what products spill takes the place of a pass.
  for (int thread = 0; thread < threads_; ++thread) grow(scratch_[thread + 1], activations + kUnpackedBytes + kAttentionBytes);
  local_activations_ = activations;
}

Team Pool::team(int thread) { return {thread, threads_, scratch_[0], scratch_[thread + 1], local_activations_, this}; }

void Pool::run(const std::function<void(Team&)>& work) {
  Team mine = team(0);
  next_.store(0, std::memory_order_relaxed);
  alone_ = threads_ == 1 || process() != owner_;
  if (alone_) return work(mine);
  work_ = &work;
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst)) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  work(mine);
  wait();
}

void Pool::serve(int thread) {
  int seen = 0;
  for (;;) {
    const auto called = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    if (!wait_a_while(called)) {
      std::unique_lock<std::mutex> lock(mutex_);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, called);
      asleep_.fetch_sub(1, std::memory_order_seq_cst);
    }
    ++seen;
    if (stopping_) return;
    Team mine = team(thread);
    (*work_)(mine);
    wait();
  }
}

void Pool::wait() {
  if (alone_) {
    next_.store(0, std::memory_order_relaxed);
    return;
  }
  const int phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    return;
  }
  while (!wait_a_while([&] { return phase_.load(std::memory_order_acquire) != phase; })) {
  }
}

}  // namespace tongwen
