#include "sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace tongwen {
namespace {

constexpr double kColdest = 1e-9;  // below this temperature the most probable token is taken
constexpr float kNever = -std::numeric_limits<float>::infinity();

// A row that may be changed, and what it was.
class Row {
 public:
  Row(const Kernels& kernels, float* logits, int vocabulary) : logits_(logits), maxima_(spans(vocabulary)) {
    kernels.statistics(logits, vocabulary, 1.f, maxima_.data(), &raw_);
  }

  bool is_finite() const { return raw_.is_finite; }
  float operator[](int64_t id) const { return logits_[id]; }
  const float* logits() const { return logits_; }

  double logprob(int64_t id) const {
    double logit = logits_[id];
    for (const auto& [changed, was] : changes_)
      if (changed == id) {
        logit = was;
        break;  // the first note is the raw value
      }
    return static_cast<float>(logit - (raw_.largest + std::log(raw_.sum)));
  }

  void set(int64_t id, float value) {
    changes_.emplace_back(id, logits_[id]);
    logits_[id] = value;
  }

  void forbid_all_but(const uint32_t* allowed, int num_tokens) {
    for (int first = 0; first < num_tokens; first += 32) {
      const uint32_t forbidden = ~allowed[first / 32];
      if (!forbidden) continue;
      for (int id = first; id < std::min(first + 32, num_tokens); ++id)
        if (forbidden >> (id - first) & 1) logits_[id] = kNever;
    }
    is_stale_ = true;
  }

  // The sum of exp(scale * (x - largest)) over the first `num_tokens` logits as they are now.
  double sum(const Kernels& kernels, int num_tokens, float scale) {
    Statistics now;
    maxima_.resize(spans(num_tokens));
    kernels.statistics(logits_, num_tokens, scale, maxima_.data(), &now);
    return now.sum;
  }

  // The largest value of each span of `kSpan` ids below `num_tokens`.
  const std::vector<float>& maxima(const Kernels& kernels, int num_tokens) {
    if (is_stale_) {
      sum(kernels, num_tokens, 1.f);
      return maxima_;
    }
    maxima_.resize(spans(num_tokens));
    if (num_tokens % kSpan) refresh(num_tokens - 1, num_tokens);
    for (const auto& [id, was] : changes_)
      if (id < num_tokens) refresh(id, num_tokens);
    return maxima_;
  }

 private:
  static size_t spans(int count) { return (static_cast<size_t>(count) + kSpan - 1) / kSpan; }

  void refresh(int64_t id, int num_tokens) {
    const int64_t first = id / kSpan * kSpan, last = std::min<int64_t>(first + kSpan, num_tokens);
    maxima_[id / kSpan] = *std::max_element(logits_ + first, logits_ + last);
  }

  float* logits_;
  Statistics raw_;
  std::vector<float> maxima_;
  std::vector<std::pair<int64_t, float>> changes_;
  bool is_stale_ = false;
};

void edit(Row& row, const SampleRow& spec, int num_tokens) {
  for (int64_t i = 0; i < spec.num_biases; ++i)
    if (spec.bias_ids[i] < num_tokens) row.set(spec.bias_ids[i], row[spec.bias_ids[i]] + spec.biases[i]);
  const float rate = static_cast<float>(spec.repetition);
  const float presence = static_cast<float>(spec.presence), frequency = static_cast<float>(spec.frequency);
  for (int64_t i = 0; i < spec.num_seen; ++i) {
    const int64_t id = spec.seen_ids[i];
    if (id >= num_tokens) continue;  // a prompt may hold padding, which is never chosen
    const float held = spec.seen_counts[i], logit = row[id];
    row.set(id, (logit > 0 ? logit / rate : logit * rate) - (held > 0 ? presence : 0.f) - frequency * held);
  }
  if (spec.allowed) row.forbid_all_but(spec.allowed, num_tokens);
}

int64_t most_probable(const Row& row, const std::vector<float>& maxima, int num_tokens) {
  const int64_t first = (std::max_element(maxima.begin(), maxima.end()) - maxima.begin()) * kSpan;
  return std::max_element(row.logits() + first, row.logits() + std::min<int64_t>(first + kSpan, num_tokens)) - row.logits();
}

struct Candidate {
  int64_t id;
  double scaled, weight;  // logit over temperature; its exponential relative to the largest
};

// All ids whose logits reach `least`, the most probable first, ties in the order of ids.
std::vector<Candidate> reaching(float least, const Row& row, const std::vector<float>& maxima, int num_tokens, float temperature) {
  std::vector<Candidate> found;
  for (size_t span = 0; span < maxima.size(); ++span) {
    if (!(maxima[span] >= least)) continue;
    const int64_t first = span * kSpan, last = std::min<int64_t>(first + kSpan, num_tokens);
    for (int64_t id = first; id < last; ++id)
      if (row[id] >= least && row[id] > kNever) found.push_back({id, row[id] / temperature, 0});
  }
  std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.scaled > b.scaled; });
  for (Candidate& candidate : found) candidate.weight = std::exp(candidate.scaled - found[0].scaled);
  return found;
}

// A value that at least `count` logits reach: that of the `count`-th largest span.
float reached_by(size_t count, std::vector<float> maxima) {
  if (count > maxima.size()) return kNever;
  std::nth_element(maxima.begin(), maxima.begin() + (count - 1), maxima.end(), std::greater<float>());
  return maxima[count - 1];
}

double total_weight(const std::vector<Candidate>& candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  return total;
}

// The `top_k` most probable; whatever ties with the last stays.
std::vector<Candidate> top_k(const SampleRow& spec, const Row& row, const std::vector<float>& maxima, int num_tokens) {
  const size_t k = static_cast<size_t>(spec.top_k);
  std::vector<Candidate> found = reaching(reached_by(k, maxima), row, maxima, num_tokens, static_cast<float>(spec.temperature));
  size_t kept = std::min(k, found.size());
  while (kept >= k && kept < found.size() && found[kept].scaled == found[k - 1].scaled) ++kept;
  found.resize(kept);
  return found;
}

// The most probable tokens that hold `top_p` of the whole row's probability, and perhaps more.
std::vector<Candidate> enough(const SampleRow& spec, const Row& row, const std::vector<float>& maxima, int num_tokens, double total) {
  const float temperature = static_cast<float>(spec.temperature);
  for (size_t count = 64;; count *= 8) {
    const float least = reached_by(count, maxima);
    std::vector<Candidate> found = reaching(least, row, maxima, num_tokens, temperature);
    if (least == kNever || total_weight(found) >= spec.top_p * total) return found;
  }
}

void cut(std::vector<Candidate>& candidates, const SampleRow& spec, double total) {
  std::vector<Candidate> kept;
  double before = 0;
  for (const Candidate& candidate : candidates) {
    const bool in_sum = spec.top_p >= 1 || before < spec.top_p * total;
    const bool is_first = &candidate == &candidates[0];  // stays, whatever overflows
    if (is_first || (in_sum && candidate.weight >= spec.min_p)) kept.push_back(candidate);
    before += candidate.weight;
  }
  candidates.swap(kept);
}

// SplitMix64's finalizer (Steele et al., 2014), after its increment.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Standard Gumbel noise: a hash of (seed, position, id).
class Noise {
 public:
  Noise(int64_t seed, int64_t position) : state_(mix(mix(static_cast<uint64_t>(seed)) + static_cast<uint64_t>(position))) {}

  uint64_t bits(int64_t id) const { return mix(state_ + static_cast<uint64_t>(id)) >> 12; }
  static double of(uint64_t bits) { return -std::log(-std::log((static_cast<double>(bits) + 0.5) * 0x1p-52)); }
  double operator()(int64_t id) const { return of(bits(id)); }

  // Whether noise of these bits can be above `bound` > 0.  Noise is at most -log(1 - u), and 1 - u
  // is at least the bits' complement over 2^52.
  static bool may_exceed(uint64_t bits, double bound) {
    const uint64_t rest = (uint64_t{1} << 52) - 1 - bits;
    return rest == 0 || (__builtin_clzll(rest) - 11) * 0.6931471805599454 >= bound;
  }

 private:
  uint64_t state_;
};

int64_t draw(const std::vector<Candidate>& candidates, const Noise& noise) {
  int64_t chosen = candidates[0].id;
  double best = -std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates) {
    const double value = candidate.scaled + noise(candidate.id);
    if (value > best) best = value, chosen = candidate.id;
  }
  return chosen;
}

// The same over a whole row, looking closely only at what can win.
int64_t draw_from_all(const Row& row, int64_t likely, float temperature, int num_tokens, const Noise& noise) {
  int64_t chosen = likely;
  double best = row[likely] / temperature + noise(likely);
  for (int64_t id = 0; id < num_tokens; ++id) {
    const double scaled = row[id] / temperature, bound = best - scaled;
    if (bound > 37) continue;  // no noise is larger
    const uint64_t bits = noise.bits(id);
    if (bound > 0 && !Noise::may_exceed(bits, bound)) continue;
    const double value = scaled + Noise::of(bits);
    if (value > best || (value == best && id < chosen)) best = value, chosen = id;
  }
  return chosen;
}

int64_t pick(const Kernels& kernels, const SampleRow& spec, Row& row, int num_tokens) {
  const std::vector<float>& maxima = row.maxima(kernels, num_tokens);
  const int64_t likely = most_probable(row, maxima, num_tokens);
  if (row[likely] == kNever) return -2;
  if (spec.temperature < kColdest) return likely;
  const Noise noise(spec.seed, spec.position);
  const bool all = spec.top_k <= 0 || spec.top_k >= num_tokens;
  const float temperature = static_cast<float>(spec.temperature);
  if (all && spec.top_p >= 1 && spec.min_p <= 0) return draw_from_all(row, likely, temperature, num_tokens, noise);
  double total = 0;
  std::vector<Candidate> candidates;
  if (!all) {
    candidates = top_k(spec, row, maxima, num_tokens);
    total = total_weight(candidates);
  } else if (spec.top_p < 1) {
    total = row.sum(kernels, num_tokens, 1.f / temperature);
    candidates = enough(spec, row, maxima, num_tokens, total);
  } else {
    const float least = row[likely] + temperature * static_cast<float>(std::log(spec.min_p) - 1e-3);
    candidates = reaching(least, row, maxima, num_tokens, temperature);
  }
  cut(candidates, spec, total);
  return draw(candidates, noise);
}

}  // namespace

Sampled choose(const Kernels& kernels, const SampleRow& spec, float* logits, int vocabulary, int num_tokens) {
  Row row(kernels, logits, vocabulary);
  if (!row.is_finite()) return {-1, std::numeric_limits<double>::quiet_NaN()};
  edit(row, spec, num_tokens);
  const int64_t token_id = pick(kernels, spec, row, num_tokens);
  return {token_id, token_id < 0 ? std::numeric_limits<double>::quiet_NaN() : row.logprob(token_id)};
}

double logsumexp(const Kernels& kernels, const float* logits, int vocabulary) {
  std::vector<float> maxima((static_cast<size_t>(vocabulary) + kSpan - 1) / kSpan);
  Statistics found;
  kernels.statistics(logits, vocabulary, 1.f, maxima.data(), &found);
  return logsumexp(found);
}

double logsumexp(const Statistics& found) {
  return found.is_finite ? found.largest + std::log(found.sum) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tongwen
