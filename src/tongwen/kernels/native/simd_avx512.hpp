// Sixteen lanes: AVX-512 with VNNI, BF16 and GFNI.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tongwen {
namespace {

struct Simd {
  using I = __m512i;  // 16 x int32, or 64 bytes
  using F = __m512;   // 16 x float
  static constexpr int kLanes = 16;
  static constexpr int kBlockTile = 2;   // registers of weights that the blocked product holds
  static constexpr int kDirectTile = 4;  // and the direct one
  static constexpr bool kCentred = false, kByLane = false, kMatrix = false;

  static I load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, I x) { _mm512_storeu_si512(p, x); }
  static I all(int32_t x) { return _mm512_set1_epi32(x); }
  static I zero() { return _mm512_setzero_si512(); }
  static I add(I a, I b) { return _mm512_add_epi32(a, b); }
  template <int N>
  static I shift_left(I x) { return _mm512_slli_epi32(x, N); }
  // Keeps a loaded value in a register where the compiler would load it again.
  static void hold(I& x) { asm("" : "+v"(x)); }
  static void hold(F& x) { asm("" : "+v"(x)); }

  // Adds to each lane four products of unsigned and signed bytes.
  static I dot(I sum, I weights, I activations) { return _mm512_dpbusd_epi32(sum, weights, activations); }
  static I dot8(I sum, I weights, I activations) { return dot(sum, weights, activations); }
  // Adds to each lane two products of bfloat16.
  static F dot_bf16(F sum, I a, I b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

  static I low_nibbles(I x) { return _mm512_and_si512(x, _mm512_set1_epi8(0x0f)); }
  static I high_nibbles(I x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }
  // `codes | bits`, where bits are COUNT bits of each byte of `plane` from FROM on, moved to bit 4.
  template <int FROM, int COUNT>
  static I with_upper(I codes, I plane) {
    constexpr uint64_t kOne = uint64_t{1} << FROM << (8 * 3);
    constexpr uint64_t kTwo = COUNT == 2 ? uint64_t{1} << (FROM + 1) << (8 * 2) : 0;
    const I upper = _mm512_gf2p8affine_epi64_epi8(plane, _mm512_set1_epi64(kOne | kTwo), 0);
    return _mm512_or_si512(codes, upper);
  }

  static F loadf(const float* p) { return _mm512_loadu_ps(p); }
  static void storef(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F allf(float x) { return _mm512_set1_ps(x); }
  static F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static I round(F x) { return _mm512_cvtps_epi32(x); }
  static F addf(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static float sum(F x) { return _mm512_reduce_add_ps(x); }
  static float largest(F x) { return _mm512_reduce_max_ps(x); }
  // The bits of a float without its sign, and back.
  static I magnitude(F x) { return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)); }
  static float float_of(int32_t bits) { return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits))); }
  static I max(I a, I b) { return _mm512_max_epi32(a, b); }
  static int32_t largest(I x) { return _mm512_reduce_max_epi32(x); }
  static int32_t sum(I x) { return _mm512_reduce_add_epi32(x); }
  // x rounded to a whole number, and 2 to that power times y.
  static F whole(F x) { return _mm512_roundscale_ps(x, 8); }
  static F times_power(F y, F n) { return _mm512_scalef_ps(y, n); }
  // Lanes from `count` on (or before it) become `other`.
  static F keep_first(F x, int count, F other) {
    const __mmask16 mask = count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1;
    return _mm512_mask_mov_ps(other, mask, x);
  }
  static F drop_first(F x, int count, F other) {
    const __mmask16 mask = count >= 16 ? 0 : count <= 0 ? 0xffff : ~((1 << count) - 1);
    return _mm512_mask_mov_ps(other, mask, x);
  }

  static F load_half(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static F load_i8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  static F load_u8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  // Sixteen int32 to sixteen bytes, saturated.
  static void store_i8(void* p, I x) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x)); }
  // Sixteen floats to sixteen bfloat16, to nearest even.
  static void store_bf16(void* p, F x) { _mm256_storeu_si256(static_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x)); }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
  static void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
};

}  // namespace
}  // namespace tongwen
