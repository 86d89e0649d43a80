// Four lanes in plain C++: the meaning of every operation, for any processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define TW_UNROLL  // lanes are loops here: unrolled, too, they take a compiler minutes

namespace tongwen {
namespace {

struct Simd {
  static constexpr int kLanes = 4;
  struct I {
    int32_t v[kLanes];
  };
  struct F {
    float v[kLanes];
  };
  static constexpr int kBlockTile = 2;
  static constexpr int kDirectTile = 4;
  static constexpr bool kCentred = false;                  // whether `dot8` takes 128 from each weight
  static constexpr bool kByLane = false, kMatrix = false;  // what else `sums.hpp` may use

  template <class R, class Each>
  static R lanes(Each each) {
    R r;
    for (int i = 0; i < kLanes; ++i) r.v[i] = each(i);
    return r;
  }
  static uint8_t byte(I x, int i) { return static_cast<uint8_t>(static_cast<uint32_t>(x.v[i / 4]) >> (i % 4 * 8)); }
  template <class Each>
  static I bytes(Each each) {
    I r;
    uint8_t out[4 * kLanes];
    for (int i = 0; i < 4 * kLanes; ++i) out[i] = static_cast<uint8_t>(each(i));
    std::memcpy(r.v, out, sizeof out);
    return r;
  }

  static I load(const void* p) { I r; std::memcpy(r.v, p, sizeof r.v); return r; }
  static void store(void* p, I x) { std::memcpy(p, x.v, sizeof x.v); }
  static I all(int32_t x) { return lanes<I>([&](int) { return x; }); }
  static I zero() { return all(0); }
  static I add(I a, I b) { return lanes<I>([&](int i) { return a.v[i] + b.v[i]; }); }
  template <int N>
  static I shift_left(I x) { return lanes<I>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(x.v[i]) << N); }); }
  static void hold(I&) {}
  static void hold(F&) {}

  static I dot(I sum, I weights, I activations) {
    return lanes<I>([&](int i) {
      int32_t s = sum.v[i];
      for (int b = 0; b < 4; ++b) s += byte(weights, i * 4 + b) * static_cast<int8_t>(byte(activations, i * 4 + b));
      return s;
    });
  }
  static I dot8(I sum, I weights, I activations) { return dot(sum, weights, activations); }
  static float upper(int32_t bits) { return from_bits(static_cast<uint32_t>(bits) & 0xffff0000u); }
  static float lower(int32_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }
  static F dot_bf16(F sum, I a, I b) {
    return lanes<F>([&](int i) {
      return std::fmaf(upper(a.v[i]), upper(b.v[i]), std::fmaf(lower(a.v[i]), lower(b.v[i]), sum.v[i]));
    });
  }

  static I low_nibbles(I x) { return bytes([&](int i) { return byte(x, i) & 15; }); }
  static I high_nibbles(I x) { return bytes([&](int i) { return byte(x, i) >> 4; }); }
  template <int FROM, int COUNT>
  static I with_upper(I codes, I plane) {
    return bytes([&](int i) { return byte(codes, i) | (byte(plane, i) >> FROM & ((1 << COUNT) - 1)) << 4; });
  }

  static float from_bits(uint32_t bits) { float f; std::memcpy(&f, &bits, 4); return f; }
  static uint32_t bits_of(float f) { uint32_t bits; std::memcpy(&bits, &f, 4); return bits; }
  // The nearest integer; as on x86 the least one where there is none.
  static int32_t whole_of(float x) { return x >= -0x1p31f && x < 0x1p31f ? static_cast<int32_t>(std::nearbyintf(x)) : INT32_MIN; }
  static F loadf(const float* p) { F r; std::memcpy(r.v, p, sizeof r.v); return r; }
  static void storef(float* p, F x) { std::memcpy(p, x.v, sizeof x.v); }
  static F allf(float x) { return lanes<F>([&](int) { return x; }); }
  static F to_float(I x) { return lanes<F>([&](int i) { return static_cast<float>(x.v[i]); }); }
  static I round(F x) { return lanes<I>([&](int i) { return whole_of(x.v[i]); }); }
  static F addf(F a, F b) { return lanes<F>([&](int i) { return a.v[i] + b.v[i]; }); }
  static F sub(F a, F b) { return lanes<F>([&](int i) { return a.v[i] - b.v[i]; }); }
  static F mul(F a, F b) { return lanes<F>([&](int i) { return a.v[i] * b.v[i]; }); }
  static F div(F a, F b) { return lanes<F>([&](int i) { return a.v[i] / b.v[i]; }); }
  static F fma(F a, F b, F c) { return lanes<F>([&](int i) { return std::fmaf(a.v[i], b.v[i], c.v[i]); }); }
  static F fnma(F a, F b, F c) { return lanes<F>([&](int i) { return std::fmaf(-a.v[i], b.v[i], c.v[i]); }); }
  static F max(F a, F b) { return lanes<F>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static F min(F a, F b) { return lanes<F>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
  static float sum(F x) { return (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]); }
  static float largest(F x) {
    const float a = x.v[0] > x.v[1] ? x.v[0] : x.v[1], b = x.v[2] > x.v[3] ? x.v[2] : x.v[3];
    return a > b ? a : b;
  }
  static I magnitude(F x) { return lanes<I>([&](int i) { return static_cast<int32_t>(bits_of(x.v[i]) & 0x7fffffffu); }); }
  static float float_of(int32_t bits) { return from_bits(static_cast<uint32_t>(bits)); }
  static I max(I a, I b) { return lanes<I>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static int32_t largest(I x) {
    int32_t found = x.v[0];
    for (int i = 1; i < kLanes; ++i) found = x.v[i] > found ? x.v[i] : found;
    return found;
  }
  static int32_t sum(I x) { return x.v[0] + x.v[1] + x.v[2] + x.v[3]; }
  static F whole(F x) { return lanes<F>([&](int i) { return std::nearbyintf(x.v[i]); }); }
  static F times_power(F y, F n) { return lanes<F>([&](int i) { return std::ldexp(y.v[i], whole_of(n.v[i])); }); }
  static F keep_first(F x, int count, F other) { return lanes<F>([&](int i) { return i < count ? x.v[i] : other.v[i]; }); }
  static F drop_first(F x, int count, F other) { return lanes<F>([&](int i) { return i < count ? other.v[i] : x.v[i]; }); }

  static float half(uint16_t h) {
    const uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) return from_bits(sign | bits_of(static_cast<float>(fraction) * 0x1p-24f));
    return from_bits(sign | (exponent == 31 ? 255u << 23 : (exponent + 112) << 23) | fraction << 13);
  }
  static F load_half(const void* p) {
    uint16_t h[kLanes];
    std::memcpy(h, p, sizeof h);
    return lanes<F>([&](int i) { return half(h[i]); });
  }
  static F load_i8(const void* p) { return lanes<F>([&](int i) { return static_cast<float>(static_cast<const int8_t*>(p)[i]); }); }
  static F load_u8(const void* p) { return lanes<F>([&](int i) { return static_cast<float>(static_cast<const uint8_t*>(p)[i]); }); }
  static void store_i8(void* p, I x) {
    for (int i = 0; i < kLanes; ++i) static_cast<int8_t*>(p)[i] = static_cast<int8_t>(x.v[i] > 127 ? 127 : x.v[i] < -128 ? -128 : x.v[i]);
  }
  static void store_bf16(void* p, F x) {
    for (int i = 0; i < kLanes; ++i) {
      const uint32_t bits = bits_of(x.v[i]);
      const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
      const uint16_t rounded = static_cast<uint16_t>((nan ? bits | 0x400000u : bits + 0x7fff + (bits >> 16 & 1)) >> 16);
      std::memcpy(static_cast<char*>(p) + 2 * i, &rounded, 2);
    }
  }
  static void prefetch(const void*) {}
  static void prefetch_far(const void*) {}
};

}  // namespace
}  // namespace tongwen
