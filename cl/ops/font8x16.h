/*
 * ASCII 32 … 126 in cells of 8x16, bit 7 left. The glyphs are DejaVu Sans Mono rasterised at 11 px
 * (Bitstream Vera and DejaVu licences, permissive), 7x13, one row down in the cell.
 */
#ifndef TS_CL_OPS_FONT8X16_H
#define TS_CL_OPS_FONT8X16_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const uint8_t TS_FONT8X16[95][16];

#ifdef __cplusplus
}
#endif
#endif
