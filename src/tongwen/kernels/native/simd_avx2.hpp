// Eight lanes: AVX2, FMA and F16C; with AVX-VNNI where this file is compiled for it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tongwen {
namespace {

struct Simd {
  using I = __m256i;  // 8 x int32, or 32 bytes
  using F = __m256;   // 8 x float
  static constexpr int kLanes = 8;
  static constexpr int kBlockTile = 1;
  static constexpr int kDirectTile = 2;
  static constexpr bool kCentred = false, kByLane = false, kMatrix = false;

  static I load(const void* p) { return _mm256_loadu_si256(static_cast<const I*>(p)); }
  static void store(void* p, I x) { _mm256_storeu_si256(static_cast<I*>(p), x); }
  static I all(int32_t x) { return _mm256_set1_epi32(x); }
  static I zero() { return _mm256_setzero_si256(); }
  static I add(I a, I b) { return _mm256_add_epi32(a, b); }
  template <int N>
  static I shift_left(I x) { return _mm256_slli_epi32(x, N); }
  static void hold(I& x) { asm("" : "+x"(x)); }
  static void hold(F& x) { asm("" : "+x"(x)); }

#if defined(__AVXVNNI__)
  static I dot(I sum, I weights, I activations) { return _mm256_dpbusd_avx_epi32(sum, weights, activations); }
  static I dot8(I sum, I weights, I activations) { return dot(sum, weights, activations); }
#else
  static I pairs(I sum, I sixteen_bit) { return _mm256_add_epi32(sum, _mm256_madd_epi16(sixteen_bit, _mm256_set1_epi16(1))); }
  // Codes of up to six bits: two products of 63 x 127 fit into sixteen bits.
  static I dot(I sum, I weights, I activations) { return pairs(sum, _mm256_maddubs_epi16(weights, activations)); }
  // Eight bits would not: w = (w - 128) + 128, each part small enough once the sign is moved over.
  static I dot8(I sum, I weights, I activations) {
    const I high = _mm256_set1_epi8(static_cast<char>(128)), centred = _mm256_xor_si256(weights, high);
    const I turned = _mm256_sign_epi8(activations, centred);
    sum = pairs(sum, _mm256_maddubs_epi16(_mm256_abs_epi8(centred), turned));
    return pairs(sum, _mm256_maddubs_epi16(high, activations));
  }
#endif
  static F dot_bf16(F sum, I a, I b) {
    const I upper = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u));
    const auto high = [&](I x) { return _mm256_castsi256_ps(_mm256_and_si256(x, upper)); };
    const auto low = [](I x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); };
    return fma(high(a), high(b), fma(low(a), low(b), sum));
  }

  static I low_nibbles(I x) { return _mm256_and_si256(x, _mm256_set1_epi8(0x0f)); }
  static I high_nibbles(I x) { return low_nibbles(_mm256_srli_epi16(x, 4)); }
  template <int FROM, int COUNT>
  static I with_upper(I codes, I plane) {
    I moved;
    if constexpr (FROM <= 4) moved = _mm256_slli_epi16(plane, 4 - FROM);
    else moved = _mm256_srli_epi16(plane, FROM - 4);
    return _mm256_or_si256(codes, _mm256_and_si256(moved, _mm256_set1_epi8(COUNT == 2 ? 0x30 : 0x10)));
  }

  static F loadf(const float* p) { return _mm256_loadu_ps(p); }
  static void storef(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F allf(float x) { return _mm256_set1_ps(x); }
  static F to_float(I x) { return _mm256_cvtepi32_ps(x); }
  static I round(F x) { return _mm256_cvtps_epi32(x); }
  static F addf(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static float sum(F x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
  }
  static float largest(F x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
  }
  static I magnitude(F x) { return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff)); }
  static float float_of(int32_t bits) { return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits))); }
  static I max(I a, I b) { return _mm256_max_epi32(a, b); }
  static int32_t largest(I x) {
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
  }
  static int32_t sum(I x) {
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
  }
  static F whole(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F times_power(F y, F n) {
    const I exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
  static F lanes_below(int count) {
    const I index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), index));
  }
  static F keep_first(F x, int count, F other) { return _mm256_blendv_ps(other, x, lanes_below(count)); }
  static F drop_first(F x, int count, F other) { return _mm256_blendv_ps(x, other, lanes_below(count)); }

  static F load_half(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static F load_i8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  static F load_u8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  static __m128i narrow(I x) { return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }
  static void store_i8(void* p, I x) {
    const __m128i sixteen = narrow(x);
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(sixteen, sixteen));
  }
  static void store_bf16(void* p, F x) {
    const I bits = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const I rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const I quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const I nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const I upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
    _mm_storeu_si128(static_cast<__m128i*>(p), packed);
  }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
  static void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
};

}  // namespace
}  // namespace tongwen
