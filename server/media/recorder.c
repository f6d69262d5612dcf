/* One recording: a thread that watches its stream and writes what it shows. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/events.h"
#include "server/hub.h"
#include "server/media/recorder_internal.h"

enum {
    QUEUE = 3,               /* pictures waiting for the writer */
    SAVE_EVERY_US = 1000000, /* state to disk; also how far a still picture lags behind */
    WAIT_US = 200000
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

/* Change a running recording's fields and tell the world. */
static void set_state(recorder *r, rec_state state)
{
    ts_recordings *t = r->table;
    pthread_mutex_lock(&t->lock);
    r->rec->state = state;
    r->rec->dropped = atomic_load(&r->dropped);
    json_t *o = rec_json(r->rec);
    pthread_mutex_unlock(&t->lock);
    rec_save(t, o, r->rec->id);
    json_decref(o);
    ts_events_emit(t->app->events, state == DONE ? "finished" : "state", "recording", r->rec->id,
                   json_pack("{s:s}", "state", rec_state_name(state)));
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
    rec_data_path(r->table, r->rec, &path);
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
    rec_data_path(r->table, r->rec, &path);
    uint64_t bytes = r->writer ? ts_rec_bytes(ts_buf_cstr(&path)) : 0;
    ts_buf_finish(&path);
    pthread_mutex_lock(&r->table->lock);
    r->rec->bytes = bytes;
    r->rec->dropped = atomic_load(&r->dropped);
    json_t *o = rec_json(r->rec);
    pthread_mutex_unlock(&r->table->lock);
    rec_save(r->table, o, r->rec->id);
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
    rec_data_path(t, r->rec, &path);
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

void recorder_destroy(recorder *r)
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

static ts_status read_options(const json_t *o, recorder *r, rec_wish *w, ts_error *err)
{
    static const char *const keys[] = {"format", "fps",      "quality",   "max_seconds", "name",
                                       "vfr",    "lossless", "overwrite", "bits",        NULL};
    const char *format = "mp4";
    *w = (rec_wish){.fps = 30, .bits = 8};
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

ts_status recorder_watch(recorder *r, const rec_wish *w, ts_error *err)
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

ts_status recorder_create(ts_recordings *table, const char *stream, const json_t *options,
                          recording *rec, rec_wish *wish, recorder **out, ts_error *err)
{
    recorder *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a recording");
    r->table = table;
    r->rec = rec;
    r->sink = (ts_sink){.pixels = on_pixels, .event = on_event};
    r->saved_us = ts_now_us();
    ts_status st = read_options(options, r, wish, err);
    if (st == TS_OK)
        st = ts_hub_find(table->app->hub, stream, &r->stream, err);
    if (st == TS_OK)
        st = ts_chan_create(QUEUE, TS_CHAN_REJECT, drop_item, &r->queue, err);
    if (st != TS_OK) {
        recorder_destroy(r);
        return st;
    }
    snprintf(rec->stream, sizeof rec->stream, "%s", stream);
    rec->format = r->options.format;
    rec->fps = r->options.fps;
    rec->started = ts_wall_seconds();
    *out = r;
    return TS_OK;
}

ts_status recorder_start(recorder *r, ts_error *err)
{
    return ts_thread_start("ts-rec", recorder_main, r, &r->thread, err);
}

void recorder_stop(recorder *r)
{
    atomic_store(&r->stop, true);
}
