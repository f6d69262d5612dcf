/* Scratch memory and launches of the viz kernels. */
#include <math.h>
#include <stdio.h>

#include "cl/base/hash.h"
#include "cl/viz/viz_internal.h"

ts_status slot_need(ts_viz *viz, slot *s, size_t bytes, ts_error *err)
{
    if (bytes < 64)
        bytes = 64;
    if (s->buffer && s->bytes >= bytes)
        return TS_OK;
    ts_buffer *fresh = NULL;
    ts_status st = ts_buffer_create(viz->device, bytes, &fresh, err);
    if (st != TS_OK)
        return st;
    ts_buffer_unref(s->buffer);
    s->buffer = fresh;
    s->bytes = bytes;
    return TS_OK;
}

void slot_finish(slot *s)
{
    ts_buffer_unref(s->buffer);
    *s = (slot){0};
}

void axis_finish(axis_table *a)
{
    slot_finish(&a->index);
    slot_finish(&a->frac);
    slot_finish(&a->first);
    slot_finish(&a->count);
    slot_finish(&a->weight);
    a->valid = false;
}

ts_status viz_launch(ts_viz *viz, const char *family, int dtype, const char *name,
                     const size_t global[3], const size_t *local, const ts_arg *args, size_t n_args,
                     ts_error *err)
{
    char options[64] = "";
    if (dtype >= 0)
        snprintf(options, sizeof options, "-DTS_IN=%d%s", dtype, viz->build_options);
    ts_kernel *kernel = NULL;
    ts_status st = ts_queue_kernel(viz->queue, family, options, name, &kernel, err);
    if (st != TS_OK)
        return st;
    return ts_launch(viz->queue, kernel, 3, global, local, args, n_args, err);
}

void viz_test_as(ts_viz *viz, bool as_gpu, bool without_doubles)
{
    snprintf(viz->build_options, sizeof viz->build_options, "%s%s", as_gpu ? " -DVIZ_AS_GPU" : "",
             without_doubles ? " -DVIZ_NO_FP64" : "");
    viz->cpu = viz->cpu && !as_gpu;
    viz->fp64 = viz->fp64 && !without_doubles;
}

ts_arg viz_slot_arg(const ts_viz *viz, const slot *s)
{
    return TS_BUF(s && s->buffer ? s->buffer : viz->dummy.buffer);
}

uint64_t viz_wide(const ts_viz *viz, double value)
{
    uint64_t bits = 0;
    if (viz->fp64) {
        memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    float pair[2];
    pair[0] = (float)value;
    pair[1] = isfinite(pair[0]) ? (float)(value - (double)pair[0]) : 0;
    memcpy(&bits, pair, sizeof bits);
    return bits;
}

double viz_unwide(const ts_viz *viz, uint64_t bits)
{
    if (viz->fp64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    float pair[2];
    memcpy(pair, &bits, sizeof pair);
    return (double)pair[0] + (double)pair[1];
}

uint64_t viz_hash(uint64_t seed, const void *data, size_t len)
{
    return ts_fnv1a(seed ? seed : TS_FNV_SEED, data, len);
}
