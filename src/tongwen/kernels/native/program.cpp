#include "program.hpp"

#include <string>

#if defined(TW_X86)
#include <cpuid.h>
#elif defined(TW_ARM) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(TW_ARM) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "pack.hpp"
#include "probe.hpp"
#include "routing.hpp"

namespace tongwen {
namespace {

#if defined(TW_X86)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("gfni");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }

// Leaf 7, subleaf 1, bit 4 of eax; older compilers have no name for it.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#elif defined(TW_ARM)
#if defined(__APPLE__)
bool has_dot_product() { return true; }  // every Mac with such a processor

bool has_i8mm() {
  int found = 0;
  size_t size = sizeof found;
  return sysctlbyname("hw.optional.arm.FEAT_I8MM", &found, &size, nullptr, 0) == 0 && found;
}
#elif defined(__linux__)
// Bits of Linux's asm/hwcap.h, of which older copies lack the names: ASIMDDP and I8MM.
bool has_dot_product() { return getauxval(AT_HWCAP) >> 20 & 1; }
bool has_i8mm() { return getauxval(AT_HWCAP2) >> 13 & 1; }
#else
bool has_dot_product() { return false; }
bool has_i8mm() { return false; }
#endif
#endif

const Kernels& choose(const std::string& most) {
#if defined(TW_X86)
  __builtin_cpu_init();
  if (most == "avx512" && has_avx512()) return kernels_avx512();
  if ((most == "avx512" || most == "avx2") && has_avx2()) return has_avx_vnni() ? kernels_avx2_vnni() : kernels_avx2();
#elif defined(TW_ARM)
  if (most == "neon" && has_dot_product()) return has_i8mm() ? kernels_neon_i8mm() : kernels_neon();
#endif
  (void)most;
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
    void operator()(const Dense& op) { kernels.dense(op, team); }
    void operator()(const Add& op) { kernels.add(op, team); }
    void operator()(const AddGated& op) { kernels.add_gated(op, team); }
    void operator()(const Route& op) { route(op, team); }
    void operator()(const Experts& op) { kernels.experts(op, team); }
    void operator()(const SwiGLU& op) { kernels.swiglu(op, team); }
    void operator()(const MLP& op) { kernels.mlp(op, team); }
    void operator()(const Rope& op) { kernels.rope(op, team); }
    void operator()(const Attention& op) { kernels.attention(op, team); }
  } call{kernels_, team};
  std::visit(call, operation);
}

void Machine::make_room(const Operation& operation) {
  if (const Linear* linear = std::get_if<Linear>(&operation)) pool_.reserve(linear->rows, linear->columns);
  if (const MLP* mlp = std::get_if<MLP>(&operation)) pool_.reserve(scratch_rows(*mlp), mlp->columns + mlp->ffn);
  if (const Experts* experts = std::get_if<Experts>(&operation)) pool_.reserve(experts->pairs, experts->columns + experts->hidden);
}

void Machine::record() {
  std::lock_guard<std::mutex> lock(busy_);
  recorded_.operations.clear();
  recorder_ = std::this_thread::get_id();
}

Program Machine::recorded() {
  std::lock_guard<std::mutex> lock(busy_);
  recorder_ = {};
  return std::move(recorded_);
}

void Machine::perform(const Operation& operation) {
  std::lock_guard<std::mutex> lock(busy_);
  if (recorder_ == std::this_thread::get_id()) recorded_.operations.push_back(operation);
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

void Machine::sample(float* logits, int64_t stride, int rows, int vocabulary, int num_tokens, const SampleRow* specs, Sampled* chosen) {
  std::lock_guard<std::mutex> lock(busy_);
  pool_.run([&](Team& team) {
    for (int row; (row = team.take()) < rows;) chosen[row] = choose(kernels_, specs[row], logits + row * stride, vocabulary, num_tokens);
  });
}

void Machine::logsumexp(const float* logits, int64_t stride, int rows, int vocabulary, double* out) {
  std::lock_guard<std::mutex> lock(busy_);
  pool_.run([&](Team& team) {
    for (int row; (row = team.take()) < rows;) out[row] = tongwen::logsumexp(kernels_, logits + row * stride, vocabulary);
  });
}

double Machine::peak_int8_ops() {
  std::lock_guard<std::mutex> lock(busy_);
  return tongwen::peak_int8_ops(kernels_.name, pool_);
}

void Machine::score(Linear head, const int64_t* targets, float* out) {
  std::lock_guard<std::mutex> lock(busy_);
  std::vector<Statistics> found(head.rows);
  std::vector<double> chosen(head.rows);
  const Score op{head, targets, found.data(), chosen.data()};
  pool_.reserve(head.rows, head.columns);
  pool_.run([&](Team& team) { kernels_.score(op, team); });
  for (int row = 0; row < head.rows; ++row) out[row] = static_cast<float>(chosen[row] - tongwen::logsumexp(found[row]));
}

void Machine::pack(Format format, Format stored, const uint8_t* source, int rows, int columns, uint8_t* panels) {
  std::lock_guard<std::mutex> lock(busy_);
  const size_t bytes = layout_of(format).panel_bytes(columns);
  const int count = (rows + kPanelRows - 1) / kPanelRows;
  pool_.run([&](Team& team) {
    for (int panel; (panel = team.take()) < count;) pack_panel(format, stored, source, rows, columns, panel * kPanelRows, panels + panel * bytes);
  });
}

}  // namespace tongwen
