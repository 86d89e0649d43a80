// Every kernel on random shapes, for the address and undefined-behaviour sanitizers.
//
// All memory that a kernel is given is exactly as large as what it may touch, on the heap, so that
// one byte too many is seen.  Results are compared with a naive sum in double and with the portable
// kernels' results, and a row's bits alone with its bits among others; NaN and infinity must come out
// wherever they went in.
//
//   driver [seconds] [first seed]
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "pack.hpp"
#include "pool.hpp"
#include "program.hpp"
#include "routing.hpp"

using namespace tongwen;

namespace {

constexpr float kNaN = __builtin_nanf("");

std::mt19937 engine;
std::string what;  // is being checked

int any(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
float normal() { return std::normal_distribution<float>()(engine); }
template <class T>
T one_of(std::initializer_list<T> choices) { return choices.begin()[any(0, static_cast<int>(choices.size()) - 1)]; }

void check(bool holds, const char* that) {
  if (holds) return;
  std::printf("FAILED: %s: %s\n", what.c_str(), that);
  std::exit(1);
}

std::vector<float> floats(size_t count) {
  std::vector<float> x(count);
  for (float& value : x) value = normal();
  x.shrink_to_fit();
  return x;
}

bool same(const float* a, const float* b, size_t count) { return count == 0 || std::memcmp(a, b, count * sizeof(float)) == 0; }
bool close(double a, double b, double scale) { return std::fabs(a - b) <= 1e-5 * scale + 1e-6; }

// Whether sums over lanes, too, are added in the order of the portable kernels: four lanes.
bool in_order(const Kernels& kernels) { return std::string(kernels.name).rfind("neon", 0) == 0 || &kernels == &kernels_portable(); }

// Against the portable kernels' results: the same bits, or no further than `tolerance`.
void check_twin(const std::vector<float>& out, const std::vector<float>& portable, double tolerance) {
  check(out.size() == portable.size(), "not as many results as the portable kernels'");
  if (tolerance == 0) return check(same(out.data(), portable.data(), out.size()), "bits differ from the portable kernels'");
  for (size_t i = 0; i < out.size(); ++i) check(std::fabs(out[i] - portable[i]) <= tolerance, "too far from the portable kernels' result");
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<uint8_t[], Free>;
Bytes aligned(size_t bytes) { return Bytes(static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64))); }

// A pool whose kernels get scratch of exactly the size that the pool would reserve.
struct Threads {
  Pool pool;
  explicit Threads(int threads) : pool(threads) {}

  void run(int rows, int columns, const std::function<void(Team&)>& work) {
    const Bytes common = aligned(scratch_bytes(whole_tiles(rows), columns));
    const size_t activations = (scratch_bytes(kTileRows, columns) + 63) / 64 * 64;
    std::vector<Bytes> local;
    for (int i = 0; i < pool.threads(); ++i) local.push_back(aligned(local_bytes(activations)));
    pool.run([&](Team& given) {
      Team team = given;
      team.common = common.get(), team.local = local[team.thread].get(), team.local_activations = activations;
      work(team);
    });
  }
};

// ---- weights ---------------------------------------------------------------------------------------

struct Weights {
  Format format;
  int rows, columns;
  Bytes panels;

  size_t panel_bytes() const { return layout_of(format).panel_bytes(columns); }
};

// Where the fp16 factors of a block stand; their upper bytes become 2^-7 to 2^-5.
void make_finite(Format format, std::vector<uint8_t>& stored) {
  const auto every = [&](size_t block, std::initializer_list<size_t> factors) {
    for (size_t at = 0; at < stored.size(); at += block)
      for (size_t low : factors) stored[at + low + 1] = 0x20 + stored[at + low + 1] % 8;
  };
  switch (format) {
    case Format::kQ8_0: return every(34, {0});
    case Format::kQ4_0: return every(18, {0});
    case Format::kQ5_0: return every(22, {0});
    case Format::kQ4_1: return every(20, {0, 2});
    case Format::kQ5_1: return every(24, {0, 2});
    case Format::kQ4_K: return every(144, {0, 2});
    case Format::kQ5_K: return every(176, {0, 2});
    case Format::kQ6_K: return every(210, {208});
    default:
      for (size_t at = 0; at < stored.size(); at += 2) stored[at + 1] = (stored[at + 1] & 0x80) | 0x3e;  // about 1/4
  }
}

std::vector<uint8_t> bytes(size_t count) {
  std::vector<uint8_t> made(count);
  for (uint8_t& byte : made) byte = static_cast<uint8_t>(any(0, 255));
  made.shrink_to_fit();
  return made;
}

Weights packed(Format format, Format stored_as, const uint8_t* stored, int rows, int columns, Threads& threads) {
  const int panels = (rows + kPanelRows - 1) / kPanelRows;
  Weights made{format, rows, columns, aligned(layout_of(format).panel_bytes(columns) * panels)};
  threads.pool.run([&](Team& team) {
    for (int panel; (panel = team.take()) < panels;)
      pack_panel(format, stored_as, stored, rows, columns, panel * kPanelRows, made.panels.get() + panel * made.panel_bytes());
  });
  return made;
}

Weights weights_of(Format format, int rows, int columns, Threads& threads) {
  std::vector<uint8_t> stored = bytes(row_bytes(format, columns) * rows);
  make_finite(format, stored);
  return packed(format, format, stored.data(), rows, columns, threads);
}

std::vector<float> unpacked(const Kernels& kernels, const Weights& weights, Threads& threads) {
  std::vector<int64_t> ids(weights.rows);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<float> out(static_cast<size_t>(weights.rows) * weights.columns);
  const Embed op{weights.format, weights.panels.get(), weights.panel_bytes(), weights.rows, weights.columns, weights.rows, ids.data(), out.data()};
  threads.run(1, weights.columns, [&](Team& team) { kernels.embed(op, team); });
  return out;
}

// Any bytes at all may be rounded; numbers move by no more than half of what a code is worth.
void try_rounding(const Kernels& kernels, Threads& threads) {
  const Format format = one_of({Format::kQ8_0, Format::kQ4_0, Format::kBF16});
  const Format stored = static_cast<Format>(any(0, static_cast<int>(Format::kStoredCount) - 1));
  const int rows = any(1, 150), columns = 256 * any(1, 3);
  what = "rounding format " + std::to_string(static_cast<int>(stored)) + " to " + std::to_string(static_cast<int>(format)) + ", " +
         std::to_string(rows) + " x " + std::to_string(columns);
  packed(format, stored, bytes(row_bytes(stored, columns) * rows).data(), rows, columns, threads);

  const std::vector<float> x = floats(static_cast<size_t>(rows) * columns);
  const Weights made = packed(format, Format::kF32, reinterpret_cast<const uint8_t*>(x.data()), rows, columns, threads);
  const std::vector<float> found = unpacked(kernels, made, threads);
  const double step = format == Format::kQ8_0 ? 1 / 127.0 : format == Format::kQ4_0 ? 1 / 8.0 : 1 / 128.0;
  for (size_t group = 0; group < x.size(); group += kGroup) {
    const float top = std::fabs(*std::max_element(&x[group], &x[group] + kGroup, [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
    for (int i = 0; i < kGroup; ++i) {
      // The largest value of the other sign has no code of its own in 4 bits.
      const double most = format == Format::kQ4_0 && std::fabs(x[group + i]) > top * 7.4 / 8 ? 1.001 : 0.501;
      check(std::fabs(x[group + i] - found[group + i]) <= most * step * top + 1e-3 * top, "a weight is not rounded to the nearest");
    }
  }
}

// What a product makes of its input: groups of 32 in 8 bits.
std::vector<float> quantized(std::vector<float> x) {
  for (size_t group = 0; group < x.size(); group += kGroup) {
    float top = 0;
    for (int i = 0; i < kGroup; ++i) top = std::max(top, std::fabs(x[group + i]));
    for (int i = 0; i < kGroup; ++i) x[group + i] = std::nearbyintf(x[group + i] * (127.f / top)) * (top / 127.f);
  }
  return x;
}

float rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&x, &bits, 4);
  return x;
}

// ---- products --------------------------------------------------------------------------------------

struct Products {
  const Kernels* kernels;
  Threads& threads;
  int columns;
  int64_t stride;
  std::vector<Weights> weights;
  std::vector<std::vector<float>> biases;

  // Outputs of all segments for rows [first, first + rows) of x, side by side.
  std::vector<float> run(const float* x, int rows) const {
    int64_t width = 0;
    for (const Weights& w : weights) width += w.rows;
    std::vector<float> out(rows * width, kNaN);
    Linear op{x, stride, rows, columns, static_cast<int>(weights.size()), {}};
    int64_t column = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const Weights& w = weights[i];
      op.segments[i] = {w.format, w.panels.get(), w.panel_bytes(), w.rows, biases[i].empty() ? nullptr : biases[i].data(), out.data() + column, width};
      column += w.rows;
    }
    threads.run(rows, columns, [&](Team& team) { kernels->linear(op, team); });
    return out;
  }
};

void check_values(const Products& products, const std::vector<float>& x, const std::vector<float>& out, int rows) {
  const size_t width = out.size() / rows;
  size_t column = 0;
  for (size_t s = 0; s < products.weights.size(); column += products.weights[s].rows, ++s) {
    const Weights& w = products.weights[s];
    const std::vector<float> plain = unpacked(*products.kernels, w, products.threads);
    check_twin(plain, unpacked(kernels_portable(), w, products.threads), 0);
    for (int trial = 0; trial < 40; ++trial) {
      const int row = any(0, rows - 1), n = trial == 0 ? w.rows - 1 : any(0, w.rows - 1);
      std::vector<float> seen(x.begin() + row * products.stride, x.begin() + row * products.stride + products.columns);
      if (w.format == Format::kBF16) std::transform(seen.begin(), seen.end(), seen.begin(), rounded);
      else seen = quantized(seen);
      double sum = products.biases[s].empty() ? 0 : products.biases[s][n], scale = std::fabs(sum);
      for (int k = 0; k < products.columns; ++k) {
        const double term = static_cast<double>(seen[k]) * plain[static_cast<size_t>(n) * products.columns + k];
        sum += term, scale += std::fabs(term);
      }
      check(close(out[row * width + column + n], sum, scale), "a product differs from the sum in double");
    }
  }
}

void check_nonfinite(const Products& products, std::vector<float> x, const std::vector<float>& out, int rows) {
  const size_t width = out.size() / rows;
  const int hit = any(0, rows - 1);
  x[hit * products.stride + any(0, products.columns - 1)] = one_of({kNaN, INFINITY, -INFINITY});
  const std::vector<float> damaged = products.run(x.data(), rows);
  for (int row = 0; row < rows; ++row) {
    if (row != hit) check(same(&damaged[row * width], &out[row * width], width), "another row's NaN changed a row");
    for (size_t i = 0; row == hit && i < width; ++i) check(!std::isfinite(damaged[row * width + i]), "a product hides NaN or infinity");
  }
}

// Group sums are integers, and every instruction set adds the groups alike.  AVX-512's product of
// bfloat16 rounds between its two terms: 2^-24 of the sum of magnitudes, below `columns`, for each pair.
void check_products_twin(Products products, const std::vector<float>& x, const std::vector<float>& out, int rows) {
  const bool rounds = products.weights[0].format == Format::kBF16 && std::strcmp(products.kernels->name, "avx512") == 0;
  products.kernels = &kernels_portable();
  check_twin(out, products.run(x.data(), rows), rounds ? 1e-5 * products.columns : 0);
}

void try_products(const Kernels& kernels, Threads& threads) {
  const bool brain = any(0, 5) == 0;
  const int rows = one_of({0, 1, 2, 3, 4, 5, 8, 33, 63, 66, 70, 515}), segments = any(1, kMaxSegments);
  const int columns = one_of({256, 512, 768, 1792, 32 * any(1, 30)});
  Products products{&kernels, threads, columns, columns + 4 * any(0, 3), {}, {}};
  what = std::string(kernels.name) + " linear, rows " + std::to_string(rows) + ", columns " + std::to_string(columns) + ", formats";
  for (int i = 0; i < segments; ++i) {
    Format format;
    do format = brain ? Format::kBF16 : static_cast<Format>(any(0, 7));
    while (layout_of(format).super && columns % 256);
    products.weights.push_back(weights_of(format, any(1, 200), columns, threads));
    products.biases.push_back(any(0, 1) ? floats(products.weights.back().rows) : std::vector<float>());
    what += " " + std::to_string(static_cast<int>(format));
  }
  if (rows == 0) return void(products.run(nullptr, 0));
  const std::vector<float> x = floats((rows - 1) * products.stride + columns), out = products.run(x.data(), rows);
  check_values(products, x, out, rows);
  check_nonfinite(products, x, out, rows);
  const size_t width = out.size() / rows;
  const int first = any(0, rows - 1), count = one_of({1, any(1, rows - first)});
  const std::vector<float> part(x.begin() + first * products.stride, x.begin() + (first + count - 1) * products.stride + columns);
  check(same(products.run(part.data(), count).data(), &out[first * width], count * width), "bits differ among fewer rows");
  check_products_twin(std::move(products), x, out, rows);
}

// The gated network is its parts, bit for bit.
void try_mlp(const Kernels& kernels, Threads& threads) {
  const int rows = one_of({0, 1, 3, 4, 5, 33, 70, 514}), columns = 256 * any(1, 2), ffn = one_of({256, 32 * any(1, 12)}), outputs = any(1, 150);
  const auto any_format = [&](int width) {
    Format format;
    do format = static_cast<Format>(any(0, 7));
    while (layout_of(format).super && width % 256);
    return format;
  };
  const bool brain = any(0, 5) == 0;  // both read the same input
  Products inner{&kernels, threads, columns, columns, {}, {{}, {}}}, outer{&kernels, threads, ffn, ffn, {}, {{}}};
  for (int i = 0; i < 2; ++i) inner.weights.push_back(weights_of(brain ? Format::kBF16 : any_format(columns), ffn, columns, threads));
  outer.weights.push_back(weights_of(any(0, 5) ? any_format(ffn) : Format::kBF16, outputs, ffn, threads));
  what = std::string(kernels.name) + " mlp, rows " + std::to_string(rows) + ", columns " + std::to_string(columns) + ", ffn " + std::to_string(ffn);
  for (const Weights* w : {&inner.weights[0], &inner.weights[1], &outer.weights[0]}) what += ", format " + std::to_string(static_cast<int>(w->format));

  const std::vector<float> x = floats(static_cast<size_t>(rows) * columns), both = inner.run(x.data(), rows);
  std::vector<float> gated(static_cast<size_t>(rows) * ffn), out(static_cast<size_t>(rows) * outputs, kNaN);
  threads.run(1, 32, [&](Team& team) { kernels.swiglu({both.data(), both.data() + ffn, 2 * ffn, gated.data(), rows, ffn}, team); });
  const auto segment = [](const Weights& w, float* to) { return Segment{w.format, w.panels.get(), w.panel_bytes(), w.rows, nullptr, to, w.rows}; };
  const MLP op{x.data(), columns, rows, columns, ffn, segment(inner.weights[0], nullptr), segment(inner.weights[1], nullptr), segment(outer.weights[0], out.data())};
  threads.run(scratch_rows(op), columns + ffn, [&](Team& team) { kernels.mlp(op, team); });
  if (rows == 0) return;
  const std::vector<float> parts = outer.run(gated.data(), rows);
  check(same(out.data(), parts.data(), out.size()), "the gated network differs from its parts");
}

// ---- log-probabilities -----------------------------------------------------------------------------

// From a few logits at a time as from all of them.
void try_score(const Kernels& kernels, Threads& threads) {
  const int rows = one_of({0, 1, 3, 4, 5, any(1, 70)}), columns = 32 * any(1, 4);
  const int vocabulary = one_of({any(1, 700), kScoredLogits, 2 * kScoredLogits + any(1, 700)});
  const Format format = one_of({Format::kQ8_0, Format::kQ4_0, Format::kBF16});
  what = std::string(kernels.name) + " score, rows " + std::to_string(rows) + ", columns " + std::to_string(columns) + ", vocabulary " +
         std::to_string(vocabulary) + ", format " + std::to_string(static_cast<int>(format));
  Products head{&kernels, threads, columns, columns, {}, {{}}};
  head.weights.push_back(weights_of(format, vocabulary, columns, threads));
  std::vector<float> x = floats(static_cast<size_t>(rows) * columns);
  if (rows && any(0, 3) == 0) x[any(0, rows * columns - 1)] = kNaN;
  std::vector<int64_t> targets(rows);
  for (int64_t& target : targets) target = any(0, vocabulary - 1);
  std::vector<float> part(static_cast<size_t>(rows) * kScoredLogits);
  std::vector<Statistics> found(rows);
  std::vector<double> chosen(rows);
  const Weights& w = head.weights[0];
  Score op{{x.data(), columns, rows, columns, 1, {}}, targets.data(), found.data(), chosen.data()};
  op.head.segments[0] = {format, w.panels.get(), w.panel_bytes(), vocabulary, nullptr, part.data(), kScoredLogits};
  threads.run(rows, columns, [&](Team& team) { kernels.score(op, team); });
  const std::vector<float> logits = head.run(x.data(), rows);
  for (int row = 0; row < rows; ++row) {
    const float* all = &logits[static_cast<size_t>(row) * vocabulary];
    std::vector<float> maxima((vocabulary + kSpan - 1) / kSpan);
    Statistics whole;
    kernels.statistics(all, vocabulary, 1.f, maxima.data(), &whole);
    check(found[row].is_finite == whole.is_finite, "a row that is not finite is hidden");
    if (!whole.is_finite) continue;
    check(found[row].largest == whole.largest && found[row].sum == whole.sum, "bits differ from those of all logits");
    check(chosen[row] == all[targets[row]], "another token's logit");
  }
}

// ---- attention -------------------------------------------------------------------------------------

// Requests whose blocks lie scattered in one cache full of NaN.
struct Cached {
  const Kernels* kernels;
  Threads& threads;
  int heads, kv_heads, dims, window;
  std::vector<int> tokens;  // of each request
  int64_t table_stride;
  std::vector<int64_t> tables;
  Bytes cache;
  std::vector<float> angles, qkv;  // [all tokens][heads + 2 kv_heads][dims]

  int64_t stride() const { return static_cast<int64_t>(heads + 2 * kv_heads) * dims; }
  int first_token(int request) const { return std::accumulate(tokens.begin(), tokens.begin() + request, 0); }

  void forget() {
    const size_t values = tables.size() * 2 * kBlockKeys * kv_heads * dims;
    cache = aligned(values * 2);
    std::memset(cache.get(), 0xff, values * 2);
  }

  // Writes and attends tokens [from, to) of every request that has them; results join `out`.
  void step(int from, int to, std::vector<float>& out) const {
    std::vector<float> part, result;
    std::vector<int64_t> positions, slots, starts{0}, lengths, rows, table;
    for (size_t r = 0; r < tokens.size(); ++r) {
      const int end = std::min(to, tokens[r]);
      if (from >= end) continue;
      for (int p = from; p < end; ++p) {
        rows.push_back(first_token(static_cast<int>(r)) + p);
        const float* mine = qkv.data() + rows.back() * stride();
        part.insert(part.end(), mine, mine + stride());
        positions.push_back(p);
        slots.push_back(tables[r * table_stride + p / kBlockKeys] * kBlockKeys + p % kBlockKeys);
      }
      starts.push_back(static_cast<int64_t>(rows.size()));
      lengths.push_back(end);
      table.insert(table.end(), tables.begin() + r * table_stride, tables.begin() + (r + 1) * table_stride);
    }
    if (rows.empty()) return;
    part.shrink_to_fit();
    result.resize(rows.size() * heads * dims, kNaN);
    const int count = static_cast<int>(rows.size());
    float *q = part.data(), *k = q + heads * dims, *v = k + kv_heads * dims;
    uint16_t* store = reinterpret_cast<uint16_t*>(cache.get());
    const Rope rope{q, k, v, stride(), stride(), stride(), count, heads, kv_heads, dims, 1.f / std::sqrt(static_cast<float>(dims)),
                    angles.data(), positions.data(), slots.data(), store};
    const Attention op{q, stride(), result.data(), heads, kv_heads, dims, window, store,
                       starts.data(), lengths.data(), table.data(), table_stride, static_cast<int>(lengths.size())};
    threads.run(1, 32, [&](Team& team) {
      kernels->rope(rope, team);
      team.wait();
      kernels->attention(op, team);
    });
    for (int i = 0; i < count; ++i)
      std::copy_n(result.begin() + static_cast<int64_t>(i) * heads * dims, heads * dims, out.begin() + rows[i] * heads * dims);
  }

  std::vector<float> attend(int chunk) {
    forget();
    std::vector<float> out(static_cast<size_t>(first_token(static_cast<int>(tokens.size()))) * heads * dims, kNaN);
    const int longest = *std::max_element(tokens.begin(), tokens.end());
    for (int from = 0; from < longest; from += chunk) step(from, from + chunk, out);
    return out;
  }

  // One head of q or k after rotation, rounded as the kernels round it.
  std::vector<float> turned(int row, int position, int head, float scale) const {
    const float *x = qkv.data() + row * stride() + head * dims, *angle = angles.data() + static_cast<int64_t>(position) * dims;
    std::vector<float> out(dims);
    for (int i = 0; i < dims / 2; ++i) {
      const float low = x[i], high = x[i + dims / 2], c = angle[i] * scale, s = angle[i + dims / 2] * scale;
      out[i] = rounded(low * c - high * s), out[i + dims / 2] = rounded(high * c + low * s);
    }
    return out;
  }

  void check_row(int request, int position, int head, const std::vector<float>& out) const {
    const int row = first_token(request) + position, kv = head / (heads / kv_heads);
    const std::vector<float> q = turned(row, position, head, 1.f / std::sqrt(static_cast<float>(dims)));
    std::vector<double> sum(dims, 0);
    double total = 0;
    for (int p = window ? std::max(0, position + 1 - window) : 0; p <= position; ++p) {
      const std::vector<float> k = turned(first_token(request) + p, p, heads + kv, 1.f);
      const double weight = std::exp(std::inner_product(q.begin(), q.end(), k.begin(), 0.0));
      const float* v = qkv.data() + (first_token(request) + p) * stride() + (heads + kv_heads + kv) * dims;
      for (int i = 0; i < dims; ++i) sum[i] += weight * rounded(v[i]);
      total += weight;
    }
    for (int i = 0; i < dims; ++i)
      check(std::fabs(out[(static_cast<int64_t>(row) * heads + head) * dims + i] - sum[i] / total) < 0x1p-5, "attention differs from the sum in double");
  }
};

Cached cached(const Kernels& kernels, Threads& threads) {
  const int kv_heads = any(1, 3), group = one_of({1, 2, 6, 7}), dims = one_of({64, 128});
  Cached made{&kernels, threads, kv_heads * group, kv_heads, dims, one_of({0, 0, 1, 40, 128, 150}), {}, 0, {}, nullptr, {}, {}};
  for (int i = any(1, 3); i > 0; --i) made.tokens.push_back(one_of({1, 31, 33, 128, 129, any(1, 300)}));
  const int longest = *std::max_element(made.tokens.begin(), made.tokens.end());
  made.table_stride = (longest + kBlockKeys - 1) / kBlockKeys;
  made.tables.resize(made.table_stride * made.tokens.size());
  std::iota(made.tables.begin(), made.tables.end(), 0);
  std::shuffle(made.tables.begin(), made.tables.end(), engine);
  made.qkv = floats(made.first_token(static_cast<int>(made.tokens.size())) * made.stride());
  made.angles = floats(static_cast<size_t>(longest) * dims);
  what = std::string(kernels.name) + " attention, heads " + std::to_string(made.heads) + "/" + std::to_string(kv_heads) + " of " +
         std::to_string(dims) + ", window " + std::to_string(made.window) + ", tokens";
  for (int count : made.tokens) what += " " + std::to_string(count);
  return made;
}

void try_attention(const Kernels& kernels, Threads& threads) {
  Cached mine = cached(kernels, threads);
  const std::vector<float> out = mine.attend(1 << 20);
  for (int trial = 0; trial < 8; ++trial) {
    const int request = any(0, static_cast<int>(mine.tokens.size()) - 1);
    mine.check_row(request, any(0, mine.tokens[request] - 1), any(0, mine.heads - 1), out);
  }
  check(same(mine.attend(one_of({7, 32, 100, 512})).data(), out.data(), out.size()), "bits differ in other chunks");

  mine.kernels = &kernels_portable();
  // In another order a weight may be rounded to bfloat16 the other way: by 2^-8 of itself.
  check_twin(out, mine.attend(1 << 20), in_order(kernels) ? 0 : 0x1p-6);
  mine.kernels = &kernels;

  const int request = any(0, static_cast<int>(mine.tokens.size()) - 1), hit = any(0, mine.tokens[request] - 1);
  const int64_t row = mine.first_token(request) + hit;
  mine.qkv[row * mine.stride() + any(0, static_cast<int>(mine.stride()) - 1)] = kNaN;
  const std::vector<float> damaged = mine.attend(1 << 20);
  const float* seen = &damaged[row * mine.heads * mine.dims];
  check(std::any_of(seen, seen + mine.heads * mine.dims, [](float x) { return x != x; }), "attention hides NaN");
}

// ---- experts ---------------------------------------------------------------------------------------

// Pairs of rows and experts, with random weights.
struct Pairs {
  std::vector<int64_t> rows, counts;
  std::vector<float> weights;
};

Pairs routed(const std::vector<float>& logits, int rows, int experts, int top_k, bool renormalize, Threads& threads) {
  const size_t pairs = static_cast<size_t>(rows) * top_k;
  Pairs made{std::vector<int64_t>(pairs), std::vector<int64_t>(experts), std::vector<float>(pairs)};
  std::vector<int32_t> chosen(pairs);
  std::vector<float> ranked(pairs);
  const Route op{logits.data(), rows, experts, top_k, renormalize, chosen.data(), ranked.data(), made.rows.data(), made.weights.data(), made.counts.data()};
  threads.pool.run([&](Team& team) { route(op, team); });
  return made;
}

void try_route(Threads& threads) {
  const int rows = any(0, 40), experts = any(1, 70), top_k = any(1, experts);
  const bool renormalize = any(0, 1);
  what = "route, rows " + std::to_string(rows) + ", " + std::to_string(top_k) + " of " + std::to_string(experts) + " experts";
  std::vector<float> logits(static_cast<size_t>(rows) * experts);
  for (float& value : logits) value = static_cast<float>(any(-6, 6));  // many tie
  if (!logits.empty() && any(0, 3) == 0) logits[any(0, static_cast<int>(logits.size()) - 1)] = one_of({kNaN, INFINITY, -INFINITY});
  const Pairs found = routed(logits, rows, experts, top_k, renormalize, threads);
  int64_t pair = 0;
  for (int expert = 0; expert < experts; ++expert)
    for (int64_t i = 0, before = -1; i < found.counts[expert]; before = found.rows[pair], ++i, ++pair) {
      check(found.rows[pair] > before && found.rows[pair] < rows, "rows of an expert do not ascend");
      const float* mine = &logits[found.rows[pair] * experts];
      if (std::any_of(mine, mine + experts, [](float x) { return !std::isfinite(x); })) {
        check(found.weights[pair] != found.weights[pair], "a score that is not finite is hidden");
        continue;
      }
      int better = 0;
      for (int other = 0; other < experts; ++other) better += mine[other] > mine[expert] || (mine[other] == mine[expert] && other < expert);
      check(better < top_k, "a more probable expert, or a lower one that ties, was not chosen");
    }
  check(pair == static_cast<int64_t>(rows) * top_k, "not every row has its experts");
}

struct Mixture {
  const Kernels* kernels;
  Threads& threads;
  int columns, hidden;
  std::array<std::vector<Weights>, 3> matrices;  // gate, up and down of each expert

  std::vector<float> run(const std::vector<float>& x, const Pairs& pairs) const {
    const int rows = static_cast<int>(x.size()) / columns;
    std::array<std::vector<const uint8_t*>, 3> panels;
    std::array<Matrices, 3> all;
    for (int i = 0; i < 3; ++i) {
      for (const Weights& each : matrices[i]) panels[i].push_back(each.panels.get());
      all[i] = {matrices[i][0].format, panels[i].data(), matrices[i][0].panel_bytes()};
    }
    std::vector<float> out(x.size(), kNaN);
    const int count = static_cast<int>(pairs.rows.size());
    const Experts op{x.data(), rows, columns, hidden, static_cast<int>(pairs.counts.size()), count, all[0], all[1], all[2],
                     pairs.rows.data(), pairs.counts.data(), pairs.weights.data(), out.data()};
    threads.run(count, columns + hidden, [&](Team& team) { kernels->experts(op, team); });
    return out;
  }

  // The same by one operation after the other, expert by expert.
  std::vector<float> one_by_one(const std::vector<float>& x, const Pairs& pairs) const {
    std::vector<float> out(x.size(), 0);
    size_t pair = 0;
    for (size_t expert = 0; expert < pairs.counts.size(); ++expert) {
      const int rows = static_cast<int>(pairs.counts[expert]);
      if (!rows) continue;
      std::vector<float> mine;
      for (int i = 0; i < rows; ++i) mine.insert(mine.end(), &x[pairs.rows[pair + i] * columns], &x[pairs.rows[pair + i] * columns] + columns);
      const std::vector<float> gate = product(0, expert, mine, columns, rows), up = product(1, expert, mine, columns, rows);
      std::vector<float> gated(gate.size());
      threads.run(1, 32, [&](Team& team) { kernels->swiglu({gate.data(), up.data(), hidden, gated.data(), rows, hidden}, team); });
      const std::vector<float> told = product(2, expert, gated, hidden, rows);
      for (int i = 0; i < rows; ++i, ++pair)
        for (int c = 0; c < columns; ++c) out[pairs.rows[pair] * columns + c] += told[i * columns + c] * pairs.weights[pair];
    }
    return out;
  }

  std::vector<float> product(int matrix, size_t expert, const std::vector<float>& x, int width, int rows) const {
    const Weights& w = matrices[matrix][expert];
    std::vector<float> out(static_cast<size_t>(rows) * w.rows, kNaN);
    Linear op{x.data(), width, rows, width, 1, {}};
    op.segments[0] = {w.format, w.panels.get(), w.panel_bytes(), w.rows, nullptr, out.data(), w.rows};
    threads.run(rows, width, [&](Team& team) { kernels->linear(op, team); });
    return out;
  }
};

void try_experts(const Kernels& kernels, Threads& threads) {
  const int rows = one_of({0, 1, 2, 5, any(1, 40), 150}), experts = any(1, 7), top_k = any(1, experts);
  const int columns = one_of({256, 32 * any(1, 10)}), hidden = one_of({256, 32 * any(1, 10)});
  what = std::string(kernels.name) + " experts, rows " + std::to_string(rows) + ", " + std::to_string(top_k) + " of " + std::to_string(experts) +
         ", " + std::to_string(columns) + " to " + std::to_string(hidden) + ", formats";
  Mixture mine{&kernels, threads, columns, hidden, {}};
  const bool brain = any(0, 3) == 0;
  for (int i = 0; i < 3; ++i) {
    const int inner = i == 2 ? hidden : columns, outer = i == 2 ? columns : hidden;
    Format format;
    do format = (i == 2 ? any(0, 3) == 0 : brain) ? Format::kBF16 : static_cast<Format>(any(0, 7));
    while (layout_of(format).super && inner % 256);
    for (int expert = 0; expert < experts; ++expert) mine.matrices[i].push_back(weights_of(format, outer, inner, threads));
    what += " " + std::to_string(static_cast<int>(format));
  }
  const std::vector<float> x = floats(static_cast<size_t>(rows) * columns), logits = floats(static_cast<size_t>(rows) * experts);
  const Pairs pairs = routed(logits, rows, experts, top_k, any(0, 1), threads);
  const std::vector<float> out = mine.run(x, pairs), twin = mine.one_by_one(x, pairs);
  check(same(out.data(), twin.data(), out.size()), "bits differ from experts one by one");
  if (!rows) return;
  std::vector<float> damaged = x;
  const int hit = any(0, rows - 1);
  damaged[hit * columns + any(0, columns - 1)] = one_of({kNaN, INFINITY, -INFINITY});
  const std::vector<float> found = mine.run(damaged, pairs);
  for (int row = 0; row < rows; ++row)
    if (row != hit) check(same(&found[row * columns], &out[row * columns], columns), "another row's NaN changed a row");
    else check(std::none_of(&found[row * columns], &found[row * columns] + columns, [](float v) { return std::isfinite(v); }), "experts hide NaN or infinity");
}

// ---- the rest --------------------------------------------------------------------------------------

struct Rows {
  const Kernels* kernels;
  Threads& threads;
  int columns, outputs;
  std::vector<float> weight, matrix;  // of the norm, of the dense product

  // Norm, dense product, sum, gate and gated sum of rows of x and y; a row's first number is its score.
  std::array<std::vector<float>, 5> run(const std::vector<float>& x, const std::vector<float>& y) const {
    const int rows = static_cast<int>(x.size()) / columns;
    std::array<std::vector<float>, 5> out{x, std::vector<float>(static_cast<size_t>(rows) * outputs), x, x, x};
    std::vector<float> scores;
    for (int row = 0; row < rows; ++row) scores.push_back(x[static_cast<size_t>(row) * columns]);
    threads.run(1, 32, [&](Team& team) {
      kernels->norm({x.data(), weight.data(), out[0].data(), rows, columns, 1e-6f}, team);
      team.wait();
      kernels->dense({x.data(), matrix.data(), out[1].data(), rows, columns, outputs}, team);
      team.wait();
      kernels->add({x.data(), y.data(), out[2].data(), static_cast<int64_t>(x.size())}, team);
      team.wait();
      kernels->swiglu({x.data(), y.data(), columns, out[3].data(), rows, columns}, team);
      team.wait();
      kernels->add_gated({x.data(), y.data(), scores.data(), out[4].data(), rows, columns}, team);
    });
    return out;
  }
};

void try_rows(const Kernels& kernels, Threads& threads) {
  const int rows = any(1, 70), columns = 32 * any(1, 90), outputs = any(1, 64);
  what = std::string(kernels.name) + " norm, dense, add, swiglu, add_gated, rows " + std::to_string(rows) + ", columns " + std::to_string(columns);
  const std::vector<float> x = floats(static_cast<size_t>(rows) * columns), y = floats(x.size());
  Rows mine{&kernels, threads, columns, outputs, floats(columns), floats(static_cast<size_t>(outputs) * columns)};
  const auto all = mine.run(x, y);
  const auto& [normed, scores, sums, gated, joined] = all;
  for (int trial = 0; trial < 100; ++trial) {
    const int row = any(0, rows - 1), n = any(0, outputs - 1);
    const size_t at = static_cast<size_t>(row) * columns + any(0, columns - 1);
    const float *one = &x[static_cast<size_t>(row) * columns], *other = &mine.matrix[static_cast<size_t>(n) * columns];
    const double square = std::inner_product(one, one + columns, one, 0.0) / columns;
    check(close(normed[at], mine.weight[at % columns] * x[at] / std::sqrt(square + 1e-6), 4), "norm is off");
    check(close(scores[static_cast<size_t>(row) * outputs + n], std::inner_product(one, one + columns, other, 0.0), columns), "dense is off");
    check(sums[at] == x[at] + y[at], "a sum is off");
    check(close(gated[at], x[at] / (1 + std::exp(-static_cast<double>(x[at]))) * y[at], 4), "swiglu is off");
    check(close(joined[at], x[at] + y[at] / (1 + std::exp(-static_cast<double>(one[0]))), 4), "a gated sum is off");
  }
  const auto row_of = [&](const std::vector<float>& many, int row) {
    const auto width = static_cast<int64_t>(many.size()) / rows;
    return std::vector<float>(many.begin() + row * width, many.begin() + (row + 1) * width);
  };
  const int row = any(0, rows - 1);
  const auto alone = mine.run(row_of(x, row), row_of(y, row));
  for (int i = 0; i < 5; ++i) check(row_of(all[i], row) == alone[i], "bits differ in a row alone");
  mine.kernels = &kernels_portable();
  const auto portable = mine.run(x, y);
  // Sums over columns in another order: each within `close` of the true one.
  const double tolerances[] = {1e-4, 2e-5 * columns, 0, 0, 0};
  for (int i = 0; i < 5; ++i) check_twin(all[i], portable[i], in_order(kernels) ? 0 : tolerances[i]);
}

// Recorded operations, replayed on other numbers, give what performing them gives.
void try_replay(const char* most, int threads) {
  what = std::string(most) + " replay";
  Machine machine(most, threads);
  Threads packing(1);
  const Weights weights = weights_of(Format::kQ4_K, 130, 256, packing);
  std::vector<float> x = floats(256 * 5), scale = floats(256), normed(x.size()), out(5 * 130);
  const auto perform = [&] {
    machine.perform(Norm{x.data(), scale.data(), normed.data(), 5, 256, 1e-6f});
    Linear op{normed.data(), 256, 5, 256, 1, {}};
    op.segments[0] = {weights.format, weights.panels.get(), weights.panel_bytes(), 130, nullptr, out.data(), 130};
    machine.perform(op);
  };
  machine.record();
  perform();
  const Program program = machine.recorded();
  check(program.operations.size() == 2, "not everything was recorded");
  std::copy_n(floats(x.size()).begin(), x.size(), x.begin());
  machine.replay(program);
  const std::vector<float> replayed = out;
  perform();
  check(same(replayed.data(), out.data(), out.size()), "a replayed step differs");
}

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> found{&kernels_portable()};
#if defined(TW_X86)
  const std::string best = Machine("avx512", 1).isa(), second = Machine("avx2", 1).isa();
  if (second != "portable") found.push_back(&kernels_avx2());
  if (second == "avx2_vnni") found.push_back(&kernels_avx2_vnni());
  if (best == "avx512") found.push_back(&kernels_avx512());
#elif defined(TW_ARM)
  const std::string best = Machine("neon", 1).isa();
  if (best != "portable") found.push_back(&kernels_neon());
  if (best == "neon_i8mm") found.push_back(&kernels_neon_i8mm());
#endif
  return found;
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 30;
  unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1;
  const std::vector<const Kernels*> kernels = available();
  const auto begun = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  for (const unsigned first = seed; seed == first || passed() < seconds; ++seed) {
    engine.seed(seed);
    std::printf("seed %u\n", seed);
    std::fflush(stdout);  // the seed is known also where the round ends in a report of the sanitizer
    const int workers = 1 + static_cast<int>(seed % 3);
    Threads threads(workers);
    for (const Kernels* each : kernels) {
      try_rounding(*each, threads);
      try_products(*each, threads);
      try_mlp(*each, threads);
      try_attention(*each, threads);
      try_rows(*each, threads);
      try_experts(*each, threads);
      try_score(*each, threads);
    }
    try_route(threads);
    for (const char* most : {"portable", "avx2", "avx512", "neon"}) try_replay(most, workers);
  }
  std::printf("passed:");
  for (const Kernels* each : kernels) std::printf(" %s", each->name);
  std::printf("\n");
}
