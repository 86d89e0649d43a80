// Products of quantized activations with packed weights.
//
// Bits do not move: the sum over a group is an integer and exact; the groups are added by one chain
// of fused multiply-adds in the order of the columns.  Neither depends on how many rows there are,
// on the tile that a row falls into, or on the thread.
#pragma once

#include <cstring>

#include "activations.hpp"
#include "formats.hpp"
#include "ops.hpp"
#include "sums.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

// ---- weights of one group ----------------------------------------------------------------------

// The codes of steps 2 * PAIR and 2 * PAIR + 1 of register `r` of a panel.
template <Format F, int PAIR>
TW_INLINE void unpack_pair(const uint8_t* codes, int r, I& even, I& odd) {
  constexpr int kBits = layout_of(F).bits;
  constexpr int kBytes = kLanes * 4;
  if constexpr (kBits == 8) {
    even = Simd::load(codes + 2 * PAIR * kStepBytes + r * kBytes);
    odd = Simd::load(codes + (2 * PAIR + 1) * kStepBytes + r * kBytes);
    return;
  }
  const I both = Simd::load(codes + PAIR * kStepBytes + r * kBytes);
  even = Simd::low_nibbles(both);
  odd = Simd::high_nibbles(both);
  if constexpr (kBits == 5) {
    const I plane = Simd::load(codes + 4 * kStepBytes + r * kBytes);
    even = Simd::with_upper<2 * PAIR, 1>(even, plane);
    odd = Simd::with_upper<2 * PAIR + 1, 1>(odd, plane);
  }
  if constexpr (kBits == 6) {
    const I plane = Simd::load(codes + (4 + PAIR / 2) * kStepBytes + r * kBytes);
    even = Simd::with_upper<4 * (PAIR % 2), 2>(even, plane);
    odd = Simd::with_upper<4 * (PAIR % 2) + 2, 2>(odd, plane);
  }
}

// The scales of register `r`: one, those of both halves, or scale and minimum.
template <Format F>
TW_INLINE void unpack_scales(const Record& record, int r, Fl& first, Fl& second) {
  constexpr Layout kLayout = layout_of(F);
  if constexpr (!kLayout.super) {
    first = Simd::load_half(record.scales + r * kLanes * 2);
    if constexpr (kLayout.scales == Scales::kMinimum) second = Simd::load_half(record.scales + (kPanelRows + r * kLanes) * 2);
  } else {
    const Fl factor = Simd::load_half(record.factors + r * kLanes * 2);
    const uint8_t* one = record.scales + r * kLanes;
    if constexpr (kLayout.scales == Scales::kHalves) {
      first = Simd::mul(factor, Simd::load_i8(one));
      second = Simd::mul(factor, Simd::load_i8(one + kPanelRows));
    } else {
      first = Simd::mul(factor, Simd::load_u8(one));
      second = Simd::mul(Simd::load_half(record.factors + (kPanelRows + r * kLanes) * 2), Simd::load_u8(one + kPanelRows));
    }
  }
}

// ---- one group of a product --------------------------------------------------------------------

// Adds a finished group to the running sum of one register and one row.
template <Scales S>
TW_INLINE Fl add_group(Fl sum, I whole, I second_half, Fl scale, Fl other, float activation, float scaled_minus_sum) {
  const Fl x = Simd::allf(activation);
  if constexpr (S == Scales::kHalves) {
    const Fl both = Simd::fma(Simd::to_float(second_half), other, Simd::mul(Simd::to_float(whole), scale));
    return Simd::fma(both, x, sum);
  }
  sum = Simd::fma(Simd::to_float(whole), Simd::mul(scale, x), sum);
  if constexpr (S == Scales::kMinimum)
    sum = Simd::fma(other, Simd::allf(scaled_minus_sum), sum);
  return sum;
}

TW_INLINE float as_float(const int32_t* word) {
  float value;
  std::memcpy(&value, word, 4);
  return value;
}

// ---- few rows: unpack in registers, one pass over the panel --------------------------------------

// ROWS rows against registers [R0, R0 + TILE) of a panel.
template <Format F, int ROWS, int R0, int TILE>
__attribute__((noinline)) void direct(const uint8_t* panel, const int32_t* x, int groups, float* out) {
  constexpr Layout kLayout = layout_of(F);
  constexpr bool kHalves = kLayout.scales == Scales::kHalves;
  constexpr int kAhead = 2304;  // bytes
  constexpr int kLines = (kLayout.record_bytes() / kLayout.groups() + 63) / 64;
  Fl sum[ROWS][TILE];
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t) sum[m][t] = Simd::allf(0);
  for (int g = 0; g < groups; ++g, x += ROWS * kActivationWords) {
    const Record record = record_at<F>(panel, g);
    if constexpr (R0 == 0) {
      const uint8_t* ahead = panel + static_cast<size_t>(g) * (kLayout.record_bytes() / kLayout.groups()) + kAhead;
      _Pragma("GCC unroll 40") for (int i = 0; i < kLines; ++i) Simd::prefetch(ahead + i * 64);
    }
    I whole[ROWS][TILE], second[ROWS][TILE];
    TW_UNROLL for (int m = 0; m < ROWS; ++m)
      TW_UNROLL for (int t = 0; t < TILE; ++t) {
        whole[m][t] = start_of<F>(Simd::all(x[(kSteps + (kHalves ? 2 : 1)) * ROWS + m]));
        if constexpr (kHalves) second[m][t] = start_of<F>(Simd::all(x[(kSteps + 3) * ROWS + m]));
      }
    const auto pair = [&](auto index) __attribute__((always_inline)) {
      constexpr int kPair = decltype(index)::value;
      TW_UNROLL for (int t = 0; t < TILE; ++t) {
        I even, odd;
        unpack_pair<F, kPair>(record.codes, R0 + t, even, odd);
        I (&target)[ROWS][TILE] = kHalves && kPair >= 2 ? second : whole;
        dot_rows<Simd, F>(target, t, even, x + 2 * kPair * ROWS);
        dot_rows<Simd, F>(target, t, odd, x + (2 * kPair + 1) * ROWS);
      }
    };
    pair(Const<0>{}), pair(Const<1>{}), pair(Const<2>{}), pair(Const<3>{});
    TW_UNROLL for (int t = 0; t < TILE; ++t) {
      Fl scale, other;
      unpack_scales<F>(record, R0 + t, scale, other);
      TW_UNROLL for (int m = 0; m < ROWS; ++m)
        sum[m][t] = add_group<kLayout.scales>(sum[m][t], whole[m][t], second[m][t], scale, other,
                                              as_float(x + kSteps * ROWS + m), as_float(x + (kSteps + 4) * ROWS + m));
    }
  }
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t) Simd::storef(out + m * kPanelRows + (R0 + t) * kLanes, sum[m][t]);
}

template <Format F, int ROWS, int R0 = 0>
TW_INLINE void direct_panel(const uint8_t* panel, const int32_t* x, int groups, float* out) {
  constexpr int kTile = Simd::kDirectTile;
  direct<F, ROWS, R0, kTile>(panel, x, groups, out);
  if constexpr (R0 + kTile < kRegisters) direct_panel<F, ROWS, R0 + kTile>(panel, x, groups, out);
}

// ---- many rows: unpack a block of groups into L1, then tile over it -------------------------------

// Groups [first, last) of a panel as bytes, and their scales as floats.
template <Format F>
__attribute__((noinline)) void unpack_groups(const uint8_t* panel, int first, int last, uint8_t* out) {
  constexpr Layout kLayout = layout_of(F);
  constexpr int kRegisterBytes = kLanes * 4;
  for (int g = first; g < last; ++g, out += kLayout.unpacked_bytes()) {
    const Record record = record_at<F>(panel, g);
    float* scales = reinterpret_cast<float*>(out + kSteps * kStepBytes);
    TW_UNROLL for (int r = 0; r < kRegisters; ++r) {
      const auto pair = [&](auto index) __attribute__((always_inline)) {
        constexpr int kPair = decltype(index)::value;
        I even, odd;
        unpack_pair<F, kPair>(record.codes, r, even, odd);
        if constexpr (Simd::kMatrix) pair_steps<Simd>(even, odd);
        Simd::store(out + 2 * kPair * kStepBytes + r * kRegisterBytes, even);
        Simd::store(out + (2 * kPair + 1) * kStepBytes + r * kRegisterBytes, odd);
      };
      pair(Const<0>{}), pair(Const<1>{}), pair(Const<2>{}), pair(Const<3>{});
      Fl scale, other;
      unpack_scales<F>(record, r, scale, other);
      Simd::storef(scales + r * kLanes, scale);
      if constexpr (kLayout.scales != Scales::kOne) Simd::storef(scales + kPanelRows + r * kLanes, other);
    }
  }
}

// ROWS rows against registers [R0, R0 + TILE) of unpacked groups; sums go on from `out`.
template <Format F, int ROWS, int R0, int TILE>
__attribute__((noinline)) void block(const uint8_t* unpacked, const int32_t* x, int groups, bool begin, float* out, const uint8_t* ahead, int lines) {
  constexpr Layout kLayout = layout_of(F);
  constexpr bool kHalves = kLayout.scales == Scales::kHalves;
  constexpr int kParts = kHalves ? 2 : 1;
  const int lines_each = (lines + groups - 1) / groups;
  Fl sum[ROWS][TILE];
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t)
      sum[m][t] = begin ? Simd::allf(0) : Simd::loadf(out + m * kPanelRows + (R0 + t) * kLanes);
  for (int g = 0; g < groups; ++g, unpacked += kLayout.unpacked_bytes(), x += ROWS * kActivationWords) {
    for (int i = 0; i < lines_each; ++i, ahead += 64) Simd::prefetch_far(ahead);
    const float* scales = reinterpret_cast<const float*>(unpacked + kSteps * kStepBytes) + R0 * kLanes;
    const uint8_t* weights = unpacked + R0 * kLanes * 4;
    I part[kParts][ROWS][TILE];
    if constexpr (kHalves) {
      sum_steps<Simd, F, 0, 4>(part[0], weights, x, x + (kSteps + 2) * ROWS);
      sum_steps<Simd, F, 4, 8>(part[1], weights, x, x + (kSteps + 3) * ROWS);
    } else {
      sum_steps<Simd, F, 0, 8>(part[0], weights, x, x + (kSteps + 1) * ROWS);
    }
    TW_UNROLL for (int t = 0; t < TILE; ++t) {
      Fl scale = Simd::loadf(scales + t * kLanes), other = scale;
      if constexpr (kLayout.scales != Scales::kOne) other = Simd::loadf(scales + kPanelRows + t * kLanes);
      Simd::hold(scale);
      TW_UNROLL for (int m = 0; m < ROWS; ++m)
        sum[m][t] = add_group<kLayout.scales>(sum[m][t], part[0][m][t], part[kParts - 1][m][t], scale, other,
                                              as_float(x + kSteps * ROWS + m), as_float(x + (kSteps + 4) * ROWS + m));
    }
  }
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t) Simd::storef(out + m * kPanelRows + (R0 + t) * kLanes, sum[m][t]);
}

template <Format F, int ROWS, int R0 = 0>
TW_INLINE void block_panel(const uint8_t* unpacked, const int32_t* x, int groups, bool begin, float* out,
                           const uint8_t* ahead, int lines) {
  constexpr int kTile = Simd::kBlockTile;
  block<F, ROWS, R0, kTile>(unpacked, x, groups, begin, out, ahead, lines);
  if constexpr (R0 + kTile < kRegisters)
    block_panel<F, ROWS, R0 + kTile>(unpacked, x, groups, begin, out, ahead + lines * 64, lines);
}

// Calls `work` with the number of rows of a tile as a constant.
template <class Work>
TW_INLINE void with_rows(int rows, Work work) {
  switch (rows) {
    case 1: return work(Const<1>{});
    case 2: return work(Const<2>{});
    case 3: return work(Const<3>{});
    default: return work(Const<4>{});
  }
}

// Rows [first, first + rows) against one panel, as [rows][64] at `out`; `first` begins a tile.
template <Format F>
void panel_product(const uint8_t* panel, const Activations& x, int first, int rows, float* out, uint8_t* unpacked) {
  constexpr Layout kLayout = layout_of(F);
  const int groups = x.columns / kGroup;
  if (rows <= kTileRows) {
    with_rows(rows, [&](auto n) { direct_panel<F, decltype(n)::value>(panel, x.record(first, 0), groups, out); });
    return;
  }
  const int per_block = groups % 14 == 0 ? 14 : 8;  // 8 to 14 unpacked groups lie in L1 beside a tile
  for (int g = 0; g < groups; g += per_block) {
    const int count = smaller(per_block, groups - g);
    unpack_groups<F>(panel, g, g + count, unpacked);
    const uint8_t* ahead = panel + static_cast<size_t>(g + count) * (kLayout.record_bytes() / kLayout.groups());
    const int calls = (rows + kTileRows - 1) / kTileRows * (kRegisters / Simd::kBlockTile);
    const int lines = (per_block * kLayout.record_bytes() / kLayout.groups() / 64 + calls - 1) / calls;
    for (int row = 0; row < rows; row += kTileRows) {
      with_rows(smaller(kTileRows, rows - row), [&](auto n) {
        block_panel<F, decltype(n)::value>(unpacked, x.record(first + row, g), count, g == 0, out + row * kPanelRows, ahead, lines);
      });
      ahead += static_cast<size_t>(lines) * 64 * (kRegisters / Simd::kBlockTile);
    }
  }
}

// ---- bfloat16 ------------------------------------------------------------------------------------

// Panels of [columns / 2][64 rows][2]; activations as tiles of pairs.
template <int ROWS, int R0, int TILE>
__attribute__((noinline)) void block_bf16(const uint8_t* panel, const int32_t* x, int pairs, bool begin, float* out) {
  Fl sum[ROWS][TILE];
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t)
      sum[m][t] = begin ? Simd::allf(0) : Simd::loadf(out + m * kPanelRows + (R0 + t) * kLanes);
  for (int k = 0; k < pairs; ++k) {
    const uint8_t* step = panel + static_cast<size_t>(k) * kStepBytes + R0 * kLanes * 4;
    I weights[TILE];
    TW_UNROLL for (int t = 0; t < TILE; ++t) {
      Simd::prefetch(step + 4096 + t * 64);
      weights[t] = Simd::load(step + t * kLanes * 4);
      Simd::hold(weights[t]);
    }
    TW_UNROLL for (int m = 0; m < ROWS; ++m) {
      const I activation = Simd::all(x[k * ROWS + m]);
      TW_UNROLL for (int t = 0; t < TILE; ++t) sum[m][t] = Simd::dot_bf16(sum[m][t], weights[t], activation);
    }
  }
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t) Simd::storef(out + m * kPanelRows + (R0 + t) * kLanes, sum[m][t]);
}

template <int ROWS, int R0 = 0>
TW_INLINE void block_bf16_panel(const uint8_t* panel, const int32_t* x, int pairs, bool begin, float* out) {
  constexpr int kTile = Simd::kDirectTile;
  block_bf16<ROWS, R0, kTile>(panel, x, pairs, begin, out);
  if constexpr (R0 + kTile < kRegisters) block_bf16_panel<ROWS, R0 + kTile>(panel, x, pairs, begin, out);
}

template <>
void panel_product<Format::kBF16>(const uint8_t* panel, const Activations& x, int first, int rows, float* out, uint8_t*) {
  const int pairs = x.columns / 2, per_block = rows <= kTileRows ? pairs : 112;
  for (int k = 0; k < pairs; k += per_block) {
    const int count = smaller(per_block, pairs - k);
    for (int row = 0; row < rows; row += kTileRows) {
      const int width = smaller(kTileRows, rows - row);
      const int32_t* pair = x.record(first + row, 0) + static_cast<size_t>(k) * width;
      with_rows(width, [&](auto n) {
        block_bf16_panel<decltype(n)::value>(panel + static_cast<size_t>(k) * kStepBytes, pair, count, k == 0, out + row * kPanelRows);
      });
    }
  }
}

using PanelProduct = void (*)(const uint8_t*, const Activations&, int, int, float*, uint8_t*);

PanelProduct panel_product_of(Format format) {
  switch (format) {
    case Format::kQ8_0: return panel_product<Format::kQ8_0>;
    case Format::kQ4_0: return panel_product<Format::kQ4_0>;
    case Format::kQ5_0: return panel_product<Format::kQ5_0>;
    case Format::kQ6_K: return panel_product<Format::kQ6_K>;
    case Format::kQ4_K: return panel_product<Format::kQ4_K>;
    case Format::kQ4_1: return panel_product<Format::kQ4_1>;
    case Format::kQ5_1: return panel_product<Format::kQ5_1>;
    case Format::kQ5_K: return panel_product<Format::kQ5_K>;
    default: return panel_product<Format::kBF16>;
  }
}

}  // namespace
}  // namespace tongwen
