#include "server/media/recorder.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "cl/base/name.h"
#include "cl/base/size.h"
#include "cl/base/thread.h"
#include "server/events.h"
#include "server/hub.h"

enum {
    MAX_RECORDINGS = 4096,
    MAX_RUNNING = 16,
    QUEUE = 3,               /* pictures waiting for the writer */
    SAVE_EVERY_US = 1000000, /* state to disk; also how far a still picture lags behind */
    WAIT_US = 200000
};

typedef enum rec_state {
    RECORDING,
    FINALIZING,
    DONE,
    FAILED,
    RECOVERED
} rec_state;

static const char *const state_names[] = {"recording", "finalizing", "done", "failed", "recovered"};

typedef struct recorder recorder;

/* What the table knows; a running one has a recorder. */
typedef struct recording {
    char id[TS_NAME_MAX + 1], stream[TS_NAME_MAX + 1];
    ts_rec_format format;
    rec_state state;
    double fps, started, duration;
    int width, height;
    int64_t frames, dropped;
    uint64_t bytes;
    char reason[32], error[200];
    recorder *running;
} recording;

struct ts_recordings {
    ts_app *app;
    char *folder;
    pthread_mutex_t lock; /* guards: list, every recording's fields */
    pthread_cond_t changed;
    recording **list;
    size_t n, cap;
    unsigned next;
};

typedef struct item {
    ts_pixels *pixels;
    ts_picture_info info;
    int64_t at_us;
} item;

struct recorder {
    ts_sink sink; /* first: the hub gives it back */
    ts_recordings *table;
    recording *rec;
    ts_recwriter_options options;
    int64_t max_us, start_us, saved_us, last_us;
    uint64_t last_version; /* npy: of the tensor written last */
    char tensor[TS_NAME_MAX + 1];
    bool deep; /* 16 bits */
    ts_stream *stream;
    ts_watch *watch;
    ts_chan *queue;
    ts_thread *thread;
    ts_recwriter *writer;
    ts_pixels *fitted; /* a picture of another size, scaled */
    ts_queue *device;  /* reads tensors for npy */
    _Atomic int64_t dropped;
    _Atomic bool stop;
};

/* ---- names and JSON ---- */

static void path_of(const ts_recordings *t, const recording *r, const char *suffix, ts_buf *out)
{
    ts_buf_reset(out);
    ts_buf_printf(out, "%s/%s%s", t->folder, r->id, suffix);
    (void)ts_buf_cstr(out);
}

static void data_path(const ts_recordings *t, const recording *r, ts_buf *out)
{
    char suffix[16] = ".frames"; /* no name can make this or the others meet <id>.json */
    if (!ts_rec_is_folder(r->format))
        snprintf(suffix, sizeof suffix, ".%s", ts_rec_format_name(r->format));
    path_of(t, r, suffix, out);
}

static json_t *recording_json(const recording *r)
{
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:s,s:f,s:I,s:I,s:f,s:I,s:i,s:i,s:f}", "id", r->id, "stream",
                  r->stream, "format", ts_rec_format_name(r->format), "state",
                  state_names[r->state], "fps", r->fps, "frames", (json_int_t)r->frames, "bytes",
                  (json_int_t)r->bytes, "duration", r->duration, "dropped", (json_int_t)r->dropped,
                  "width", r->width, "height", r->height, "started", r->started);
    if (r->reason[0])
        json_object_set_new(o, "reason", json_string(r->reason));
    if (r->error[0])
        json_object_set_new(o, "error", json_string(r->error));
    return o;
}

static void save(const ts_recordings *t, const json_t *object, const char *id)
{
    ts_error err = {0};
    ts_buf path = {0}, text = {0};
    ts_buf_printf(&path, "%s/%s.json", t->folder, id);
    ts_json_write(object, &text);
    if (ts_fs_write_atomic(ts_buf_cstr(&path), text.data, text.len, &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "media", "a recording's state was not saved", &err);
    ts_error_clear(&err);
    ts_buf_finish(&path);
    ts_buf_finish(&text);
}

static recording *find_locked(const ts_recordings *t, const char *id)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->list[i]->id, id))
            return t->list[i];
    return NULL;
}

static ts_status no_such(const char *id, ts_error *err)
{
    return ts_fail(err, TS_E_NOT_FOUND, "no recording '%s'", id);
}

/* Change a running recording's fields and tell the world. */
static void set_state(recorder *r, rec_state state)
{
    ts_recordings *t = r->table;
    pthread_mutex_lock(&t->lock);
    r->rec->state = state;
    r->rec->dropped = atomic_load(&r->dropped);
    json_t *o = recording_json(r->rec);
    pthread_mutex_unlock(&t->lock);
    save(t, o, r->rec->id);
    json_decref(o);
    ts_events_emit(t->app->events, state == DONE ? "finished" : "state", "recording", r->rec->id,
                   json_pack("{s:s}", "state", state_names[state]));
}

/* ---- the sink: with hub_lock held, so it only hands on ---- */

static void drop_item(void *p)
{
    item *it = p;
    ts_pixels_unref(it->pixels);
    free(it);
}

static void on_pixels(ts_sink *sink, ts_pixels *pixels, const ts_picture_info *info)
{
    recorder *r = (recorder *)sink;
    item *it = malloc(sizeof *it);
    if (!it)
        return;
    *it = (item){ts_pixels_ref(pixels), *info, ts_now_us()};
    if (!ts_chan_send(r->queue, it)) {
        atomic_fetch_add(&r->dropped, 1);
        drop_item(it);
    }
}

static void on_event(ts_sink *sink, const char *event)
{
    recorder *r = (recorder *)sink;
    if (!strcmp(event, "deleted"))
        atomic_store(&r->stop, true);
}

/* ---- writing ---- */

/* Nearest-neighbour to the recording's size: a stream may change its size under way. */
static const ts_pixels *fit(recorder *r, const ts_pixels *px)
{
    int w = r->options.width, h = r->options.height;
    if (px->width == w && px->height == h)
        return px;
    if (!r->fitted)
        r->fitted = ts_pixels_create(TS_PIXELS_RGB8, w, h);
    for (int y = 0; r->fitted && y < h; y++) {
        uint8_t *out = (uint8_t *)(uintptr_t)r->fitted->plane[0] + r->fitted->stride[0] * (size_t)y;
        const uint8_t *in = px->plane[0] + px->stride[0] * (size_t)((int64_t)y * px->height / h);
        for (int x = 0; x < w; x++)
            memcpy(out + 3 * (size_t)x, in + 3 * (size_t)((int64_t)x * px->width / w), 3);
    }
    return r->fitted;
}

static json_t *line_of(const item *it, int64_t time_us)
{
    json_t *o =
        json_pack("{s:I,s:I,s:f,s:f}", "seq", (json_int_t)it->info.seq, "step",
                  (json_int_t)it->info.step, "t", it->info.t, "time", (double)time_us * 1e-6);
    if (it->info.has_range)
        json_object_set_new(
            o, "range",
            json_pack("[o,o]", ts_json_double(it->info.lo), ts_json_double(it->info.hi)));
    return o;
}

/* npy of a tensor stream: the tensor itself, each version once. */
static ts_status add_tensor(recorder *r, json_t *line, bool *added, ts_error *err)
{
    ts_entry entry;
    *added = false;
    if (ts_store_get(r->table->app->store, r->tensor, &entry, NULL) != TS_OK) {
        json_decref(line);
        return TS_OK;
    }
    ts_status st = TS_OK;
    if (entry.version != r->last_version) {
        ts_buf file = {0};
        const ts_shape *shape = ts_tensor_shape(entry.tensor);
        size_t n = ts_tensor_nbytes(entry.tensor);
        ts_npy_header(&file, ts_dtype_npy(ts_tensor_dtype(entry.tensor)), shape->dim, shape->rank);
        st = ts_buf_reserve(&file, n) ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "no memory for npy");
        if (st == TS_OK)
            st = ts_tensor_read(r->device, entry.tensor, file.data + file.len, err);
        file.len += n;
        json_object_set_new(line, "step", json_integer(entry.step));
        json_object_set_new(line, "tensor", json_string(r->tensor));
        if (st == TS_OK)
            st = ts_recwriter_add_bytes(r->writer, file.data, file.len, json_incref(line), err);
        *added = st == TS_OK;
        r->last_version = entry.version;
        ts_buf_finish(&file);
    }
    json_decref(line);
    ts_entry_finish(&entry);
    return st;
}

static ts_status open_writer(recorder *r, const ts_pixels *px, ts_error *err)
{
    ts_buf path = {0};
    data_path(r->table, r->rec, &path);
    r->options.path = ts_buf_cstr(&path);
    r->options.width = px->width;
    r->options.height = px->height;
    ts_status st = ts_recwriter_open(&r->options, &r->writer, err);
    ts_buf_finish(&path);
    r->options.path = NULL;
    pthread_mutex_lock(&r->table->lock);
    r->rec->width = px->width;
    r->rec->height = px->height;
    pthread_mutex_unlock(&r->table->lock);
    return st;
}

static ts_status write_item(recorder *r, const item *it, ts_error *err)
{
    ts_status st = TS_OK;
    bool added = true, folder = ts_rec_is_folder(r->options.format);
    if (!r->writer) {
        st = open_writer(r, it->pixels, err);
        r->start_us = it->at_us;
    }
    if (st != TS_OK)
        return st;
    int64_t time_us = it->at_us - r->start_us;
    json_t *line = folder ? line_of(it, time_us) : NULL;
    if (r->tensor[0]) {
        st = add_tensor(r, line, &added, err);
    } else {
        const ts_pixels *px = folder ? it->pixels : fit(r, it->pixels);
        st = px ? ts_recwriter_add(r->writer, px, time_us, line, err)
                : ts_fail(err, TS_E_NO_MEMORY, "no memory for a frame");
    }
    r->last_us = time_us;
    pthread_mutex_lock(&r->table->lock);
    r->rec->frames += st == TS_OK && added;
    r->rec->duration = (double)time_us * 1e-6;
    pthread_mutex_unlock(&r->table->lock);
    return st;
}

/* True: the disk or the quota is used up. */
static bool full(const recorder *r, uint64_t bytes)
{
    struct statvfs fs;
    uint64_t most = r->table->app->options.max_recording_bytes;
    if (most)
        return bytes >= most;
    if (statvfs(r->table->folder, &fs) != 0 || !fs.f_blocks)
        return false;
    return (double)fs.f_bavail < 0.05 * (double)fs.f_blocks;
}

static void give_reason(recorder *r, const char *reason)
{
    pthread_mutex_lock(&r->table->lock);
    snprintf(r->rec->reason, sizeof r->rec->reason, "%s", reason);
    pthread_mutex_unlock(&r->table->lock);
}

/* Once a second: state on disk, quota, length. False: it is to end. */
static bool keep_going(recorder *r)
{
    int64_t now = ts_now_us();
    if (r->writer && r->max_us && now - r->start_us >= r->max_us) {
        give_reason(r, "max_seconds");
        return false;
    }
    if (now - r->saved_us < SAVE_EVERY_US)
        return !atomic_load(&r->stop);
    r->saved_us = now;
    ts_buf path = {0};
    data_path(r->table, r->rec, &path);
    uint64_t bytes = r->writer ? ts_rec_bytes(ts_buf_cstr(&path)) : 0;
    ts_buf_finish(&path);
    pthread_mutex_lock(&r->table->lock);
    r->rec->bytes = bytes;
    r->rec->dropped = atomic_load(&r->dropped);
    json_t *o = recording_json(r->rec);
    pthread_mutex_unlock(&r->table->lock);
    save(r->table, o, r->rec->id);
    json_decref(o);
    if (r->writer && full(r, bytes)) {
        give_reason(r, "quota");
        return false;
    }
    return !atomic_load(&r->stop);
}

/* On a fixed grid a picture that does not change goes on, so that its time reaches the disk. */
static ts_status repeat(recorder *r, const item *last, ts_error *err)
{
    bool grid =
        !ts_rec_is_folder(r->options.format) && r->options.format != TS_REC_WEBP && !r->options.vfr;
    int64_t time_us = ts_now_us() - r->start_us;
    if (!r->writer || !grid || !last->pixels || time_us - r->last_us < SAVE_EVERY_US / 2)
        return TS_OK;
    r->last_us = time_us;
    const ts_pixels *px = fit(r, last->pixels);
    return px ? ts_recwriter_add(r->writer, px, time_us, NULL, err) : TS_OK;
}

static ts_status pump(recorder *r, ts_error *err)
{
    item last = {0};
    ts_status st = TS_OK;
    while (st == TS_OK && keep_going(r)) {
        item *it = ts_chan_recv_timeout(r->queue, WAIT_US);
        if (it) {
            st = write_item(r, it, err);
            ts_pixels_unref(last.pixels);
            last = *it;
            free(it);
        } else {
            st = repeat(r, &last, err);
        }
    }
    /* What came before the end still belongs to it. */
    for (item *it; st == TS_OK && (it = ts_chan_recv_timeout(r->queue, 0));) {
        st = write_item(r, it, err);
        drop_item(it);
    }
    ts_pixels_unref(last.pixels);
    return st;
}

static void end_recording(recorder *r, ts_status st, ts_error *err)
{
    ts_recordings *t = r->table;
    int64_t end_us = r->writer ? ts_now_us() - r->start_us : 0;
    if (r->max_us && end_us > r->max_us)
        end_us = r->max_us;
    set_state(r, FINALIZING);
    if (r->writer && !ts_rec_is_folder(r->options.format) && end_us < r->last_us)
        end_us = r->last_us;
    if (r->writer) {
        ts_error second = {0};
        ts_status finished = ts_recwriter_finish(r->writer, end_us, st == TS_OK ? err : &second);
        st = st == TS_OK ? finished : st;
        ts_error_clear(&second);
    } else if (st == TS_OK) {
        st = ts_fail(err, TS_E_EMPTY, "the stream gave no picture");
    }
    ts_recwriter_destroy(r->writer);
    r->writer = NULL;
    ts_buf path = {0};
    data_path(t, r->rec, &path);
    uint64_t bytes = ts_rec_bytes(ts_buf_cstr(&path));
    ts_buf_finish(&path);
    pthread_mutex_lock(&t->lock);
    r->rec->bytes = bytes;
    r->rec->duration = (double)end_us * 1e-6;
    if (st != TS_OK)
        snprintf(r->rec->error, sizeof r->rec->error, "%.199s", err->text);
    pthread_mutex_unlock(&t->lock);
    if (st != TS_OK)
        ts_log_error(TS_LOG_WARN, "media", "a recording failed", err);
    set_state(r, st == TS_OK ? DONE : FAILED);
}

static void recorder_main(void *arg)
{
    recorder *r = arg;
    ts_error err = {0};
    ts_status st = pump(r, &err);
    ts_watch_close(r->watch); /* no more calls of the sink after this */
    r->watch = NULL;
    end_recording(r, st, &err);
    ts_error_clear(&err);
    pthread_mutex_lock(&r->table->lock);
    atomic_store(&r->stop, true);
    pthread_cond_broadcast(&r->table->changed);
    pthread_mutex_unlock(&r->table->lock);
}

static void recorder_destroy(recorder *r)
{
    if (!r)
        return;
    ts_thread_join(r->thread);
    ts_watch_close(r->watch);
    ts_stream_unref(r->stream);
    ts_chan_destroy(r->queue);
    ts_recwriter_destroy(r->writer);
    ts_pixels_unref(r->fitted);
    ts_queue_destroy(r->device);
    free(r);
}

/* ---- starting ---- */

typedef struct wish {
    const char *name;
    bool overwrite;
    double max_seconds, fps;
    bool has_fps;
    int64_t quality, bits;
} wish;

static ts_status read_options(const json_t *o, recorder *r, wish *w, ts_error *err)
{
    static const char *const keys[] = {"format", "fps",      "quality",   "max_seconds", "name",
                                       "vfr",    "lossless", "overwrite", "bits",        NULL};
    const char *format = "mp4";
    *w = (wish){.fps = 30, .bits = 8};
    if (!json_is_object(o))
        return ts_fail(err, TS_E_JSON, "expected a JSON object");
    ts_status st = ts_json_only(o, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "format", &format, err);
    if (st == TS_OK)
        st = ts_rec_format_parse(format, &r->options.format, err);
    if (st == TS_OK)
        st = ts_json_get_double(o, "", "fps", 0.1, 240, &w->fps, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "", "quality", 1, 100, &w->quality, err);
    if (st == TS_OK)
        st = ts_json_get_double(o, "", "max_seconds", 0.01, 1e7, &w->max_seconds, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "name", &w->name, err);
    if (st == TS_OK && w->name)
        st = ts_name_check("recording", w->name, err);
    if (st == TS_OK)
        st = ts_json_get_bool(o, "", "vfr", &r->options.vfr, err);
    if (st == TS_OK)
        st = ts_json_get_bool(o, "", "lossless", &r->options.lossless, err);
    if (st == TS_OK)
        st = ts_json_get_bool(o, "", "overwrite", &w->overwrite, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "", "bits", 8, 16, &w->bits, err);
    if (st == TS_OK && w->bits != 8 && (w->bits != 16 || r->options.format != TS_REC_PNG))
        st = ts_fail(err, TS_E_OPTION, "bits: 8, or 16 with png; got %lld", (long long)w->bits);
    w->has_fps = json_object_get(o, "fps") != NULL;
    r->options.fps = w->fps;
    r->options.quality = (int)w->quality;
    r->max_us = (int64_t)(w->max_seconds * 1e6);
    r->deep = w->bits == 16;
    return st;
}

static ts_status watch_stream(recorder *r, const wish *w, ts_error *err)
{
    bool folder = ts_rec_is_folder(r->options.format);
    ts_want want = {.scale = 1,
                    .exact = true,
                    .pixels = true,
                    .format = r->deep ? TS_PIXELS_RGBA16 : TS_PIXELS_RGB8,
                    .max_fps = !folder || w->has_fps ? w->fps : 0};
    json_t *shown = ts_stream_json(r->stream);
    const char *tensor =
        json_string_value(json_object_get(json_object_get(shown, "source"), "tensor"));
    if (r->options.format == TS_REC_NPY && tensor) {
        snprintf(r->tensor, sizeof r->tensor, "%s", tensor); /* its pictures only say when */
    }
    json_decref(shown);
    ts_status st = TS_OK;
    if (r->tensor[0])
        st = ts_queue_create(r->table->app->device, "rec", &r->device, err);
    if (st == TS_OK)
        st = ts_stream_watch(r->stream, &want, &r->sink, &r->watch, err);
    return st;
}

static void make_id(ts_recordings *t, char out[TS_NAME_MAX + 1])
{
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    do
        snprintf(out, TS_NAME_MAX + 1, "r%04d%02d%02d-%02d%02d%02d-%u", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ++t->next);
    while (find_locked(t, out));
}

static void remove_files(const ts_recordings *t, const recording *r)
{
    ts_buf path = {0};
    ts_error err = {0};
    data_path(t, r, &path);
    if (ts_fs_remove(ts_buf_cstr(&path), &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "media", "a recording was not removed", &err);
    path_of(t, r, ".json", &path);
    (void)unlink(ts_buf_cstr(&path));
    ts_error_clear(&err);
    ts_buf_finish(&path);
}

static void forget_locked(ts_recordings *t, const recording *r)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i] == r) {
            memmove(t->list + i, t->list + i + 1, (--t->n - i) * sizeof *t->list);
            return;
        }
}

static ts_status add_locked(ts_recordings *t, recording *r, ts_error *err)
{
    if (t->n >= MAX_RECORDINGS)
        return ts_fail(err, TS_E_LIMIT, "%d recordings are there already; delete some",
                       MAX_RECORDINGS);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 16;
        recording **p = ts_realloc_array(t->list, cap, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for the recordings");
        t->list = p;
        t->cap = cap;
    }
    t->list[t->n++] = r;
    return TS_OK;
}

static ts_status check_room_locked(const ts_recordings *t, ts_error *err)
{
    int running = 0;
    for (size_t i = 0; i < t->n; i++)
        running += t->list[i]->state <= FINALIZING;
    return running < MAX_RUNNING
               ? TS_OK
               : ts_fail(err, TS_E_LIMIT, "%d recordings are running, which is the limit", running);
}

/* Take the name. An old recording that is overwritten leaves the table; its files are *old's. */
static ts_status enter(ts_recordings *t, recording *rec, const wish *w, recording **old,
                       ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    ts_status st = check_room_locked(t, err);
    if (w->name)
        snprintf(rec->id, sizeof rec->id, "%s", w->name);
    else
        make_id(t, rec->id);
    recording *same = find_locked(t, rec->id);
    if (st == TS_OK && same && !w->overwrite)
        st = ts_fail(err, TS_E_EXISTS, "a recording '%s' exists; \"overwrite\":true replaces it",
                     rec->id);
    if (st == TS_OK && same && same->state <= FINALIZING)
        st = ts_fail(err, TS_E_BUSY, "the recording '%s' is still running", rec->id);
    if (st == TS_OK && same) {
        forget_locked(t, same);
        *old = same;
    }
    if (st == TS_OK)
        st = add_locked(t, rec, err);
    pthread_mutex_unlock(&t->lock);
    return st;
}

static void recording_free(recording *r)
{
    if (!r)
        return;
    recorder_destroy(r->running);
    free(r);
}

static void take_back(ts_recordings *t, recording *rec)
{
    pthread_mutex_lock(&t->lock);
    forget_locked(t, rec);
    pthread_mutex_unlock(&t->lock);
    remove_files(t, rec);
}

static ts_status prepare(ts_recordings *t, const char *stream, const json_t *options, recorder *r,
                         recording *rec, wish *w, ts_error *err)
{
    r->table = t;
    r->rec = rec;
    r->sink = (ts_sink){.pixels = on_pixels, .event = on_event};
    r->saved_us = ts_now_us();
    ts_status st = read_options(options, r, w, err);
    if (st == TS_OK)
        st = ts_hub_find(t->app->hub, stream, &r->stream, err);
    if (st == TS_OK)
        st = ts_chan_create(QUEUE, TS_CHAN_REJECT, drop_item, &r->queue, err);
    snprintf(rec->stream, sizeof rec->stream, "%s", stream);
    rec->format = r->options.format;
    rec->fps = r->options.fps;
    rec->started = ts_wall_seconds();
    return st;
}

ts_status ts_recordings_start(ts_recordings *t, const char *stream, const json_t *options,
                              json_t **shown, ts_error *err)
{
    recorder *r = calloc(1, sizeof *r);
    recording *rec = calloc(1, sizeof *rec), *old = NULL;
    wish w;
    bool entered = false;
    if (!r || !rec) {
        free(r);
        free(rec);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a recording");
    }
    ts_status st = prepare(t, stream, options, r, rec, &w, err);
    if (st == TS_OK) {
        st = enter(t, rec, &w, &old, err);
        entered = st == TS_OK;
    }
    if (old) {
        remove_files(t, old);
        recording_free(old);
    }
    if (st == TS_OK)
        st = watch_stream(r, &w, err);
    if (st == TS_OK) {
        *shown = recording_json(rec);
        save(t, *shown, rec->id);
        st = ts_thread_start("ts-rec", recorder_main, r, &r->thread, err);
    }
    if (st != TS_OK) {
        if (entered)
            take_back(t, rec);
        recorder_destroy(r);
        free(rec);
        return st;
    }
    pthread_mutex_lock(&t->lock);
    rec->running = r;
    pthread_mutex_unlock(&t->lock);
    ts_events_emit(t->app->events, "created", "recording", rec->id, NULL);
    return TS_OK;
}

/* ---- the table's other calls ---- */

ts_status ts_recordings_stop(ts_recordings *t, const char *id, json_t **shown, ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    recording *rec = find_locked(t, id);
    if (rec && rec->running && rec->state == RECORDING)
        atomic_store(&rec->running->stop, true);
    while (rec && rec->state <= FINALIZING) {
        pthread_cond_wait(&t->changed, &t->lock);
        rec = find_locked(t, id); /* may have been removed meanwhile */
    }
    *shown = rec ? recording_json(rec) : NULL;
    pthread_mutex_unlock(&t->lock);
    return rec ? TS_OK : no_such(id, err);
}

ts_status ts_recordings_get(ts_recordings *t, const char *id, json_t **shown, ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    const recording *rec = find_locked(t, id);
    *shown = rec ? recording_json(rec) : NULL;
    pthread_mutex_unlock(&t->lock);
    return *shown ? TS_OK : no_such(id, err);
}

json_t *ts_recordings_list(ts_recordings *t, const char *prefix)
{
    json_t *list = json_array();
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n; i++)
        if (!prefix || !strncmp(t->list[i]->id, prefix, strlen(prefix)))
            json_array_append_new(list, recording_json(t->list[i]));
    pthread_mutex_unlock(&t->lock);
    return list;
}

ts_status ts_recordings_remove(ts_recordings *t, const char *id, ts_error *err)
{
    json_t *shown = NULL;
    ts_status st = ts_recordings_stop(t, id, &shown, err);
    json_decref(shown);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&t->lock);
    recording *rec = find_locked(t, id);
    if (rec)
        forget_locked(t, rec);
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (!rec)
        return no_such(id, err);
    remove_files(t, rec);
    recording_free(rec);
    ts_events_emit(t->app->events, "deleted", "recording", id, NULL);
    return TS_OK;
}

ts_status ts_recordings_file(ts_recordings *t, const char *id, ts_buf *path, const char **mime,
                             bool *temporary, ts_error *err)
{
    recording copy;
    pthread_mutex_lock(&t->lock);
    const recording *rec = find_locked(t, id);
    if (rec)
        copy = *rec;
    unsigned n = ++t->next;
    pthread_mutex_unlock(&t->lock);
    if (!rec)
        return no_such(id, err);
    *mime = ts_rec_mime(copy.format);
    *temporary = ts_rec_is_folder(copy.format);
    data_path(t, &copy, path);
    if (!ts_rec_bytes(ts_buf_cstr(path)))
        return ts_fail(err, TS_E_NOT_READY, "the recording '%s' has no picture yet", id);
    if (!*temporary)
        return TS_OK;
    ts_buf tar = {0};
    ts_buf_printf(&tar, "%s/tmp/%s-%u.tar", t->app->options.data_dir, id, n);
    ts_status st = ts_rec_tar(ts_buf_cstr(path), ts_buf_cstr(&tar), err);
    if (st != TS_OK)
        (void)unlink(ts_buf_cstr(&tar));
    ts_buf_finish(path);
    *path = tar;
    return st;
}

/* ---- after a restart ---- */

static ts_status read_saved(const ts_recordings *t, const char *file, recording *r, ts_error *err)
{
    enum {
        MAX_STATE_FILE = 64 * 1024
    };
    ts_buf path = {0}, text = {0};
    json_t *o = NULL;
    const char *id = NULL, *stream = "", *format = "", *reason = "", *error = "";
    int64_t frames = 0, bytes = 0, dropped = 0, width = 0, height = 0;
    int state = FAILED;
    static const char *const states[] = {"recording", "finalizing", "done",
                                         "failed",    "recovered",  NULL};
    ts_buf_printf(&path, "%s/%s", t->folder, file);
    ts_status st = ts_fs_read(ts_buf_cstr(&path), MAX_STATE_FILE, &text, err);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &o, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "id", &id, err);
    if (st == TS_OK)
        st = ts_name_check("recording", id ? id : "", err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "stream", &stream, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "format", &format, err);
    if (st == TS_OK)
        st = ts_rec_format_parse(format, &r->format, err);
    if (st == TS_OK)
        st = ts_json_get_enum(o, "", "state", states, &state, err);
    if (st == TS_OK &&
        (ts_json_get_int(o, "", "frames", 0, INT64_MAX, &frames, err) != TS_OK ||
         ts_json_get_int(o, "", "bytes", 0, INT64_MAX, &bytes, err) != TS_OK ||
         ts_json_get_int(o, "", "dropped", 0, INT64_MAX, &dropped, err) != TS_OK ||
         ts_json_get_int(o, "", "width", 0, 65535, &width, err) != TS_OK ||
         ts_json_get_int(o, "", "height", 0, 65535, &height, err) != TS_OK ||
         ts_json_get_double(o, "", "fps", 0, 1000, &r->fps, err) != TS_OK ||
         ts_json_get_double(o, "", "duration", 0, 1e12, &r->duration, err) != TS_OK ||
         ts_json_get_double(o, "", "started", 0, 1e12, &r->started, err) != TS_OK ||
         ts_json_get_string(o, "", "reason", &reason, err) != TS_OK ||
         ts_json_get_string(o, "", "error", &error, err) != TS_OK))
        st = err ? err->status : TS_E_FILE;
    if (st == TS_OK) {
        snprintf(r->id, sizeof r->id, "%s", id);
        snprintf(r->stream, sizeof r->stream, "%s", stream);
        snprintf(r->reason, sizeof r->reason, "%s", reason);
        snprintf(r->error, sizeof r->error, "%s", error);
        r->state = (rec_state)state;
        r->frames = frames;
        r->bytes = (uint64_t)bytes;
        r->dropped = dropped;
        r->width = (int)width;
        r->height = (int)height;
    }
    json_decref(o);
    ts_buf_finish(&path);
    ts_buf_finish(&text);
    return st;
}

static void recover(ts_recordings *t, recording *r)
{
    ts_error err = {0};
    ts_buf path = {0};
    data_path(t, r, &path);
    ts_status st = ts_rec_recover(r->format, ts_buf_cstr(&path), &err);
    r->state = st == TS_OK ? RECOVERED : FAILED;
    r->bytes = ts_rec_bytes(ts_buf_cstr(&path));
    if (st != TS_OK)
        snprintf(r->error, sizeof r->error, "%.199s", err.text);
    json_t *o = recording_json(r);
    save(t, o, r->id);
    json_decref(o);
    ts_log(TS_LOG_INFO, "media", "recording=%s state=%s", r->id, state_names[r->state]);
    ts_error_clear(&err);
    ts_buf_finish(&path);
}

static ts_status load_saved(ts_recordings *t, ts_error *err)
{
    DIR *d = opendir(t->folder);
    struct dirent *e;
    ts_status st = d ? TS_OK : ts_fail(err, TS_E_INTERNAL, "%s cannot be read", t->folder);
    while (st == TS_OK && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        ts_error own = {0};
        if (n < 6 || strcmp(e->d_name + n - 5, ".json") != 0 || e->d_name[0] == '.')
            continue;
        recording *r = calloc(1, sizeof *r);
        if (!r)
            st = ts_fail(err, TS_E_NO_MEMORY, "no memory for the recordings");
        else if (read_saved(t, e->d_name, r, &own) != TS_OK) {
            ts_log_error(TS_LOG_WARN, "media", "a recording's state is unreadable", &own);
            free(r);
        } else {
            if (r->state <= FINALIZING)
                recover(t, r);
            st = add_locked(t, r, err);
            if (st != TS_OK)
                free(r);
        }
        ts_error_clear(&own);
    }
    if (d)
        closedir(d);
    return st;
}

ts_status ts_recordings_create(ts_app *app, ts_recordings **out, ts_error *err)
{
    ts_recordings *t = calloc(1, sizeof *t);
    ts_buf folder = {0};
    ts_buf_printf(&folder, "%s/recordings", app->options.data_dir);
    if (!t || folder.failed) {
        free(t);
        ts_buf_finish(&folder);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for the recordings");
    }
    t->app = app;
    (void)ts_buf_cstr(&folder);
    t->folder = (char *)folder.data;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    ts_status st = ts_fs_mkdirs(t->folder, err);
    if (st == TS_OK)
        st = load_saved(t, err);
    if (st != TS_OK) {
        ts_recordings_destroy(t);
        return st;
    }
    *out = t;
    return TS_OK;
}

void ts_recordings_destroy(ts_recordings *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i]->running)
            atomic_store(&t->list[i]->running->stop, true);
    for (size_t i = 0; i < t->n; i++)
        recording_free(t->list[i]); /* joins */
    free(t->list);
    free(t->folder);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
