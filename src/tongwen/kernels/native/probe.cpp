#include "probe.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#if defined(TW_X86)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace tongwen {
namespace {

// Independent sums, more than the latency of a product needs; the empty statement that keeps each in
// its register also keeps the compiler from dropping the round.
constexpr int kSums = 12;
constexpr long kRounds = 250'000;
constexpr int kTries = 3;

using Loop = void (*)(long rounds);
struct Peak {
  Loop loop;
  double ops;  // of one round
};

#if defined(TW_X86)
#define TW_KEEP(x) asm volatile("" : "+v"(x))
#define TW_KEEP_AVX2(x) asm volatile("" : "+x"(x))

__attribute__((target("avx512f,avx512vnni"))) void loop_avx512(long rounds) {
  __m512i sums[kSums], a = _mm512_set1_epi8(1), b = a;
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kSums; ++j) {
      sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
      TW_KEEP(sums[j]);
    }
  }
}

// vpmaddubsw, vpmaddwd and vpaddd: what stands for one product where there is no VNNI.
__attribute__((target("avx2"))) void loop_avx2(long rounds) {
  __m256i sums[kSums], a = _mm256_set1_epi8(1), b = a, ones = _mm256_set1_epi16(1);
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kSums; ++j) {
      TW_KEEP_AVX2(a);
      sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
      TW_KEEP_AVX2(sums[j]);
    }
  }
}

__attribute__((target("avx2"))) void loop_avx2_vnni(long rounds) {
  __m256i sums[kSums], a = _mm256_set1_epi8(1), b = a;
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kSums; ++j) asm volatile("%{vex%} vpdpbusd %1, %2, %0" : "+x"(sums[j]) : "x"(b), "x"(a));
  }
}
#elif defined(__ARM_FEATURE_DOTPROD)
void loop_neon(long rounds) {
  int32x4_t sums[kSums];
  const int8x16_t a = vdupq_n_s8(1), b = a;
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kSums; ++j) {
      sums[j] = vdotq_s32(sums[j], a, b);
      asm volatile("" : "+w"(sums[j]));
    }
  }
}
#endif

Peak peak_of(const std::string& isa) {
  constexpr double kPerByte = 2 * kSums;  // a multiply and an add
#if defined(TW_X86)
  if (isa == "avx512") return {loop_avx512, 64 * kPerByte};
  if (isa == "avx2_vnni") return {loop_avx2_vnni, 32 * kPerByte};
  if (isa == "avx2") return {loop_avx2, 32 * kPerByte};
#elif defined(__ARM_FEATURE_DOTPROD)
  if (isa != "portable") return {loop_neon, 16 * kPerByte};
#endif
  (void)isa;
  (void)kPerByte;
  return {nullptr, 0};
}

double seconds_of(Loop loop, int threads) {
  const auto started = std::chrono::steady_clock::now();
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(loop, kRounds);
  loop(kRounds);
  for (std::thread& other : others) other.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

}  // namespace

double peak_int8_ops(const std::string& isa, int threads) {
  const Peak peak = peak_of(isa);
  if (peak.loop == nullptr) return 0;
  double best = seconds_of(peak.loop, threads);
  for (int i = 1; i < kTries; ++i) best = std::min(best, seconds_of(peak.loop, threads));
  return peak.ops * kRounds * threads / best;
}

}  // namespace tongwen
