// One team of threads for all kernels.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "ops.hpp"

namespace tongwen {

// Threads that wait for work: they spin briefly, then yield, then sleep.
class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }
  // Runs `work` on every thread, the caller's among them, and returns when all are done.
  void run(const std::function<void(Team&)>& work);
  // Makes sure that activations of `rows` x `columns` fit the scratch.
  void reserve(size_t rows, size_t columns);

  void wait();             // barrier within `run`
  int take() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void serve(int thread);
  Team team(int thread);
  void part(int thread);  // from threads before it that run on the same processor

  // How many threads the next run gets: fewer while another process wants their processors.
  class Crew {
   public:
    explicit Crew(int most) : most_(most), size_(most) {}
    int size();
    // What a run took, and how long its threads together waited for each other.
    void learn(int64_t taken_ns, int64_t waited_ns);

   private:
    int most_, size_;
    int strikes_ = 0, runs_left_ = 0, pause_ = kShortest;
    static constexpr int kShortest = 32, kLongest = 1024;  // runs with one thread less
  };

  int threads_;
  Crew crew_;
  int working_;            // threads of the present run
  long owner_;             // the process whose workers these are: a fork's child has none
  bool alone_ = false;     // nobody helps with this run
  std::vector<std::atomic<int>> places_;  // processors that threads were last seen on
  std::atomic<bool> parted_{false};       // in this run
  std::vector<std::thread> workers_;
  const std::function<void(Team&)>* work_ = nullptr;
  bool stopping_ = false;

  alignas(64) std::atomic<uint64_t> generation_{0};  // of runs, and how many threads this one has
  alignas(64) std::atomic<int64_t> waited_ns_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> phase_{0};
  alignas(64) std::atomic<int> next_{0};
  alignas(64) std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable wake_;

  size_t common_bytes_ = 0, local_activations_ = 0;
  std::vector<uint8_t*> scratch_;  // common first, then one for each thread
};

// Threads this process may use: OMP_NUM_THREADS, else its processors, less where a cgroup says so.
int usable_threads();

// Memory aligned to a page, in large pages where the system has them.
uint8_t* allocate_pages(size_t bytes);
void free_pages(uint8_t* pages, size_t bytes);

}  // namespace tongwen
