// Linear layers and the gated network: products shared among the threads, panel by panel.
//
// A panel's sums stay in the second-level cache until they are complete; then they go to their place
// with the bias, or, between the halves of the gated network, straight into the 8 bits that the next
// product reads: what is ffn columns wide never stands in memory as floats.
#pragma once

#include <cstring>

#include "activations.hpp"
#include "elementwise.hpp"
#include "linear.hpp"
#include "ops.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

// Up to so many rows, panels of gate and of up are read a few in a run.
constexpr int kRun = 2, kFewRows = 64;
static_assert(kRun * kFewRows <= kChunkRows, "the sums of a run have room");

// A thread's scratch, after the activations of a few rows.
struct Scratch {
  uint8_t* unpacked;
  float *sums, *others;  // [kChunkRows][kPanelRows]
};

Scratch scratch_of(const Team& team) {
  uint8_t* unpacked = team.local + team.local_activations;
  float* sums = reinterpret_cast<float*>(unpacked + kUnpackedBytes);
  return {unpacked, sums, sums + kChunkRows * kPanelRows};
}

int panels_of(int rows) { return (rows + kPanelRows - 1) / kPanelRows; }

// The team's input; a few rows are cheaper to prepare by each thread for itself than to wait for.
Activations prepared(const float* x, int64_t stride, int rows, int columns, bool brief, Team& team) {
  const int groups = columns / kGroup;
  if (rows <= kTileRows) {
    const Activations mine{team.local, rows, columns, brief};
    store_rows(x, stride, mine, 0, rows, 0, groups);
    return mine;
  }
  const Activations all{team.common, rows, columns, brief};
  for (int tile; (tile = team.take() * kTileRows) < rows;)
    store_rows(x + tile * stride, stride, all, tile, smaller(rows, tile + kTileRows), 0, groups);
  team.wait();
  return all;
}

// `work(first row, rows, panel, count)` until all panels have met every chunk of rows: runs of up to `run`
// panels, shared among the threads.
template <class Work>
void share_panels(int rows, int panels, int run, Team& team, Work work) {
  const int pieces = (panels + run - 1) / run, chunks = (rows + kChunkRows - 1) / kChunkRows;
  for (int taken; (taken = team.take()) < chunks * pieces;) {
    const int first = taken / pieces * kChunkRows, panel = taken % pieces * run;
    work(first, smaller(kChunkRows, rows - first), panel, smaller(run, panels - panel));
  }
}

void panel_sums(const Segment& segment, int panel, const Activations& x, int first, int rows, float* sums, uint8_t* unpacked) {
  panel_product_of(segment.format)(segment.panels + panel * segment.panel_bytes, x, first, rows, sums, unpacked);
}

// One panel of a linear layer for a chunk of rows; the last panel is padded, its padding dropped.
void project_panel(const Segment& segment, int panel, const Activations& x, int first, int rows, const Scratch& scratch) {
  panel_sums(segment, panel, x, first, rows, scratch.sums, scratch.unpacked);
  const int column = panel * kPanelRows, count = smaller(kPanelRows, segment.rows - column);
  for (int m = 0; m < rows; ++m) {
    float* out = segment.out + (first + m) * segment.out_stride + column;
    const float* sums = scratch.sums + m * kPanelRows;
    if (segment.bias)
      for (int i = 0; i < count; ++i) out[i] = sums[i] + segment.bias[column + i];
    else
      std::memcpy(out, sums, count * sizeof(float));
  }
}

void linear(const Linear& op, Team& team) {
  if (op.rows == 0) return;  // a step that ends within a prompt wants no logits
  const Activations x = prepared(op.x, op.x_stride, op.rows, op.columns, op.segments[0].format == Format::kBF16, team);
  const Scratch scratch = scratch_of(team);
  int total = 0;
  for (int s = 0; s < op.num_segments; ++s) total += panels_of(op.segments[s].rows);
  const int run = total >= 1024 ? 16 : total >= 128 ? 4 : 1;
  share_panels(op.rows, total, run, team, [&](int first, int rows, int begin, int count) {
    for (int index = begin; index < begin + count; ++index) {
      int panel = index, s = 0;
      for (int panels; panel >= (panels = panels_of(op.segments[s].rows)); ++s) panel -= panels;
      project_panel(op.segments[s], panel, x, first, rows, scratch);
    }
  });
}

// What down reads of one panel of gate and up, both `stride` apart, for rows from `first` on.
void store_gated(const float* gate, const float* up, int64_t stride, const Activations& hidden, int panel, int first, int rows, float* sums) {
  const int column = panel * kPanelRows, count = smaller(kPanelRows, hidden.columns - column);
  for (int m = 0; m < rows; ++m) gate_values(gate + m * stride, up + m * stride, count, sums + m * kPanelRows);
  store_rows(sums, kPanelRows, hidden, first, first + rows, column / kGroup, (column + count) / kGroup);
}

// A run of panels of gate, then of up, for a chunk of rows, and what down reads of them.
void gate_panels(const MLP& op, int panel, int count, const Activations& x, const Activations& hidden, int first, int rows, const Scratch& scratch) {
  const int values = rows * kPanelRows;  // of one panel
  for (int i = 0; i < count; ++i) panel_sums(op.gate, panel + i, x, first, rows, scratch.sums + i * values, scratch.unpacked);
  for (int i = 0; i < count; ++i) panel_sums(op.up, panel + i, x, first, rows, scratch.others + i * values, scratch.unpacked);
  for (int i = 0; i < count; ++i) {
    float *gate = scratch.sums + i * values, *up = scratch.others + i * values;
    store_gated(gate, up, kPanelRows, hidden, panel + i, first, rows, gate);
  }
}

// Many rows: gate and up of a panel stay with one thread.
Activations hidden_of_many(const MLP& op, Team& team) {
  const Activations x = prepared(op.x, op.x_stride, op.rows, op.columns, op.gate.format == Format::kBF16, team);
  const Activations hidden{team.common + scratch_bytes(whole_tiles(op.rows), op.columns), op.rows, op.ffn, op.down.format == Format::kBF16};
  const int run = op.rows <= kFewRows ? kRun : 1;
  share_panels(op.rows, panels_of(op.ffn), run, team, [&](int first, int rows, int panel, int count) {
    gate_panels(op, panel, count, x, hidden, first, rows, scratch_of(team));
  });
  team.wait();
  return hidden;
}

// A few rows wait for memory, which likes to be read in long runs: all of gate, then all of up.
Activations hidden_of_few(const MLP& op, Team& team) {
  const int64_t stride = 2 * op.ffn;
  float* both = reinterpret_cast<float*>(team.common);
  Linear inner{op.x, op.x_stride, op.rows, op.columns, 2, {op.gate, op.up}};
  for (int s = 0; s < 2; ++s) inner.segments[s].out = both + s * op.ffn, inner.segments[s].out_stride = stride;
  linear(inner, team);
  team.wait();
  const Activations hidden{team.local, op.rows, op.ffn, op.down.format == Format::kBF16};
  for (int panel = 0; panel < panels_of(op.ffn); ++panel) {
    const float* gate = both + panel * kPanelRows;
    store_gated(gate, gate + op.ffn, stride, hidden, panel, 0, op.rows, scratch_of(team).sums);
  }
  return hidden;
}

void mlp(const MLP& op, Team& team) {
  if (op.rows == 0) return;
  const Activations hidden = op.rows <= kTileRows ? hidden_of_few(op, team) : hidden_of_many(op, team);
  share_panels(op.rows, panels_of(op.down.rows), 1, team,
               [&](int first, int rows, int panel, int) { project_panel(op.down, panel, hidden, first, rows, scratch_of(team)); });
}

}  // namespace
}  // namespace tongwen
