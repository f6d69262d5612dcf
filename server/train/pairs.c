#include "server/train/pairs.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "cl/models/imagegs/loss.h"
#include "cl/models/imagegs/metrics.h"
#include "server/codec.h"
#include "server/events.h"
#include "server/hub.h"
#include "server/media/remux.h"
#include "server/train/paircsv.h"
#include "server/train/trainpic.h"
#include "server/train/trainvideo.h"

enum {
    MOST_WAITING = 16, /* posts that wait for their turn; more are refused */
    MAX_SEGMENTS = 256
};

typedef enum pair_fit {
    FIT_REFUSE,
    FIT_RESIZE,
    FIT_PAD
} pair_fit;

typedef struct pair_options {
    ts_trainpic_options look;
    json_t *video; /* object or NULL */
    bool record, allow_rewind, keep_duplicates, verify, keep_frames;
    pair_fit fit;
    int64_t every, width, height, max_steps;
    double ttl_s;
    json_t *columns;
} pair_options;

struct ts_pair {
    ts_pair *next;
    atomic_int refs, waiting;
    ts_app *app;
    ts_pairs *pairs;
    ts_stream *stream; /* outlives the source; NULL once that is closed. guarded by pairs_lock */
    char name[TS_NAME_MAX + 1], folder[3000];
    pair_options o;
    pthread_mutex_t pair_lock; /* guards: everything below */
    ts_queue *queue;
    ts_gs_planes planes;
    ts_gs_loss *loss; /* for the current ground truth; NULL: not needed yet */
    ts_buffer *image; /* the render's planes on the device */
    ts_buffer *status;
    float *truth_chw;
    uint8_t *truth, *render, *extra; /* RGBA8 */
    int w, h, channels;
    int64_t truth_version, last_step, seq, captured, segments;
    bool finished;
    ts_paircsv csv;
    ts_trainvideo *video;
    ts_encoder *encoder;
    double begin, touched, saved;
    json_t *last_metrics;
    pthread_mutex_t shown_lock; /* guards: picture, version, shown_step, shown_metrics; a post may
                                   hold pair_lock for long, and the render thread must not wait */
    ts_pixels *picture;
    uint64_t version;
    int64_t shown_step;
    json_t *shown_metrics;
    uint64_t shown_version; /* of `tensor`; render thread */
    ts_tensor *tensor;
};

struct ts_pairs {
    ts_app *app;
    pthread_mutex_t pairs_lock; /* guards: list, stopping, every pair's stream */
    ts_pair *list;
    bool stopping;
};

/* ---- the table ---- */

ts_status ts_pairs_create(ts_app *app, ts_pairs **out, ts_error *err)
{
    ts_pairs *p = calloc(1, sizeof *p);
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "compare streams");
    p->app = app;
    pthread_mutex_init(&p->pairs_lock, NULL);
    *out = p;
    return TS_OK;
}

void ts_pairs_stop(ts_pairs *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->pairs_lock);
    p->stopping = true;
    pthread_mutex_unlock(&p->pairs_lock);
}

void ts_pairs_destroy(ts_pairs *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->pairs_lock);
    free(p);
}

ts_status ts_pairs_find(ts_pairs *p, const char *stream, ts_pair **out, ts_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&p->pairs_lock);
    for (ts_pair *q = p->list; q && !*out; q = q->next)
        if (strcmp(q->name, stream) == 0) {
            q->refs++;
            *out = q;
        }
    pthread_mutex_unlock(&p->pairs_lock);
    return *out ? TS_OK
                : ts_fail(err, TS_E_NOT_FOUND, "no stream \"%.64s\" that pairs are posted to",
                          stream);
}

static void options_finish(pair_options *o)
{
    json_decref(o->video);
    json_decref(o->columns);
}

void ts_pair_unref(ts_pair *q)
{
    if (!q || --q->refs > 0)
        return;
    ts_trainvideo_destroy(q->video);
    ts_paircsv_close(&q->csv);
    ts_gs_loss_destroy(q->loss);
    ts_buffer_unref(q->image);
    ts_buffer_unref(q->status);
    ts_queue_destroy(q->queue);
    ts_encoder_destroy(q->encoder);
    ts_pixels_unref(q->picture);
    ts_tensor_unref(q->tensor);
    json_decref(q->last_metrics);
    json_decref(q->shown_metrics);
    pthread_mutex_destroy(&q->shown_lock);
    free(q->truth_chw);
    free(q->truth);
    free(q->render);
    free(q->extra);
    options_finish(&q->o);
    pthread_mutex_destroy(&q->pair_lock);
    free(q);
}

void ts_pair_post_finish(ts_pair_post *post)
{
    ts_trainimage_finish(&post->render);
    ts_trainimage_finish(&post->truth);
    json_decref(post->metrics);
}

/* ---- options ---- */

static ts_status read_options(const json_t *c, pair_options *o, ts_error *err)
{
    static const char *const keys[] = {
        "width",      "height",         "max_steps",   "panels", "overlay",     "video",
        "live",       "labels",         "keep_frames", "ttl_s",  "csv_columns", "allow_rewind",
        "duplicates", "verify_metrics", "fit",         "every",  "grid",        "gap",
        "scale",      "background",     NULL};
    static const char *const fits[] = {"refuse", "resize", "pad", NULL};
    static const char *const duplicates[] = {"ignore", "keep", NULL};
    int fit = 0, keep = 0;
    *o = (pair_options){.record = true, .every = 1, .ttl_s = 3600};
    ts_trainpic_defaults(&o->look);
    const json_t *video = json_object_get(c, "video"), *labels = json_object_get(c, "labels");
    const json_t *columns = json_object_get(c, "csv_columns");
    json_t *overlay = json_deep_copy(json_object_get(c, "overlay"));
    if (labels) {
        overlay = overlay ? overlay : json_object();
        json_object_set(overlay, "labels", (json_t *)labels);
    }
    ts_status st = ts_json_only(c, "source.compare", keys, err);
    if (st == TS_OK)
        st = ts_trainpic_options_read(c, overlay, &o->look, err);
    json_decref(overlay);
    if (st == TS_OK && video && !json_is_boolean(video) && !json_is_object(video))
        st = ts_fail(err, TS_E_OPTION, "source.compare.video: expected true, false or an object");
    if (st == TS_OK && columns && !json_is_array(columns))
        st = ts_fail(err, TS_E_OPTION, "source.compare.csv_columns: expected a list of names");
    o->record = !json_is_false(video);
    o->video = json_is_object(video) ? json_deep_copy(video) : NULL;
    o->columns = columns ? json_deep_copy(columns) : NULL;
    if (st == TS_OK && o->record)
        st = ts_trainvideo_check(o->video, err);
    const char *container = json_string_value(json_object_get(o->video, "container"));
    if (st == TS_OK && container && strcmp(container, "mp4") != 0)
        st = ts_fail(err, TS_E_OPTION, "source.compare.video.container: expected \"mp4\"");
    if (st == TS_OK)
        st = ts_json_get_int(c, "source.compare", "width", 1, TS_GS_MAX_SIDE, &o->width, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "source.compare", "height", 1, TS_GS_MAX_SIDE, &o->height, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "source.compare", "max_steps", 0, INT64_MAX, &o->max_steps, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "source.compare", "every", 1, 1000000, &o->every, err);
    if (st == TS_OK)
        st = ts_json_get_double(c, "source.compare", "ttl_s", 1, 1e9, &o->ttl_s, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c, "source.compare", "allow_rewind", &o->allow_rewind, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c, "source.compare", "verify_metrics", &o->verify, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c, "source.compare", "keep_frames", &o->keep_frames, err);
    if (st == TS_OK)
        st = ts_json_get_enum(c, "source.compare", "fit", fits, &fit, err);
    if (st == TS_OK)
        st = ts_json_get_enum(c, "source.compare", "duplicates", duplicates, &keep, err);
    o->fit = (pair_fit)fit;
    o->keep_duplicates = keep == 1;
    return st;
}

/* ---- state on disk ---- */

static bool path_in(const ts_pair *q, const char *name, char *out, size_t n)
{
    return snprintf(out, n, "%s/%s", q->folder, name) < (int)n;
}

static ts_status save(ts_pair *q, ts_error *err)
{
    char path[3200];
    ts_buf text = {0};
    json_t *o =
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:f}", "finished", q->finished, "last_step",
                  (json_int_t)q->last_step, "seq", (json_int_t)q->seq, "captured",
                  (json_int_t)q->captured, "segments", (json_int_t)q->segments, "begin", q->begin);
    ts_json_write(o, &text);
    json_decref(o);
    ts_status st = path_in(q, "state.json", path, sizeof path)
                       ? ts_fs_write_atomic(path, text.data, text.len, err)
                       : ts_fail(err, TS_E_OPTION, "the path is too long");
    ts_buf_finish(&text);
    return st;
}

/* An unfinished run of an earlier process; false: begin anew. */
static bool load(ts_pair *q)
{
    char path[3200];
    ts_buf text = {0};
    json_t *o = NULL;
    bool found = path_in(q, "state.json", path, sizeof path) &&
                 ts_fs_read(path, 1 << 20, &text, NULL) == TS_OK &&
                 ts_json_parse(text.data, text.len, &o, NULL) == TS_OK &&
                 json_is_false(json_object_get(o, "finished"));
    if (found) {
        q->last_step = json_integer_value(json_object_get(o, "last_step"));
        q->seq = json_integer_value(json_object_get(o, "seq"));
        q->captured = json_integer_value(json_object_get(o, "captured"));
        q->segments = json_integer_value(json_object_get(o, "segments"));
        q->begin = json_number_value(json_object_get(o, "begin"));
    }
    json_decref(o);
    ts_buf_finish(&text);
    return found;
}

static ts_status open_files(ts_pair *q, ts_error *err)
{
    char path[3200];
    bool again = load(q);
    ts_status st = TS_OK;
    if (!again) {
        q->begin = ts_wall_seconds();
        q->last_step = -1;
        st = ts_fs_remove(q->folder, err);
        if (st == TS_OK)
            st = ts_fs_mkdirs(q->folder, err);
    }
    if (st == TS_OK)
        st = path_in(q, "metrics.csv", path, sizeof path)
                 ? ts_paircsv_open(&q->csv, path, q->o.columns, !again, err)
                 : ts_fail(err, TS_E_OPTION, "the path is too long");
    return st == TS_OK ? save(q, err) : st;
}

/* ---- pictures ---- */

static void to_rgba(const ts_trainimage *i, uint8_t *rgba)
{
    size_t n = (size_t)i->width * (size_t)i->height;
    for (size_t p = 0; p < n; ++p) {
        for (size_t k = 0; k < 3; ++k) {
            float v = i->chw[(i->channels >= 3 ? k : 0) * n + p];
            rgba[4 * p + k] = (uint8_t)(fminf(fmaxf(v, 0), 1) * 255 + 0.5f);
        }
        rgba[4 * p + 3] = 255;
    }
}

static ts_status set_size(ts_pair *q, int w, int h, ts_error *err)
{
    size_t bytes = (size_t)w * (size_t)h * 4;
    if (w == q->w && h == q->h)
        return TS_OK;
    uint8_t *truth = malloc(bytes), *render = malloc(bytes);
    uint8_t *extra = calloc(bytes * TS_TRAINPIC_MAX_PANELS, 1);
    if (!truth || !render || !extra) {
        free(truth);
        free(render);
        free(extra);
        return ts_fail(err, TS_E_NO_MEMORY, "pictures of %d x %d", w, h);
    }
    free(q->truth);
    free(q->render);
    free(q->extra);
    q->truth = truth;
    q->render = render;
    q->extra = extra;
    q->w = w;
    q->h = h;
    return TS_OK;
}

static void drop_device_side(ts_pair *q)
{
    ts_gs_loss_destroy(q->loss);
    ts_buffer_unref(q->image);
    q->loss = NULL;
    q->image = NULL;
}

static ts_status truth_locked(ts_pair *q, const ts_trainimage *i, ts_error *err)
{
    size_t total = (size_t)i->width * (size_t)i->height * (size_t)i->channels;
    if ((q->o.width && i->width != q->o.width) || (q->o.height && i->height != q->o.height))
        return ts_fail(err, TS_E_SHAPE, "ground truth of %d x %d, the stream is %lld x %lld",
                       i->width, i->height, (long long)q->o.width, (long long)q->o.height);
    float *copy = calloc(total, sizeof *copy);
    if (!copy)
        return ts_fail(err, TS_E_NO_MEMORY, "ground truth");
    memcpy(copy, i->chw, total * sizeof *copy);
    ts_status st = set_size(q, i->width, i->height, err);
    if (st != TS_OK) {
        free(copy);
        return st;
    }
    free(q->truth_chw);
    q->truth_chw = copy;
    q->channels = i->channels;
    to_rgba(i, q->truth);
    q->truth_version++;
    drop_device_side(q);
    return TS_OK;
}

/* A render of another size than the ground truth, as `fit` says; channels too. */
static ts_status fitted(const ts_pair *q, const ts_trainimage *i, ts_trainimage *out, ts_error *err)
{
    int c = q->truth_chw ? q->channels : i->channels;
    int w = q->truth_chw ? q->w : i->width, h = q->truth_chw ? q->h : i->height;
    bool same = i->width == w && i->height == h;
    if (!same && q->o.fit == FIT_REFUSE)
        return ts_fail(err, TS_E_SHAPE, "render of %d x %d, the ground truth is %d x %d", i->width,
                       i->height, w, h);
    if (i->channels != c && i->channels != 1 && c != 1)
        return ts_fail(err, TS_E_SHAPE, "render of %d channels, the ground truth has %d",
                       i->channels, c);
    size_t n = (size_t)w * (size_t)h, from = (size_t)i->width * (size_t)i->height;
    out->chw = calloc(n * (size_t)c, sizeof *out->chw);
    if (!out->chw)
        return ts_fail(err, TS_E_NO_MEMORY, "a render");
    out->width = w;
    out->height = h;
    out->channels = c;
    for (int k = 0; k < c; ++k) {
        const float *plane = i->chw + (i->channels > 1 ? (size_t)k : 0) * from;
        for (int y = 0; y < h; ++y)
            for (int x = 0; x < w; ++x) {
                int sx = q->o.fit == FIT_RESIZE ? x * i->width / w : x;
                int sy = q->o.fit == FIT_RESIZE ? y * i->height / h : y;
                if (sx < i->width && sy < i->height)
                    out->chw[(size_t)k * n + (size_t)y * (size_t)w + (size_t)x] =
                        plane[(size_t)sy * (size_t)i->width + (size_t)sx];
            }
    }
    return TS_OK;
}

/* PSNR and SSIM on the device, or on the host where there is none. */
static ts_status measure(ts_pair *q, const ts_trainimage *i, double *psnr, double *ssim,
                         ts_error *err)
{
    uint32_t words[TS_GS_STATUS_WORDS];
    float eval[2];
    const ts_gs_loss_weights none = {0};
    if (!q->app->device)
        return ts_gs_metrics_quick(q->truth_chw, i->chw, i->channels, i->height, i->width, psnr,
                                   ssim, err);
    ts_status st = q->queue ? TS_OK : ts_queue_create(q->app->device, "compare", &q->queue, err);
    if (st == TS_OK && !q->status)
        st = ts_buffer_create(q->app->device, sizeof words, &q->status, err);
    if (st == TS_OK && !q->loss) {
        ts_gs_planes_init(&q->planes, q->w, q->h, q->channels);
        st = ts_gs_loss_create(q->queue, &q->planes, q->truth_chw, NULL, 1, &none, false, &q->loss,
                               err);
        if (st == TS_OK)
            st = ts_gs_planes_create(q->queue, &q->planes, &q->image, err);
    }
    if (st == TS_OK)
        st = ts_gs_planes_write(q->queue, &q->planes, q->image, i->chw, err);
    if (st == TS_OK)
        st = ts_gs_loss_evaluate(q->loss, q->image, q->status, err);
    if (st == TS_OK)
        st = ts_buffer_read(q->queue, q->status, 0, words, sizeof words, err);
    if (st != TS_OK)
        return st;
    memcpy(eval, words + TS_GS_EVAL_MSE, sizeof eval);
    *psnr = ts_gs_psnr((double)eval[0]);
    *ssim = (double)eval[1];
    return TS_OK;
}

static ts_status compose(ts_pair *q, const ts_pair_post *post, const json_t *metrics,
                         ts_pixels **out, ts_error *err)
{
    const uint8_t *panels[TS_TRAINPIC_MAX_PANELS] = {0};
    ts_trainpic_options look = q->o.look;
    size_t n = (size_t)q->w * (size_t)q->h;
    if (!q->truth_chw) { /* nothing to compare with: the render alone */
        look.n_panels = 1;
        look.panel[0] = TS_PANEL_RENDER;
        memcpy(look.label[0], look.label[1], sizeof look.label[0]);
    }
    for (int i = 0; i < look.n_panels; ++i) {
        uint8_t *own = q->extra + (size_t)i * n * 4;
        switch (look.panel[i]) {
        case TS_PANEL_GT:
            panels[i] = q->truth;
            break;
        case TS_PANEL_RENDER:
            panels[i] = q->render;
            break;
        case TS_PANEL_ABS_DIFF:
        case TS_PANEL_SIGNED_DIFF:
        case TS_PANEL_ERROR:
            ts_trainpic_difference(q->render, q->truth, n, look.panel[i] == TS_PANEL_SIGNED_DIFF,
                                   own);
            panels[i] = own;
            break;
        default: /* panels of a fit: there are no Gaussians here */
            break;
        }
    }
    ts_trainpic_text text = {.step = post->step,
                             .max_steps = q->o.max_steps,
                             .psnr = NAN,
                             .ssim = NAN,
                             .loss = NAN,
                             .seconds = ts_wall_seconds() - q->begin};
    const json_t *psnr = json_object_get(metrics, "psnr"), *ssim = json_object_get(metrics, "ssim");
    const json_t *loss = json_object_get(metrics, "loss");
    if (psnr)
        text.psnr = json_is_string(psnr) ? INFINITY : json_number_value(psnr);
    if (json_is_number(ssim))
        text.ssim = json_number_value(ssim);
    if (json_is_number(loss))
        text.loss = json_number_value(loss);
    for (int i = 0; i < 4; ++i)
        text.extra[i] = post->text[i][0] ? post->text[i] : NULL;
    return ts_trainpic_compose(&look, q->w, q->h, panels, &text, out, err);
}

/* ---- recording ---- */

static ts_status record(ts_pair *q, ts_pixels *picture, ts_error *err)
{
    char name[64], path[3200];
    if (!q->video) {
        if (q->segments >= MAX_SEGMENTS)
            return ts_fail(err, TS_E_LIMIT, "the recording has %d segments", MAX_SEGMENTS);
        snprintf(name, sizeof name, "segment-%lld", (long long)q->segments);
        ts_status st = path_in(q, name, path, sizeof path)
                           ? ts_trainvideo_create(path, q->o.video, &q->video, err)
                           : ts_fail(err, TS_E_OPTION, "the path is too long");
        if (st != TS_OK)
            return st;
        q->segments++;
    }
    return ts_trainvideo_add(q->video, picture, err);
}

static ts_status write_picture(ts_pair *q, const char *name, ts_codec codec, const uint8_t *rgba,
                               ts_error *err)
{
    char path[3200];
    ts_buf file = {0};
    ts_encode_options o = {.codec = codec, .quality = 95};
    ts_pixels p = {.format = TS_PIXELS_RGBA8,
                   .width = q->w,
                   .height = q->h,
                   .plane = {rgba},
                   .stride = {(size_t)q->w * 4}};
    ts_status st = q->encoder ? TS_OK : ts_encoder_create(&q->encoder, err);
    if (st == TS_OK)
        st = ts_frame_encode(&p, &o, q->encoder, &file, err);
    if (st == TS_OK)
        st = path_in(q, name, path, sizeof path)
                 ? ts_fs_write_atomic(path, file.data, file.len, err)
                 : ts_fail(err, TS_E_OPTION, "the path is too long");
    ts_buf_finish(&file);
    return st;
}

/* All segments of the recording in one file. */
static ts_status join_segments(ts_pair *q, ts_error *err)
{
    static char names[MAX_SEGMENTS][3200];
    static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER; /* guards: names */
    const char *paths[MAX_SEGMENTS];
    char to[3200];
    size_t n = 0;
    if (q->video) {
        ts_status st = ts_trainvideo_finish(q->video, err);
        ts_trainvideo_destroy(q->video);
        q->video = NULL;
        if (st != TS_OK)
            return st;
    }
    pthread_mutex_lock(&names_lock);
    for (int64_t i = 0; i < q->segments; ++i) {
        char name[64];
        snprintf(name, sizeof name, "segment-%lld.mp4", (long long)i);
        if (path_in(q, name, names[n], sizeof names[n]) && access(names[n], R_OK) == 0) {
            paths[n] = names[n];
            ++n;
        }
    }
    ts_status st = TS_OK;
    if (n && path_in(q, "training.mp4", to, sizeof to))
        st = ts_remux_list(paths, n, to, "mp4", err);
    for (size_t i = 0; st == TS_OK && i < n; ++i)
        unlink(paths[i]);
    pthread_mutex_unlock(&names_lock);
    return st;
}

static ts_status finish_locked(ts_pair *q, ts_error *err)
{
    if (q->finished)
        return TS_OK;
    ts_status st = join_segments(q, err);
    if (st == TS_OK && q->seq && q->render)
        st = write_picture(q, "rendered.png", TS_CODEC_PNG, q->render, err);
    if (st == TS_OK && q->seq && q->render)
        st = write_picture(q, "rendered.jpg", TS_CODEC_JPEG, q->render, err);
    if (st != TS_OK)
        return st;
    q->finished = true;
    st = save(q, err);
    ts_events_emit(q->app->events, "finished", "stream", q->name,
                   json_pack("{s:I, s:I}", "step", (json_int_t)q->last_step, "frames",
                             (json_int_t)q->captured));
    return st;
}

/* A run that nobody posts to closes itself. */
static void expire_locked(ts_pair *q)
{
    ts_error err = {0};
    if (!q->finished && ts_wall_seconds() - q->touched > q->o.ttl_s &&
        finish_locked(q, &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "compare", q->name, &err);
    ts_error_clear(&err);
}

/* ---- posts ---- */

static void touch(ts_pair *q)
{
    pthread_mutex_lock(&q->pairs->pairs_lock);
    ts_stream *stream = q->stream ? ts_stream_ref(q->stream) : NULL;
    pthread_mutex_unlock(&q->pairs->pairs_lock);
    if (stream)
        ts_stream_touch(stream);
    ts_stream_unref(stream);
}

static ts_status check_step(ts_pair *q, int64_t step, ts_error *err)
{
    if (step >= q->last_step || q->o.allow_rewind)
        return TS_OK;
    return ts_fail(err, TS_E_EXISTS, "step %lld is before the last one, %lld", (long long)step,
                   (long long)q->last_step);
}

static ts_status take_metrics(ts_pair *q, const ts_pair_post *post, const ts_trainimage *render,
                              json_t *metrics, ts_error *err)
{
    bool given = json_object_get(metrics, "psnr") && json_object_get(metrics, "ssim");
    double psnr, ssim;
    (void)post;
    if (!q->truth_chw || !render->chw || (given && !q->o.verify))
        return TS_OK;
    ts_status st = measure(q, render, &psnr, &ssim, err);
    if (st != TS_OK)
        return st;
    if (!json_object_get(metrics, "psnr"))
        json_object_set_new(metrics, "psnr", ts_gs_number(psnr));
    if (!json_object_get(metrics, "ssim"))
        json_object_set_new(metrics, "ssim", ts_gs_number(ssim));
    if (q->o.verify) {
        json_object_set_new(metrics, "psnr_server", ts_gs_number(psnr));
        json_object_set_new(metrics, "ssim_server", ts_gs_number(ssim));
    }
    return TS_OK;
}

/* The picture of a post: shown, and recorded where its turn is. */
static ts_status take_picture(ts_pair *q, const ts_pair_post *post, const ts_trainimage *render,
                              const json_t *metrics, bool *captured, ts_error *err)
{
    ts_pixels *picture = NULL;
    ts_status st = set_size(q, render->width, render->height, err);
    if (st != TS_OK)
        return st;
    to_rgba(render, q->render);
    st = compose(q, post, metrics, &picture, err);
    bool again = post->step == q->last_step && !q->o.keep_duplicates;
    *captured = st == TS_OK && q->o.record && !again && q->seq % q->o.every == 0;
    if (*captured)
        st = record(q, picture, err);
    if (st != TS_OK) {
        ts_pixels_unref(picture);
        return st;
    }
    q->captured += *captured;
    pthread_mutex_lock(&q->shown_lock);
    ts_pixels *old = q->picture;
    json_t *old_metrics = q->shown_metrics;
    q->picture = picture;
    q->shown_metrics = json_deep_copy(metrics);
    q->shown_step = post->step;
    q->version++;
    pthread_mutex_unlock(&q->shown_lock);
    ts_pixels_unref(old);
    json_decref(old_metrics);
    return TS_OK;
}

static ts_status add_locked(ts_pair *q, const ts_pair_post *post, json_t **answer, ts_error *err)
{
    ts_trainimage render = {0};
    json_t *metrics = post->metrics ? json_deep_copy(post->metrics) : json_object();
    bool captured = false;
    expire_locked(q);
    ts_status st = q->finished ? ts_fail(err, TS_E_BUSY, "stream %s has finished", q->name) : TS_OK;
    if (st == TS_OK)
        st = check_step(q, post->step, err);
    if (st == TS_OK && post->truth.chw)
        st = truth_locked(q, &post->truth, err);
    if (st == TS_OK && post->render.chw)
        st = fitted(q, &post->render, &render, err);
    if (st == TS_OK)
        st = take_metrics(q, post, &render, metrics, err);
    if (st == TS_OK && render.chw)
        st = take_picture(q, post, &render, metrics, &captured, err);
    double time = post->has_time ? post->time : ts_wall_seconds() - q->begin;
    if (st == TS_OK)
        st = ts_paircsv_row(&q->csv, post->step, time, metrics, err);
    if (st == TS_OK) {
        q->last_step = post->step;
        q->touched = ts_wall_seconds();
        json_decref(q->last_metrics);
        q->last_metrics = json_incref(metrics);
        const json_t *psnr = json_object_get(metrics, "psnr");
        const json_t *ssim = json_object_get(metrics, "ssim");
        *answer =
            json_pack("{s:I, s:I, s:O?, s:O?, s:b}", "seq", (json_int_t)q->seq++, "step",
                      (json_int_t)post->step, "psnr", psnr, "ssim", ssim, "captured", captured);
        if (q->touched - q->saved > 1)
        { /* syncing the disk for every post would bound their rate */
            q->saved = q->touched;
            st = save(q, err);
        }
    }
    ts_trainimage_finish(&render);
    json_decref(metrics);
    return st;
}

ts_status ts_pair_add(ts_pair *q, const ts_pair_post *post, json_t **answer, ts_error *err)
{
    *answer = NULL;
    if (q->waiting++ >= MOST_WAITING) {
        q->waiting--;
        return ts_fail(err, TS_E_QUEUE_FULL, "%d posts wait for stream %s", MOST_WAITING, q->name);
    }
    pthread_mutex_lock(&q->pair_lock);
    ts_status st = add_locked(q, post, answer, err);
    pthread_mutex_unlock(&q->pair_lock);
    q->waiting--;
    if (st == TS_OK && post->render.chw)
        touch(q);
    return st;
}

ts_status ts_pair_truth(ts_pair *q, const ts_trainimage *image, int64_t *version, ts_error *err)
{
    pthread_mutex_lock(&q->pair_lock);
    ts_status st = q->finished ? ts_fail(err, TS_E_BUSY, "stream %s has finished", q->name)
                               : truth_locked(q, image, err);
    *version = q->truth_version;
    q->touched = ts_wall_seconds();
    pthread_mutex_unlock(&q->pair_lock);
    return st;
}

ts_status ts_pair_finish(ts_pair *q, ts_error *err)
{
    pthread_mutex_lock(&q->pair_lock);
    ts_status st = finish_locked(q, err);
    pthread_mutex_unlock(&q->pair_lock);
    return st;
}

json_t *ts_pair_json(ts_pair *q)
{
    pthread_mutex_lock(&q->pair_lock);
    expire_locked(q);
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:I, s:O?, s:o}", "stream", q->name, "state",
                  q->finished ? "finished" : "open", "step", (json_int_t)q->last_step, "posts",
                  (json_int_t)q->seq, "frames", (json_int_t)q->captured, "width", q->w, "height",
                  q->h, "ground_truth", (json_int_t)q->truth_version, "metrics", q->last_metrics,
                  "video", q->video ? ts_trainvideo_json(q->video) : json_null());
    pthread_mutex_unlock(&q->pair_lock);
    return o;
}

ts_status ts_pair_path(ts_pair *q, const char *file, char *out, size_t n, ts_error *err)
{
    pthread_mutex_lock(&q->pair_lock);
    expire_locked(q);
    pthread_mutex_unlock(&q->pair_lock);
    if (path_in(q, file, out, n) && access(out, R_OK) == 0)
        return TS_OK;
    return ts_fail(err, TS_E_NOT_FOUND, "stream %s has no file %s (yet)", q->name, file);
}

/* ---- the source ---- */

static bool pairs_claims(const json_t *source)
{
    const json_t *c = json_object_get(source, "compare");
    return !json_object_get(c, "a") && !json_object_get(c, "b");
}

/* End the current segment of the recording and write down where the run is. */
static ts_status suspend(ts_pair *q, ts_error *err)
{
    pthread_mutex_lock(&q->pair_lock);
    ts_status st = q->video ? ts_trainvideo_finish(q->video, err) : TS_OK;
    if (st == TS_OK && !q->finished)
        st = save(q, err);
    pthread_mutex_unlock(&q->pair_lock);
    return st;
}

static void pairs_close(void *state)
{
    ts_pair *q = state;
    ts_error err = {0};
    if (!q)
        return;
    pthread_mutex_lock(&q->pairs->pairs_lock);
    q->stream = NULL;
    for (ts_pair **at = &q->pairs->list; *at; at = &(*at)->next)
        if (*at == q) {
            *at = q->next;
            break;
        }
    bool stopping = q->pairs->stopping;
    pthread_mutex_unlock(&q->pairs->pairs_lock);
    /* removed or replaced: the run is over; at the server's end it goes on after the restart */
    if ((stopping ? suspend(q, &err) : ts_pair_finish(q, &err)) != TS_OK)
        ts_log_error(TS_LOG_WARN, "compare", q->name, &err);
    ts_error_clear(&err);
    ts_pair_unref(q);
}

/* A stream that is replaced opens its new source first; the run before ends here. */
static ts_status close_former(ts_pair *q, ts_error *err)
{
    ts_pair *former = NULL;
    ts_error none = {0};
    ts_status st = TS_OK;
    if (ts_pairs_find(q->pairs, q->name, &former, &none) == TS_OK)
        st = ts_pair_finish(former, err);
    ts_error_clear(&none);
    ts_pair_unref(former);
    return st;
}

static ts_status pairs_open(const ts_source_env *env, const json_t *source, void **state,
                            ts_error *err)
{
    static const char *const keys[] = {"compare", NULL};
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK && !env->app->pairs)
        st = ts_fail(err, TS_E_NOT_READY, "this server takes no pairs");
    ts_pair *q = st == TS_OK ? calloc(1, sizeof *q) : NULL;
    if (!q)
        return st == TS_OK ? ts_fail(err, TS_E_NO_MEMORY, "source") : st;
    q->refs = 1;
    q->app = env->app;
    q->pairs = env->app->pairs;
    q->touched = ts_wall_seconds();
    pthread_mutex_init(&q->pair_lock, NULL);
    pthread_mutex_init(&q->shown_lock, NULL);
    snprintf(q->name, sizeof q->name, "%s", env->name);
    st = read_options(json_object_get(source, "compare"), &q->o, err);
    if (st == TS_OK && snprintf(q->folder, sizeof q->folder, "%s/compare/%s",
                                env->app->options.data_dir, env->name) >= (int)sizeof q->folder)
        st = ts_fail(err, TS_E_OPTION, "--data-dir is too long");
    if (st == TS_OK)
        st = close_former(q, err);
    if (st == TS_OK)
        st = open_files(q, err);
    if (st != TS_OK) {
        ts_pair_unref(q);
        return st;
    }
    pthread_mutex_lock(&q->pairs->pairs_lock);
    q->stream = env->stream;
    q->next = q->pairs->list;
    q->pairs->list = q;
    pthread_mutex_unlock(&q->pairs->pairs_lock);
    *state = q;
    return TS_OK;
}

static ts_status upload(ts_pair *q, ts_queue *queue, const ts_pixels *p, ts_error *err)
{
    ts_tensor *tensor = NULL;
    ts_shape shape = TS_SHAPE(p->height, p->width, 3);
    size_t row = (size_t)p->width * 3;
    /* RGB8 rows of ts_pixels_create() are packed */
    ts_status st = ts_tensor_from_host(queue, TS_U8, &shape, p->plane[0], row * (size_t)p->height,
                                       &tensor, err);
    if (st != TS_OK)
        return st;
    ts_tensor_unref(q->tensor);
    q->tensor = tensor;
    return TS_OK;
}

static ts_status pairs_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    ts_pair *q = state;
    ts_status st = TS_OK;
    pthread_mutex_lock(&q->shown_lock);
    ts_pixels *picture = ts_pixels_ref(q->picture);
    uint64_t version = q->version;
    out->step = q->shown_step;
    out->metrics = q->shown_metrics ? json_deep_copy(q->shown_metrics) : NULL;
    pthread_mutex_unlock(&q->shown_lock);
    snprintf(out->entry.name, sizeof out->entry.name, "%s", q->name);
    if (!picture) {
        snprintf(out->missing, sizeof out->missing, "%s", q->name);
        return TS_OK;
    }
    if (version != q->shown_version || !q->tensor)
        st = upload(q, queue, picture, err);
    ts_pixels_unref(picture);
    if (st != TS_OK)
        return st;
    q->shown_version = version;
    out->entry.tensor = ts_tensor_ref(q->tensor);
    out->entry.version = version;
    out->entry.step = out->step;
    out->entry.t = out->t = ts_wall_seconds();
    out->has_step = out->has_t = true;
    out->arrived_us = ts_now_us();
    return TS_OK;
}

const ts_source_ops ts_source_pairs = {.key = "compare",
                                       .open = pairs_open,
                                       .close = pairs_close,
                                       .snapshot = pairs_snapshot,
                                       .claims = pairs_claims};
