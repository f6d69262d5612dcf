#include "server/train/trainimage.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "server/codec.h"

void ts_trainimage_finish(ts_trainimage *image)
{
    free(image->chw);
    memset(image, 0, sizeof *image);
}

void ts_trainimage_stem(const char *name, char out[128])
{
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot != base ? (size_t)(dot - base) : strlen(base), k = 0;
    for (size_t i = 0; i < n && k < 127; ++i) {
        unsigned char c = (unsigned char)base[i];
        out[k++] = isalnum(c) || c == '.' || c == '-' || c == '_' ? (char)c : '_';
    }
    out[k] = 0;
    if (k == 0 || out[0] == '.')
        out[0] = '_';
    if (k == 0)
        out[1] = 0;
}

/* Room for `channels` more of w x h; *to is where they go. */
static ts_status extend(ts_trainimage *image, const char *name, int64_t w, int64_t h, int channels,
                        float **to, ts_error *err)
{
    if (w < 1 || h < 1 || w > TS_GS_MAX_SIDE || h > TS_GS_MAX_SIDE)
        return ts_fail(err, TS_E_SHAPE, "%s: %lld x %lld, sides are 1 to %d", name, (long long)w,
                       (long long)h, TS_GS_MAX_SIDE);
    if (image->chw && (w != image->width || h != image->height))
        return ts_fail(err, TS_E_SHAPE, "%s: %lld x %lld, the first of the stack is %d x %d", name,
                       (long long)w, (long long)h, image->width, image->height);
    if (image->channels + channels > TS_GS_MAX_CHANNELS)
        return ts_fail(err, TS_E_SHAPE, "%s: %d channels in all, at most %d", name,
                       image->channels + channels, TS_GS_MAX_CHANNELS);
    size_t plane = (size_t)w * (size_t)h;
    float *more =
        ts_realloc_array(image->chw, plane * (size_t)(image->channels + channels), sizeof *more);
    if (!more)
        return ts_fail(err, TS_E_NO_MEMORY, "%s: %lld x %lld", name, (long long)w, (long long)h);
    *to = more + plane * (size_t)image->channels;
    image->chw = more;
    image->width = (int)w;
    image->height = (int)h;
    image->channels += channels;
    return TS_OK;
}

static void note(char *list, size_t n, int value)
{
    size_t at = strlen(list);
    snprintf(list + at, n - at, "%s%d", at ? "," : "", value);
}

ts_status ts_trainimage_add_file(ts_trainimage *image, const char *name, const void *data,
                                 size_t len, ts_error *err)
{
    ts_buf pixels = {0};
    ts_image_info info;
    float *to = NULL;
    ts_status st = ts_image_decode(data, len, 0, &info, &pixels, err);
    if (st != TS_OK) {
        ts_error_prefix(err, "%.100s", name);
        ts_buf_finish(&pixels);
        return st;
    }
    size_t have = (size_t)info.channels, keep = have == 1 ? 1 : 3;
    size_t plane = (size_t)info.width * (size_t)info.height;
    if (!image->chw)
        ts_trainimage_stem(name, image->stem);
    st = extend(image, name, info.width, info.height, (int)keep, &to, err);
    for (size_t i = 0; st == TS_OK && i < plane; ++i)
        for (size_t c = 0; c < keep; ++c)
            to[c * plane + i] = (float)pixels.data[i * have + c] / 255.0f;
    ts_buf_finish(&pixels);
    if (st != TS_OK)
        return st;
    note(image->input_channels, sizeof image->input_channels, (int)keep);
    note(image->bit_depths, sizeof image->bit_depths, 8);
    image->bytes += len;
    return TS_OK;
}

/* Element i of a tensor's bytes as a float in display space. */
static float value_at(const uint8_t *data, ts_dtype dtype, size_t i)
{
    uint16_t half;
    uint32_t word;
    double wide;
    float f;
    switch (dtype) {
    case TS_U8:
        return (float)data[i] / 255.0f;
    case TS_U16:
        memcpy(&half, data + 2 * i, 2);
        return (float)half / 65535.0f;
    case TS_F16:
        memcpy(&half, data + 2 * i, 2);
        return ts_f16_to_f32(half);
    case TS_BF16:
        memcpy(&half, data + 2 * i, 2);
        return ts_bf16_to_f32(half);
    case TS_F64:
        memcpy(&wide, data + 8 * i, 8);
        return (float)wide;
    default:
        memcpy(&word, data + 4 * i, 4);
        memcpy(&f, &word, 4);
        return f;
    }
}

static ts_status tensor_shape(const char *name, const ts_tensor *tensor, int *channels,
                              ts_error *err)
{
    const ts_shape *s = ts_tensor_shape(tensor);
    ts_dtype d = ts_tensor_dtype(tensor);
    char text[128];
    if (d != TS_U8 && d != TS_U16 && !ts_dtype_is_float(d))
        return ts_fail(err, TS_E_SHAPE, "%s is %s, an image is u8, u16 or float", name,
                       ts_dtype_name(d));
    if ((s->rank != 2 && s->rank != 3) || (s->rank == 3 && (s->dim[2] < 1 || s->dim[2] == 2)))
        return ts_fail(err, TS_E_SHAPE, "%s is %s, an image is [H,W] or [H,W,C] (C not 2)", name,
                       ts_shape_text(s, text, sizeof text));
    if (s->rank == 3 && s->dim[2] > TS_GS_MAX_CHANNELS)
        return ts_fail(err, TS_E_SHAPE, "%s has %lld channels, at most %d", name,
                       (long long)s->dim[2], TS_GS_MAX_CHANNELS);
    *channels = s->rank == 2 ? 1 : (int)s->dim[2];
    return TS_OK;
}

ts_status ts_trainimage_add_tensor(ts_trainimage *image, const char *name, ts_queue *queue,
                                   const ts_tensor *tensor, ts_error *err)
{
    int have = 0;
    float *to = NULL;
    const ts_shape *s = ts_tensor_shape(tensor);
    ts_dtype dtype = ts_tensor_dtype(tensor);
    ts_status st = tensor_shape(name, tensor, &have, err);
    if (st != TS_OK)
        return st;
    int keep = have == 4 ? 3 : have;
    uint8_t *data = malloc(ts_tensor_nbytes(tensor) + 1);
    if (!data)
        return ts_fail(err, TS_E_NO_MEMORY, "%s", name);
    if (!image->chw)
        snprintf(image->stem, sizeof image->stem, "%.127s", name);
    st = extend(image, name, s->dim[1], s->dim[0], keep, &to, err);
    if (st == TS_OK)
        st = ts_tensor_read(queue, tensor, data, err);
    size_t plane = st == TS_OK ? (size_t)image->width * (size_t)image->height : 0;
    for (size_t i = 0; i < plane && st == TS_OK; ++i)
        for (int c = 0; c < keep && st == TS_OK; ++c) {
            float v = value_at(data, dtype, i * (size_t)have + (size_t)c);
            if (!isfinite(v))
                st = ts_fail(err, TS_E_SHAPE, "%s has values that are not finite", name);
            to[(size_t)c * plane + i] = v;
        }
    free(data);
    if (st != TS_OK)
        return st;
    int depth = dtype == TS_U8 ? 8 : ts_dtype_bytes(dtype) == 2 ? 16 : 32;
    for (int left = keep; left > 0; left -= keep % 3 == 0 ? 3 : 1) {
        note(image->input_channels, sizeof image->input_channels, keep % 3 == 0 ? 3 : 1);
        note(image->bit_depths, sizeof image->bit_depths, depth);
    }
    image->bytes += ts_tensor_nbytes(tensor);
    return TS_OK;
}

ts_gs_target ts_trainimage_target(const ts_trainimage *image)
{
    ts_gs_target t = {.width = image->width,
                      .height = image->height,
                      .channels = image->channels,
                      .chw = image->chw,
                      .path = image->stem};
    memcpy(t.input_channels, image->input_channels, sizeof t.input_channels);
    memcpy(t.bit_depths, image->bit_depths, sizeof t.bit_depths);
    return t;
}

/* ---- reducing ---- */

static double lanczos4(double x)
{
    const double pi = 3.14159265358979323846;
    x = fabs(x);
    if (x < 1e-9)
        return 1;
    return x < 4 ? 4 * sin(pi * x) * sin(pi * x / 4) / (pi * pi * x * x) : 0;
}

/* n_out means of n_in values, `step` apart, the window stretched by the ratio; edges go on. */
static void reduce_line(const float *in, size_t step, int n_in, float *out, size_t out_step,
                        int n_out)
{
    double scale = (double)n_in / n_out, stretch = scale > 1 ? scale : 1;
    for (int o = 0; o < n_out; ++o) {
        double centre = (o + 0.5) * scale - 0.5, sum = 0, weight = 0;
        int lo = (int)ceil(centre - 4 * stretch), hi = (int)floor(centre + 4 * stretch);
        for (int i = lo; i <= hi; ++i) {
            double w = lanczos4((i - centre) / stretch);
            int at = i < 0 ? 0 : i >= n_in ? n_in - 1 : i;
            sum += w * (double)in[(size_t)at * step];
            weight += w;
        }
        out[(size_t)o * out_step] = (float)(sum / weight);
    }
}

ts_status ts_trainimage_reduce(const float *chw, int channels, int height, int width, double ratio,
                               float **out, int *out_h, int *out_w, ts_error *err)
{
    int w = (int)fmax(1, nearbyint(width / ratio)), h = (int)fmax(1, nearbyint(height / ratio));
    size_t plane = (size_t)width * (size_t)height, small = (size_t)w * (size_t)h;
    float *rows = malloc((size_t)w * (size_t)height * sizeof *rows);
    *out = calloc(small * (size_t)channels, sizeof **out);
    if (!rows || !*out) {
        free(rows);
        free(*out);
        return ts_fail(err, TS_E_NO_MEMORY, "a reduced picture of %d x %d", w, h);
    }
    for (int c = 0; c < channels; ++c) {
        for (int y = 0; y < height; ++y)
            reduce_line(chw + (size_t)c * plane + (size_t)y * (size_t)width, 1, width,
                        rows + (size_t)y * (size_t)w, 1, w);
        for (int x = 0; x < w; ++x)
            reduce_line(rows + x, (size_t)w, height, *out + (size_t)c * small + (size_t)x,
                        (size_t)w, h);
    }
    for (size_t i = 0; i < small * (size_t)channels; ++i) /* the window overshoots at edges */
        (*out)[i] = fmaxf((*out)[i], 0);
    free(rows);
    *out_h = h;
    *out_w = w;
    return TS_OK;
}
