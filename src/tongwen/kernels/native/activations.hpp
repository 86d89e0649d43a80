// Activations as products read them: rows in tiles of four, in 8 bits or as pairs of bfloat16.
#pragma once

#include <cstring>

#include "ops.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

// A tile holds one record a group, each entry as wide as the tile has rows (`formats.hpp`).
struct Activations {
  uint8_t* at;
  int rows, columns;
  bool brief;  // bfloat16

  constexpr int words() const { return brief ? kGroup / 2 : kActivationWords; }
  // `count` rows by themselves, in tiles that begin anew, where those from `first` on would lie.
  Activations part(int first, int count) const { return {at + static_cast<size_t>(first) * (columns / kGroup) * words() * 4, count, columns, brief}; }
  int width(int tile) const { return smaller(kTileRows, rows - tile); }
  // Where the records of a tile of rows go on with `group`.
  int32_t* record(int tile, int group) const {
    const size_t before = static_cast<size_t>(tile) * (columns / kGroup) + static_cast<size_t>(group) * width(tile);
    return reinterpret_cast<int32_t*>(at) + before * words();
  }
};

constexpr float kLeastScaled = 1e-36f;  // 127 times its inverse is still finite
alignas(64) constexpr float kZeros[kGroup] = {};

// One group of one row: codes, scale and sums, in lane `lane` of a record `width` wide.
//
// NaN and infinity have no code.  A group that holds one gets the scale NaN, and so does every
// product with it: what is not finite is never hidden.
TW_INLINE void quantize_group(const float* x, int32_t* record, int width, int lane) {
  I largest = Simd::zero();  // magnitudes as integers, in whose order NaN is above infinity
  for (int i = 0; i < kGroup; i += kLanes) largest = Simd::max(largest, Simd::magnitude(Simd::loadf(x + i)));
  float top = Simd::float_of(Simd::largest(largest));
  if (!(top <= kLargestFloat)) x = kZeros, top = __builtin_nanf("");
  const Fl inverse = Simd::allf(top > kLeastScaled ? 127.f / top : 0.f);
  alignas(64) int8_t codes[kGroup];
  int32_t halves[2] = {0, 0};
  for (int i = 0; i < kGroup; i += kLanes) {
    const I code = Simd::round(Simd::mul(Simd::loadf(x + i), inverse));
    Simd::store_i8(codes + i, code);
    halves[i / (kGroup / 2)] += Simd::sum(code);
  }
  const int32_t* words = reinterpret_cast<const int32_t*>(codes);
  for (int step = 0; step < kSteps; ++step) record[step * width + lane] = words[step];
  const float scale = top / 127.f;
  std::memcpy(record + kSteps * width + lane, &scale, 4);
  const int32_t minus_sum = -(halves[0] + halves[1]);
  const float scaled = static_cast<float>(minus_sum) * scale;
  record[(kSteps + 1) * width + lane] = minus_sum;
  record[(kSteps + 2) * width + lane] = -halves[0];
  record[(kSteps + 3) * width + lane] = -halves[1];
  std::memcpy(record + (kSteps + 4) * width + lane, &scaled, 4);
}

// One group of one row as pairs of bfloat16.
TW_INLINE void round_group(const float* x, int32_t* record, int width, int lane) {
  alignas(64) uint16_t rounded[kGroup];
  for (int i = 0; i < kGroup; i += kLanes) Simd::store_bf16(rounded + i, Simd::loadf(x + i));
  const int32_t* pairs = reinterpret_cast<const int32_t*>(rounded);
  for (int i = 0; i < kGroup / 2; ++i) record[i * width + lane] = pairs[i];
}

// Groups [group, end) of rows [first, last); `x` points at the first of them.
void store_rows(const float* x, int64_t stride, const Activations& to, int first, int last, int group, int end) {
  for (int row = first; row < last; ++row, x += stride) {
    const int tile = row / kTileRows * kTileRows, width = to.width(tile);
    int32_t* record = to.record(tile, group);
    for (int g = group; g < end; ++g, record += width * to.words())
      (to.brief ? round_group : quantize_group)(x + (g - group) * kGroup, record, width, row - tile);
  }
}

}  // namespace
}  // namespace tongwen
