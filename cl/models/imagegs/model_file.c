#include "cl/models/imagegs/model_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/imagegs/quant.h"
#include "cl/tensor/safetensors.h"

void ts_gs_model_finish(ts_gs_model *m)
{
    free(m->par);
    free(m->m);
    free(m->v);
    json_decref(m->metrics);
    json_decref(m->config);
    memset(m, 0, sizeof *m);
}

/* The four tensors of a row: first float and width (0: the channels). */
static const struct part {
    const char *name;
    size_t at, width;
} parts[4] = {{"xy", 0, 2}, {"scale", 2, 2}, {"rot", 4, 1}, {"feat", 5, 0}};

static size_t width_of(const ts_gs_model *m, int part)
{
    return parts[part].width ? parts[part].width : (size_t)m->channels;
}

/* Gather tensor `part` out of rows; caller frees. */
static float *gather(const ts_gs_model *m, const float *rows, int part)
{
    size_t w = width_of(m, part), row = 5 + (size_t)m->channels;
    float *out = calloc((m->n * w + 1), sizeof *out);
    for (size_t i = 0; out && i < m->n; ++i)
        memcpy(out + i * w, rows + i * row + parts[part].at, w * sizeof *out);
    return out;
}

static void scatter(const ts_gs_model *m, const float *tensor, int part, float *rows)
{
    size_t w = width_of(m, part), row = 5 + (size_t)m->channels;
    for (size_t i = 0; i < m->n; ++i)
        memcpy(rows + i * row + parts[part].at, tensor + i * w, w * sizeof *tensor);
}

/* ---- writing ---- */

typedef struct writer {
    json_t *header, *meta;
    ts_buf data;
    bool failed;
} writer;

static void add(writer *w, const char *name, ts_dtype dtype, const int64_t *dims, int rank,
                const void *data, size_t nbytes)
{
    json_t *shape = json_array();
    for (int i = 0; i < rank; ++i)
        json_array_append_new(shape, json_integer(dims[i]));
    json_object_set_new(w->header, name,
                        json_pack("{s:s, s:o, s:[I,I]}", "dtype", ts_dtype_safetensors(dtype),
                                  "shape", shape, "data_offsets", (json_int_t)w->data.len,
                                  (json_int_t)(w->data.len + nbytes)));
    ts_buf_append(&w->data, data, nbytes);
}

static void meta(writer *w, const char *key, const char *fmt, ...) TS_PRINTF(3, 4);
static void meta(writer *w, const char *key, const char *fmt, ...)
{
    char text[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    json_object_set_new(w->meta, key, json_string(text));
}

static void add_rows(writer *w, const ts_gs_model *m, const float *rows, const char *prefix)
{
    for (int p = 0; p < 4; ++p) {
        char name[32];
        int64_t dims[2] = {(int64_t)m->n, (int64_t)width_of(m, p)};
        float *t = gather(m, rows, p);
        snprintf(name, sizeof name, "%s%s", prefix, parts[p].name);
        if (t)
            add(w, name, TS_F32, dims, 2, t, m->n * (size_t)dims[1] * sizeof *t);
        else
            w->failed = true;
        free(t);
    }
}

static void add_json(writer *w, const char *key, const json_t *value)
{
    ts_buf text = {0};
    if (!value)
        return;
    ts_json_write(value, &text);
    json_object_set_new(w->meta, key, json_string(ts_buf_cstr(&text)));
    ts_buf_finish(&text);
}

static void add_metrics(writer *w, const json_t *metrics)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)metrics, key, v)
    {
        if (json_is_string(v))
            meta(w, key, "%s", json_string_value(v));
        else if (json_is_number(v))
            meta(w, key, "%.9g", json_number_value(v));
        else
            meta(w, key, "null");
    }
}

static void add_metadata(writer *w, const ts_gs_model *m)
{
    meta(w, "format", "tensorscope-gs");
    meta(w, "version", "1");
    meta(w, "width", "%d", m->width);
    meta(w, "height", "%d", m->height);
    if (m->input_channels[0])
        meta(w, "channels", "%s", m->input_channels);
    else
        meta(w, "channels", "%d", m->channels);
    meta(w, "bit_depths", "%s", m->bit_depths[0] ? m->bit_depths : "8");
    meta(w, "gamma", "%.17g", m->gamma);
    meta(w, "inverse_scale", m->inverse_scale ? "true" : "false");
    meta(w, "topk", "%d", m->topk);
    meta(w, "norm", m->sum ? "sum" : "topk");
    meta(w, "eps", "%.9g", m->eps);
    meta(w, "tile", "%d", TS_GS_TILE);
    meta(w, "tiles", m->all_tiles ? "false" : "true");
    meta(w, "pixel_center", "%.9g", m->pixel_center);
    meta(w, "step", "%lld", (long long)m->step);
    meta(w, "adam_t", "%lld", (long long)m->adam_t);
    meta(w, "add_events", "%lld", (long long)m->add_events);
    meta(w, "lr_scale", "%.17g", m->lr_scale);
    meta(w, "seed", "%llu", (unsigned long long)m->seed);
    meta(w, "decay", "%.17g %.17g %lld %lld", m->decay.best_psnr, m->decay.best_ssim,
         (long long)m->decay.idle, (long long)m->decay.decays);
    add_metrics(w, m->metrics);
    add_json(w, "config", m->config);
}

static ts_status finish(writer *w, ts_buf *out, ts_error *err)
{
    ts_buf text = {0};
    uint8_t length[8];
    json_object_set_new(w->header, "__metadata__", w->meta);
    ts_json_write(w->header, &text);
    while (text.len % 8)
        ts_buf_str(&text, " ");
    for (int i = 0; i < 8; ++i)
        length[i] = (uint8_t)((uint64_t)text.len >> (8 * i));
    ts_buf_append(out, length, sizeof length);
    ts_buf_append(out, text.data, text.len);
    ts_buf_append(out, w->data.data, w->data.len);
    bool failed = w->failed || text.failed || w->data.failed || out->failed;
    ts_buf_finish(&text);
    ts_buf_finish(&w->data);
    json_decref(w->header);
    return failed ? ts_fail(err, TS_E_NO_MEMORY, "a model of %zu bytes", out->len) : TS_OK;
}

ts_status ts_gs_model_write(const ts_gs_model *m, ts_buf *out, ts_error *err)
{
    writer w = {.header = json_object(), .meta = json_object()};
    add_rows(&w, m, m->par, "");
    if (m->m && m->v) {
        add_rows(&w, m, m->m, "adam.m.");
        add_rows(&w, m, m->v, "adam.v.");
    }
    add_metadata(&w, m);
    return finish(&w, out, err);
}

/* Stored scales as what is quantised: sigma, its logarithm, or themselves. */
static void to_space(const ts_gs_model *m, int space, double sigma_max, float *scale)
{
    for (size_t i = 0; i < 2 * m->n && space != TS_GS_SPACE_RAW; ++i) {
        float s = scale[i];
        if (m->inverse_scale)
            s = 1.0f / (fabsf(s) < 1e-9f ? copysignf(1e-9f, s) : s);
        if (sigma_max > 0)
            s = fminf(fmaxf(s, (float)-sigma_max), (float)sigma_max);
        scale[i] = space == TS_GS_SPACE_LOG_SIGMA ? logf(fmaxf(fabsf(s), 1e-30f)) : s;
    }
}

static void add_codes(writer *w, const char *name, const ts_gs_quant *q, const float *x, size_t n,
                      size_t width)
{
    char key[48];
    size_t nbytes = ts_gs_quant_bytes(n * width, q->bits);
    uint8_t *codes = malloc(nbytes + 1);
    if (!codes) {
        w->failed = true;
        return;
    }
    ts_gs_quant_pack(q, x, n * width, codes);
    int64_t dims[2] = {(int64_t)n, (int64_t)width};
    snprintf(key, sizeof key, "%s.q", name);
    if (q->bits == 16)
        add(w, key, TS_U16, dims, 2, codes, nbytes);
    else if (q->bits == 8)
        add(w, key, TS_U8, dims, 2, codes, nbytes);
    else
        add(w, key, TS_U8, &(int64_t){(int64_t)nbytes}, 1, codes, nbytes);
    snprintf(key, sizeof key, "%s.bits", name);
    meta(w, key, "%u", q->bits);
    snprintf(key, sizeof key, "%s.min", name);
    meta(w, key, "%.9g", (double)q->min);
    snprintf(key, sizeof key, "%s.step", name);
    meta(w, key, "%.9g", (double)q->step);
    free(codes);
}

ts_status ts_gs_model_write_quantised(const ts_gs_model *m, int space, const unsigned bits[4],
                                      double sigma_max, ts_buf *out, ts_error *err)
{
    writer w = {.header = json_object(), .meta = json_object()};
    for (int p = 0; p < 4; ++p) {
        float *t = gather(m, m->par, p);
        if (!t) {
            w.failed = true;
            break;
        }
        if (p == 1)
            to_space(m, space, sigma_max, t);
        ts_gs_quant q = ts_gs_quant_of(t, m->n * width_of(m, p), bits[p]);
        const char *name = p == 1 && space != TS_GS_SPACE_RAW ? "sigma" : parts[p].name;
        add_codes(&w, name, &q, t, m->n, width_of(m, p));
        free(t);
    }
    add_metadata(&w, m);
    meta(&w, "quant_space", "%s", ts_gs_space_words[space]);
    if (sigma_max > 0)
        meta(&w, "sigma_max", "%.9g", sigma_max);
    return finish(&w, out, err);
}

/* ---- reading ---- */

static const char *text_of(const ts_safetensors *f, const char *key, const char *otherwise)
{
    const char *t = json_string_value(json_object_get(ts_safetensors_metadata(f), key));
    return t ? t : otherwise;
}

static double number_of(const ts_safetensors *f, const char *key, double otherwise)
{
    const char *t = text_of(f, key, NULL);
    char *end;
    double v = t ? strtod(t, &end) : otherwise;
    return t && (end == t || !isfinite(v)) ? otherwise : v;
}

static ts_status read_metadata(const ts_safetensors *f, ts_gs_model *m, ts_error *err)
{
    if (strcmp(text_of(f, "format", ""), "tensorscope-gs") != 0)
        return ts_fail(err, TS_E_FILE, "its metadata \"format\" is not \"tensorscope-gs\"");
    double w = number_of(f, "width", 0), h = number_of(f, "height", 0);
    double topk = number_of(f, "topk", 10);
    if (!(w >= 1 && w <= TS_GS_MAX_SIDE && h >= 1 && h <= TS_GS_MAX_SIDE))
        return ts_fail(err, TS_E_FILE, "its metadata says %g x %g, sides are 1 to %d", w, h,
                       TS_GS_MAX_SIDE);
    if (!(topk >= 1 && topk <= TS_GS_MAX_TOPK))
        return ts_fail(err, TS_E_FILE, "its metadata says topk %g, want 1 to %d", topk,
                       TS_GS_MAX_TOPK);
    m->width = (int)w;
    m->height = (int)h;
    m->topk = (int)topk;
    m->inverse_scale = strcmp(text_of(f, "inverse_scale", "true"), "true") == 0;
    m->sum = strcmp(text_of(f, "norm", "topk"), "sum") == 0;
    m->all_tiles = strcmp(text_of(f, "tiles", "true"), "false") == 0;
    m->eps = number_of(f, "eps", 1e-4);
    m->pixel_center = number_of(f, "pixel_center", 0);
    m->gamma = number_of(f, "gamma", 1);
    m->step = (int64_t)fmin(fmax(number_of(f, "step", 0), 0), 1e15);
    m->adam_t = (int64_t)fmin(fmax(number_of(f, "adam_t", 0), 0), 1e15);
    m->add_events = (int64_t)fmin(fmax(number_of(f, "add_events", 0), 0), 1e9);
    m->lr_scale = number_of(f, "lr_scale", 1);
    m->seed = strtoull(text_of(f, "seed", "0"), NULL, 10);
    snprintf(m->input_channels, sizeof m->input_channels, "%s", text_of(f, "channels", ""));
    snprintf(m->bit_depths, sizeof m->bit_depths, "%s", text_of(f, "bit_depths", ""));
    long long idle = 0, decays = 0;
    sscanf(text_of(f, "decay", ""), "%lf %lf %lld %lld", &m->decay.best_psnr, &m->decay.best_ssim,
           &idle, &decays);
    m->decay.idle = idle;
    m->decay.decays = decays;
    if (!(m->gamma > 0) || !(m->eps > 0))
        return ts_fail(err, TS_E_FILE, "its metadata has gamma %g, eps %g; both must be positive",
                       m->gamma, m->eps);
    return TS_OK;
}

/* One tensor of floats, [n, width]. */
static ts_status float_part(const ts_safetensors *f, const ts_gs_model *m, const char *name,
                            int part, float *rows, ts_error *err)
{
    const ts_st_tensor *t = ts_safetensors_find(f, name);
    size_t w = width_of(m, part);
    if (!t || !ts_dtype_is_float(t->dtype) || t->shape.rank != 2 ||
        t->shape.dim[0] != (int64_t)m->n || t->shape.dim[1] != (int64_t)w)
        return ts_fail(err, TS_E_SHAPE, "tensor \"%s\": want floats [%zu,%zu]", name, m->n, w);
    float *values = calloc((m->n * w + 1), sizeof *values);
    if (!values)
        return ts_fail(err, TS_E_NO_MEMORY, "a model");
    ts_st_tensor_to_f32(t, values);
    scatter(m, values, part, rows);
    free(values);
    return TS_OK;
}

static ts_status code_part(const ts_safetensors *f, const ts_gs_model *m, const char *name,
                           int part, bool log_space, float *rows, ts_error *err)
{
    char key[48];
    size_t w = width_of(m, part);
    snprintf(key, sizeof key, "%s.bits", name);
    double bits = number_of(f, key, 0);
    snprintf(key, sizeof key, "%s.min", name);
    ts_gs_quant q = {(unsigned)fmin(fmax(bits, 0), 33), (float)number_of(f, key, NAN), 0};
    snprintf(key, sizeof key, "%s.step", name);
    q.step = (float)number_of(f, key, NAN);
    snprintf(key, sizeof key, "%s.q", name);
    const ts_st_tensor *t = ts_safetensors_find(f, key);
    if (q.bits < 4 || q.bits > 32 || !isfinite(q.min) || !isfinite(q.step))
        return ts_fail(err, TS_E_FILE, "tensor \"%s\": its bits, min or step are missing or wrong",
                       name);
    if (!t || t->nbytes != ts_gs_quant_bytes(m->n * w, q.bits))
        return ts_fail(err, TS_E_SHAPE, "tensor \"%s\": want %zu codes of %u bits", key, m->n * w,
                       q.bits);
    float *values = calloc((m->n * w + 1), sizeof *values);
    if (!values)
        return ts_fail(err, TS_E_NO_MEMORY, "a model");
    ts_gs_quant_unpack(&q, t->data, m->n * w, values);
    for (size_t i = 0; log_space && i < m->n * w; ++i)
        values[i] = expf(values[i]);
    scatter(m, values, part, rows);
    free(values);
    return TS_OK;
}

static ts_status read_quantised(const ts_safetensors *f, ts_gs_model *m, ts_error *err)
{
    const char *space = text_of(f, "quant_space", "sigma");
    bool raw = strcmp(space, "raw") == 0, logarithm = strcmp(space, "log_sigma") == 0;
    for (int p = 0; p < 4; ++p) {
        const char *name = p == 1 && !raw ? "sigma" : parts[p].name;
        ts_status st = code_part(f, m, name, p, p == 1 && logarithm, m->par, err);
        if (st != TS_OK)
            return st;
    }
    if (!raw)
        m->inverse_scale = false; /* the rows hold sigma now */
    return TS_OK;
}

static ts_status read_moments(const ts_safetensors *f, ts_gs_model *m, ts_error *err)
{
    size_t bytes = m->n * (5 + (size_t)m->channels) * sizeof(float);
    m->m = malloc(bytes);
    m->v = malloc(bytes);
    if (!m->m || !m->v)
        return ts_fail(err, TS_E_NO_MEMORY, "a model");
    for (int p = 0; p < 4; ++p)
        for (int which = 0; which < 2; ++which) {
            char name[32];
            snprintf(name, sizeof name, "adam.%c.%s", which ? 'v' : 'm', parts[p].name);
            ts_status st = float_part(f, m, name, p, which ? m->v : m->m, err);
            if (st != TS_OK)
                return st;
        }
    return TS_OK;
}

/* Count and channels, from the tensors of either form. */
static ts_status read_shape(const ts_safetensors *f, ts_gs_model *m, bool *quantised, ts_error *err)
{
    const ts_st_tensor *feat = ts_safetensors_find(f, "feat"), *xy = ts_safetensors_find(f, "xy.q");
    *quantised = !feat && xy;
    double n = 0, c = 0;
    if (feat && feat->shape.rank == 2) {
        n = (double)feat->shape.dim[0];
        c = (double)feat->shape.dim[1];
    } else if (*quantised) {
        double bits = fmax(number_of(f, "xy.bits", 0), 1);
        n = xy->shape.rank == 2
                ? (double)xy->shape.dim[0]
                : floor((double)xy->nbytes * 8 / (2 * bits)); /* the padding is less */
        const char *t = text_of(f, "channels", "3");
        while (t && *t) {
            c += fmin(fmax(strtod(t, NULL), 0), 99);
            t = strchr(t, ',');
            t = t ? t + 1 : NULL;
        }
    }
    if (!(n >= 1 && n <= 1 << 30) || !(c >= 1 && c <= TS_GS_MAX_CHANNELS))
        return ts_fail(err, TS_E_SHAPE, "%g Gaussians of %g channels, want 1 or more of 1 to %d", n,
                       c, TS_GS_MAX_CHANNELS);
    m->n = (size_t)n;
    m->channels = (int)c;
    return TS_OK;
}

static ts_status read_all(const ts_safetensors *f, ts_gs_model *m, ts_error *err)
{
    bool quantised;
    ts_status st = read_metadata(f, m, err);
    if (st == TS_OK)
        st = read_shape(f, m, &quantised, err);
    if (st != TS_OK)
        return st;
    m->par = calloc(m->n * (5 + (size_t)m->channels), sizeof *m->par);
    if (!m->par)
        return ts_fail(err, TS_E_NO_MEMORY, "a model of %zu Gaussians", m->n);
    if (quantised)
        return read_quantised(f, m, err);
    for (int p = 0; p < 4 && st == TS_OK; ++p)
        st = float_part(f, m, parts[p].name, p, m->par, err);
    if (st == TS_OK && ts_safetensors_find(f, "adam.m.xy"))
        st = read_moments(f, m, err);
    return st;
}

ts_status ts_gs_model_read(const void *data, size_t len, ts_gs_model *out, ts_error *err)
{
    ts_safetensors f = {0};
    memset(out, 0, sizeof *out);
    ts_status st = ts_safetensors_parse(data, len, &f, err);
    if (st != TS_OK)
        return st;
    st = read_all(&f, out, err);
    ts_safetensors_finish(&f);
    if (st != TS_OK)
        ts_gs_model_finish(out);
    return st;
}

/* ---- rendering ---- */

ts_status ts_gs_model_options(const ts_gs_model *m, int height, bool align,
                              ts_gs_splat_options *out, ts_error *err)
{
    double ratio = (double)height / m->height, width = round(ratio * m->width);
    if (height < 1 || height > TS_GS_MAX_SIDE || width < 1 || width > TS_GS_MAX_SIDE)
        return ts_fail(err, TS_E_OPTION, "height %d: a picture of %.0f x %d, sides are 1 to %d",
                       height, width, height, TS_GS_MAX_SIDE);
    double offset = m->pixel_center;
    if (align) /* where pixel centres of the new size fall in what the model was fitted to */
        offset = 0.5 + (m->pixel_center - 0.5) * ratio;
    *out = (ts_gs_splat_options){
        .width = (int)width,
        .height = height,
        .channels = m->channels,
        .topk = m->topk,
        .sum = m->sum,
        .all_tiles = m->all_tiles,
        .inverse_scale = m->inverse_scale,
        .eps = (float)m->eps,
        .offset = (float)offset,
        .ratio = (float)ratio,
        .gaussians = m->n,
    };
    return TS_OK;
}

ts_status ts_gs_model_render(ts_queue *queue, const ts_gs_model *m, int height, bool align,
                             float **out, int *width, ts_error *err)
{
    ts_gs_splat_options o;
    ts_gs_splat *splat = NULL;
    ts_buffer *par = NULL;
    size_t bytes = m->n * (5 + (size_t)m->channels) * sizeof(float), count = 0;
    *out = NULL;
    ts_status st = ts_gs_model_options(m, height, align, &o, err);
    if (st == TS_OK)
        st = ts_gs_splat_create(queue, &o, &splat, err);
    if (st == TS_OK)
        st = ts_buffer_create(ts_queue_device(queue), bytes, &par, err);
    if (st == TS_OK)
        st = ts_buffer_write(queue, par, 0, m->par, bytes, err);
    if (st == TS_OK)
        st = ts_gs_splat_render(splat, par, m->n, err);
    if (st == TS_OK) {
        count = (size_t)o.width * (size_t)o.height * (size_t)o.channels;
        *out = calloc(count, sizeof **out);
        st = *out ? ts_gs_planes_read(queue, ts_gs_splat_planes(splat), ts_gs_splat_image(splat),
                                      *out, err)
                  : ts_fail(err, TS_E_NO_MEMORY, "a rendering");
    }
    for (size_t i = 0; st == TS_OK && i < count; ++i) {
        float v = fminf(fmaxf((*out)[i], 0), 1);
        (*out)[i] = m->gamma == 1 ? v : powf(v, (float)(1 / m->gamma));
    }
    *width = o.width;
    if (st != TS_OK) {
        free(*out);
        *out = NULL;
    }
    ts_buffer_unref(par);
    ts_gs_splat_destroy(splat);
    return st;
}
