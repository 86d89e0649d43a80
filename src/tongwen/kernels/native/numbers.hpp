// Between float32 and the shorter floating-point numbers: to the nearest, ties to even.
#pragma once

#include <cstdint>
#include <cstring>

namespace tongwen {

inline uint32_t bits_of_float(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

inline float float_of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline float float_of_half(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) return float_of_bits(sign | bits_of_float(static_cast<float>(fraction) * 0x1p-24f));
  return float_of_bits(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
}

inline uint16_t half_of_float(float x) {
  const uint32_t sign = bits_of_float(x) >> 16 & 0x8000;
  uint32_t bits = bits_of_float(x) & 0x7fffffff;
  if (bits > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (bits >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  // Below 2^-14 a half counts in steps of 2^-24, which is what a float next to 0.5 does.
  if (bits < 0x38800000) return static_cast<uint16_t>(sign | (bits_of_float(float_of_bits(bits) + 0.5f) - bits_of_float(0.5f)));
  bits += (bits >> 13 & 1) + 0xfff - (112u << 23);
  return static_cast<uint16_t>(sign | bits >> 13);
}

inline float float_of_bf16(uint16_t brief) { return float_of_bits(static_cast<uint32_t>(brief) << 16); }

inline uint16_t bf16_of_float(float x) {
  const uint32_t bits = bits_of_float(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace tongwen
