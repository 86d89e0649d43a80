// What Python sees.  Tensors come as addresses: their owner has checked shapes and keeps them alive.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <string>
#include <tuple>
#include <vector>

#include <nanobind/stl/tuple.h>

#include "pack.hpp"
#include "program.hpp"

namespace nb = nanobind;
using namespace tongwen;

namespace {

using Address = uintptr_t;
using Weights = std::tuple<int, Address, int, Address, Address, int64_t>;  // format, panels, rows, bias, out, stride

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

void perform(Machine& machine, const Operation& operation) {
  nb::gil_scoped_release release;
  machine.perform(operation);
}

Format format_of(int id) {
  if (id < 0 || id >= static_cast<int>(Format::kCount)) throw nb::value_error("unknown format");
  return static_cast<Format>(id);
}

// Of what a file stores, too.
Format stored_of(int id) {
  if (id < 0 || id >= static_cast<int>(Format::kStoredCount)) throw nb::value_error("unknown format");
  return static_cast<Format>(id);
}

void pack(Machine& machine, int format, int stored, Address source, int rows, int columns, Address panels) {
  if (!can_pack(format_of(format), stored_of(stored))) throw nb::value_error("one format is not rounded to the other");
  nb::gil_scoped_release release;
  machine.pack(format_of(format), stored_of(stored), at<uint8_t>(source), rows, columns, at<uint8_t>(panels));
}

void embed(Machine& machine, int format, Address panels, int columns, int vocabulary, Address ids, int rows, Address out) {
  const Format f = format_of(format);
  perform(machine, Embed{f, at<uint8_t>(panels), layout_of(f).panel_bytes(columns), rows, columns, vocabulary, at<int64_t>(ids), at<float>(out)});
}

void linear(Machine& machine, Address x, int64_t stride, int rows, int columns, const std::vector<Weights>& weights) {
  if (weights.empty() || weights.size() > kMaxSegments) throw nb::value_error("one to four weights share an input");
  Linear op{at<float>(x), stride, rows, columns, static_cast<int>(weights.size()), {}};
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto& [format, panels, n, bias, out, out_stride] = weights[i];
    const Format f = format_of(format);
    op.segments[i] = {f, at<uint8_t>(panels), layout_of(f).panel_bytes(columns), n, at<float>(bias), at<float>(out), out_stride};
  }
  perform(machine, op);
}

using Panels = std::tuple<int, Address, int>;  // format, panels, rows

Segment segment_of(const Panels& weights, int columns) {
  const auto& [format, panels, rows] = weights;
  const Format f = format_of(format);
  return {f, at<uint8_t>(panels), layout_of(f).panel_bytes(columns), rows, nullptr, nullptr, 0};
}

void mlp(Machine& machine, Address x, int64_t stride, int rows, int columns, const Panels& gate, const Panels& up, const Panels& down, Address out) {
  const int ffn = std::get<2>(gate);
  MLP op{at<float>(x), stride, rows, columns, ffn, segment_of(gate, columns), segment_of(up, columns), segment_of(down, ffn)};
  op.down.out = at<float>(out), op.down.out_stride = op.down.rows;
  perform(machine, op);
}

void score(Machine& machine, Address x, int64_t stride, int rows, int columns, int format, Address panels, int vocabulary, Address targets,
           Address logits, Address out) {
  const Format f = format_of(format);
  Linear head{at<float>(x), stride, rows, columns, 1, {}};
  head.segments[0] = {f, at<uint8_t>(panels), layout_of(f).panel_bytes(columns), vocabulary, nullptr, at<float>(logits), kScoredLogits};
  nb::gil_scoped_release release;
  machine.score(head, at<int64_t>(targets), at<float>(out));
}

Matrices matrices_of(int format, Address panels, int columns) {
  const Format f = format_of(format);
  return {f, at<const uint8_t*>(panels), layout_of(f).panel_bytes(columns)};
}

// Formats and addresses of the panels' addresses: of gate, up and down.
void experts(Machine& machine, Address x, int rows, int columns, int hidden, int count, int pairs, const std::array<int, 3>& formats,
             const std::array<Address, 3>& panels, Address pair_rows, Address counts, Address weights, Address out) {
  perform(machine, Experts{at<float>(x), rows, columns, hidden, count, pairs, matrices_of(formats[0], panels[0], columns),
                           matrices_of(formats[1], panels[1], columns), matrices_of(formats[2], panels[2], hidden), at<int64_t>(pair_rows),
                           at<int64_t>(counts), at<float>(weights), at<float>(out)});
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Numeric kernels for the CPU.";
  nb::set_leak_warnings(false);  // one Machine lives as long as the process, on purpose
  m.def("usable_threads", &usable_threads);
  m.attr("sample_row_bytes") = sizeof(SampleRow);
  m.def("panel_bytes", [](int format, int columns) { return layout_of(format_of(format)).panel_bytes(columns); });
  m.def("row_bytes", [](int format, int columns) { return row_bytes(stored_of(format), columns); });
  m.attr("scored_logits") = kScoredLogits;
  m.attr("layout_version") = kLayoutVersion;
  nb::class_<Program>(m, "Program").def("__len__", [](const Program& p) { return p.operations.size(); });
  nb::class_<Machine>(m, "Machine")
      .def(nb::init<const char*, int>(), nb::arg("most"), nb::arg("threads"))
      .def_prop_ro("isa", &Machine::isa)
      .def_prop_ro("threads", &Machine::threads)
      .def("peak_int8_ops", &Machine::peak_int8_ops, nb::call_guard<nb::gil_scoped_release>())
      .def("record", &Machine::record)
      .def("recorded", &Machine::recorded)
      .def("replay", &Machine::replay, nb::call_guard<nb::gil_scoped_release>())
      .def("sample",
           [](Machine& machine, Address logits, int64_t stride, int rows, int vocabulary, int num_tokens, Address specs, Address chosen) {
             nb::gil_scoped_release release;
             machine.sample(at<float>(logits), stride, rows, vocabulary, num_tokens, at<SampleRow>(specs), at<Sampled>(chosen));
           })
      .def("logsumexp",
           [](Machine& machine, Address logits, int64_t stride, int rows, int vocabulary, Address out) {
             nb::gil_scoped_release release;
             machine.logsumexp(at<float>(logits), stride, rows, vocabulary, at<double>(out));
           })
      .def("score", &score)
      .def("pack", &pack)
      .def("embed", &embed)
      .def("linear", &linear)
      .def("norm",
           [](Machine& machine, Address x, Address weight, Address out, int rows, int columns, float eps) {
             perform(machine, Norm{at<float>(x), at<float>(weight), at<float>(out), rows, columns, eps});
           })
      .def("dense",
           [](Machine& machine, Address x, Address weight, Address out, int rows, int columns, int outputs) {
             perform(machine, Dense{at<float>(x), at<float>(weight), at<float>(out), rows, columns, outputs});
           })
      .def("add",
           [](Machine& machine, Address a, Address b, Address out, int64_t count) {
             perform(machine, Add{at<float>(a), at<float>(b), at<float>(out), count});
           })
      .def("add_gated",
           [](Machine& machine, Address a, Address b, Address scores, Address out, int rows, int columns) {
             perform(machine, AddGated{at<float>(a), at<float>(b), at<float>(scores), at<float>(out), rows, columns});
           })
      .def("route",
           [](Machine& machine, Address logits, int rows, int experts, int top_k, bool renormalize, Address chosen, Address ranked,
              Address pair_rows, Address weights, Address counts) {
             perform(machine, Route{at<float>(logits), rows, experts, top_k, renormalize, at<int32_t>(chosen), at<float>(ranked),
                                    at<int64_t>(pair_rows), at<float>(weights), at<int64_t>(counts)});
           })
      .def("experts", &experts)
      .def("swiglu",
           [](Machine& machine, Address gate, Address up, int64_t stride, Address out, int rows, int columns) {
             perform(machine, SwiGLU{at<float>(gate), at<float>(up), stride, at<float>(out), rows, columns});
           })
      .def("mlp", &mlp)
      .def("rope",
           [](Machine& machine, Address q, Address k, Address v, int64_t q_stride, int64_t k_stride, int64_t v_stride, int rows, int heads,
              int kv_heads, int head_dim, float scale, Address angles, Address positions, Address slots, Address cache) {
             perform(machine, Rope{at<float>(q), at<float>(k), at<float>(v), q_stride, k_stride, v_stride, rows, heads, kv_heads, head_dim,
                                   scale, at<float>(angles), at<int64_t>(positions), at<int64_t>(slots), at<uint16_t>(cache)});
           })
      .def("attention", [](Machine& machine, Address q, int64_t q_stride, Address out, int heads, int kv_heads, int head_dim, int window,
                           Address cache, Address starts, Address context_lens, Address block_tables, int64_t table_stride,
                           int num_requests) {
        perform(machine, Attention{at<float>(q), q_stride, at<float>(out), heads, kv_heads, head_dim, window, at<uint16_t>(cache),
                                   at<int64_t>(starts), at<int64_t>(context_lens), at<int64_t>(block_tables), table_stride, num_requests});
      });
}
