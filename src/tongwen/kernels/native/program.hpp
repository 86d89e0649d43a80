// A step of the model as a list of operations: recorded once, replayed by one call.
#pragma once

#include <mutex>
#include <variant>
#include <vector>

#include "ops.hpp"
#include "pool.hpp"

namespace tongwen {

using Operation = std::variant<Embed, Norm, Linear, Dense, Add, SwiGLU, Rope, Attention>;
struct Program {
  std::vector<Operation> operations;
};

// The kernels that this processor runs best, and the threads that run them.
class Machine {
 public:
  // `most` bounds the instruction set: "avx512", "avx2" or "portable".
  Machine(const char* most, int threads);

  const char* isa() const { return kernels_.name; }
  int threads() const { return pool_.threads(); }
  // Performs an operation and, while recording, notes it down.
  void perform(const Operation& operation);
  void replay(const Program& program);
  void pack(Format format, const uint8_t* source, int rows, int columns, uint8_t* panels);

  void record() { recorded_.operations.clear(), recording_ = true; }
  Program recorded() { return recording_ = false, std::move(recorded_); }

 private:
  void step(const Operation& operation, Team& team) const;
  void make_room(const Operation& operation);

  const Kernels& kernels_;
  Pool pool_;
  std::mutex busy_;  // several engines share one pool
  bool recording_ = false;
  Program recorded_;
};

}  // namespace tongwen
