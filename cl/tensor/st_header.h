/*
 * The header of safetensors files: a strict parser for uploads of which only the start is there,
 * and a writer. cl/tensor/safetensors.h reads whole files.
 *
 *   u64 little-endian N, N bytes of JSON, then the data. Entries say where in the data their bytes
 * are; together they cover it without gap or overlap. Everything a header claims is checked before
 * anything is allocated for it. Thread: any; a ts_st_header belongs to one at a time.
 * Source: the format's description at huggingface.co/docs/safetensors.
 */
#ifndef TS_CL_TENSOR_ST_HEADER_H
#define TS_CL_TENSOR_ST_HEADER_H

#include "cl/base/buf.h"
#include "cl/base/json.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_ST_MAX_HEADER = 100000000,
    TS_ST_MAX_ENTRIES = 65536
};

typedef struct ts_st_entry {
    const char *name; /* UTF-8, not empty; owned by the file's struct */
    ts_dtype dtype;
    ts_shape shape;
    uint64_t offset; /* from the start of the data */
    size_t nbytes;
} ts_st_entry;

typedef struct ts_st_header {
    ts_st_entry *entries; /* n, by offset */
    size_t n;
    json_t *metadata;    /* an object of strings, or NULL */
    size_t header_bytes; /* where the data begins, from the start of the file */
    uint64_t data_bytes; /* the end of the last entry */
    char *names;         /* memory of the entries' names */
} ts_st_header;

/** As ts_npy_need(). Errors: TS_E_HEADER. */
TS_CHECKED ts_status ts_st_header_need(const void *data, size_t len, size_t *need, ts_error *err);
/**
 * Parse the header from the first `len` bytes. `file_bytes` is the size of the whole file, or
 * UINT64_MAX where it is not known yet (then the caller compares header_bytes + data_bytes).
 * Owner: ts_st_header_finish(). Errors: TS_E_HEADER (with the entry's name), TS_E_SIZE,
 * TS_E_TOO_LARGE (an entry of more than 2^31 elements).
 */
TS_CHECKED ts_status ts_st_header_parse(const void *data, size_t len, uint64_t file_bytes,
                                        ts_st_header *out, ts_error *err);
void ts_st_header_finish(ts_st_header *file); /* NULL is fine */
/** NULL if there is none of that name. */
const ts_st_entry *ts_st_header_find(const ts_st_header *file, const char *name);

/**
 * Append length and header for tensors of these names, types and shapes, whose data the caller
 * appends in the same order without gaps; `metadata` is an object of strings or NULL. Only name,
 * dtype and shape of the entries are read; the header is padded so that the data is aligned to 8.
 */
TS_CHECKED ts_status ts_st_header_write(ts_buf *out, const ts_st_entry *entries, size_t n,
                                        const json_t *metadata, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
