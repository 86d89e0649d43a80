// Log-probabilities of given tokens, from a few thousand logits of each row at a time.
#pragma once

#include "linear.hpp"
#include "reduce.hpp"

namespace tongwen {
namespace {

// The head from row `first` of the vocabulary on, as much of it as is computed at a time.
Linear head_from(const Linear& head, int first) {
  Linear part = head;
  Segment& segment = part.segments[0];
  segment.panels += first / kPanelRows * segment.panel_bytes;
  segment.rows = smaller(kScoredLogits, segment.rows - first);
  return part;
}

void note_logits(const Score& op, int row, int first, int count) {
  const float* logits = op.head.segments[0].out + static_cast<int64_t>(row) * kScoredLogits;
  float maxima[kScoredLogits / kSpan];
  statistics(logits, count, 1.f, maxima, &op.found[row]);
  const int64_t target = op.targets[row] - first;
  if (target >= 0 && target < count) op.chosen[row] = logits[target];
}

void score(const Score& op, Team& team) {
  if (op.head.rows == 0) return;
  const uint8_t* activations = prepare_rows(op.head, team);
  uint8_t* unpacked = team.local + team.local_activations;
  float* spill = reinterpret_cast<float*>(unpacked + kUnpackedBytes);
  for (int first = 0; first < op.head.segments[0].rows; first += kScoredLogits) {
    const Linear part = head_from(op.head, first);
    const int count = part.segments[0].rows;
    for (int panel; (panel = team.take()) * kPanelRows < count;) segment_panel(part, part.segments[0], panel, activations, unpacked, spill);
    team.wait();
    for (int row; (row = team.take()) < op.head.rows;) note_logits(op, row, first, count);
    team.wait();
  }
}

}  // namespace
}  // namespace tongwen
