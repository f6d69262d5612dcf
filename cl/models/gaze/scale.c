#include "cl/models/gaze/scale.h"

#include <stdlib.h>

#include "cl/models/autogaze/config.h"

typedef struct axis {
    int in, out, stride;
    ts_buffer *taps, *weights;
} axis;

struct ts_gaze_scaler {
    ts_device *device;
    axis across, down;
    ts_buffer *wide, *out; /* after the rows, after both */
    size_t wide_bytes, out_bytes;
};

ts_status ts_gaze_scaler_create(ts_device *device, ts_gaze_scaler **out, ts_error *err)
{
    ts_gaze_scaler *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a scaler");
    s->device = device;
    *out = s;
    return TS_OK;
}

static void axis_finish(axis *a)
{
    ts_buffer_unref(a->taps);
    ts_buffer_unref(a->weights);
    *a = (axis){0};
}

void ts_gaze_scaler_destroy(ts_gaze_scaler *scaler)
{
    if (!scaler)
        return;
    axis_finish(&scaler->across);
    axis_finish(&scaler->down);
    ts_buffer_unref(scaler->wide);
    ts_buffer_unref(scaler->out);
    free(scaler);
}

static ts_status axis_make(ts_gaze_scaler *s, ts_queue *q, axis *a, int in, int out, ts_error *err)
{
    int32_t *first = NULL, *weights = NULL;
    if (a->taps && a->in == in && a->out == out)
        return TS_OK;
    axis_finish(a);
    ts_status st = ts_autogaze_taps(in, out, false, &a->stride, &first, &weights, err);
    size_t tap_bytes = 2 * (size_t)out * sizeof(int32_t);
    size_t weight_bytes = (size_t)out * (size_t)a->stride * sizeof(int32_t);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, tap_bytes, &a->taps, err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, weight_bytes, &a->weights, err);
    if (st == TS_OK)
        st = ts_buffer_write(q, a->taps, 0, first, tap_bytes, err);
    if (st == TS_OK)
        st = ts_buffer_write(q, a->weights, 0, weights, weight_bytes, err);
    free(first);
    free(weights);
    a->in = in;
    a->out = out;
    if (st != TS_OK)
        axis_finish(a);
    return st;
}

static ts_status want(ts_gaze_scaler *s, ts_buffer **buffer, size_t *bytes, size_t need,
                      ts_error *err)
{
    if (*buffer && *bytes == need)
        return TS_OK;
    ts_buffer_unref(*buffer);
    *buffer = NULL;
    *bytes = need;
    return ts_buffer_create(s->device, need, buffer, err);
}

static ts_status rows(ts_gaze_scaler *s, ts_queue *q, ts_gaze_image *io, int width, ts_error *err)
{
    ts_kernel *k;
    ts_status st = axis_make(s, q, &s->across, io->width, width, err);
    if (st == TS_OK)
        st = want(s, &s->wide, &s->wide_bytes, 4 * (size_t)width * (size_t)io->height, err);
    if (st == TS_OK)
        st = ts_queue_kernel(q, "gaze", "", "gaze_scale_rows", &k, err);
    if (st == TS_OK)
        st =
            ts_launch(q, k, 1, (size_t[]){(size_t)io->height}, NULL,
                      TS_ARGS(TS_BUF(io->buffer), TS_ULONG(io->offset), TS_INT(io->width),
                              TS_INT(io->height), TS_BUF(s->across.taps), TS_BUF(s->across.weights),
                              TS_INT(s->across.stride), TS_BUF(s->wide), TS_INT(width)),
                      err);
    *io = (ts_gaze_image){s->wide, 0, width, io->height};
    return st;
}

static ts_status columns(ts_gaze_scaler *s, ts_queue *q, ts_gaze_image *io, int height,
                         ts_error *err)
{
    ts_kernel *k;
    int bw = ts_device_caps(s->device)->kind == TS_DEVICE_CPU ? io->width : 16;
    size_t global[2] = {((size_t)io->width + (size_t)bw - 1) / (size_t)bw, (size_t)height};
    ts_status st = axis_make(s, q, &s->down, io->height, height, err);
    if (st == TS_OK)
        st = want(s, &s->out, &s->out_bytes, 4 * (size_t)io->width * (size_t)height, err);
    if (st == TS_OK)
        st = ts_queue_kernel(q, "gaze", "", "gaze_scale_columns", &k, err);
    if (st == TS_OK)
        st = ts_launch(q, k, 2, global, NULL,
                       TS_ARGS(TS_BUF(io->buffer), TS_ULONG(io->offset), TS_INT(io->width),
                               TS_BUF(s->down.taps), TS_BUF(s->down.weights),
                               TS_INT(s->down.stride), TS_BUF(s->out), TS_INT(height), TS_INT(bw)),
                       err);
    *io = (ts_gaze_image){s->out, 0, io->width, height};
    return st;
}

ts_status ts_gaze_scaler_run(ts_gaze_scaler *s, ts_queue *q, const ts_gaze_image *in, int width,
                             int height, ts_gaze_image *out, ts_error *err)
{
    ts_gaze_image io = *in;
    ts_status st = TS_OK;
    if (width != io.width)
        st = rows(s, q, &io, width, err);
    if (st == TS_OK && height != io.height)
        st = columns(s, q, &io, height, err);
    *out = io;
    return st;
}
