#include "routing.hpp"

#include <cmath>
#include <vector>

namespace tongwen {
namespace {

// Softmax in double, rounded to float: the nearest floats whatever the instruction set.  All are NaN
// where one logit is not finite.
void softmax(const float* logits, std::vector<float>& probs) {
  double largest = logits[0], sum = 0;
  for (size_t i = 1; i < probs.size(); ++i) largest = logits[i] > largest ? logits[i] : largest;
  for (size_t i = 0; i < probs.size(); ++i) sum += std::exp(logits[i] - largest) + 0 * logits[i];
  for (size_t i = 0; i < probs.size(); ++i) probs[i] = static_cast<float>(std::exp(logits[i] - largest) / sum);
}

// The most probable expert that is left, the lowest id of those that tie.  Where nothing compares,
// all being NaN, ids are taken as they come: the weights say that they mean nothing.
int take_best(std::vector<float>& probs, std::vector<bool>& taken) {
  int best = -1;
  for (size_t i = 0; i < probs.size(); ++i)
    if (!taken[i] && (best < 0 || probs[i] > probs[best])) best = static_cast<int>(i);
  taken[best] = true;
  return best;
}

void choose_experts(const Route& op, int row, std::vector<float>& probs) {
  std::vector<bool> taken(op.experts, false);
  softmax(op.logits + static_cast<int64_t>(row) * op.experts, probs);
  int32_t* chosen = op.chosen + static_cast<int64_t>(row) * op.top_k;
  float* ranked = op.ranked + static_cast<int64_t>(row) * op.top_k;
  float sum = 0;
  for (int k = 0; k < op.top_k; ++k) {
    chosen[k] = take_best(probs, taken);
    ranked[k] = probs[chosen[k]];
    sum += ranked[k];
  }
  for (int k = 0; op.renormalize && k < op.top_k; ++k) ranked[k] /= sum;
}

// Pairs by expert; those of one expert in the order of their rows.
void group_pairs(const Route& op) {
  const int64_t pairs = static_cast<int64_t>(op.rows) * op.top_k;
  std::vector<int64_t> next(op.experts + 1, 0);
  for (int64_t pair = 0; pair < pairs; ++pair) ++next[op.chosen[pair] + 1];
  for (int expert = 0; expert < op.experts; ++expert) {
    op.counts[expert] = next[expert + 1];
    next[expert + 1] += next[expert];
  }
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const int64_t at = next[op.chosen[pair]]++;
    op.pair_rows[at] = pair / op.top_k;
    op.weights[at] = op.ranked[pair];
  }
}

}  // namespace

void route(const Route& op, Team& team) {
  std::vector<float> probs(op.experts);
  for (int row; (row = team.take()) < op.rows;) choose_experts(op, row, probs);
  team.wait();
  if (team.thread == 0) group_pairs(op);
}

}  // namespace tongwen
