// From GGUF's blocks, or bfloat16 rows, to panels.
#pragma once

#include "formats.hpp"

namespace tongwen {

// Bytes of one row of `columns` as the file has them.
size_t row_bytes(Format format, int columns);

// One panel from the file's rows [first, first + 64), zeros past `rows`.
void pack_panel(Format format, const uint8_t* source, int rows, int columns, int first, uint8_t* panel);

}  // namespace tongwen
