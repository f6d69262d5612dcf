/*
 * NumPy files: the header, read without evaluating it, and written.
 *
 * Versions 1.0, 2.0 and 3.0; the data behind the header is left to the caller. Thread: any.
 * Source: NEP 1 and numpy/lib/format.py (the description, not the code).
 */
#ifndef TS_CL_TENSOR_NPY_H
#define TS_CL_TENSOR_NPY_H

#include "cl/base/buf.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_npy {
    ts_dtype dtype;
    ts_shape shape;
    bool void2;          /* two opaque bytes (how bfloat16 is saved); dtype says u16 */
    bool fortran;        /* first axis fastest */
    bool big_endian;     /* elements of more than one byte are swapped */
    size_t header_bytes; /* where the data begins */
    size_t nbytes;       /* of data */
} ts_npy;

/**
 * How many bytes, from the start, ts_npy_parse() needs; more than `len` says: come back with more.
 * Errors: TS_E_HEADER (no such file, unknown version, absurd header length).
 */
TS_CHECKED ts_status ts_npy_need(const void *data, size_t len, size_t *need, ts_error *err);
/** Errors: TS_E_HEADER, TS_E_DTYPE (objects, structures, text, complex), TS_E_SIZE, TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_npy_parse(const void *data, size_t len, ts_npy *out, ts_error *err);
/** Append the header of C-order little-endian data, padded to 64 bytes; bf16 becomes u16. */
void ts_npy_write_header(ts_buf *out, ts_dtype dtype, const ts_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
