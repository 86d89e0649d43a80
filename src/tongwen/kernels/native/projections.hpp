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

// `work(first row, rows, panel)` for every chunk of rows and every panel, shared among the threads.
template <class Work>
void share_panels(int rows, int panels, Team& team, Work work) {
  const int each = panels >= 1024 ? 16 : panels >= 128 ? 4 : 1, pieces = (panels + each - 1) / each;
  for (int taken; (taken = team.take()) < (rows + kChunkRows - 1) / kChunkRows * pieces;) {
    const int first = taken / pieces * kChunkRows, panel = taken % pieces * each;
    for (int i = panel; i < smaller(panels, panel + each); ++i) work(first, smaller(kChunkRows, rows - first), i);
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
  share_panels(op.rows, total, team, [&](int first, int rows, int panel) {
    const Segment* segment = op.segments;
    for (int panels; panel >= (panels = panels_of(segment->rows)); ++segment) panel -= panels;
    project_panel(*segment, panel, x, first, rows, scratch);
  });
}

// One panel of gate and up for a chunk of rows, and what down reads of it.
void gate_panel(const MLP& op, int panel, const Activations& x, const Activations& hidden, int first, int rows, const Scratch& scratch) {
  panel_sums(op.gate, panel, x, first, rows, scratch.sums, scratch.unpacked);
  panel_sums(op.up, panel, x, first, rows, scratch.others, scratch.unpacked);
  for (int i = 0; i < rows * kPanelRows; i += kLanes)
    Simd::storef(scratch.sums + i, gated(Simd::loadf(scratch.sums + i), Simd::loadf(scratch.others + i)));
  constexpr int kGroups = kPanelRows / kGroup;
  const int group = panel * kGroups, end = smaller(hidden.columns / kGroup, group + kGroups);
  store_rows(scratch.sums, kPanelRows, hidden, first, first + rows, group, end);
}

void mlp(const MLP& op, Team& team) {
  if (op.rows == 0) return;
  const Activations x = prepared(op.x, op.x_stride, op.rows, op.columns, op.gate.format == Format::kBF16, team);
  const Activations hidden{team.common + scratch_bytes(whole_tiles(op.rows), op.columns), op.rows, op.ffn, op.down.format == Format::kBF16};
  const Scratch scratch = scratch_of(team);
  share_panels(op.rows, panels_of(op.ffn), team, [&](int first, int rows, int panel) { gate_panel(op, panel, x, hidden, first, rows, scratch); });
  team.wait();
  share_panels(op.rows, panels_of(op.down.rows), team, [&](int first, int rows, int panel) { project_panel(op.down, panel, hidden, first, rows, scratch); });
}

}  // namespace
}  // namespace tongwen
