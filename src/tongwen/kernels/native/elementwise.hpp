// What happens to each token on its own, between the products.
#pragma once

#include <cmath>
#include <cstring>

#include "ops.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

float half_to_float(const uint8_t* p) {
  float lanes[kLanes];
  uint8_t halves[kLanes * 2] = {p[0], p[1]};
  Simd::storef(lanes, Simd::load_half(halves));
  return lanes[0];
}

// One row of a panel as floats: how the embedding is read.
template <Format F>
void unpack_row(const uint8_t* panel, int row, int columns, float* out) {
  constexpr Layout kLayout = layout_of(F);
  for (int g = 0; g < columns / kGroup; ++g) {
    const Record record = record_at<F>(panel, g);
    const float factor = half_to_float(kLayout.super ? record.factors + row * 2 : record.scales + row * 2);
    float scale[2] = {factor, factor}, minimum = 0;
    if constexpr (kLayout.scales == Scales::kMinimum)
      minimum = half_to_float((kLayout.super ? record.factors : record.scales) + (kPanelRows + row) * 2);
    if constexpr (kLayout.super && kLayout.scales == Scales::kHalves)
      for (int h = 0; h < 2; ++h) scale[h] = factor * static_cast<int8_t>(record.scales[h * kPanelRows + row]);
    if constexpr (kLayout.super && kLayout.scales == Scales::kMinimum) {
      scale[0] = scale[1] = factor * record.scales[row];
      minimum *= record.scales[kPanelRows + row];
    }
    constexpr int kOffset = kLayout.log2_offset < 0 ? 0 : 1 << kLayout.log2_offset;
    for (int k = 0; k < kGroup; ++k) {
      const int step = k / 4, byte = row * 4 + k % 4;
      int code;
      if constexpr (kLayout.bits == 8) code = record.codes[step * kStepBytes + byte];
      else code = record.codes[step / 2 * kStepBytes + byte] >> (step % 2 * 4) & 15;
      if constexpr (kLayout.bits == 5) code |= (record.codes[4 * kStepBytes + byte] >> step & 1) << 4;
      if constexpr (kLayout.bits == 6) code |= (record.codes[(4 + step / 4) * kStepBytes + byte] >> (step % 4 * 2) & 3) << 4;
      out[g * kGroup + k] = (code - kOffset) * scale[k / (kGroup / 2)] - minimum;
    }
  }
}

template <>
void unpack_row<Format::kBF16>(const uint8_t* panel, int row, int columns, float* out) {
  for (int k = 0; k < columns; ++k) {
    uint32_t bits = 0;
    std::memcpy(reinterpret_cast<uint8_t*>(&bits) + 2, panel + (k / 2) * kStepBytes + row * 4 + k % 2 * 2, 2);
    std::memcpy(out + k, &bits, 4);
  }
}

void embed_row(const Embed& op, int64_t id, float* out) {
  const uint8_t* panel = op.panels + id / kPanelRows * op.panel_bytes;
  const int row = static_cast<int>(id % kPanelRows);
  switch (op.format) {
    case Format::kQ8_0: return unpack_row<Format::kQ8_0>(panel, row, op.columns, out);
    case Format::kQ4_0: return unpack_row<Format::kQ4_0>(panel, row, op.columns, out);
    case Format::kQ5_0: return unpack_row<Format::kQ5_0>(panel, row, op.columns, out);
    case Format::kQ6_K: return unpack_row<Format::kQ6_K>(panel, row, op.columns, out);
    case Format::kQ4_K: return unpack_row<Format::kQ4_K>(panel, row, op.columns, out);
    case Format::kQ4_1: return unpack_row<Format::kQ4_1>(panel, row, op.columns, out);
    case Format::kQ5_1: return unpack_row<Format::kQ5_1>(panel, row, op.columns, out);
    case Format::kQ5_K: return unpack_row<Format::kQ5_K>(panel, row, op.columns, out);
    default: return unpack_row<Format::kBF16>(panel, row, op.columns, out);
  }
}

void embed(const Embed& op, Team& team) {
  for (int row; (row = team.take()) < op.rows;) embed_row(op, op.token_ids[row], op.out + static_cast<int64_t>(row) * op.columns);
}

// Sum of a * b, in an order that only `count` decides; a multiple of 32.
TW_INLINE float product(const float* a, const float* b, int count) {
  Fl even = Simd::allf(0), odd = even;
  for (int i = 0; i < count; i += 2 * kLanes) {
    even = Simd::fma(Simd::loadf(a + i), Simd::loadf(b + i), even);
    odd = Simd::fma(Simd::loadf(a + i + kLanes), Simd::loadf(b + i + kLanes), odd);
  }
  return Simd::sum(Simd::addf(even, odd));
}

void dense(const Dense& op, Team& team) {
  constexpr int kOutputs = 16;  // of one piece: a row alone is work for several threads
  const int pieces = (op.outputs + kOutputs - 1) / kOutputs;
  for (int taken; (taken = team.take()) < op.rows * pieces;) {
    const int64_t row = taken / pieces;
    const int first = taken % pieces * kOutputs, last = smaller(op.outputs, first + kOutputs);
    for (int i = first; i < last; ++i)
      op.out[row * op.outputs + i] = product(op.x + row * op.columns, op.weight + static_cast<int64_t>(i) * op.columns, op.columns);
  }
}

void norm(const Norm& op, Team& team) {
  for (int row; (row = team.take()) < op.rows;) {
    const float* x = op.x + static_cast<int64_t>(row) * op.columns;
    float* out = op.out + static_cast<int64_t>(row) * op.columns;
    const Fl scale = Simd::allf(1.f / sqrtf(product(x, x, op.columns) / op.columns + op.eps));
    for (int i = 0; i < op.columns; i += kLanes)
      Simd::storef(out + i, Simd::mul(Simd::mul(Simd::loadf(x + i), scale), Simd::loadf(op.weight + i)));
  }
}

constexpr int64_t kPiece = 8192;  // elements of one piece of elementwise work

void add(const Add& op, Team& team) {
  for (int64_t first; (first = team.take() * kPiece) < op.count;) {
    const int64_t last = first + kPiece < op.count ? first + kPiece : op.count;
    for (int64_t i = first; i < last; i += kLanes)
      Simd::storef(op.out + i, Simd::addf(Simd::loadf(op.a + i), Simd::loadf(op.b + i)));
  }
}

// silu(gate) * up, side by side.
TW_INLINE void gate_values(const float* gate, const float* up, int count, float* out) {
  for (int i = 0; i < count; i += kLanes) {
    const Fl opening = Simd::loadf(gate + i);
    const Fl below = exponential(Simd::min(Simd::sub(Simd::allf(0), opening), Simd::allf(80.f)));
    Simd::storef(out + i, Simd::mul(Simd::div(opening, Simd::addf(Simd::allf(1.f), below)), Simd::loadf(up + i)));
  }
}

void swiglu(const SwiGLU& op, Team& team) {
  constexpr int kSpan = 2432;  // columns of one piece
  const int spans = (op.columns + kSpan - 1) / kSpan;
  for (int taken; (taken = team.take()) < op.rows * spans;) {
    const int64_t row = taken / spans;
    const int first = taken % spans * kSpan, count = smaller(op.columns - first, kSpan);
    gate_values(op.gate + row * op.stride + first, op.up + row * op.stride + first, count, op.out + row * op.columns + first);
  }
}

// out = a + sigmoid(score) * b; the sigmoid in double.
void add_gated(const AddGated& op, Team& team) {
  for (int row; (row = team.take()) < op.rows;) {
    const int64_t first = static_cast<int64_t>(row) * op.columns;
    const double score = op.scores[row];
    const Fl open = Simd::allf(static_cast<float>(1 / (1 + __builtin_exp(-score)) + 0 * score));  // infinity is not hidden
    for (int i = 0; i < op.columns; i += kLanes)
      Simd::storef(op.out + first + i, Simd::addf(Simd::loadf(op.a + first + i), Simd::mul(open, Simd::loadf(op.b + first + i))));
  }
}

// Both halves of one head turned by the angles of its position.
TW_INLINE void turn(const float* x, const float* angles, int half, float scale, float* out) {
  for (int i = 0; i < half; i += kLanes) {
    const Fl low = Simd::loadf(x + i), high = Simd::loadf(x + half + i);
    const Fl cosine = Simd::mul(Simd::loadf(angles + i), Simd::allf(scale));
    const Fl sine = Simd::mul(Simd::loadf(angles + half + i), Simd::allf(scale));
    Simd::storef(out + i, Simd::fnma(high, sine, Simd::mul(low, cosine)));
    Simd::storef(out + half + i, Simd::fma(low, sine, Simd::mul(high, cosine)));
  }
}

// Keys lie as [16 keys][dims / 2][16][2], values as [keys / 2][dims][2].
void write_cache(const Rope& op, int row, int head, const float* angles) {
  const int dims = op.head_dim;
  alignas(64) float key[256];
  alignas(64) uint16_t rounded[256];
  turn(op.k + row * op.k_stride + head * dims, angles, dims / 2, 1.f, key);
  for (int i = 0; i < dims; i += kLanes) Simd::store_bf16(rounded + i, Simd::loadf(key + i));
  const int64_t slot = op.slots[row], offset = slot % kBlockKeys;
  uint16_t* keys = op.cache + (slot / kBlockKeys * op.kv_heads + head) * 2 * kBlockKeys * dims;
  uint16_t* sixteen = keys + offset / 16 * 16 * dims + offset % 16 * 2;
  for (int i = 0; i < dims; i += 2) std::memcpy(sixteen + i * 16, rounded + i, 4);
  const float* value = op.v + row * op.v_stride + head * dims;
  for (int i = 0; i < dims; i += kLanes) Simd::store_bf16(rounded + i, Simd::loadf(value + i));
  uint16_t* pair = keys + kBlockKeys * dims + offset / 2 * 2 * dims + offset % 2;
  for (int i = 0; i < dims; ++i) pair[i * 2] = rounded[i];
  // A later key's weight is 0, and 0 times what an earlier user left there must be 0.
  if (offset % 2 == 0)
    for (int i = 0; i < dims; ++i) pair[i * 2 + 1] = 0;
}

void rope(const Rope& op, Team& team) {
  const int dims = op.head_dim;
  // One piece is one head of all rows, so that the two keys of a pair have one writer, in order.
  for (int head; (head = team.take()) < op.heads + op.kv_heads;) {
    for (int row = 0; row < op.rows; ++row) {
      const float* angles = op.angles + op.positions[row] * dims;
      if (head < op.kv_heads) {
        write_cache(op, row, head, angles);
      } else {
        float* q = op.q + row * op.q_stride + (head - op.kv_heads) * dims;
        turn(q, angles, dims / 2, op.scale, q);
      }
    }
  }
}

}  // namespace
}  // namespace tongwen
