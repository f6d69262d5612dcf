/* Decoders: latents to pictures, grids and interpolations, encoding and reconstruction. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/clock.h"
#include "cl/base/size.h"
#include "cl/models/vae/latent.h"
#include "cl/models/vae/vae.h"
#include "server/codec.h"
#include "server/models.h"

enum {
    LATENTS_MAX = 65536,
    STEPS_MAX = 256,
    SHEET_MAX_SIDE = 16383
};
static const double z_limit = 1e3; /* |z| is clamped to it */

/* ---- what a request works on ---- */

typedef struct job {
    ts_request *req;
    ts_response *res;
    ts_loaded *loaded;
    ts_vae *vae; /* taken between ts_loaded_begin and _end */
    const ts_vae_info *info;
    float *z;       /* [n][per] */
    int64_t n, per; /* latents, values of one */
    ts_shape shape; /* of one latent */
    int64_t columns;
    uint64_t seed;
    json_t *extra; /* keys of a JSON answer; or NULL */
} job;

static ts_status job_open(ts_app *app, ts_request *req, ts_response *res, job *j, ts_error *err)
{
    *j = (job){.req = req, .res = res};
    if (!app->models)
        return ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
    ts_status st = ts_models_get(app->models, ts_request_param(req, "name"), &j->loaded, err);
    if (st != TS_OK)
        return st;
    j->vae = ts_vae_of(ts_loaded_model(j->loaded));
    if (!j->vae)
        return ts_fail(err, TS_E_SHAPE, "model %s is no decoder", ts_loaded_name(j->loaded));
    j->info = ts_vae_get_info(j->vae);
    j->shape = j->info->latent;
    j->per = j->info->latent_dim;
    return TS_OK;
}

static void job_close(job *j)
{
    json_decref(j->extra);
    free(j->z);
    ts_loaded_unref(j->loaded);
}

static ts_status room_for(job *j, int64_t n, ts_error *err)
{
    if (n < 1 || n > LATENTS_MAX)
        return ts_fail(err, n < 1 ? TS_E_EMPTY : TS_E_TOO_LARGE, "%lld latents, want 1 to %d",
                       (long long)n, LATENTS_MAX);
    size_t values;
    if (!ts_mul_size((size_t)n, (size_t)j->per, &values))
        return ts_fail(err, TS_E_TOO_LARGE, "latents");
    free(j->z);
    j->z = calloc(values, sizeof *j->z);
    j->n = n;
    return j->z ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "%lld latents", (long long)n);
}

static ts_status want_flat(const job *j, ts_error *err)
{
    return j->info->spatial
               ? ts_fail(err, TS_E_SHAPE, "this model's latents are spatial: use decode")
               : TS_OK;
}

/* Not finite is refused; far out is clamped, as the live protocol does. */
static ts_status check_values(job *j, ts_error *err)
{
    for (int64_t i = 0; i < j->n * j->per; i++) {
        if (!isfinite(j->z[i]))
            return ts_fail(err, TS_E_OPTION, "z[%lld] holds what is not a finite number",
                           (long long)(i / j->per));
        j->z[i] = (float)fmax(-z_limit, fmin(z_limit, j->z[i]));
    }
    return TS_OK;
}

/* ---- decoding ---- */

typedef struct pictures {
    int64_t n, c, h, w;
    float *f32;  /* [n][c][h][w] */
    uint8_t *u8; /* [n][h][w][c] */
} pictures;

static void pictures_finish(pictures *p)
{
    free(p->f32);
    free(p->u8);
}

static ts_status alloc_pictures(pictures *p, bool u8, ts_error *err)
{
    size_t n = (size_t)p->n;
    bool fits = ts_mul_size(n, (size_t)p->c, &n) && ts_mul_size(n, (size_t)p->h, &n) &&
                ts_mul_size(n, (size_t)p->w, &n) && n < SIZE_MAX / 8;
    if (fits && u8)
        p->u8 = calloc(n, 1);
    else if (fits)
        p->f32 = calloc(n, sizeof *p->f32);
    return p->u8 || p->f32 ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "%lld pictures", (long long)p->n);
}

static uint8_t to_u8(double v, const ts_vae_info *info)
{
    v = (v - info->lo) / (info->hi - info->lo) * 255.0;
    return (uint8_t)floor((v < 0 ? 0 : v > 255 ? 255 : v) + 0.5);
}

/* Spatial latents go as one array; pictures are quantised here. */
static ts_status decode_spatial(job *j, bool u8, pictures *p, ts_error *err)
{
    ts_shape zs = {.rank = 4, .dim = {j->n, j->shape.dim[0], j->shape.dim[1], j->shape.dim[2]}};
    ts_shape image;
    ts_arr z = {0}, out;
    ts_ops *ops = ts_vae_ops(j->vae);
    ts_status st = ts_vae_image_shape(j->vae, &zs, &image, err);
    if (st != TS_OK)
        return st;
    *p = (pictures){.n = image.dim[0], .c = image.dim[1], .h = image.dim[2], .w = image.dim[3]};
    st = alloc_pictures(p, false, err);
    if (st == TS_OK)
        st = ts_arr_from_host(ops, TS_F32, &zs, j->z, &z, err);
    if (st == TS_OK)
        st = ts_vae_decode_array(j->vae, &z, &out, err);
    if (st == TS_OK)
        st = ts_arr_read(ops, &out, p->f32, err);
    ts_arr_free(&z);
    if (st != TS_OK || !u8)
        return st;
    int64_t area = p->h * p->w;
    p->u8 = calloc((size_t)(p->n * p->c * area), 1);
    if (!p->u8)
        return ts_fail(err, TS_E_NO_MEMORY, "pictures");
    for (int64_t i = 0; i < p->n * p->c * area; i++) {
        int64_t k = i / (area * p->c), at = i / p->c % area, ch = i % p->c;
        p->u8[i] = to_u8(p->f32[(k * p->c + ch) * area + at], j->info);
    }
    return TS_OK;
}

static ts_status decode(job *j, bool u8, bool truncate, pictures *p, ts_error *err)
{
    ts_status st = ts_loaded_begin(j->loaded, err);
    if (st != TS_OK)
        return st;
    if (j->info->spatial) {
        st = decode_spatial(j, u8, p, err);
    } else {
        const int64_t *d = j->info->image.dim;
        *p = (pictures){.n = j->n, .c = d[0], .h = d[1], .w = d[2]};
        st = alloc_pictures(p, u8, err);
        if (st == TS_OK && u8)
            st = ts_vae_decode_u8(j->vae, j->z, j->n, truncate, p->u8, err);
        else if (st == TS_OK)
            st = ts_vae_decode_f32(j->vae, j->z, j->n, p->f32, err);
    }
    if (st == TS_OK && !j->info->spatial)
        ts_loaded_tell_taps(j->loaded, ts_request_queue(j->req), &TS_SHAPE(j->n, j->per), j->z);
    ts_loaded_end(j->loaded);
    return st;
}

/* ---- answers ---- */

static ts_status answer_sheet(job *j, const pictures *p, bool png, ts_error *err)
{
    int64_t columns = j->columns ? j->columns : p->n, quality = 90, lossless = p->c == 1;
    if (!j->columns)
        while (columns > 1 && columns * p->w > SHEET_MAX_SIDE)
            columns = (columns + 1) / 2;
    int64_t rows = (p->n + columns - 1) / columns, width = columns * p->w, height = rows * p->h;
    ts_status st = ts_request_query_int(j->req, "quality", 1, 100, &quality, err);
    if (st == TS_OK)
        st = ts_request_query_int(j->req, "lossless", 0, 1, &lossless, err);
    if (st == TS_OK && (width > SHEET_MAX_SIDE || height > SHEET_MAX_SIDE))
        st = ts_fail(err, TS_E_TOO_LARGE, "a sheet of %lldx%lld pixels, at most %d a side",
                     (long long)width, (long long)height, SHEET_MAX_SIDE);
    if (st != TS_OK)
        return st;
    ts_pixels *sheet = ts_pixels_create(TS_PIXELS_RGB8, (int)width, (int)height);
    ts_encoder *encoder = NULL;
    ts_buf out = {0};
    if (!sheet)
        return ts_fail(err, TS_E_NO_MEMORY, "sheet");
    uint8_t *to = (uint8_t *)sheet->plane[0];
    memset(to, 0, (size_t)(width * height * 3));
    for (int64_t i = 0; i < p->n * p->h * p->w; i++) {
        int64_t k = i / (p->h * p->w), y = i / p->w % p->h, x = i % p->w;
        uint8_t *px = to + ((k / columns * p->h + y) * width + k % columns * p->w + x) * 3;
        for (int c = 0; c < 3; c++)
            px[c] = p->u8[i * p->c + (p->c == 1 ? 0 : c)];
    }
    ts_encode_options opt = {.codec = png        ? TS_CODEC_PNG
                                      : lossless ? TS_CODEC_WEBP_LOSSLESS
                                                 : TS_CODEC_WEBP,
                             .quality = (int)quality};
    st = ts_encoder_create(&encoder, err);
    if (st == TS_OK)
        st = ts_frame_encode(sheet, &opt, encoder, &out, err);
    if (st == TS_OK)
        ts_response_bytes(j->res, 200, ts_codec_mime(opt.codec), &out);
    ts_encoder_destroy(encoder);
    ts_pixels_unref(sheet);
    ts_buf_finish(&out);
    return st;
}

static ts_status answer_npy(job *j, const pictures *p, ts_error *err)
{
    ts_buf out = {0};
    const int64_t dims[4] = {p->n, p->c, p->h, p->w};
    ts_npy_header(&out, "<f4", dims, 4);
    ts_buf_append(&out, p->f32, (size_t)(p->n * p->c * p->h * p->w) * sizeof(float));
    if (out.failed) {
        ts_buf_finish(&out);
        return ts_fail(err, TS_E_NO_MEMORY, "answer");
    }
    ts_response_bytes(j->res, 200, "application/x-npy", &out);
    ts_buf_finish(&out);
    return TS_OK;
}

static ts_status answer_json(job *j, const pictures *p, ts_error *err)
{
    ts_buf out = {0};
    int64_t values = p->n * p->c * p->h * p->w;
    ts_buf_str(&out, "{\"model\":");
    ts_json_write_string(ts_loaded_name(j->loaded), &out);
    ts_buf_printf(&out, ",\"dtype\":\"f32\",\"shape\":[%lld,%lld,%lld,%lld],\"data\":[",
                  (long long)p->n, (long long)p->c, (long long)p->h, (long long)p->w);
    for (int64_t i = 0; i < values; i++) {
        if (i)
            ts_buf_str(&out, ",");
        ts_json_write_double((double)p->f32[i], &out);
    }
    ts_buf_str(&out, "],\"z\":[");
    for (int64_t i = 0; i < j->n * j->per; i++) {
        if (i)
            ts_buf_str(&out, ",");
        ts_json_write_double((double)j->z[i], &out);
    }
    ts_buf_str(&out, "]}");
    if (out.failed) {
        ts_buf_finish(&out);
        return ts_fail(err, TS_E_NO_MEMORY, "answer");
    }
    ts_response_bytes(j->res, 200, "application/json", &out);
    ts_buf_finish(&out);
    return TS_OK;
}

/* Decode the job's latents and answer as the Accept header asks. */
static ts_status answer(job *j, ts_error *err)
{
    static const char *const types[] = {"image/webp", "image/png", "application/x-npy",
                                        "application/json", NULL};
    const char *quantize = ts_request_query(j->req, "quantize");
    bool truncate = quantize && !strcmp(quantize, "trunc");
    int type = ts_request_accept(j->req, types);
    pictures p = {0};
    if (type < 0)
        return ts_fail(err, TS_E_NOT_ACCEPTABLE,
                       "pictures come as image/webp, image/png, application/x-npy or "
                       "application/json");
    if (quantize && !truncate && strcmp(quantize, "round"))
        return ts_fail(err, TS_E_OPTION, "quantize is '%s', want round or trunc", quantize);
    ts_status st = check_values(j, err);
    if (st == TS_OK)
        st = ts_request_query_int(j->req, "columns", 1, LATENTS_MAX, &j->columns, err);
    if (st == TS_OK)
        st = decode(j, type < 2, truncate, &p, err);
    if (st == TS_OK)
        st = type < 2    ? answer_sheet(j, &p, type == 1, err)
             : type == 2 ? answer_npy(j, &p, err)
                         : answer_json(j, &p, err);
    pictures_finish(&p);
    return st;
}

#define ANSWER_KEYS "columns", "quality", "lossless", "quantize"

/* ---- latents from bodies ---- */

/* Nested lists of numbers, all of one shape, appended to `out`. */
static bool flatten(const json_t *v, int depth, ts_shape *shape, ts_buf *out)
{
    if (json_is_number(v)) {
        float f = (float)json_number_value(v);
        ts_buf_append(out, &f, sizeof f);
        return depth == shape->rank;
    }
    size_t n = json_array_size(v);
    if (!json_is_array(v) || depth >= TS_MAX_RANK)
        return false;
    if (depth == shape->rank) {
        if (out->len) /* a number was here before */
            return false;
        shape->dim[shape->rank++] = (int64_t)n;
    }
    if (shape->dim[depth] != (int64_t)n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!flatten(json_array_get(v, i), depth + 1, shape, out))
            return false;
    return true;
}

/* Take `values` of a shape as the job's latents: one, or a batch of them. */
static ts_status take_latents(job *j, const ts_shape *shape, const float *values, ts_error *err)
{
    int rank = j->info->latent.rank;
    bool batch = shape->rank == rank + 1;
    const int64_t *d = shape->dim + batch;
    bool fits = (batch || shape->rank == rank) && d[0] == j->info->latent_dim;
    j->shape = (ts_shape){.rank = rank};
    j->per = 1;
    for (int i = 0; i < rank && fits; i++) {
        fits = d[i] > 0 && d[i] <= 4096;
        j->shape.dim[i] = d[i];
        j->per *= d[i];
    }
    if (!fits)
        return ts_fail(err, TS_E_SHAPE, "z is %s, want [%lld%s] or a list of those",
                       ts_shape_text(shape, (char[96]){0}, 96), (long long)j->info->latent_dim,
                       j->info->spatial ? ",h,w" : "");
    ts_status st = room_for(j, batch ? shape->dim[0] : 1, err);
    if (st == TS_OK)
        memcpy(j->z, values, (size_t)(j->n * j->per) * sizeof *values);
    return st;
}

static ts_status latents_from_json(job *j, ts_error *err)
{
    static const char *const keys[] = {"z", "columns", NULL};
    json_t *body;
    ts_shape shape = {0};
    ts_buf values = {0};
    ts_status st = ts_request_json(j->req, &body, err);
    if (st != TS_OK)
        return st;
    st = ts_json_only(body, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_int(body, "", "columns", 1, LATENTS_MAX, &j->columns, err);
    const json_t *z = json_object_get(body, "z");
    if (st == TS_OK && (!json_is_array(z) || !flatten(z, 0, &shape, &values)))
        st = ts_fail(err, TS_E_OPTION, "z must be a list of numbers or of equal lists");
    if (st == TS_OK)
        st = take_latents(j, &shape, (const float *)(const void *)values.data, err);
    ts_buf_finish(&values);
    json_decref(body);
    return st;
}

static ts_status latents_from_bytes(job *j, ts_error *err)
{
    const ts_buf *body = ts_request_body(j->req);
    const char *text = ts_request_query(j->req, "shape");
    size_t row = (size_t)j->info->latent_dim * sizeof(float), bytes;
    ts_shape shape = TS_SHAPE((int64_t)(body->len / row), j->info->latent_dim);
    ts_status st = text ? ts_shape_parse(text, &shape, err) : TS_OK;
    if (st == TS_OK && j->info->spatial && !text)
        st = ts_fail(err, TS_E_OPTION, "spatial latents as bytes need ?shape=n,c,h,w");
    if (st == TS_OK)
        st = ts_shape_check(&shape, TS_F32, &bytes, err);
    if (st == TS_OK && bytes != body->len)
        st = ts_fail(err, TS_E_SIZE, "the body has %zu bytes, f32 %s takes %zu", body->len,
                     ts_shape_text(&shape, (char[96]){0}, 96), bytes);
    if (st == TS_OK && !body->len)
        st = ts_fail(err, TS_E_EMPTY, "there is no latent in the body");
    return st == TS_OK ? take_latents(j, &shape, (const float *)(const void *)body->data, err) : st;
}

ts_status api_model_decode(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {ANSWER_KEYS, "shape", NULL};
    job j;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    bool bytes = !strcmp(ts_request_content_type(req), "application/octet-stream");
    if (st == TS_OK)
        st = bytes ? latents_from_bytes(&j, err) : latents_from_json(&j, err);
    if (st == TS_OK)
        st = answer(&j, err);
    job_close(&j);
    return st;
}

/* ---- latents by rule ---- */

ts_status api_model_random(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {ANSWER_KEYS, "seed", "n", NULL};
    job j;
    int64_t seed = 0, n = 1;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "seed", 0, INT64_MAX, &seed, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "n", 1, 4096, &n, err);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    if (st == TS_OK)
        st = want_flat(&j, err);
    if (st == TS_OK)
        st = room_for(&j, n, err);
    for (int64_t i = 0; i < n && st == TS_OK; i++)
        ts_seeded_normal((uint64_t)(seed + i), j.z + i * j.per, (size_t)j.per);
    if (st == TS_OK)
        st = answer(&j, err);
    job_close(&j);
    return st;
}

static ts_status vector_of(const json_t *body, const char *key, int64_t n, float *out,
                           ts_error *err)
{
    const json_t *list = json_object_get(body, key);
    if (json_array_size(list) != (size_t)n)
        return ts_fail(err, TS_E_SHAPE, "%s has %zu values, want %lld", key, json_array_size(list),
                       (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(list, (size_t)i);
        if (!json_is_number(e))
            return ts_fail(err, TS_E_OPTION, "%s[%lld] is not a number", key, (long long)i);
        out[i] = (float)json_number_value(e);
    }
    return TS_OK;
}

static ts_status interpolate(job *j, const json_t *body, ts_error *err)
{
    static const char *const keys[] = {"a", "b", "t", "steps", "mode", "columns", NULL};
    static const char *const modes[] = {"slerp", "lerp", NULL};
    int mode = 0;
    int64_t steps = 0;
    double t = 0.5;
    float *a = calloc((size_t)j->per * 2, sizeof *a), *b = a ? a + j->per : NULL;
    ts_status st = a ? ts_json_only(body, "", keys, err) : ts_fail(err, TS_E_NO_MEMORY, "latents");
    if (st == TS_OK)
        st = vector_of(body, "a", j->per, a, err);
    if (st == TS_OK)
        st = vector_of(body, "b", j->per, b, err);
    if (st == TS_OK)
        st = ts_json_get_double(body, "", "t", 0, 1, &t, err);
    if (st == TS_OK)
        st = ts_json_get_int(body, "", "steps", 2, STEPS_MAX, &steps, err);
    if (st == TS_OK)
        st = ts_json_get_int(body, "", "columns", 1, LATENTS_MAX, &j->columns, err);
    if (st == TS_OK)
        st = ts_json_get_enum(body, "", "mode", modes, &mode, err);
    if (st == TS_OK && steps && json_object_get(body, "t"))
        st = ts_fail(err, TS_E_OPTION, "t and steps exclude each other");
    if (st == TS_OK)
        st = room_for(j, steps ? steps : 1, err);
    for (int64_t i = 0; i < j->n && st == TS_OK; i++) {
        double at = steps ? (double)i / (double)(steps - 1) : t;
        (mode ? ts_latent_lerp : ts_latent_slerp)(a, b, at, j->z + i * j->per, (size_t)j->per);
    }
    free(a);
    return st;
}

ts_status api_model_interpolate(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {ANSWER_KEYS, NULL};
    job j;
    json_t *body = NULL;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    if (st == TS_OK)
        st = want_flat(&j, err);
    if (st == TS_OK)
        st = ts_request_json(req, &body, err);
    if (st == TS_OK)
        st = interpolate(&j, body, err);
    if (st == TS_OK)
        st = answer(&j, err);
    json_decref(body);
    job_close(&j);
    return st;
}

/* The plane that a grid spans: axes, principal components, or two seeded directions. */
static ts_status plane_of(const job *j, int64_t seed, float *base, float *d1, float *d2,
                          ts_error *err)
{
    const ts_vae_info *i = j->info;
    memset(base, 0, (size_t)j->per * sizeof *base);
    memset(d1, 0, (size_t)j->per * sizeof *d1);
    memset(d2, 0, (size_t)j->per * sizeof *d2);
    if (seed >= 0 || (!i->components && j->per > 2)) {
        ts_latent_directions((uint64_t)(seed < 0 ? 0 : seed), d1, d2, (size_t)j->per);
        return TS_OK;
    }
    if (i->components) {
        for (int64_t k = 0; k < j->per; k++) {
            base[k] = i->mean[k];
            d1[k] = i->std[0] * i->components[k];
            if (i->n_components > 1)
                d2[k] = i->std[1] * i->components[j->per + k];
        }
        return TS_OK;
    }
    d1[0] = 1;
    if (j->per > 1)
        d2[1] = 1;
    (void)err;
    return TS_OK;
}

static ts_status grid_of(const ts_request *req, ts_latent_grid *grid, int64_t *seed, ts_error *err)
{
    int64_t steps = 10, quantiles = 0;
    double range = 2;
    *seed = -1;
    ts_status st = ts_request_query_int(req, "steps", 1, STEPS_MAX, &steps, err);
    if (st == TS_OK)
        st = ts_request_query_double(req, "range", 0, 1e3, &range, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "normal_quantiles", 0, 1, &quantiles, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "directions", 0, INT64_MAX - 1, seed, err);
    if (st != TS_OK)
        return st;
    *grid = ts_latent_square(steps, range);
    grid->normal_quantiles = quantiles;
    st = ts_request_query_double(req, "x0", -1e3, 1e3, &grid->x0, err);
    if (st == TS_OK)
        st = ts_request_query_double(req, "x1", -1e3, 1e3, &grid->x1, err);
    if (st == TS_OK)
        st = ts_request_query_double(req, "y0", -1e3, 1e3, &grid->y0, err);
    return st == TS_OK ? ts_request_query_double(req, "y1", -1e3, 1e3, &grid->y1, err) : st;
}

ts_status api_model_grid(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {
        "quality",    "lossless", "quantize", "steps", "range", "normal_quantiles",
        "directions", "x0",       "x1",       "y0",    "y1",    NULL};
    job j;
    ts_latent_grid grid;
    int64_t seed;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = grid_of(req, &grid, &seed, err);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    if (st == TS_OK)
        st = want_flat(&j, err);
    if (st == TS_OK)
        st = room_for(&j, grid.rows * grid.columns, err);
    float *plane = st == TS_OK ? calloc((size_t)j.per * 3, sizeof *plane) : NULL;
    if (st == TS_OK && !plane)
        st = ts_fail(err, TS_E_NO_MEMORY, "directions");
    if (st == TS_OK)
        st = plane_of(&j, seed, plane, plane + j.per, plane + 2 * j.per, err);
    for (int64_t i = 0; i < j.n && st == TS_OK; i++)
        ts_latent_offset(plane, plane + j.per, plane + 2 * j.per,
                         ts_latent_grid_x(&grid, i % grid.columns),
                         ts_latent_grid_y(&grid, i / grid.columns), j.z + i * j.per, (size_t)j.per);
    j.columns = grid.columns;
    if (st == TS_OK)
        st = answer(&j, err);
    free(plane);
    job_close(&j);
    return st;
}

/* ---- encoding ---- */

typedef struct encoded {
    float *x; /* the encoder's input */
    ts_shape x_shape, z_shape;
    float *mu, *logvar;
    size_t n;
} encoded;

static void encoded_finish(encoded *e)
{
    free(e->x);
    free(e->mu);
    free(e->logvar);
}

/* The picture of the body as the encoder's input. */
static ts_status picture_of(job *j, encoded *e, ts_error *err)
{
    const ts_buf *body = ts_request_body(j->req);
    ts_image_info info;
    ts_buf pixels = {0};
    ts_status st = ts_image_decode(body->data, body->len, 3, &info, &pixels, err);
    if (st == TS_OK)
        st = ts_vae_prepare(j->vae, pixels.data, info.height, info.width, 3, &e->x, &e->x_shape,
                            err);
    ts_buf_finish(&pixels);
    return st;
}

static ts_status encode_locked(job *j, encoded *e, ts_error *err)
{
    ts_ops *ops = ts_vae_ops(j->vae);
    ts_shape batch = TS_SHAPE(1, e->x_shape.dim[0], e->x_shape.dim[1], e->x_shape.dim[2]);
    ts_arr x = {0}, mu, logvar;
    ts_status st = ts_arr_from_host(ops, TS_F32, &batch, e->x, &x, err);
    if (st == TS_OK)
        st = ts_vae_encode_array(j->vae, &x, &mu, &logvar, err);
    if (st == TS_OK) {
        e->n = (size_t)ts_arr_elements(&mu);
        e->z_shape = mu.shape;
        e->mu = calloc(e->n, sizeof *e->mu);
        e->logvar = calloc(e->n, sizeof *e->logvar);
        if (!e->mu || !e->logvar)
            st = ts_fail(err, TS_E_NO_MEMORY, "latents");
    }
    if (st == TS_OK)
        st = ts_arr_read(ops, &mu, e->mu, err);
    if (st == TS_OK)
        st = ts_arr_read(ops, &logvar, e->logvar, err);
    ts_arr_free(&x);
    return st;
}

static ts_status encode(job *j, encoded *e, ts_error *err)
{
    ts_status st = j->info->has_encoder ? TS_OK
                                        : ts_fail(err, TS_E_SHAPE, "model %s has no encoder",
                                                  ts_loaded_name(j->loaded));
    if (st == TS_OK)
        st = picture_of(j, e, err);
    if (st == TS_OK)
        st = ts_loaded_begin(j->loaded, err);
    if (st != TS_OK)
        return st;
    st = encode_locked(j, e, err);
    ts_loaded_end(j->loaded);
    return st;
}

static json_t *floats_json(const float *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, ts_json_double((double)v[i]));
    return list;
}

static json_t *encoded_json(const encoded *e)
{
    json_t *shape = json_array();
    for (int d = 1; d < e->z_shape.rank; d++)
        json_array_append_new(shape, json_integer(e->z_shape.dim[d]));
    return json_pack("{s:o, s:o, s:o}", "mu", floats_json(e->mu, e->n), "logvar",
                     floats_json(e->logvar, e->n), "shape", shape);
}

ts_status api_model_encode(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {NULL};
    job j;
    encoded e = {0};
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    if (st == TS_OK)
        st = encode(&j, &e, err);
    if (st == TS_OK)
        ts_response_json(res, 200, encoded_json(&e));
    encoded_finish(&e);
    job_close(&j);
    return st;
}

/* z = mu, or mu + exp(logvar/2)·noise. */
static ts_status sample(job *j, const encoded *e, bool noisy, int64_t seed, ts_error *err)
{
    ts_shape one = {.rank = e->z_shape.rank - 1};
    memcpy(one.dim, e->z_shape.dim + 1, (size_t)one.rank * sizeof *one.dim);
    float *noise = calloc(e->n, sizeof *noise);
    ts_status st =
        noise ? take_latents(j, &one, e->mu, err) : ts_fail(err, TS_E_NO_MEMORY, "latents");
    if (st == TS_OK && noisy) {
        ts_seeded_normal((uint64_t)seed, noise, e->n);
        for (size_t i = 0; i < e->n; i++)
            j->z[i] = (float)(e->mu[i] + exp(e->logvar[i] / 2.0) * noise[i]);
    }
    free(noise);
    return st;
}

/* Mean square of the difference of pictures in 0…1, as bytes are compared. */
static double mse_of(const job *j, const encoded *e, const pictures *p)
{
    double s = 0, span = j->info->hi - j->info->lo;
    int64_t n = p->c * p->h * p->w;
    for (int64_t i = 0; i < n; i++) {
        int64_t area = p->h * p->w, at = i / p->c, ch = i % p->c;
        double x = (e->x[ch * area + at] - j->info->lo) / span;
        double d = p->u8[i] / 255.0 - x;
        s += d * d;
    }
    return s / (double)n;
}

static ts_status reconstruct(job *j, encoded *e, bool noisy, int64_t seed, ts_error *err)
{
    static const char *const types[] = {"application/json", "image/webp", "image/png", NULL};
    int type = ts_request_accept(j->req, types);
    pictures p = {0};
    ts_status st = type < 0 ? ts_fail(err, TS_E_NOT_ACCEPTABLE,
                                      "a reconstruction comes as application/json, image/webp or "
                                      "image/png")
                            : sample(j, e, noisy, seed, err);
    if (st == TS_OK)
        st = decode(j, true, false, &p, err);
    if (st == TS_OK &&
        (p.h != e->x_shape.dim[1] || p.w != e->x_shape.dim[2] || p.c != e->x_shape.dim[0]))
        st = ts_fail(err, TS_E_SHAPE, "the model's picture is %lldx%lld, its input %lldx%lld",
                     (long long)p.w, (long long)p.h, (long long)e->x_shape.dim[2],
                     (long long)e->x_shape.dim[1]);
    if (st == TS_OK && type > 0)
        st = answer_sheet(j, &p, type == 2, err);
    if (st == TS_OK && type == 0) {
        double mse = mse_of(j, e, &p);
        json_t *out = encoded_json(e), *picture = json_array();
        json_object_set_new(out, "mse", json_real(mse));
        json_object_set_new(out, "psnr_db", mse > 0 ? json_real(-10 * log10(mse)) : json_null());
        for (int64_t i = 0; i < p.c * p.h * p.w; i++)
            json_array_append_new(picture, json_integer(p.u8[i]));
        json_object_set_new(out, "picture",
                            json_pack("{s:s, s:[I,I,I], s:o}", "dtype", "u8", "shape",
                                      (json_int_t)p.h, (json_int_t)p.w, (json_int_t)p.c, "data",
                                      picture));
        ts_response_json(j->res, 200, out);
    }
    pictures_finish(&p);
    return st;
}

ts_status api_model_reconstruct(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"sample", "seed", "quality", "lossless", NULL};
    job j;
    encoded e = {0};
    int64_t seed = 0, noisy = 0;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "sample", 0, 1, &noisy, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "seed", 0, INT64_MAX, &seed, err);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    if (st == TS_OK)
        st = encode(&j, &e, err);
    if (st == TS_OK)
        st = reconstruct(&j, &e, noisy, seed, err);
    encoded_finish(&e);
    job_close(&j);
    return st;
}

/* ---- accuracy of reduced weights ---- */

ts_status api_model_check(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"compute", "seed", "n", NULL};
    static const char *const modes[] = {"f16", "i8", "bf16"};
    const char *compute = ts_request_query(req, "compute");
    job j;
    int64_t seed = 0, n = 4;
    ts_vae_difference d;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "seed", 0, INT64_MAX - 4096, &seed, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "n", 1, 64, &n, err);
    ts_weight_rounding rounding = TS_WEIGHTS_F16;
    bool known = !compute;
    for (int i = 0; i < 3 && compute; i++)
        if (!strcmp(compute, modes[i])) {
            rounding = (ts_weight_rounding)(TS_WEIGHTS_F16 + i);
            known = true;
        }
    if (st == TS_OK && !known)
        st = ts_fail(err, TS_E_OPTION, "compute is '%s', want f16, i8 or bf16", compute);
    if (st != TS_OK)
        return st;
    st = job_open(app, req, res, &j, err);
    if (st == TS_OK)
        st = want_flat(&j, err);
    if (st == TS_OK)
        st = room_for(&j, n, err);
    for (int64_t i = 0; i < n && st == TS_OK; i++)
        ts_seeded_normal((uint64_t)(seed + i), j.z + i * j.per, (size_t)j.per);
    if (st == TS_OK)
        st = ts_loaded_begin(j.loaded, err);
    if (st == TS_OK) {
        st = ts_vae_compare(j.vae, j.z, n, rounding, &d, err);
        ts_loaded_end(j.loaded);
    }
    if (st == TS_OK)
        ts_response_json(
            res, 200,
            json_pack("{s:s, s:I, s:f, s:o, s:f}", "compute", compute ? compute : "f16", "n",
                      (json_int_t)n, "max_abs", d.max_abs, "psnr_db",
                      d.mse > 0 ? json_real(-10 * log10(d.mse)) : json_null(), "mse", d.mse));
    job_close(&j);
    return st;
}
