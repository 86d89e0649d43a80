#include "program.hpp"

#include <string>

#include "pack.hpp"

namespace tongwen {
namespace {

bool has_avx512() {
#if defined(TW_X86)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("gfni");
#else
  return false;
#endif
}

const Kernels& choose(const std::string& most) {
#if defined(TW_X86)
  if (most == "avx512" && has_avx512()) return kernels_avx512();
#endif
  return kernels_portable();
}

}  // namespace

Machine::Machine(const char* most, int threads) : kernels_(choose(most)), pool_(threads) {}

void Machine::step(const Operation& operation, Team& team) const {
  struct {
    const Kernels& kernels;
    Team& team;
    void operator()(const Embed& op) { kernels.embed(op, team); }
    void operator()(const Norm& op) { kernels.norm(op, team); }
    void operator()(const Linear& op) { kernels.linear(op, team); }
    void operator()(const Add& op) { kernels.add(op, team); }
    void operator()(const SwiGLU& op) { kernels.swiglu(op, team); }
    void operator()(const Rope& op) { kernels.rope(op, team); }
    void operator()(const Attention& op) { kernels.attention(op, team); }
  } call{kernels_, team};
  std::visit(call, operation);
}

void Machine::make_room(const Operation& operation) {
  if (const Linear* linear = std::get_if<Linear>(&operation)) pool_.reserve(linear->rows, linear->columns);
}

void Machine::perform(const Operation& operation) {
  std::lock_guard<std::mutex> lock(busy_);
  if (recording_) recorded_.operations.push_back(operation);
  make_room(operation);
  pool_.run([&](Team& team) { step(operation, team); });
}

void Machine::replay(const Program& program) {
  std::lock_guard<std::mutex> lock(busy_);
  for (const Operation& operation : program.operations) make_room(operation);
  pool_.run([&](Team& team) {
    for (const Operation& operation : program.operations) {
      step(operation, team);
      team.wait();
    }
  });
}

void Machine::pack(Format format, const uint8_t* source, int rows, int columns, uint8_t* panels) {
  std::lock_guard<std::mutex> lock(busy_);
  const size_t bytes = layout_of(format).panel_bytes(columns);
  const int count = (rows + kPanelRows - 1) / kPanelRows;
  pool_.run([&](Team& team) {
    for (int panel; (panel = team.take()) < count;) pack_panel(format, source, rows, columns, panel * kPanelRows, panels + panel * bytes);
  });
}

}  // namespace tongwen
