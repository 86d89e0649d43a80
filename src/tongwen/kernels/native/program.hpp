// A step of the model as a list of operations: recorded once, replayed by one call.
#pragma once

#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "ops.hpp"
#include "pool.hpp"
#include "sampling.hpp"

namespace tongwen {

using Operation = std::variant<Embed, Norm, Linear, Dense, Add, AddGated, Route, Experts, SwiGLU, MLP, Rope, Attention>;
struct Program {
  std::vector<Operation> operations;
};

// The kernels that this processor runs best, and the threads that run them.
class Machine {
 public:
  // `most` bounds the instruction set: "avx512", "avx2", "neon" or "portable".
  Machine(const char* most, int threads);

  const char* isa() const { return kernels_.name; }
  int threads() const { return pool_.threads(); }
  // Performs an operation and, while recording, notes it down.
  void perform(const Operation& operation);
  void replay(const Program& program);
  // Chooses a token for each of `rows` rows of logits, `stride` apart; rows are independent.
  void sample(float* logits, int64_t stride, int rows, int vocabulary, int num_tokens, const SampleRow* specs, Sampled* chosen);
  void logsumexp(const float* logits, int64_t stride, int rows, int vocabulary, double* out);
  double peak_int8_ops();  // see `probe.hpp`
  // Natural-log probability of each row's target; NaN where its logits are not finite.
  void score(Linear head, const int64_t* targets, float* out);
  void pack(Format format, Format stored, const uint8_t* source, int rows, int columns, uint8_t* panels);

  // What this thread performs from now on is noted down; others go on unnoted.
  void record();
  Program recorded();

 private:
  void step(const Operation& operation, Team& team) const;
  void make_room(const Operation& operation);

  const Kernels& kernels_;
  Pool pool_;
  std::mutex busy_;  // several engines share one pool
  std::thread::id recorder_;  // the thread that records, if one does
  Program recorded_;
};

}  // namespace tongwen
