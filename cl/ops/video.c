#include "cl/ops/video.h"

#include "cl/ops/font8x16.h"

enum {
    RUN = 64
}; /* pixels per work-item, as in video.cl */

static const struct {
    float kr, kb;
} MATRIX[] = {{0.299f, 0.114f}, {0.2126f, 0.0722f}, {0.2627f, 0.0593f}};

static size_t runs(int w)
{
    return (size_t)(w + RUN - 1) / RUN;
}

/* Offsets and gains that bring samples to 0 … 255 and -127.5 … 127.5, and the matrix. */
typedef struct transfer {
    float y_off, y_gain, c_off, c_gain, rv, gu, gv, bu;
} transfer;

static transfer transfer_of(const ts_yuv *yuv)
{
    float one = (float)(1u << (yuv->bits - 8)), top = (float)((1u << yuv->bits) - 1);
    float kr = MATRIX[yuv->matrix].kr, kb = MATRIX[yuv->matrix].kb, kg = 1 - kr - kb;
    transfer t = {.c_off = 128 * one};
    if (yuv->full_range) {
        t.y_gain = t.c_gain = 255 / top;
    } else {
        t.y_off = 16 * one;
        t.y_gain = 255 / (219 * one);
        t.c_gain = 255 / (224 * one);
    }
    t.rv = 2 * (1 - kr);
    t.bu = 2 * (1 - kb);
    t.gu = kb * t.bu / kg;
    t.gv = kr * t.rv / kg;
    return t;
}

static bool is_plain_i420(const ts_yuv *y)
{
    return y->bits == 8 && y->chroma_step == 1 && y->chroma_shift_x == 1 &&
           y->chroma_shift_y == 1 && !y->center_sited && y->width % 16 == 0 && y->offset[0] == 0;
}

ts_status ts_op_yuv_to_rgba(ts_queue *queue, const ts_yuv *yuv, ts_buffer *rgba, ts_error *err)
{
    transfer t = transfer_of(yuv);
    bool plain = is_plain_i420(yuv);
    ts_kernel *k;
    ts_status st = ts_queue_kernel(queue, "video", "",
                                   plain ? "video_i420_to_rgba" : "video_yuv_to_rgba", &k, err);
    if (st != TS_OK)
        return st;
    if (plain)
        return ts_launch(queue, k, 1, (size_t[]){(size_t)yuv->height}, NULL,
                         TS_ARGS(TS_BUF(yuv->buffer), TS_UINT(yuv->offset[1]),
                                 TS_UINT(yuv->offset[2]), TS_INT(yuv->stride_y),
                                 TS_INT(yuv->stride_c), TS_INT(yuv->width), TS_INT(yuv->height),
                                 TS_FLOAT(t.y_off), TS_FLOAT(t.y_gain), TS_FLOAT(t.c_off),
                                 TS_FLOAT(t.c_gain), TS_FLOAT(t.rv), TS_FLOAT(t.gu), TS_FLOAT(t.gv),
                                 TS_FLOAT(t.bu), TS_BUF(rgba)),
                         err);
    return ts_launch(
        queue, k, 2, (size_t[]){runs(yuv->width), (size_t)yuv->height}, NULL,
        TS_ARGS(TS_BUF(yuv->buffer), TS_UINT(yuv->offset[0]), TS_UINT(yuv->offset[1]),
                TS_UINT(yuv->offset[2]), TS_INT(yuv->stride_y), TS_INT(yuv->stride_c),
                TS_INT(yuv->chroma_step), TS_INT(yuv->bits > 8), TS_INT(yuv->sample_shift),
                TS_INT(yuv->chroma_shift_x), TS_INT(yuv->chroma_shift_y),
                TS_INT(!yuv->center_sited), TS_INT(yuv->width), TS_INT(yuv->height),
                TS_FLOAT(t.y_off), TS_FLOAT(t.y_gain), TS_FLOAT(t.c_off), TS_FLOAT(t.c_gain),
                TS_FLOAT(t.rv), TS_FLOAT(t.gu), TS_FLOAT(t.gv), TS_FLOAT(t.bu), TS_BUF(rgba)),
        err);
}

ts_status ts_op_rgba_to_i420(ts_queue *queue, ts_buffer *rgba, int w, int h, ts_matrix matrix,
                             ts_buffer *i420, ts_error *err)
{
    if (w % 2 || h % 2)
        return ts_fail(err, TS_E_SHAPE, "a 4:2:0 picture of %dx%d: sizes must be even", w, h);
    ts_kernel *k;
    ts_status st = ts_queue_kernel(queue, "video", "", "video_rgba_to_i420", &k, err);
    if (st != TS_OK)
        return st;
    size_t luma = (size_t)w * h;
    return ts_launch(queue, k, 1, (size_t[]){(size_t)h / 2}, NULL,
                     TS_ARGS(TS_BUF(rgba), TS_INT(w), TS_INT(h), TS_FLOAT(MATRIX[matrix].kr),
                             TS_FLOAT(MATRIX[matrix].kb), TS_UINT(luma), TS_UINT(luma + luma / 4),
                             TS_BUF(i420)),
                     err);
}

ts_status ts_draw_font(ts_queue *queue, ts_buffer **out, ts_error *err)
{
    ts_status st = ts_buffer_create(ts_queue_device(queue), sizeof TS_FONT8X16, out, err);
    if (st == TS_OK)
        st = ts_buffer_write(queue, *out, 0, TS_FONT8X16, sizeof TS_FONT8X16, err);
    return st;
}

ts_status ts_op_draw(ts_queue *queue, ts_buffer *rgba, int w, int h, ts_buffer *list, int n,
                     ts_buffer *font, ts_error *err)
{
    ts_kernel *k;
    if (n == 0)
        return TS_OK;
    ts_status st = ts_queue_kernel(queue, "video", "", "video_draw", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(
        queue, k, 2, (size_t[]){runs(w), (size_t)h}, NULL,
        TS_ARGS(TS_BUF(rgba), TS_INT(w), TS_INT(h), TS_BUF(list), TS_INT(n), TS_BUF(font)), err);
}

ts_status ts_op_color_masks(ts_queue *queue, ts_buffer *rgba, int w, int h, int white, int red,
                            int blue, ts_buffer *masks, ts_error *err)
{
    ts_kernel *k;
    ts_status st = ts_queue_kernel(queue, "video", "", "video_color_masks", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(queue, k, 1, (size_t[]){(size_t)h}, NULL,
                     TS_ARGS(TS_BUF(rgba), TS_INT(w), TS_INT(h), TS_INT((w + 31) / 32),
                             TS_INT(white), TS_INT(red), TS_INT(blue), TS_BUF(masks)),
                     err);
}
