// Log-probabilities of given tokens, from a few thousand logits of each row at a time.
#pragma once

#include "projections.hpp"
#include "reduce.hpp"

namespace tongwen {
namespace {

// The head from row `first` of the vocabulary on, as much of it as is computed at a time.
Segment head_from(Segment segment, int first) {
  segment.panels += first / kPanelRows * segment.panel_bytes;
  segment.rows = smaller(kScoredLogits, segment.rows - first);
  return segment;
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
  const Linear& head = op.head;
  const Activations x = prepared(head.x, head.x_stride, head.rows, head.columns, head.segments[0].format == Format::kBF16, team);
  for (int first = 0; first < head.segments[0].rows; first += kScoredLogits) {
    const Segment part = head_from(head.segments[0], first);
    share_panels(head.rows, panels_of(part.rows), 1, team,
                 [&](int row, int rows, int panel, int) { project_panel(part, panel, x, row, rows, scratch_of(team)); });
    team.wait();
    for (int row; (row = team.take()) < head.rows;) note_logits(op, row, first, part.rows);
    team.wait();
  }
}

}  // namespace
}  // namespace tongwen
