#include "pool.hpp"

#include <chrono>
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

template <class Done>
bool spin(Done done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    TW_PAUSE();
  }
  return false;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Spins, then yields, until `done`; false when patience is over.
template <class Done>
bool wait_a_while(Done done) {
  if (spin(done)) return true;
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

// The processor that this thread runs on; -1 where that is not known.
int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Leaves for a processor for which `is_taken` is false, if this thread may use one.
template <class Taken>
void move_away(Taken is_taken) {
#if defined(__linux__)
  cpu_set_t allowed, free;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  free = allowed;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &allowed) && is_taken(i)) CPU_CLR(i, &free);
  if (CPU_COUNT(&free) == 0 || sched_setaffinity(0, sizeof free, &free) != 0) return;
  sched_setaffinity(0, sizeof allowed, &allowed);  // it stays where it is, and may go where it might
#else
  (void)is_taken;
#endif
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

int Pool::Crew::size() {
  if (size_ < most_ && --runs_left_ <= 0) {  // perhaps the processor is free again
    ++size_;
    runs_left_ = pause_;
  }
  return size_;
}

void Pool::Crew::learn(int64_t taken_ns, int64_t waited_ns) {
  constexpr int64_t kShort = 200'000;  // such a run says nothing
  if (size_ == 1 || taken_ns < kShort) return;
  if (waited_ns / (size_ - 1) * 4 < taken_ns) {
    strikes_ = 0;
    if (size_ == most_ && runs_left_ > 0 && --runs_left_ == 0) pause_ = kShortest;
    return;
  }
  if (++strikes_ < 2) return;
  // A thread without a processor holds up all: the rest are faster alone.
  pause_ = runs_left_ > 0 && pause_ < kLongest ? 2 * pause_ : pause_;
  --size_;
  strikes_ = 0, runs_left_ = pause_;
}

Pool::Pool(int threads) : threads_(threads), crew_(threads), working_(threads), owner_(process()), places_(threads), scratch_(threads + 1, nullptr) {
  reserve(kTileRows, 1024);
  part(0);
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
    generation_.fetch_add(1 << 16, std::memory_order_release);
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
  const size_t common = scratch_bytes(whole_tiles(static_cast<int>(rows)), columns);
  const size_t alone = scratch_bytes(kTileRows, columns);
  if (common > common_bytes_) {
    grow(scratch_[0], common);
    common_bytes_ = common;
  }
  if (alone <= local_activations_) return;
  const size_t activations = (alone + 63) / 64 * 64;
  for (int thread = 0; thread < threads_; ++thread) grow(scratch_[thread + 1], local_bytes(activations));
  local_activations_ = activations;
}

Team Pool::team(int thread) { return {thread, working_, scratch_[0], scratch_[thread + 1], local_activations_, this}; }

// Systems have been seen to leave two threads on one processor for a second while another idles.
void Pool::part(int thread) {
  const int mine = processor();
  const auto is_taken = [&](int one) {
    for (int i = 0; i < thread; ++i)
      if (places_[i].load(std::memory_order_relaxed) == one) return true;
    return false;
  };
  if (mine >= 0 && is_taken(mine)) {
    move_away(is_taken);
    parted_.store(true, std::memory_order_relaxed);
  }
  places_[thread].store(processor(), std::memory_order_relaxed);
}

void Pool::run(const std::function<void(Team&)>& work) {
  working_ = process() == owner_ ? crew_.size() : 1;
  alone_ = working_ == 1;
  if (!alone_) part(0);
  Team mine = team(0);
  next_.store(0, std::memory_order_relaxed);
  if (alone_) return work(mine);
  work_ = &work;
  waited_ns_.store(0, std::memory_order_relaxed);
  const int64_t started_ns = now_ns();
  // One number says that there is a run and for whom: who is not needed may come late, and must
  // not take a later run for this one.
  const uint64_t run = (generation_.load(std::memory_order_relaxed) >> 16) + 1;
  generation_.store(run << 16 | static_cast<uint64_t>(working_), std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst)) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  work(mine);
  wait();
  if (parted_.exchange(false, std::memory_order_relaxed)) return;  // what was waited for will not come again
  crew_.learn(now_ns() - started_ns, waited_ns_.load(std::memory_order_relaxed));
}

void Pool::serve(int thread) {
  uint64_t seen = 0;
  part(thread);
  for (;;) {
    const auto called = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    if (!wait_a_while(called)) {
      std::unique_lock<std::mutex> lock(mutex_);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, called);
      asleep_.fetch_sub(1, std::memory_order_seq_cst);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_) return;
    if (thread >= static_cast<int>(seen & 0xffff)) continue;
    part(thread);
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
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == working_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    return;
  }
  const auto moved_on = [&] { return phase_.load(std::memory_order_acquire) != phase; };
  if (spin(moved_on)) return;
  const int64_t started_ns = now_ns();
  while (!wait_a_while(moved_on)) {
  }
  waited_ns_.fetch_add(now_ns() - started_ns, std::memory_order_relaxed);
}

}  // namespace tongwen
