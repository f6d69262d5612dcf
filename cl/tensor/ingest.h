/*
 * Bodies that carry tensors, as they arrive: raw bytes, NumPy and safetensors files.
 *
 * The header is collected and checked, then the data goes to the device through ts_upload; nothing
 * else is kept on the host. Either all tensors of a body come out of it or none.
 *
 * Thread: one at a time; opening and appending need no queue, finishing does.
 */
#ifndef TS_CL_TENSOR_INGEST_H
#define TS_CL_TENSOR_INGEST_H

#include "cl/tensor/upload.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_ingest_kind {
    TS_INGEST_RAW,
    TS_INGEST_NPY,
    TS_INGEST_SAFETENSORS
} ts_ingest_kind;

typedef struct ts_ingest_options {
    ts_uploader *uploader;
    ts_ingest_kind kind;
    int64_t length;     /* of the body; -1 where it is not known */
    uint64_t max_bytes; /* of one tensor; 0: no limit of its own */
    ts_layout layout;   /* RAW */
    bool as_bf16;       /* NPY: two-byte elements (u16, or void) are bfloat16 */
    const char *pick;   /* SAFETENSORS: only the tensor of this name; NULL: all */
    const char *prefix; /* SAFETENSORS: put in front of the names; NULL: nothing */
} ts_ingest_options;

typedef struct ts_named_tensor {
    char *name; /* NULL where the body names none */
    ts_tensor *tensor;
} ts_named_tensor;
/** Drop the references and free the list. NULL is fine. */
void ts_named_tensors_free(ts_named_tensor *list, size_t n);

typedef struct ts_ingest ts_ingest;

/** Strings are copied. Owner: ts_ingest_destroy. Errors: those of ts_upload_begin(), TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_ingest_open(const ts_ingest_options *options, ts_ingest **out,
                                    ts_error *err);
/** Errors: those of the formats' headers, TS_E_SIZE, TS_E_NAME, TS_E_NOT_FOUND (pick), device ones. */
TS_CHECKED ts_status ts_ingest_append(ts_ingest *ingest, const void *data, size_t len,
                                      ts_error *err);
/** After the last byte: the tensors, their contents finished. Owner: ts_named_tensors_free. */
TS_CHECKED ts_status ts_ingest_finish(ts_ingest *ingest, ts_queue *queue, ts_named_tensor **out,
                                      size_t *n, ts_error *err);
void ts_ingest_destroy(ts_ingest *ingest); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
