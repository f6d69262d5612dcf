/* From RGBA pictures to the network's input: exact 8-bit resize, table, square resize or tiles. */
#include <stdlib.h>
#include <string.h>

#include "cl/models/autogaze/weights_internal.h"
#include "cl/ops/internal.h"
#include "cl/ops/move.h"
#include "cl/ops/resize.h"

/* One axis of the 8-bit resize. */
typedef struct axis_taps {
    int in, out, stride;
    ts_arr first, weights;
} axis_taps;

struct ts_autogaze_input {
    ts_autogaze *a;
    /* What the tables and arrays below are for. */
    int width, height, tile_px, stride_px;
    ts_autogaze_mode mode;
    axis_taps across, down;
    ts_arr wide, small, planes, canvas, piece, tiles;
    ts_resize *square, *to_canvas, *to_tile;
    ts_arr resized; /* view of what the first resize made */
    int rows, cols;
};

static void clear(ts_autogaze_input *in)
{
    ts_arr *arrays[] = {&in->across.first, &in->across.weights, &in->down.first, &in->down.weights,
                        &in->wide,         &in->small,          &in->planes,     &in->canvas,
                        &in->piece,        &in->tiles};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        ts_arr_free(arrays[i]);
    ts_resize_destroy(in->square);
    ts_resize_destroy(in->to_canvas);
    ts_resize_destroy(in->to_tile);
    in->square = in->to_canvas = in->to_tile = NULL;
    in->width = in->height = 0;
}

ts_status ts_autogaze_input_create(ts_autogaze *a, ts_autogaze_input **out, ts_error *err)
{
    ts_autogaze_input *in = calloc(1, sizeof *in);
    if (!in)
        return ts_fail(err, TS_E_NO_MEMORY, "input");
    in->a = ts_autogaze_ref(a);
    *out = in;
    return TS_OK;
}

void ts_autogaze_input_destroy(ts_autogaze_input *in)
{
    if (!in)
        return;
    clear(in);
    ts_autogaze_unref(in->a);
    free(in);
}

ts_arr ts_autogaze_resized_u8(const ts_autogaze_input *in)
{
    return in->resized;
}

ts_arr ts_autogaze_normalized(const ts_autogaze_input *in)
{
    return in->planes;
}

/* ---- tables and memory for a size ---- */

static ts_status make_taps(ts_ops *ops, int in, int out, bool bicubic, axis_taps *t, ts_error *err)
{
    int32_t *first = NULL, *weights = NULL;
    *t = (axis_taps){.in = in, .out = out};
    if (in == out)
        return TS_OK;
    ts_status st = ts_autogaze_taps(in, out, bicubic, &t->stride, &first, &weights, err);
    if (st == TS_OK)
        st = ts_arr_from_host(ops, TS_I32, &TS_SHAPE(out, 2), first, &t->first, err);
    if (st == TS_OK)
        st = ts_arr_from_host(ops, TS_I32, &TS_SHAPE(out, t->stride), weights, &t->weights, err);
    free(first);
    free(weights);
    return st;
}

static ts_status make_resize_mode(ts_autogaze_input *in, ts_ops *ops, ts_error *err)
{
    int w, h, side = in->a->c.input_px;
    ts_autogaze_resized(&in->a->p, in->width, in->height, &w, &h);
    if (w < 1 || h < 1 || w > 65536 || h > 65536)
        return ts_fail(err, TS_E_SHAPE, "a frame of %dx%d becomes %dx%d", in->width, in->height, w,
                       h);
    ts_status st = make_taps(ops, in->width, w, in->a->p.bicubic, &in->across, err);
    if (st == TS_OK)
        st = make_taps(ops, in->height, h, in->a->p.bicubic, &in->down, err);
    if (st == TS_OK && w != in->width)
        st = ts_arr_create(ops, TS_U8, &TS_SHAPE(in->height, w, 4), &in->wide, err);
    if (st == TS_OK && h != in->height)
        st = ts_arr_create(ops, TS_U8, &TS_SHAPE(h, w, 4), &in->small, err);
    if (st == TS_OK)
        st = ts_arr_create(ops, TS_F32, &TS_SHAPE(3, h, w), &in->planes, err);
    ts_resize_options o = {.in_h = h,
                           .in_w = w,
                           .out_h = side,
                           .out_w = side,
                           .mode = TS_RESIZE_CUBIC,
                           .cubic_a = -0.75};
    if (st == TS_OK && (w != side || h != side)) {
        st = ts_resize_create(ops, &o, &in->square, err);
        if (st == TS_OK)
            st = ts_arr_create(ops, TS_F32, &TS_SHAPE(1, 3, side, side), &in->tiles, err);
    }
    in->rows = in->cols = 1;
    return st;
}

static ts_status make_tiled_mode(ts_autogaze_input *in, ts_ops *ops, ts_error *err)
{
    int side = in->a->c.input_px, tile = in->tile_px, stride = in->stride_px;
    bool full = in->mode == TS_AUTOGAZE_TILED_FULL;
    if (full) { /* origins 0, stride, … below the extent */
        in->rows = (in->height + stride - 1) / stride;
        in->cols = (in->width + stride - 1) / stride;
    } else {
        in->rows = (in->height + tile - 1) / tile;
        in->cols = (in->width + tile - 1) / tile;
    }
    int64_t ch = full ? (int64_t)(in->rows - 1) * stride + tile : (int64_t)in->rows * tile;
    int64_t cw = full ? (int64_t)(in->cols - 1) * stride + tile : (int64_t)in->cols * tile;
    int64_t n = (int64_t)in->rows * in->cols;
    ts_status st = n <= 4096 ? TS_OK : ts_fail(err, TS_E_TOO_LARGE, "%lld tiles", (long long)n);
    if (st == TS_OK)
        st = ts_arr_create(ops, TS_F32, &TS_SHAPE(3, in->height, in->width), &in->planes, err);
    bool same = ch == in->height && cw == in->width;
    if (st == TS_OK && !same)
        st = ts_arr_create(ops, TS_F32, &TS_SHAPE(3, ch, cw), &in->canvas, err);
    ts_resize_options o = {.in_h = in->height,
                           .in_w = in->width,
                           .out_h = ch,
                           .out_w = cw,
                           .mode = TS_RESIZE_LINEAR,
                           .coords = TS_RESIZE_HALF_PIXEL};
    if (st == TS_OK && !same && !full)
        st = ts_resize_create(ops, &o, &in->to_canvas, err);
    ts_resize_options q = {.in_h = tile,
                           .in_w = tile,
                           .out_h = side,
                           .out_w = side,
                           .mode = TS_RESIZE_CUBIC,
                           .cubic_a = -0.75};
    if (st == TS_OK && tile != side) {
        st = ts_resize_create(ops, &q, &in->to_tile, err);
        if (st == TS_OK)
            st = ts_arr_create(ops, TS_F32, &TS_SHAPE(3, tile, tile), &in->piece, err);
    }
    return st == TS_OK ? ts_arr_create(ops, TS_F32, &TS_SHAPE(n, 3, side, side), &in->tiles, err)
                       : st;
}

static ts_status fit_size(ts_autogaze_input *in, ts_ops *ops, const ts_gaze_image *frame,
                          ts_autogaze_mode mode, int tile, int stride, ts_error *err)
{
    if (in->width == frame->width && in->height == frame->height && in->mode == mode &&
        in->tile_px == tile && in->stride_px == stride)
        return TS_OK;
    ts_status st = ts_queue_finish(ts_ops_queue(ops), err); /* old tables may be in use */
    if (st != TS_OK)
        return st;
    clear(in);
    in->width = frame->width;
    in->height = frame->height;
    in->mode = mode;
    in->tile_px = tile;
    in->stride_px = stride;
    st =
        mode == TS_AUTOGAZE_RESIZE ? make_resize_mode(in, ops, err) : make_tiled_mode(in, ops, err);
    if (st != TS_OK)
        clear(in);
    return st;
}

/* ---- work per frame ---- */

static ts_status resample(ts_ops *ops, const ts_arr *x, const axis_taps *t, int lines,
                          int line_step, int step, int y_line_step, int y_step, ts_arr *y,
                          ts_error *err)
{
    return ts_ops_flat(ops, "autogaze", "autogaze_resample",
                       ts_ops_is_cpu(ops) ? lines : (int64_t)lines * t->out, 8,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_BUF(t->first.buffer),
                               TS_BUF(t->weights.buffer), TS_INT(t->stride), TS_INT(t->out),
                               TS_INT(line_step), TS_INT(step), TS_INT(y_line_step), TS_INT(y_step),
                               TS_ULONG(lines)),
                       err);
}

static ts_status normalize(ts_autogaze_input *in, ts_ops *ops, const ts_arr *rgba, ts_error *err)
{
    int64_t pixels = ts_arr_elements(&in->planes) / 3;
    return ts_ops_flat(ops, "autogaze", "autogaze_normalize", pixels, 4096,
                       TS_ARGS(TS_OP_ARR(rgba), TS_OP_ARR(&in->planes), TS_BUF(in->a->table.buffer),
                               TS_ULONG(pixels)),
                       err);
}

static ts_status resize_frame(ts_autogaze_input *in, ts_ops *ops, ts_arr x, ts_arr *tiles,
                              ts_error *err)
{
    int w = in->across.out, h = in->down.out, side = in->a->c.input_px;
    ts_status st = TS_OK;
    if (w != in->width) {
        st = resample(ops, &x, &in->across, in->height, in->width, 1, w, 1, &in->wide, err);
        x = in->wide;
    }
    if (st == TS_OK && h != in->height) { /* columns are the lines of the second pass */
        st = resample(ops, &x, &in->down, w, 1, w, 1, w, &in->small, err);
        x = in->small;
    }
    in->resized = x;
    if (st == TS_OK)
        st = normalize(in, ops, &x, err);
    if (st != TS_OK)
        return st;
    ts_shape one = TS_SHAPE(1, 3, side, side);
    if (!in->square) {
        *tiles = ts_arr_reshape(&in->planes, &one);
        return TS_OK;
    }
    ts_arr from = ts_arr_reshape(&in->planes, &TS_SHAPE(1, 3, h, w));
    *tiles = in->tiles;
    return ts_op_resize(ops, in->square, &from, tiles, err);
}

static ts_status cut_tile(ts_autogaze_input *in, ts_ops *ops, const ts_arr *canvas, int index,
                          ts_error *err)
{
    int side = in->a->c.input_px;
    int step = in->mode == TS_AUTOGAZE_TILED_FULL ? in->stride_px : in->tile_px;
    int64_t start[3] = {0, (int64_t)(index / in->cols) * step, (int64_t)(index % in->cols) * step};
    ts_arr tile = ts_arr_rows(&in->tiles, index, 1);
    ts_arr flat = ts_arr_reshape(&tile, &TS_SHAPE(3, side, side));
    if (!in->to_tile)
        return ts_op_slice(ops, canvas, start, NULL, &flat, err);
    ts_status st = ts_op_slice(ops, canvas, start, NULL, &in->piece, err);
    return st == TS_OK ? ts_op_resize(ops, in->to_tile, &in->piece, &flat, err) : st;
}

static ts_status cut_frame(ts_autogaze_input *in, ts_ops *ops, const ts_arr *rgba, ts_arr *tiles,
                           ts_error *err)
{
    ts_arr canvas = in->planes;
    in->resized = *rgba;
    ts_status st = normalize(in, ops, rgba, err);
    if (st == TS_OK && in->to_canvas) {
        canvas = in->canvas;
        st = ts_op_resize(ops, in->to_canvas, &in->planes, &canvas, err);
    } else if (st == TS_OK && in->canvas.buffer) {
        /* Zeros after normalising: what lies behind the edge is no black. */
        canvas = in->canvas;
        st = ts_op_pad(ops, &in->planes, (const int64_t[]){0, 0, 0}, TS_PAD_CONSTANT, 0, &canvas,
                       err);
    }
    for (int i = 0; i < in->rows * in->cols && st == TS_OK; i++)
        st = cut_tile(in, ops, &canvas, i, err);
    *tiles = in->tiles;
    return st;
}

ts_status ts_autogaze_prepare(ts_autogaze_input *in, ts_ops *ops, const ts_gaze_image *frame,
                              ts_autogaze_mode mode, int tile_px, int stride_px, ts_arr *tiles,
                              int *rows, int *cols, ts_error *err)
{
    int tile = tile_px > 0 ? tile_px : in->a->c.input_px;
    int stride = stride_px > 0 ? stride_px : tile;
    if (frame->width < 1 || frame->height < 1)
        return ts_fail(err, TS_E_SHAPE, "a frame of %dx%d", frame->width, frame->height);
    if (stride > tile)
        return ts_fail(err, TS_E_OPTION, "tile_stride %d exceeds tile_size %d", stride, tile);
    ts_status st = fit_size(in, ops, frame, mode, tile, stride, err);
    if (st != TS_OK)
        return st;
    ts_arr rgba =
        ts_arr_at(frame->buffer, frame->offset, TS_U8, &TS_SHAPE(frame->height, frame->width, 4));
    *rows = in->rows;
    *cols = in->cols;
    return mode == TS_AUTOGAZE_RESIZE ? resize_frame(in, ops, rgba, tiles, err)
                                      : cut_frame(in, ops, &rgba, tiles, err);
}
