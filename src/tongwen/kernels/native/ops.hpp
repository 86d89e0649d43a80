// The operations that kernels perform, as plain data: what a step consists of.
//
// All numbers outside the weights and the cache are float32.  Pointers are the caller's; an
// operation is recorded by copying it, and replayed on whatever its pointers then point at.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats.hpp"

namespace tongwen {

constexpr int kMaxSegments = 4;
constexpr int kMaxRowsAlone = kTileRows;
constexpr int kUnpackedBytes = 14 * (kSteps * kStepBytes + 2 * kPanelRows * 4);
constexpr int kTileKeys = 128;   // keys that attention weighs at a time; tiles begin at position 0
constexpr int kBlockKeys = 32;   // keys in one block of the cache
constexpr int kQueryRows = 64;   // query rows that share one pass over the keys
constexpr int kAttentionBytes = 80 << 10;  // scratch of one pass
constexpr int kChunkRows = 512;  // rows whose sums with one panel a thread holds
constexpr int kSumsBytes = 2 * kChunkRows * kPanelRows * 4;
static_assert(kChunkRows % kTileRows == 0, "a chunk begins with a tile");

// A thread's own scratch: activations of a few rows, then what a product unpacks and sums.  Attention,
// which never runs beside a product, takes the place of all.
constexpr size_t local_bytes(size_t activations) { return activations + kUnpackedBytes + kSumsBytes; }
static_assert(kAttentionBytes <= local_bytes(0), "an attention pass fits a thread's scratch");

// What one thread of a team is given.
struct Team {
  int thread;
  int threads;
  uint8_t* common;        // shared scratch
  uint8_t* local;         // this thread's own
  size_t local_activations;  // bytes of it for the activations of a few rows
  class Pool* pool;

  int take();   // the next piece of work; starts over at every `wait`
  void wait();  // for all threads
};

// Rows of `out` looked up in packed weights.
struct Embed {
  Format format;
  const uint8_t* panels;
  size_t panel_bytes;
  int rows, columns, vocabulary;
  const int64_t* token_ids;
  float* out;
};

// out = weight * x / rms(x)
struct Norm {
  const float* x;
  const float* weight;
  float* out;
  int rows, columns;
  float eps;
};

struct Segment {
  Format format;
  const uint8_t* panels;
  size_t panel_bytes;
  int rows;  // of the weights: columns of `out`
  const float* bias;
  float* out;
  int64_t out_stride;
};

// Products of one input with several weights: quantized once.
struct Linear {
  const float* x;
  int64_t x_stride;
  int rows, columns;
  int num_segments;
  Segment segments[kMaxSegments];
};

// Products with a small float32 matrix that decides: a router, a gate.  Nothing is rounded to fewer bits.
struct Dense {
  const float *x, *weight;
  float* out;
  int rows, columns, outputs;
};

// out = a + b
struct Add {
  const float *a, *b;
  float* out;
  int64_t count;
};

// out = a + sigmoid(score) * b, one score a row
struct AddGated {
  const float *a, *b, *scores;
  float* out;
  int rows, columns;
};

// Which rows each expert works on (`kernels/moe.py`): pairs of a row and an expert, by expert.
struct Route {
  const float* logits;
  int rows, experts, top_k;
  bool renormalize;
  int32_t* chosen;  // [rows, top_k]: the experts of each row, the most probable first
  float* ranked;    // their probabilities
  int64_t* pair_rows;
  float* weights;
  int64_t* counts;  // pairs of each expert
};

// One matrix of each of several experts.
struct Matrices {
  Format format;
  const uint8_t* const* panels;
  size_t panel_bytes;
};

// out[row] = sum over its pairs, experts ascending, of weight * down(silu(gate(x)) * up(x))
struct Experts {
  const float* x;
  int rows, columns, hidden, count, pairs;
  Matrices gate, up, down;  // gate and up share one form of `x`
  const int64_t *pair_rows, *counts;
  const float* weights;
  float* out;
};

// out = silu(gate) * up
struct SwiGLU {
  const float *gate, *up;
  int64_t stride;
  float* out;
  int rows, columns;
};

// out = down(silu(gate(x)) * up(x)); neither has a bias, and gate and up have no `out`.
struct MLP {
  const float* x;
  int64_t x_stride;
  int rows, columns, ffn;
  Segment gate, up, down;
};

// Rows of shared scratch, `columns + ffn` wide, that an MLP needs: gate and up of a tile are floats.
constexpr int scratch_rows(const MLP& op) { return op.rows <= kTileRows ? 4 * kTileRows : op.rows; }

// Rotates queries in place (scaled), and writes rotated keys and values to the cache.
struct Rope {
  float* q;
  const float *k, *v;
  int64_t q_stride, k_stride, v_stride;
  int rows, heads, kv_heads, head_dim;
  float scale;
  const float* angles;  // [positions][2][head_dim / 2]: cosines, sines
  const int64_t *positions, *slots;
  uint16_t* cache;  // of this layer: [blocks][kv_heads][2][kBlockKeys * head_dim]
};

// Every query row reads the keys that its position may see.
struct Attention {
  const float* q;
  int64_t q_stride;
  float* out;
  int heads, kv_heads, head_dim;
  int window;  // keys that a query sees; 0: all
  const uint16_t* cache;
  const int64_t *starts, *context_lens, *block_tables;
  int64_t table_stride;
  int num_requests;
};

constexpr int kSpan = 256;  // logits whose largest is kept

// What one pass over a row of logits finds, or has found so far.
struct Statistics {
  float largest = -3.40282347e38f;
  double sum = 0;  // of exp(scale * (x - largest))
  bool is_finite = true;
};

constexpr int kScoredLogits = 16 * kSpan;  // of a row, that are there at a time

// Log-probabilities of one target a row.
struct Score {
  Linear head;  // one segment; its `out` holds [rows, kScoredLogits]
  const int64_t* targets;
  Statistics* found;  // of each row
  double* chosen;     // each target's logit
};

// The kernels of one instruction set.
struct Kernels {
  const char* name;
  void (*embed)(const Embed&, Team&);
  void (*norm)(const Norm&, Team&);
  void (*linear)(const Linear&, Team&);
  void (*dense)(const Dense&, Team&);
  void (*add)(const Add&, Team&);
  void (*add_gated)(const AddGated&, Team&);
  void (*experts)(const Experts&, Team&);
  void (*swiglu)(const SwiGLU&, Team&);
  void (*mlp)(const MLP&, Team&);
  void (*rope)(const Rope&, Team&);
  void (*attention)(const Attention&, Team&);
  void (*score)(const Score&, Team&);
  // Goes on from `out` with more of a row, by one thread; whole spans but for the row's last.
  // `maxima` gets the largest of each.
  void (*statistics)(const float* logits, int count, float scale, float* maxima, Statistics* out);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx2_vnni();
const Kernels& kernels_avx512();
const Kernels& kernels_neon();
const Kernels& kernels_neon_i8mm();

}  // namespace tongwen
