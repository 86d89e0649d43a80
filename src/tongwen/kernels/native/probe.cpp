#include "probe.hpp"

#include <algorithm>
#include <chrono>

namespace tongwen {
namespace {

constexpr long kRounds = 250'000;
constexpr int kTries = 3;
constexpr int kSums = 12;  // independent, more than the latency of a product needs
constexpr double kPerByte = 2 * kSums;  // a multiply and an add for each byte of a register

using Loop = void (*)(long rounds);
struct Peak {
  Loop loop;
  double ops;  // of one round
};

// A round is written out: compilers keep arrays of sums in memory, or drop what nobody reads.
#define TW_SUMS(x) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12)

#if defined(TW_X86)
#define TW_LOOP(name, round)                                                                                    \
  void name(long rounds) {                                                                                      \
    for (long i = 0; i < rounds; ++i)                                                                           \
      asm volatile(TW_SUMS(round)::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",    \
                   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");                                                 \
    asm volatile("vzeroupper");                                                                                 \
  }
#define TW_AVX512(i) "vpdpbusd %%zmm0, %%zmm0, %%zmm" #i "\n\t"
#define TW_AVX2_VNNI(i) "%{vex%} vpdpbusd %%ymm0, %%ymm0, %%ymm" #i "\n\t"
// What stands for one product where there is no VNNI.
#define TW_AVX2(i)                          \
  "vpmaddubsw %%ymm0, %%ymm0, %%ymm13\n\t"  \
  "vpmaddwd %%ymm0, %%ymm13, %%ymm13\n\t"   \
  "vpaddd %%ymm13, %%ymm" #i ", %%ymm" #i "\n\t"

TW_LOOP(loop_avx512, TW_AVX512)
TW_LOOP(loop_avx2_vnni, TW_AVX2_VNNI)
TW_LOOP(loop_avx2, TW_AVX2)
#elif defined(__aarch64__)
#define TW_DOTPROD(i) "sdot v" #i ".4s, v0.16b, v0.16b\n\t"

__attribute__((target("arch=armv8.2-a+dotprod"))) void loop_dotprod(long rounds) {
  for (long i = 0; i < rounds; ++i)
    asm volatile(TW_SUMS(TW_DOTPROD)::: "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12");
}
#endif

Peak peak_of(const std::string& isa) {
#if defined(TW_X86)
  if (isa == "avx512") return {loop_avx512, 64 * kPerByte};
  if (isa == "avx2_vnni") return {loop_avx2_vnni, 32 * kPerByte};
  if (isa == "avx2") return {loop_avx2, 32 * kPerByte};
#elif defined(__aarch64__)
  if (isa == "neon") return {loop_dotprod, 16 * kPerByte};
#endif
  (void)isa;
  (void)kPerByte;
  return {nullptr, 0};
}

}  // namespace

double peak_int8_ops(const std::string& isa, Pool& pool) {
  const Peak peak = peak_of(isa);
  if (peak.loop == nullptr) return 0;
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    int threads = 1;
    const auto started = std::chrono::steady_clock::now();
    pool.run([&](Team& team) {
      if (team.thread == 0) threads = team.threads;
      peak.loop(kRounds);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    best = std::max(best, peak.ops * kRounds * threads / seconds);
  }
  return best;
}

}  // namespace tongwen
