/* C twin of cl/kernels/layout.cl. */
#ifndef TS_TESTS_REF_REF_LAYOUT_H
#define TS_TESTS_REF_REF_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* dst, in C order and dense, from src at offset + Σ i·stride, elements byte-reversed with `swap`. */
void ref_layout_gather(const uint8_t *src, uint8_t *dst, int rank, const int64_t *dim,
                       const int64_t *stride, size_t offset, size_t width, bool swap);
/* The region of dst (a dense tensor of shape `dim`) that begins at `at` from dense bytes in src. */
void ref_layout_scatter(const uint8_t *src, uint8_t *dst, int rank, const int64_t *dim,
                        const int64_t *at, const int64_t *size, size_t width);

#endif
