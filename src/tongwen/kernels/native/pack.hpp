// From what a checkpoint stores to panels.
#pragma once

#include "formats.hpp"

namespace tongwen {

// Bytes of one row of `columns` as the file has them.
size_t row_bytes(Format stored, int columns);

// Whether what is stored can be packed so: as it is, as bfloat16, or rounded to Q8_0 or Q4_0.
bool can_pack(Format format, Format stored);

// One panel from the file's rows [first, first + 64), zeros past `rows`.
void pack_panel(Format format, Format stored, const uint8_t* source, int rows, int columns, int first, uint8_t* panel);

}  // namespace tongwen
