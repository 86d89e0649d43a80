// Attention over the paged cache: prompt chunks and single tokens alike.
//
// The query heads that share a key head are rows of one small product.  Keys are read in tiles of
// 128, anchored at position 0 and ascending, with one online softmax a row (Milakov and Gimelshein,
// 2018): what a row computes depends on its own position alone.
#pragma once

#include <cstring>

#include "ops.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

constexpr float kHidden = -1e30f;

// The rows of one pass: where they read, and their running softmax.
template <int DIMS>
struct Pass {
  alignas(64) int32_t q[kQueryRows * DIMS / 2];   // tiles of four rows: [DIMS / 2][width] pairs
  alignas(64) float out[kQueryRows * DIMS];
  float top[kQueryRows], total[kQueryRows];
  int begin[kQueryRows], end[kQueryRows];          // keys that a row sees
  const uint16_t* blocks[kTileKeys / kBlockKeys];  // keys of this tile; values follow them
};

// Scores of ROWS rows against the tile's keys.
template <int DIMS, int ROWS>
TW_INLINE void scores(const Pass<DIMS>& pass, const int32_t* q, float (*out)[kTileKeys]) {
  constexpr int kTile = Simd::kDirectTile, kKeys = kTile * kLanes;  // keys at a time
  for (int first = 0; first < kTileKeys; first += kKeys) {
    const uint8_t* part[kTile];
    for (int t = 0; t < kTile; ++t) {
      const int key = first + t * kLanes;
      part[t] = reinterpret_cast<const uint8_t*>(pass.blocks[key / kBlockKeys] + key % kBlockKeys / 16 * 16 * DIMS + key % 16 * 2);
    }
    Fl sum[ROWS][kTile];
    TW_UNROLL for (int m = 0; m < ROWS; ++m)
      TW_UNROLL for (int t = 0; t < kTile; ++t) sum[m][t] = Simd::allf(0);
    _Pragma("GCC unroll 2") for (int d = 0; d < DIMS / 2; ++d) {
      I keys[kTile];
      TW_UNROLL for (int t = 0; t < kTile; ++t) {
        keys[t] = Simd::load(part[t] + d * 64);
        Simd::hold(keys[t]);
      }
      TW_UNROLL for (int m = 0; m < ROWS; ++m) {
        const I x = Simd::all(q[d * ROWS + m]);
        TW_UNROLL for (int t = 0; t < kTile; ++t) sum[m][t] = Simd::dot_bf16(sum[m][t], keys[t], x);
      }
    }
    TW_UNROLL for (int m = 0; m < ROWS; ++m)
      TW_UNROLL for (int t = 0; t < kTile; ++t) Simd::storef(out[m] + first + t * kLanes, sum[m][t]);
  }
}

// Scores to weights against the new maximum; returns what the row's earlier sums shrink by.
TW_INLINE float weigh(float* scores, int begin, int end, float& top, float& total, uint16_t* weights) {
  const Fl hidden = Simd::allf(kHidden);
  Fl largest = hidden;
  for (int i = 0; i < kTileKeys; i += kLanes) {
    Fl s = Simd::loadf(scores + i);
    if (end < kTileKeys) s = Simd::keep_first(s, end - i, hidden);
    if (begin > 0) s = Simd::drop_first(s, begin - i, hidden);
    Simd::storef(scores + i, s);
    largest = Simd::max(largest, s);
  }
  const float before = top, found = Simd::largest(largest);
  top = found > before ? found : before;
  Fl sum = Simd::allf(0);
  for (int i = 0; i < kTileKeys; i += kLanes) {
    Fl p = exponential(Simd::sub(Simd::loadf(scores + i), Simd::allf(top)));
    // Exactly nothing: how many hidden keys there are depends on the row's neighbours.
    if (end < kTileKeys) p = Simd::keep_first(p, end - i, Simd::allf(0));
    if (begin > 0) p = Simd::drop_first(p, begin - i, Simd::allf(0));
    sum = Simd::addf(sum, p);
    Simd::store_bf16(weights + i, p);
  }
  float shrink[kLanes];
  Simd::storef(shrink, exponential(Simd::allf(before - top)));
  total = total * shrink[0] + Simd::sum(sum);
  return shrink[0];
}

// Adds the tile's values, weighed, to the rows' outputs.
template <int DIMS, int ROWS>
TW_INLINE void values(const Pass<DIMS>& pass, const uint16_t (*weights)[kTileKeys], const float* shrink, int keys, float* out) {
  constexpr int kTile = Simd::kDirectTile, kStride = kTile * kLanes;  // dims at a time
  for (int first = 0; first < DIMS; first += kStride) {
    Fl sum[ROWS][kTile];
    TW_UNROLL for (int m = 0; m < ROWS; ++m)
      TW_UNROLL for (int t = 0; t < kTile; ++t)
        sum[m][t] = Simd::mul(Simd::loadf(out + m * DIMS + first + t * kLanes), Simd::allf(shrink[m]));
    for (int block = 0; block * kBlockKeys < keys; ++block) {
      const uint8_t* pair = reinterpret_cast<const uint8_t*>(pass.blocks[block] + kBlockKeys * DIMS) + first * 4;
      const int pairs = smaller(kBlockKeys, keys - block * kBlockKeys + 1) / 2;
      for (int i = 0; i < pairs; ++i, pair += DIMS * 4) {
        I value[kTile];
        TW_UNROLL for (int t = 0; t < kTile; ++t) {
          value[t] = Simd::load(pair + t * kLanes * 4);
          Simd::hold(value[t]);
        }
        TW_UNROLL for (int m = 0; m < ROWS; ++m) {
          int32_t both;
          std::memcpy(&both, weights[m] + block * kBlockKeys + 2 * i, 4);
          const I weight = Simd::all(both);
          TW_UNROLL for (int t = 0; t < kTile; ++t) sum[m][t] = Simd::dot_bf16(sum[m][t], value[t], weight);
        }
      }
    }
    TW_UNROLL for (int m = 0; m < ROWS; ++m)
      TW_UNROLL for (int t = 0; t < kTile; ++t) Simd::storef(out + m * DIMS + first + t * kLanes, sum[m][t]);
  }
}

// ROWS rows against one tile of keys that begins at `key`.
template <int DIMS, int ROWS>
__attribute__((noinline)) void attend_tile(Pass<DIMS>& pass, int row, int key) {
  alignas(64) float score[ROWS][kTileKeys];
  alignas(64) uint16_t weights[ROWS][kTileKeys];
  float shrink[ROWS];
  int last = 0;
  for (int m = 0; m < ROWS; ++m) last = larger(last, pass.end[row + m] - key);
  scores<DIMS, ROWS>(pass, pass.q + row * (DIMS / 2), score);
  for (int m = 0; m < ROWS; ++m)
    shrink[m] = weigh(score[m], pass.begin[row + m] - key, pass.end[row + m] - key, pass.top[row + m], pass.total[row + m], weights[m]);
  values<DIMS, ROWS>(pass, weights, shrink, smaller(last, kTileKeys), pass.out + row * DIMS);
}

// Up to kQueryRows rows of one request and one key head, over all keys that any of them sees.
template <int DIMS>
void attend_rows(const Attention& op, Pass<DIMS>& pass, int rows, int head, const int64_t* table) {
  int begin = 1 << 30, end = 0;
  for (int r = 0; r < rows; ++r) {
    begin = smaller(begin, pass.begin[r]);
    end = larger(end, pass.end[r]);
    pass.top[r] = kHidden, pass.total[r] = 0;
  }
  std::memset(pass.out, 0, sizeof(float) * rows * DIMS);
  for (int key = begin / kTileKeys * kTileKeys; key < end; key += kTileKeys) {
    const uint16_t* block = nullptr;
    for (int i = 0; i < kTileKeys / kBlockKeys; ++i) {  // past the end: any block, its keys are hidden
      if (key + i * kBlockKeys < end) block = op.cache + (table[key / kBlockKeys + i] * op.kv_heads + head) * 2 * kBlockKeys * DIMS;
      pass.blocks[i] = block;
    }
    for (int row = 0; row < rows; row += kTileRows) {
      const int width = smaller(kTileRows, rows - row);
      bool sees = false;
      for (int m = 0; m < width; ++m) sees |= pass.begin[row + m] < key + kTileKeys && pass.end[row + m] > key;
      if (!sees) continue;
      switch (width) {
        case 1: attend_tile<DIMS, 1>(pass, row, key); break;
        case 2: attend_tile<DIMS, 2>(pass, row, key); break;
        case 3: attend_tile<DIMS, 3>(pass, row, key); break;
        default: attend_tile<DIMS, 4>(pass, row, key);
      }
    }
  }
}

// Rows [first, first + rows) of a request's query rows under one key head; a row is a token and one
// of the heads that share the key head.
template <int DIMS>
void attend(const Attention& op, Pass<DIMS>& pass, int request, int head, int first, int rows) {
  const int group = op.heads / op.kv_heads;
  const int64_t start = op.starts[request], queries = op.starts[request + 1] - start;
  const int64_t before = op.context_lens[request] - queries;
  alignas(64) uint16_t rounded[DIMS];
  for (int r = 0; r < rows; ++r) {
    const int token = (first + r) / group, query_head = head * group + (first + r) % group;
    const float* q = op.q + (start + token) * op.q_stride + query_head * DIMS;
    for (int i = 0; i < DIMS; i += kLanes) Simd::store_bf16(rounded + i, Simd::loadf(q + i));
    const int tile = r / kTileRows * kTileRows, width = smaller(kTileRows, rows - tile);
    int32_t* packed = pass.q + tile * (DIMS / 2) + (r - tile);
    for (int i = 0; i < DIMS / 2; ++i) std::memcpy(packed + i * width, rounded + 2 * i, 4);
    pass.end[r] = static_cast<int>(before) + token + 1;
    pass.begin[r] = op.window ? larger(0, pass.end[r] - op.window) : 0;
  }
  attend_rows<DIMS>(op, pass, rows, head, op.block_tables + request * op.table_stride);
  for (int r = 0; r < rows; ++r) {
    const int token = (first + r) / group, query_head = head * group + (first + r) % group;
    float* out = op.out + ((start + token) * op.heads + query_head) * DIMS;
    const Fl inverse = Simd::allf(1.f / pass.total[r]);
    for (int i = 0; i < DIMS; i += kLanes) Simd::storef(out + i, Simd::mul(Simd::loadf(pass.out + r * DIMS + i), inverse));
  }
}

template <int DIMS>
void attention_of(const Attention& op, Team& team) {
  Pass<DIMS>& pass = *reinterpret_cast<Pass<DIMS>*>(team.local);
  static_assert(sizeof(Pass<DIMS>) <= kAttentionBytes, "an attention pass must fit a thread's scratch");
  int next = team.take(), index = 0;
  // Longest first: the last rows of a chunk see the most keys.
  for (int request = 0; request < op.num_requests; ++request) {
    const int queries = static_cast<int>(op.starts[request + 1] - op.starts[request]);
    const int rows = queries * (op.heads / op.kv_heads), passes = (rows + kQueryRows - 1) / kQueryRows;
    for (int p = passes - 1; p >= 0; --p)
      for (int head = 0; head < op.kv_heads; ++head, ++index)
        if (index == next) {
          attend<DIMS>(op, pass, request, head, p * kQueryRows, smaller(kQueryRows, rows - p * kQueryRows));
          next = team.take();
        }
  }
}

void attention(const Attention& op, Team& team) {
  if (op.head_dim == 64) attention_of<64>(op, team);
  else attention_of<128>(op, team);
}

}  // namespace
}  // namespace tongwen
