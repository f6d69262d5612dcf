/*
 * Exact WebP (VP8L) of pictures with at most 256 colours, written directly.
 *
 * For masks, label maps and colour-mapped tensors this is ten and more times faster than a general
 * lossless encoder and about as small: colour-indexing transform, then either copies from the two
 * nearest places (above, left) or plain Huffman codes behind one predictor.
 *
 * Source: the WebP lossless bitstream specification. Thread: one at a time per ts_vp8l.
 */
#ifndef TS_SERVER_VP8L_H
#define TS_SERVER_VP8L_H

#include "cl/base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_vp8l_method {
    TS_VP8L_AUTO, /* by a look at the neighbours and the entropies */
    TS_VP8L_RAW,  /* literals of the indices */
    TS_VP8L_LEFT, /* literals of the difference to the left neighbour, to the one above, to the mean */
    TS_VP8L_TOP,
    TS_VP8L_MEAN,
    TS_VP8L_RUNS /* copies */
} ts_vp8l_method;

/** Scratch memory kept from picture to picture. Zero-initialised is valid. */
typedef struct ts_vp8l {
    uint8_t *plane; /* contiguous indices or residuals */
    uint32_t *tokens;
    size_t plane_cap, tokens_cap;
} ts_vp8l;

void ts_vp8l_finish(ts_vp8l *enc);

/**
 * Append a WebP file of the picture to `out`.
 *
 * Shapes: indices [height,width] u8 with `stride` bytes per row, every value < n_colors;
 *         1 <= n_colors <= 256; sides 1…16383.
 * Errors: TS_E_OPTION (n_colors), TS_E_TOO_LARGE (sides), TS_E_INDEX (a value without a colour),
 *         TS_E_NO_MEMORY. On failure out->len is what it was.
 */
TS_CHECKED ts_status ts_vp8l_encode(ts_vp8l *enc, const uint8_t *indices, size_t stride, int width,
                                    int height, const uint8_t (*palette)[3], int n_colors,
                                    ts_vp8l_method method, ts_buf *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
