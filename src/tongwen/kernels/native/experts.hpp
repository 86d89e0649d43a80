// The gated networks of a mixture of experts, all of them in one operation.
//
// The pairs of a row and an expert lie expert by expert.  Each pair's input is quantized into the
// tiles of its expert; a panel of gate and the same panel of up give 64 columns of what down reads,
// which are gated and quantized while they are in the first-level cache.  A panel of down then goes
// through the experts in the order of their ids, adding what each says to the rows that it works
// on: that order is the same whatever the number of rows and threads.
#pragma once

#include "elementwise.hpp"
#include "projections.hpp"

namespace tongwen {
namespace {

// Where work that is dealt out expert by expert has got to; only ever moves on.
struct Cursor {
  const Experts& op;
  int expert = 0;
  int first = 0;    // pair of this expert
  int passed = 0;   // pieces of the experts before

  int count() const { return static_cast<int>(op.counts[expert]); }

  // Goes to the expert of piece `piece`, and returns its number there; -1 beyond the last expert.
  template <class Pieces>
  int find(int piece, Pieces pieces_of) {
    for (; expert < op.count; ++expert) {
      const int pieces = pieces_of(count());
      if (piece - passed < pieces) return piece - passed;
      passed += pieces, first += count();
    }
    return -1;
  }
};

// What the phases share: inputs of gate and up, and of down, pair by pair.
struct ExpertsInputs {
  Activations outer, hidden;

  ExpertsInputs(const Experts& op, const Team& team)
      : outer{team.common, op.pairs, op.columns, op.gate.format == Format::kBF16},
        hidden{team.common + scratch_bytes(op.pairs, op.columns), op.pairs, op.hidden, op.down.format == Format::kBF16} {}
};

Segment matrix_of(const Matrices& matrices, int expert, int rows) {
  return {matrices.format, matrices.panels[expert], matrices.panel_bytes, rows, nullptr, nullptr, 0};
}

void gather_pairs(const Experts& op, Team& team, const ExpertsInputs& inputs) {
  Cursor at{op};
  for (int tile; (tile = at.find(team.take(), [](int rows) { return (rows + kTileRows - 1) / kTileRows; })) >= 0;) {
    const Activations mine = inputs.outer.part(at.first, at.count());
    for (int row = tile * kTileRows; row < smaller(mine.rows, (tile + 1) * kTileRows); ++row)
      store_rows(op.x + op.pair_rows[at.first + row] * op.columns, 0, mine, row, row + 1, 0, op.columns / kGroup);
  }
}

// One panel of gate and of up against all rows of one expert.
void widen_panel(const Experts& op, const Cursor& at, int panel, const ExpertsInputs& inputs, const Scratch& scratch) {
  const Segment gate = matrix_of(op.gate, at.expert, op.hidden), up = matrix_of(op.up, at.expert, op.hidden);
  const Activations x = inputs.outer.part(at.first, at.count()), hidden = inputs.hidden.part(at.first, at.count());
  for (int row = 0; row < x.rows; row += kChunkRows) {
    const int here = smaller(kChunkRows, x.rows - row);
    panel_sums(gate, panel, x, row, here, scratch.sums, scratch.unpacked);
    panel_sums(up, panel, x, row, here, scratch.others, scratch.unpacked);
    store_gated(scratch.sums, scratch.others, kPanelRows, hidden, panel, row, here, scratch.sums);
  }
}

// Adds `weight * values` to a row's columns of one panel.
TW_INLINE void add_weighted(float* out, const float* values, float weight, int count) {
  for (int i = 0; i < count; i += kLanes)
    Simd::storef(out + i, Simd::addf(Simd::loadf(out + i), Simd::mul(Simd::loadf(values + i), Simd::allf(weight))));
}

// One panel of every expert's down, experts ascending.
void narrow_panel(const Experts& op, int panel, const ExpertsInputs& inputs, const Scratch& scratch) {
  const int column = panel * kPanelRows, count = smaller(kPanelRows, op.columns - column);
  float* out = op.out + column;
  for (int row = 0; row < op.rows; ++row) std::memset(out + static_cast<int64_t>(row) * op.columns, 0, count * sizeof(float));
  for (Cursor at{op}; at.expert < op.count; at.first += at.count(), ++at.expert) {
    const Activations hidden = inputs.hidden.part(at.first, at.count());
    for (int row = 0; row < hidden.rows; row += kChunkRows) {
      const int here = smaller(kChunkRows, hidden.rows - row);
      panel_sums(matrix_of(op.down, at.expert, op.columns), panel, hidden, row, here, scratch.sums, scratch.unpacked);
      for (int m = 0; m < here; ++m) {
        const int pair = at.first + row + m;
        add_weighted(out + op.pair_rows[pair] * op.columns, scratch.sums + m * kPanelRows, op.weights[pair], count);
      }
    }
  }
}

void experts(const Experts& op, Team& team) {
  const ExpertsInputs inputs(op, team);
  const Scratch scratch = scratch_of(team);
  gather_pairs(op, team, inputs);
  team.wait();
  const int panels = panels_of(op.hidden);
  Cursor at{op};
  for (int panel; (panel = at.find(team.take(), [&](int rows) { return rows ? panels : 0; })) >= 0;) widen_panel(op, at, panel, inputs, scratch);
  team.wait();
  for (int panel; (panel = team.take()) * kPanelRows < op.columns;) narrow_panel(op, panel, inputs, scratch);
}

}  // namespace
}  // namespace tongwen
