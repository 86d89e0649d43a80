// Four lanes: NEON with the dot product of ARMv8.2, on 64-bit ARM; with I8MM where this file is
// compiled for it.
//
// Lane for lane and order for order what `simd_portable.hpp` says, so results have the same bits.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace tongwen {
namespace {

struct Simd {
  using I = int32x4_t;  // 4 x int32, or 16 bytes
  using F = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kBlockTile = 2;
  static constexpr int kDirectTile = 4;
#if defined(__ARM_FEATURE_MATMUL_INT8)
  static constexpr bool kCentred = false, kByLane = true, kMatrix = true;
#else
  static constexpr bool kCentred = true, kByLane = true, kMatrix = false;
#endif

  static uint8x16_t bytes(I x) { return vreinterpretq_u8_s32(x); }
  static int8x16_t signed_bytes(I x) { return vreinterpretq_s8_s32(x); }
  static I of_bytes(uint8x16_t x) { return vreinterpretq_s32_u8(x); }

  static I load(const void* p) { return of_bytes(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static void store(void* p, I x) { vst1q_u8(static_cast<uint8_t*>(p), bytes(x)); }
  static I all(int32_t x) { return vdupq_n_s32(x); }
  static I zero() { return all(0); }
  static I add(I a, I b) { return vaddq_s32(a, b); }
  template <int N>
  static I shift_left(I x) { return vshlq_n_s32(x, N); }
  static void hold(I& x) { asm("" : "+w"(x)); }
  static void hold(F& x) { asm("" : "+w"(x)); }

#if defined(__ARM_FEATURE_MATMUL_INT8)
  static I dot(I sum, I weights, I activations) { return vusdotq_s32(sum, bytes(weights), signed_bytes(activations)); }
  static I dot8(I sum, I weights, I activations) { return dot(sum, weights, activations); }
  template <int M, bool EIGHT>
  static I dot_lane(I sum, I weights, I activations) { return vusdotq_laneq_s32(sum, bytes(weights), signed_bytes(activations), M); }
  // Two rows of eight bytes with two rows of eight: four sums, a row of weights first.
  static I matrix(I sum, I weights, I activations) { return vusmmlaq_s32(sum, bytes(weights), signed_bytes(activations)); }
  static I all_pairs(int32_t a, int32_t b) { return vzip1q_s32(all(a), all(b)); }
  static I zip_low(I a, I b) { return vzip1q_s32(a, b); }
  static I zip_high(I a, I b) { return vzip2q_s32(a, b); }
  static I even(I a, I b) { return vuzp1q_s32(a, b); }
  static I odd(I a, I b) { return vuzp2q_s32(a, b); }
#else
  // Both operands are signed here: codes of up to six bits are so anyway, others once centred.
  static int8x16_t centred(I x) { return vreinterpretq_s8_u8(veorq_u8(bytes(x), vdupq_n_u8(128))); }
  static I dot(I sum, I weights, I activations) { return vdotq_s32(sum, signed_bytes(weights), signed_bytes(activations)); }
  static I dot8(I sum, I weights, I activations) { return vdotq_s32(sum, centred(weights), signed_bytes(activations)); }
  // With word M of `activations` in every lane; codes of eight bits or fewer.
  template <int M, bool EIGHT>
  static I dot_lane(I sum, I weights, I activations) {
    return vdotq_laneq_s32(sum, EIGHT ? centred(weights) : signed_bytes(weights), signed_bytes(activations), M);
  }
#endif
  // Not the processor's own product of bfloat16, which rounds otherwise and is not everywhere.
  static F upper(I x) { return vreinterpretq_f32_s32(vandq_s32(x, all(static_cast<int32_t>(0xffff0000u)))); }
  static F lower(I x) { return vreinterpretq_f32_s32(vshlq_n_s32(x, 16)); }
  static F dot_bf16(F sum, I a, I b) { return fma(upper(a), upper(b), fma(lower(a), lower(b), sum)); }

  static I low_nibbles(I x) { return of_bytes(vandq_u8(bytes(x), vdupq_n_u8(15))); }
  static I high_nibbles(I x) { return of_bytes(vshrq_n_u8(bytes(x), 4)); }
  template <int FROM, int COUNT>
  static I with_upper(I codes, I plane) {
    uint8x16_t moved;
    if constexpr (FROM <= 4) moved = vshlq_n_u8(bytes(plane), 4 - FROM);
    else moved = vshrq_n_u8(bytes(plane), FROM - 4);
    return of_bytes(vbslq_u8(vdupq_n_u8(COUNT == 2 ? 0x30 : 0x10), moved, bytes(codes)));
  }

  static F loadf(const float* p) { return vld1q_f32(p); }
  static void storef(float* p, F x) { vst1q_f32(p, x); }
  static F allf(float x) { return vdupq_n_f32(x); }
  static F to_float(I x) { return vcvtq_f32_s32(x); }
  static I round(F x) { return vcvtnq_s32_f32(x); }
  static F addf(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F fnma(F a, F b, F c) { return vfmsq_f32(c, a, b); }
  // Not `vmaxq_f32`, which is NaN where either argument is.
  static F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static float sum(F x) {
    const float32x2_t y = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
  }
  static float largest(F x) {
    const F pairs = max(vuzp1q_f32(x, x), vuzp2q_f32(x, x));
    return vgetq_lane_f32(max(pairs, vdupq_laneq_f32(pairs, 1)), 0);
  }
  static I magnitude(F x) { return vreinterpretq_s32_f32(vabsq_f32(x)); }
  static float float_of(int32_t bits) { return vget_lane_f32(vreinterpret_f32_s32(vdup_n_s32(bits)), 0); }
  static I max(I a, I b) { return vmaxq_s32(a, b); }
  static int32_t largest(I x) { return vmaxvq_s32(x); }
  static int32_t sum(I x) { return vaddvq_s32(x); }
  static F whole(F x) { return vrndnq_f32(x); }
  static F times_power(F y, F n) {
    const I exponent = vaddq_s32(vcvtnq_s32_f32(n), all(127));
    return mul(y, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
  }
  static uint32x4_t lanes_below(int count) {
    alignas(16) static constexpr int32_t kIndex[4] = {0, 1, 2, 3};
    return vcltq_s32(vld1q_s32(kIndex), all(count));
  }
  static F keep_first(F x, int count, F other) { return vbslq_f32(lanes_below(count), x, other); }
  static F drop_first(F x, int count, F other) { return vbslq_f32(lanes_below(count), other, x); }

  static F load_half(const void* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const uint8_t*>(p))));
  }
  static uint8x8_t four_bytes(const void* p) {
    uint32_t word;
    std::memcpy(&word, p, sizeof word);
    return vreinterpret_u8_u32(vdup_n_u32(word));
  }
  static F load_i8(const void* p) {
    return to_float(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four_bytes(p))))));
  }
  static F load_u8(const void* p) { return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four_bytes(p))))); }
  static void store_i8(void* p, I x) {
    const int16x4_t sixteen = vqmovn_s32(x);
    const int8x8_t eight = vqmovn_s16(vcombine_s16(sixteen, sixteen));
    const uint32_t word = vget_lane_u32(vreinterpret_u32_s8(eight), 0);
    std::memcpy(p, &word, sizeof word);
  }
  static void store_bf16(void* p, F x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t number = vceqq_f32(x, x);
    const uint16x4_t upper = vshrn_n_u32(vbslq_u32(number, rounded, quiet), 16);
    vst1_u8(static_cast<uint8_t*>(p), vreinterpret_u8_u16(upper));
  }
  static void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
  static void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }
};

}  // namespace
}  // namespace tongwen
