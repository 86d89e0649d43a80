// The gated networks of a mixture of experts, all of them in one operation.
//
// The pairs of a row and an expert lie expert by expert.  Each pair's input is quantized into the
// tiles of its expert; a panel of gate and the same panel of up give 64 columns of what down reads,
// which are gated and quantized while they are in the first-level cache.  A panel of down then goes
// through the experts in the order of their ids, adding what each says to the rows that it works
// on: that order is the same whatever the number of rows and threads.
#pragma once

#include "elementwise.hpp"
#include "linear.hpp"

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

// What the phases share: inputs of gate and up, inputs of down, and this thread's scratch.
struct ExpertsScratch {
  uint8_t *inputs, *gated, *unpacked;
  float *gates, *ups;  // [kSpillRows, kPanelRows]

  ExpertsScratch(const Experts& op, const Team& team)
      : inputs(team.common),
        gated(inputs + scratch_bytes(op.pairs, op.columns)),
        unpacked(team.local + team.local_activations),
        gates(reinterpret_cast<float*>(unpacked + kUnpackedBytes)),
        ups(gates + kSpillRows * kPanelRows) {}
};
static_assert(2 * kSpillRows * kPanelRows * 4 <= kAttentionBytes, "gates and ups fit a thread's scratch");

void gather_pairs(const Experts& op, Team& team, const ExpertsScratch& scratch) {
  const auto prepare = op.gate.format == Format::kBF16 ? round_rows : quantize_rows;
  Cursor at{op};
  for (int tile; (tile = at.find(team.take(), [](int rows) { return (rows + kTileRows - 1) / kTileRows; })) >= 0;) {
    const int rows = at.count();
    uint8_t* inputs = scratch.inputs + bytes_of_rows(op.gate.format, at.first, op.columns);
    for (int row = tile * kTileRows; row < smaller(rows, (tile + 1) * kTileRows); ++row)
      prepare(op.x + op.pair_rows[at.first + row] * op.columns, 0, rows, op.columns, row, row + 1, inputs);
  }
}

// Columns [first, first + count) of one gated row, into the tiles of its expert's `rows` rows.
void store_gated(const Experts& op, const float* values, int row, int rows, int first, int count, uint8_t* out) {
  const Format format = op.down.format;
  const int tile = row / kTileRows * kTileRows, width = smaller(kTileRows, rows - tile);
  int32_t* words = reinterpret_cast<int32_t*>(out + bytes_of_rows(format, tile, op.hidden));
  for (int column = first; column < first + count; column += kGroup, values += kGroup) {
    if (format == Format::kBF16) round_group(values, words + static_cast<size_t>(column / 2) * width, width, row - tile);
    else quantize_group(values, words + static_cast<size_t>(column / kGroup) * width * kActivationWords, width, row - tile);
  }
}

// One panel of gate and of up against all rows of one expert.
void widen_panel(const Experts& op, const Cursor& at, int panel, const ExpertsScratch& scratch) {
  const int rows = at.count(), first = panel * kPanelRows, count = smaller(kPanelRows, op.hidden - first);
  const auto gate = panel_product_of(op.gate.format), up = panel_product_of(op.up.format);
  const uint8_t* gate_panel = op.gate.panels[at.expert] + panel * op.gate.panel_bytes;
  const uint8_t* up_panel = op.up.panels[at.expert] + panel * op.up.panel_bytes;
  uint8_t* gated = scratch.gated + bytes_of_rows(op.down.format, at.first, op.hidden);
  for (int row = 0; row < rows; row += kSpillRows) {
    const int here = smaller(kSpillRows, rows - row);
    const uint8_t* inputs = scratch.inputs + bytes_of_rows(op.gate.format, at.first + row, op.columns);
    gate(gate_panel, inputs, here, op.columns, scratch.gates, kPanelRows, scratch.unpacked);
    up(up_panel, inputs, here, op.columns, scratch.ups, kPanelRows, scratch.unpacked);
    for (int m = 0; m < here; ++m) {
      float* values = scratch.gates + m * kPanelRows;
      gate_values(values, scratch.ups + m * kPanelRows, count, values);
      store_gated(op, values, row + m, rows, first, count, gated);
    }
  }
}

// Adds `weight * values` to a row's columns of one panel.
TW_INLINE void add_weighted(float* out, const float* values, float weight, int count) {
  for (int i = 0; i < count; i += kLanes)
    Simd::storef(out + i, Simd::addf(Simd::loadf(out + i), Simd::mul(Simd::loadf(values + i), Simd::allf(weight))));
}

// One panel of every expert's down, experts ascending.
void narrow_panel(const Experts& op, int panel, const ExpertsScratch& scratch) {
  const int column = panel * kPanelRows, count = smaller(kPanelRows, op.columns - column);
  float* out = op.out + column;
  for (int row = 0; row < op.rows; ++row) std::memset(out + static_cast<int64_t>(row) * op.columns, 0, count * sizeof(float));
  const auto product = panel_product_of(op.down.format);
  for (Cursor at{op}; at.expert < op.count; at.first += at.count(), ++at.expert)
    for (int row = 0; row < at.count(); row += kSpillRows) {
      const int here = smaller(kSpillRows, at.count() - row);
      const uint8_t* gated = scratch.gated + bytes_of_rows(op.down.format, at.first + row, op.hidden);
      product(op.down.panels[at.expert] + panel * op.down.panel_bytes, gated, here, op.hidden, scratch.gates, kPanelRows, scratch.unpacked);
      for (int m = 0; m < here; ++m) {
        const int pair = at.first + row + m;
        add_weighted(out + op.pair_rows[pair] * op.columns, scratch.gates + m * kPanelRows, op.weights[pair], count);
      }
    }
}

void experts(const Experts& op, Team& team) {
  const ExpertsScratch scratch(op, team);
  gather_pairs(op, team, scratch);
  team.wait();
  const int panels = (op.hidden + kPanelRows - 1) / kPanelRows;
  Cursor at{op};
  for (int panel; (panel = at.find(team.take(), [&](int rows) { return rows ? panels : 0; })) >= 0;) widen_panel(op, at, panel, scratch);
  team.wait();
  for (int panel; (panel = team.take()) * kPanelRows < op.columns;) narrow_panel(op, panel, scratch);
}

}  // namespace
}  // namespace tongwen
