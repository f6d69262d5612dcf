#include "cl/tensor/ingest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/name.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/st_header.h"

struct ts_ingest {
    ts_ingest_options options;
    char *pick, *prefix;
    ts_buf header; /* collected until it is whole */
    bool in_data;
    uint64_t received;

    ts_upload *upload; /* RAW, NPY: the tensor; SAFETENSORS: of the entry being received */

    ts_st_header st;
    size_t next_entry;  /* first entry that is not complete */
    uint64_t data_used; /* bytes of the data seen */
    ts_named_tensor *done;
    size_t n_done;
};

void ts_named_tensors_free(ts_named_tensor *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++) {
        free(list[i].name);
        ts_tensor_unref(list[i].tensor);
    }
    free(list);
}

void ts_ingest_destroy(ts_ingest *in)
{
    if (!in)
        return;
    ts_upload_abort(in->upload);
    ts_named_tensors_free(in->done, in->n_done);
    ts_st_header_finish(&in->st);
    ts_buf_finish(&in->header);
    free(in->pick);
    free(in->prefix);
    free(in);
}

static ts_status begin(ts_ingest *in, const ts_layout *layout, const uint64_t *declared,
                       ts_error *err)
{
    size_t nbytes;
    ts_status st = ts_shape_check(&layout->shape, layout->dtype, &nbytes, err);
    if (st != TS_OK)
        return st;
    if (in->options.max_bytes && nbytes > in->options.max_bytes)
        return ts_fail(err, TS_E_TOO_LARGE,
                       "a tensor of %zu bytes; at most %" PRIu64 " (--max-tensor-bytes)", nbytes,
                       in->options.max_bytes);
    return ts_upload_begin(in->options.uploader, layout, declared, &in->upload, err);
}

ts_status ts_ingest_open(const ts_ingest_options *options, ts_ingest **out, ts_error *err)
{
    ts_ingest *in = calloc(1, sizeof *in);
    if (!in)
        return ts_fail(err, TS_E_NO_MEMORY, "upload");
    in->options = *options;
    in->pick = options->pick ? strdup(options->pick) : NULL;
    in->prefix = options->prefix ? strdup(options->prefix) : NULL;
    ts_status st = TS_OK;
    if ((options->pick && !in->pick) || (options->prefix && !in->prefix))
        st = ts_fail(err, TS_E_NO_MEMORY, "upload");
    if (st == TS_OK && options->kind == TS_INGEST_RAW) {
        uint64_t declared = (uint64_t)options->length;
        in->in_data = true;
        st = begin(in, &options->layout, options->length >= 0 ? &declared : NULL, err);
    }
    if (st != TS_OK) {
        ts_ingest_destroy(in);
        return st;
    }
    *out = in;
    return TS_OK;
}

/* ---- NumPy ---- */

static ts_status npy_header(ts_ingest *in, ts_error *err)
{
    ts_npy npy;
    ts_status st = ts_npy_parse(in->header.data, in->header.len, &npy, err);
    if (st != TS_OK)
        return st;
    ts_layout layout = {.dtype = npy.dtype,
                        .shape = npy.shape,
                        .fortran = npy.fortran,
                        .big_endian = npy.big_endian};
    if (in->options.as_bf16 && npy.dtype != TS_U16)
        return ts_fail(err, TS_E_DTYPE, "dtype=bf16 wants a NumPy file of u16, not of %s",
                       ts_dtype_name(npy.dtype));
    if (npy.void2 && !in->options.as_bf16)
        return ts_fail(err, TS_E_DTYPE, "NumPy type V2: say dtype=bf16 if that is what it holds");
    if (in->options.as_bf16)
        layout.dtype = TS_BF16;
    uint64_t declared = (uint64_t)in->options.length - npy.header_bytes;
    if (in->options.length >= 0 && (uint64_t)in->options.length < npy.header_bytes)
        return ts_fail(err, TS_E_HEADER, "the body ends in the NumPy header");
    return begin(in, &layout, in->options.length >= 0 ? &declared : NULL, err);
}

/* ---- safetensors ---- */

static bool wanted(const ts_ingest *in, const ts_st_entry *e)
{
    return !in->pick || strcmp(e->name, in->pick) == 0;
}

static ts_status check_names(ts_ingest *in, size_t *n, uint64_t *bytes, ts_error *err)
{
    *n = 0;
    *bytes = 0;
    for (size_t i = 0; i < in->st.n; i++) {
        const ts_st_entry *e = &in->st.entries[i];
        if (!wanted(in, e))
            continue;
        ++*n;
        *bytes += e->nbytes;
        char name[TS_NAME_MAX + 2];
        int len = snprintf(name, sizeof name, "%s%s", in->prefix ? in->prefix : "", e->name);
        if (in->pick)
            continue; /* stored under the caller's name */
        if (len < 0 || (size_t)len >= sizeof name || !ts_name_valid(name))
            return ts_fail(err, TS_E_NAME,
                           "\"%.200s\" is no name of a tensor: letters, digits, '_', '.', '-'; at "
                           "most %d",
                           name, TS_NAME_MAX);
    }
    if (in->pick && !*n)
        return ts_fail(err, TS_E_NOT_FOUND, "the file has no tensor \"%.128s\"", in->pick);
    return TS_OK;
}

static ts_status check_room(const ts_ingest *in, uint64_t bytes, ts_error *err)
{
    ts_device_stats stats;
    ts_device_get_stats(ts_uploader_device(in->options.uploader), &stats);
    if (stats.used_bytes <= stats.budget_bytes && bytes <= stats.budget_bytes - stats.used_bytes)
        return TS_OK;
    return ts_fail(err, TS_E_DEVICE_MEMORY,
                   "%" PRIu64 " bytes of device memory wanted, %" PRIu64 " of %" PRIu64
                   " are in use",
                   bytes, stats.used_bytes, stats.budget_bytes);
}

static ts_status st_header(ts_ingest *in, ts_error *err)
{
    uint64_t file = in->options.length >= 0 ? (uint64_t)in->options.length : UINT64_MAX;
    ts_status st = ts_st_header_parse(in->header.data, in->header.len, file, &in->st, err);
    size_t n = 0;
    uint64_t bytes = 0;
    if (st == TS_OK)
        st = check_names(in, &n, &bytes, err);
    if (st == TS_OK)
        st = check_room(in, bytes, err);
    if (st != TS_OK)
        return st;
    in->done = calloc(n + 1, sizeof *in->done);
    return in->done ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "list of tensors");
}

static char *join(const char *prefix, const char *name)
{
    size_t a = prefix ? strlen(prefix) : 0, b = strlen(name) + 1;
    char *text = malloc(a + b);
    if (!text)
        return NULL;
    memcpy(text, prefix ? prefix : "", a);
    memcpy(text + a, name, b);
    return text;
}

static ts_status close_entry(ts_ingest *in, const ts_st_entry *e, ts_error *err)
{
    ts_upload *upload = in->upload;
    in->upload = NULL;
    ts_named_tensor *t = &in->done[in->n_done];
    ts_status st = ts_upload_commit(upload, NULL, &t->tensor, err);
    if (st != TS_OK)
        return st;
    in->n_done++;
    t->name = join(in->pick ? NULL : in->prefix, e->name);
    return t->name ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "name of a tensor");
}

/* Give the data's next bytes to the entry they belong to; *used says how many that were. */
static ts_status feed_entry(ts_ingest *in, const void *data, size_t len, size_t *used,
                            ts_error *err)
{
    const ts_st_entry *e = &in->st.entries[in->next_entry];
    uint64_t left = e->offset + e->nbytes - in->data_used;
    *used = len < left ? len : (size_t)left;
    ts_status st = TS_OK;
    if (wanted(in, e)) {
        if (!in->upload)
            st = begin(in, &(ts_layout){.dtype = e->dtype, .shape = e->shape}, NULL, err);
        if (st == TS_OK)
            st = ts_upload_append(in->upload, data, *used, err);
        if (st == TS_OK && *used == left)
            st = close_entry(in, e, err);
        if (st != TS_OK)
            ts_error_prefix(err, "tensor \"%.64s\"", e->name);
    }
    in->data_used += *used;
    if (*used == left)
        in->next_entry++;
    return st;
}

static ts_status st_data(ts_ingest *in, const uint8_t *data, size_t len, ts_error *err)
{
    /* An entry without bytes is complete as soon as it is reached, so go on with nothing left. */
    while (in->next_entry < in->st.n && (len || !in->st.entries[in->next_entry].nbytes)) {
        size_t used;
        ts_status st = feed_entry(in, data, len, &used, err);
        if (st != TS_OK)
            return st;
        data += used;
        len -= used;
    }
    if (len)
        return ts_fail(err, TS_E_SIZE, "%zu bytes behind the last tensor", len);
    return TS_OK;
}

/* ---- both ---- */

static ts_status header_need(ts_ingest *in, size_t *need, ts_error *err)
{
    if (in->options.kind == TS_INGEST_NPY)
        return ts_npy_need(in->header.data, in->header.len, need, err);
    return ts_st_header_need(in->header.data, in->header.len, need, err);
}

/* Collect the header; *used says how many of the bytes were part of it. */
static ts_status take_header(ts_ingest *in, const uint8_t *data, size_t len, size_t *used,
                             ts_error *err)
{
    *used = 0;
    while (!in->in_data) {
        size_t need;
        ts_status st = header_need(in, &need, err);
        if (st != TS_OK)
            return st;
        if (in->header.len < need) {
            size_t n = need - in->header.len, have = len - *used;
            if (!have)
                return TS_OK;
            n = n < have ? n : have;
            ts_buf_append(&in->header, data + *used, n);
            if (in->header.failed)
                return ts_fail(err, TS_E_NO_MEMORY, "header of an upload");
            *used += n;
            continue;
        }
        st = in->options.kind == TS_INGEST_NPY ? npy_header(in, err) : st_header(in, err);
        ts_buf_finish(&in->header);
        if (st != TS_OK)
            return st;
        in->in_data = true;
    }
    return TS_OK;
}

ts_status ts_ingest_append(ts_ingest *in, const void *data, size_t len, ts_error *err)
{
    const uint8_t *p = data;
    size_t used = 0;
    in->received += len;
    if (!in->in_data) {
        ts_status st = take_header(in, p, len, &used, err);
        if (st != TS_OK || !in->in_data)
            return st;
    }
    if (in->options.kind == TS_INGEST_SAFETENSORS)
        return st_data(in, p + used, len - used, err);
    return ts_upload_append(in->upload, p + used, len - used, err);
}

static ts_status finish_one(ts_ingest *in, ts_queue *queue, ts_error *err)
{
    in->done = calloc(1, sizeof *in->done);
    if (!in->done)
        return ts_fail(err, TS_E_NO_MEMORY, "list of tensors");
    ts_upload *upload = in->upload;
    in->upload = NULL;
    ts_status st = ts_upload_commit(upload, queue, &in->done->tensor, err);
    in->n_done = st == TS_OK;
    return st;
}

ts_status ts_ingest_finish(ts_ingest *in, ts_queue *queue, ts_named_tensor **out, size_t *n,
                           ts_error *err)
{
    ts_status st = TS_OK;
    if (!in->in_data)
        st = ts_fail(err, TS_E_HEADER, "the body ends after %" PRIu64 " bytes, in its header",
                     in->received);
    else if (in->options.kind != TS_INGEST_SAFETENSORS)
        st = finish_one(in, queue, err);
    else if (in->next_entry < in->st.n)
        st = ts_fail(err, TS_E_SIZE, "the body ends in the data of tensor \"%.64s\"",
                     in->st.entries[in->next_entry].name);
    if (st != TS_OK)
        return st;
    *out = in->done;
    *n = in->n_done;
    in->done = NULL;
    in->n_done = 0;
    return TS_OK;
}
