// What a checkpoint stores: rows of GGUF's blocks, or of whole numbers, read 32 columns at a time.
//
// Values come out in the bits that `quant/format.py` gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "formats.hpp"
#include "numbers.hpp"

namespace tongwen {

// A group of one row as the file states it.
struct Group {
  uint8_t codes[kGroup];
  uint8_t scales[2];    // K-quants: of both halves, or scale and minimum
  uint16_t factors[2];  // fp16: scale and minimum, of the group or of its eight groups
};

struct Block {
  int groups;  // of 32 columns
  int bytes;
};

constexpr Block block_of(Format format) {
  switch (format) {
    case Format::kQ8_0: return {1, 34};
    case Format::kQ4_0: return {1, 18};
    case Format::kQ4_1: return {1, 20};
    case Format::kQ5_0: return {1, 22};
    case Format::kQ5_1: return {1, 24};
    case Format::kQ4_K: return {8, 144};
    case Format::kQ5_K: return {8, 176};
    case Format::kQ6_K: return {8, 210};
    case Format::kF32: return {1, 128};
    default: return {1, 64};
  }
}

constexpr bool is_whole(Format format) { return format == Format::kBF16 || format == Format::kF32 || format == Format::kF16; }

inline uint16_t half_at(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, 2);
  return half;
}

// Low nibbles are columns 0 to 15, high ones 16 to 31.
inline void nibbles(const uint8_t* packed, uint8_t* codes) {
  uint8_t bytes[16];
  std::memcpy(bytes, packed, 16);
  for (int i = 0; i < 16; ++i) codes[i] = bytes[i] & 15;
  for (int i = 0; i < 16; ++i) codes[16 + i] = bytes[i] >> 4;
}

// Each of eight bits becomes a byte that is 0 or 16.
inline uint64_t sixteens(uint8_t bits) {
  const uint64_t each = bits * 0x0101010101010101u & 0x8040201008040201u;  // bit i, in byte i
  return (each + 0x00406070787c7e7fu) >> 3 & 0x1010101010101010u;
}

inline void fifth_bits(const uint8_t* packed, uint8_t* codes) {
  for (int i = 0; i < kGroup; i += 8) {
    uint64_t word;
    std::memcpy(&word, codes + i, 8);
    word |= sixteens(packed[i / 8]);
    std::memcpy(codes + i, &word, 8);
  }
}

// Scale and minimum of one of eight groups, six bits each (ggml's get_scale_min_k4).
inline void six_bit_pair(const uint8_t* packed, int group, uint8_t* pair) {
  if (group < 4) {
    pair[0] = packed[group] & 63, pair[1] = packed[group + 4] & 63;
  } else {
    pair[0] = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
    pair[1] = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  }
}

// Two groups share 32 bytes: the even one has the low nibbles.
inline void k_nibbles(const uint8_t* packed, int group, uint8_t* codes) {
  uint8_t bytes[kGroup];
  std::memcpy(bytes, packed + group / 2 * 32, kGroup);
  const int shift = group % 2 * 4;
  for (int i = 0; i < kGroup; ++i) codes[i] = bytes[i] >> shift & 15;
}

inline void read_q6_k(const uint8_t* block, int group, Group& out) {
  const int half = group / 4, part = group % 4;  // 128 columns share 64 + 32 bytes
  uint8_t low[kGroup], high[kGroup];
  std::memcpy(low, block + half * 64 + part % 2 * 32, kGroup);
  std::memcpy(high, block + 128 + half * 32, kGroup);
  const int shift = part / 2 * 4;
  for (int i = 0; i < kGroup; ++i) out.codes[i] = (low[i] >> shift & 15) | (high[i] >> (part * 2) & 3) << 4;
  std::memcpy(out.scales, block + 192 + group * 2, 2);
  out.factors[0] = half_at(block + 208);
}

// A minimum is subtracted; where the file adds it, its sign is turned.
template <Format F>
inline void read_group(const uint8_t* block, int group, Group& out) {
  if constexpr (F == Format::kQ6_K) return read_q6_k(block, group, out);
  constexpr bool has_fifth = layout_of(F).bits == 5;
  out.factors[0] = half_at(block);
  if constexpr (F == Format::kQ8_0) {
    for (int i = 0; i < kGroup; ++i) out.codes[i] = static_cast<uint8_t>(block[2 + i] + 128);
  } else if constexpr (layout_of(F).super) {
    out.factors[1] = half_at(block + 2);
    six_bit_pair(block + 4, group, out.scales);
    k_nibbles(block + (has_fifth ? 48 : 16), group, out.codes);
    if constexpr (has_fifth)
      for (int i = 0; i < kGroup; ++i) out.codes[i] |= (block[16 + i] >> group & 1) << 4;
  } else {
    constexpr int head = layout_of(F).scales == Scales::kMinimum ? 4 : 2;
    if constexpr (head == 4) out.factors[1] = half_at(block + 2) ^ 0x8000;
    nibbles(block + head + (has_fifth ? 4 : 0), out.codes);
    if constexpr (has_fifth) fifth_bits(block + head, out.codes);
  }
}

// What the codes stand for: each product and difference is rounded by itself.
template <Format F>
inline void values_of(const Group& group, float* out) {
  constexpr Layout layout = layout_of(F);
  constexpr int offset = layout.log2_offset < 0 ? 0 : 1 << layout.log2_offset;
  const float factor = float_of_half(group.factors[0]);
  float low = factor, high = factor, minimum = 0;
  if constexpr (layout.scales == Scales::kHalves) {
    low = factor * static_cast<int8_t>(group.scales[0]), high = factor * static_cast<int8_t>(group.scales[1]);
  } else if constexpr (layout.scales == Scales::kMinimum) {
    minimum = float_of_half(group.factors[1]);
    if constexpr (layout.super) low = high = factor * group.scales[0], minimum *= group.scales[1];
  }
  for (int i = 0; i < kGroup; ++i) {
    out[i] = static_cast<float>(group.codes[i] - offset) * (i < kGroup / 2 ? low : high);
    if constexpr (layout.scales == Scales::kMinimum) out[i] -= minimum;
  }
}

// Up to 32 values of a row, from column 32 * `group` on.
using Read = void (*)(const uint8_t* row, int group, int count, float* out);

template <Format F>
void read_values(const uint8_t* row, int group, int count, float* out) {
  if constexpr (F == Format::kF32) {
    std::memcpy(out, row + group * kGroup * 4, count * sizeof(float));
  } else if constexpr (is_whole(F)) {
    const uint8_t* from = row + group * kGroup * 2;
    for (int i = 0; i < count; ++i) out[i] = F == Format::kBF16 ? float_of_bf16(half_at(from + i * 2)) : float_of_half(half_at(from + i * 2));
  } else {
    constexpr Block block = block_of(F);
    Group found;
    read_group<F>(row + group / block.groups * block.bytes, group % block.groups, found);
    values_of<F>(found, out);
  }
}

}  // namespace tongwen
