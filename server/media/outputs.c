#include "server/media/outputs.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/thread.h"
#include "server/media/pipeline_doc.h"
#include "server/media/source.h"
#include "server/media/vmux.h"

enum {
    PICTURES = 4,
    PACKETS = 64,
    MAX_SINKS = 16
};

typedef enum sink_state {
    SINK_IDLE,
    SINK_OPENING,
    SINK_RUNNING,
    SINK_RECONNECTING,
    SINK_DONE,
    SINK_FAILED
} sink_state;
static const char *const STATES[] = {"IDLE",         "OPENING", "RUNNING",
                                     "RECONNECTING", "DONE",    "FAILED"};

typedef struct encoding encoding;

typedef struct sink {
    ts_outputs *owner;
    size_t index;
    const json_t *config; /* borrowed from owner->sinks */
    const char *kind;
    bool network, required, fragmented;
    char url[PATH_MAX], part[PATH_MAX + 8], container[16];
    encoding *encoding; /* NULL: served elsewhere (ws, mjpeg) or null */
    ts_chan *packets;
    ts_thread *thread;
    ts_vmux *mux;
    bool skipping; /* the encoder's thread: drop until a key frame */
    _Atomic int state;
    atomic_llong n_packets, bytes, dropped, reconnects;
} sink;

typedef struct item {
    ts_pixels *picture;
    int64_t pts_ns;
} item;

struct encoding {
    ts_outputs *owner;
    ts_venc_options options;
    ts_venc *venc;
    ts_chan *pictures;
    ts_thread *thread;
    bool drawn, constant_rate;
    double fps;
    atomic_bool want_key;
    int64_t last_pts, next_tick; /* encoder's thread */
    ts_pixels *last;
    atomic_llong frames, duplicated, dropped;
    _Atomic double encode_ms;
    char preset[24], codec[16], encoder[32];
    sink *sinks[MAX_SINKS];
    size_t n_sinks;
};

struct ts_outputs {
    ts_outputs_options options;
    json_t *sinks;
    sink sink[MAX_SINKS];
    size_t n_sinks;
    encoding encodings[MAX_SINKS];
    size_t n_encodings;
    atomic_bool failed, abort;
};

static void set_state(sink *s, sink_state state, const char *detail)
{
    int before = atomic_exchange(&s->state, (int)state);
    const ts_outputs_options *o = &s->owner->options;
    if (before != (int)state && o->event)
        o->event(o->event_arg, s->index, STATES[before], STATES[state], detail);
}

/* ---- sinks ---- */

static bool sink_interrupted(void *arg)
{
    return atomic_load(&((sink *)arg)->owner->abort);
}

static ts_status open_mux(sink *s, ts_error *err)
{
    char segment_s[16], list[16], names[PATH_MAX + 32];
    const char *hls[] = {"hls_time",
                         segment_s,
                         "hls_list_size",
                         list,
                         "hls_flags",
                         "delete_segments+temp_file",
                         "hls_segment_filename",
                         names,
                         NULL};
    snprintf(segment_s, sizeof segment_s, "%g",
             json_number_value(json_object_get(s->config, "segment_s")));
    snprintf(list, sizeof list, "%d",
             (int)json_number_value(json_object_get(s->config, "list_size")));
    bool is_hls = !strcmp(s->kind, "hls");
    if (is_hls) {
        const char *slash = strrchr(s->url, '/');
        snprintf(names, sizeof names, "%.*s/segment_%%05d.ts", (int)(slash - s->url), s->url);
    }
    ts_vmux_options o = {.url = s->part[0] ? s->part : s->url,
                         .container = s->container,
                         .fragmented = s->fragmented,
                         .options = is_hls ? hls : NULL,
                         .interrupted = sink_interrupted,
                         .interrupt_arg = s};
    return ts_vmux_open(&o, s->encoding->venc, &s->mux, err);
}

static void close_mux(sink *s)
{
    ts_vmux_destroy(s->mux);
    s->mux = NULL;
}

static void free_packet(void *arg)
{
    AVPacket *packet = arg;
    av_packet_free(&packet);
}

/* Throw away what comes in while waiting; false when the channel was closed. */
static bool wait_dropping(sink *s, int64_t wait_us)
{
    int64_t until = ts_now_us() + wait_us;
    for (int64_t left = wait_us; left > 0; left = until - ts_now_us()) {
        AVPacket *packet = ts_chan_recv_timeout(s->packets, left);
        if (packet) {
            atomic_fetch_add(&s->dropped, 1);
            av_packet_free(&packet);
        } else if (ts_chan_closed(s->packets)) {
            return false;
        }
        if (atomic_load(&s->owner->abort))
            return false;
    }
    return true;
}

/* Open, and for network sinks try again with back-off. False: give up (closed or failed). */
static bool connect_sink(sink *s, uint32_t *seed)
{
    const ts_outputs_options *o = &s->owner->options;
    for (int attempt = 0;; attempt++) {
        ts_error err = {0};
        set_state(s, SINK_OPENING, "");
        if (open_mux(s, &err) == TS_OK) {
            atomic_store(&s->encoding->want_key, true);
            set_state(s, SINK_RUNNING, "");
            return true;
        }
        if (!s->network) {
            set_state(s, SINK_FAILED, err.text);
            if (s->required)
                atomic_store(&s->owner->failed, true);
            ts_error_clear(&err);
            return false;
        }
        set_state(s, SINK_RECONNECTING, err.text);
        ts_error_clear(&err);
        *seed = *seed * 1664525u + 1013904223u;
        double jitter = 0.8 + 0.4 * (double)(*seed >> 8) / 16777216.0;
        double ms = (double)o->backoff_initial_ms * pow(2, attempt > 15 ? attempt - 15 : 0);
        ms = fmin(ms, (double)o->backoff_max_ms) * jitter;
        if (!wait_dropping(s, (int64_t)(ms * 1000)))
            return false;
        atomic_fetch_add(&s->reconnects, 1);
    }
}

static void finish_sink(sink *s)
{
    ts_error err = {0};
    if (!s->mux)
        return;
    ts_status st = ts_vmux_finish(s->mux, &err);
    close_mux(s);
    if (st == TS_OK && s->part[0] && rename(s->part, s->url) != 0)
        st = ts_fail(&err, TS_E_INTERNAL, "rename %s", s->part);
    if (st != TS_OK && !s->network && s->required)
        atomic_store(&s->owner->failed, true);
    set_state(s, st == TS_OK || s->network ? SINK_DONE : SINK_FAILED, err.text);
    ts_error_clear(&err);
}

static void sink_main(void *arg)
{
    sink *s = arg;
    uint32_t seed = (uint32_t)ts_now_us() | 1;
    bool waiting_for_key = true;
    if (!connect_sink(s, &seed)) {
        while (wait_dropping(s, 1000000))
            ;
        return;
    }
    AVPacket *packet;
    while ((packet = ts_chan_recv(s->packets)) != NULL) {
        bool key = packet->flags & AV_PKT_FLAG_KEY;
        if (waiting_for_key && !key) {
            atomic_fetch_add(&s->dropped, 1);
            av_packet_free(&packet);
            continue;
        }
        waiting_for_key = false;
        ts_error err = {0};
        ts_status st = ts_vmux_write(s->mux, packet, &err);
        if (st == TS_OK) {
            atomic_fetch_add(&s->n_packets, 1);
            atomic_fetch_add(&s->bytes, packet->size);
        }
        av_packet_free(&packet);
        if (st == TS_OK)
            continue;
        close_mux(s);
        waiting_for_key = true;
        set_state(s, s->network ? SINK_RECONNECTING : SINK_FAILED, err.text);
        ts_error_clear(&err);
        bool back = s->network && connect_sink(s, &seed);
        if (!back) {
            if (!s->network && s->required)
                atomic_store(&s->owner->failed, true);
            while (wait_dropping(s, 1000000))
                ;
            return;
        }
    }
    finish_sink(s);
}

/* ---- encodings ---- */

static ts_status to_sinks(void *arg, AVPacket *packet, ts_error *err)
{
    encoding *e = arg;
    bool key = packet->flags & AV_PKT_FLAG_KEY;
    for (size_t i = 0; i < e->n_sinks; i++) {
        sink *s = e->sinks[i];
        if (s->network && key && ts_chan_depth(s->packets) < PACKETS / 2)
            s->skipping = false;
        AVPacket *copy = s->skipping ? NULL : av_packet_clone(packet);
        if (copy && ts_chan_send(s->packets, copy))
            continue;
        av_packet_free(&copy);
        s->skipping = s->network;
        atomic_fetch_add(&s->dropped, 1);
    }
    (void)err;
    return TS_OK;
}

static void encode_at(encoding *e, ts_pixels *picture, int64_t pts)
{
    ts_error err = {0};
    int64_t start = ts_now_us();
    if (e->last_pts != INT64_MIN && pts <= e->last_pts)
        pts = e->last_pts + 1;
    e->last_pts = pts;
    bool key = atomic_exchange(&e->want_key, false);
    ts_status st = ts_venc_encode(e->venc, picture, pts, key, to_sinks, e, &err);
    if (st != TS_OK)
        ts_error_clear(&err);
    if (e->owner->options.encode_delay_ms)
        ts_sleep_us(e->owner->options.encode_delay_ms * 1000);
    atomic_fetch_add(&e->frames, 1);
    atomic_store(&e->encode_ms, (double)(ts_now_us() - start) / 1000);
}

/* Onto the grid of a constant rate: gaps repeat the last picture, crowds lose one. */
static void encode_on_grid(encoding *e, const item *it)
{
    double position = (double)it->pts_ns * 1e-9 * e->fps;
    int64_t tick = (int64_t)floor(position + 0.5);
    if (e->next_tick == INT64_MIN)
        e->next_tick = tick;
    while (e->next_tick < tick && e->last) {
        encode_at(e, e->last, e->next_tick++);
        atomic_fetch_add(&e->duplicated, 1);
    }
    if (tick < e->next_tick) {
        atomic_fetch_add(&e->dropped, 1);
        return;
    }
    encode_at(e, it->picture, e->next_tick++);
    ts_pixels_unref(e->last);
    e->last = ts_pixels_ref(it->picture);
}

static void encoding_main(void *arg)
{
    encoding *e = arg;
    item *it;
    while ((it = ts_chan_recv(e->pictures)) != NULL) {
        if (e->constant_rate)
            encode_on_grid(e, it);
        else
            encode_at(e, it->picture, it->pts_ns * 9 / 100000);
        ts_pixels_unref(it->picture);
        free(it);
    }
    ts_error err = {0};
    if (ts_venc_flush(e->venc, to_sinks, e, &err) != TS_OK)
        ts_error_clear(&err);
    ts_pixels_unref(e->last);
    e->last = NULL;
    for (size_t i = 0; i < e->n_sinks; i++)
        ts_chan_close(e->sinks[i]->packets);
}

/* ---- set-up ---- */

static const char *container_of(const char *kind, const char *path)
{
    if (!strcmp(kind, "rtmp") || !strcmp(kind, "rtmps"))
        return "flv";
    if (!strcmp(kind, "rtsp"))
        return "rtsp";
    if (!strcmp(kind, "hls"))
        return "hls";
    const char *dot = path ? strrchr(path, '.') : NULL;
    if (dot && !strcmp(dot, ".mkv"))
        return "matroska";
    if (dot && !strcmp(dot, ".ts"))
        return "mpegts";
    return "mp4";
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static ts_status configure_sink(sink *s, const char *directory, ts_error *err)
{
    const char *path = text_of(s->config, "path"), *dir = text_of(s->config, "dir");
    s->kind = text_of(s->config, "kind");
    s->required = json_is_true(json_object_get(s->config, "required"));
    s->fragmented = json_is_true(json_object_get(s->config, "fragmented"));
    s->network = !strcmp(s->kind, "rtmp") || !strcmp(s->kind, "rtmps") || !strcmp(s->kind, "rtsp");
    snprintf(s->container, sizeof s->container, "%s", container_of(s->kind, path));
    if (s->network) {
        snprintf(s->url, sizeof s->url, "%s", text_of(s->config, "url"));
        return TS_OK;
    }
    const char *name = !strcmp(s->kind, "hls") ? dir : path;
    bool relative = directory && *name != '/';
    snprintf(s->url, sizeof s->url, "%s%s%s%s", relative ? directory : "", relative ? "/" : "",
             name, !strcmp(s->kind, "hls") ? "/stream.m3u8" : "");
    if (!s->fragmented && strcmp(s->kind, "hls"))
        snprintf(s->part, sizeof s->part, "%s.part", s->url);
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", s->url);
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return TS_OK;
    *slash = 0;
    return ts_fs_mkdirs(parent, err);
}

static void wanted_encoding(const ts_outputs *o, const sink *s, encoding *e)
{
    const json_t *c = s->config;
    double fps = json_number_value(json_object_get(c, "fps"));
    bool hls = !strcmp(s->kind, "hls");
    memset(e, 0, sizeof *e);
    e->drawn = json_is_true(json_object_get(c, "drawn"));
    e->constant_rate = hls || fps > 0;
    e->fps = fps > 0 ? fps : o->options.fps;
    snprintf(e->codec, sizeof e->codec, "%s", text_of(c, "codec"));
    snprintf(e->preset, sizeof e->preset, "%s", text_of(c, "preset"));
    snprintf(e->encoder, sizeof e->encoder, "%s", text_of(c, "encoder"));
    ts_venc_options *v = &e->options;
    v->width = o->options.width;
    v->height = o->options.height;
    v->fps_num = (int)lround(e->fps * 1000);
    v->fps_den = 1000;
    v->vfr = !e->constant_rate;
    v->bitrate = ts_pipeline_bitrate(json_object_get(c, "bitrate"));
    v->gop_s = json_number_value(json_object_get(c, "gop_s"));
    if (hls)
        v->gop_s = fmin(v->gop_s, json_number_value(json_object_get(c, "segment_s")));
    v->zero_latency = !strcmp(text_of(c, "latency"), "zerolatency");
    v->global_header = ts_vmux_global_header(s->container);
    v->threads = 2;
}

static bool same_encoding(const encoding *a, const encoding *b)
{
    const ts_venc_options *x = &a->options, *y = &b->options;
    return a->drawn == b->drawn && a->constant_rate == b->constant_rate && a->fps == b->fps &&
           !strcmp(a->codec, b->codec) && !strcmp(a->preset, b->preset) &&
           !strcmp(a->encoder, b->encoder) && x->bitrate == y->bitrate && x->gop_s == y->gop_s &&
           x->zero_latency == y->zero_latency && x->global_header == y->global_header;
}

static void free_item(void *arg)
{
    item *it = arg;
    ts_pixels_unref(it->picture);
    free(it);
}

static ts_status join_encoding(ts_outputs *o, sink *s, ts_error *err)
{
    encoding wanted;
    wanted_encoding(o, s, &wanted);
    for (size_t i = 0; i < o->n_encodings && !s->encoding; i++)
        if (same_encoding(&o->encodings[i], &wanted))
            s->encoding = &o->encodings[i];
    if (!s->encoding) {
        encoding *e = &o->encodings[o->n_encodings];
        *e = wanted;
        e->owner = o;
        e->last_pts = e->next_tick = INT64_MIN;
        e->options.codec = e->codec;
        e->options.preset = e->preset;
        e->options.encoder = e->encoder;
        ts_status st = ts_venc_open(&e->options, &e->venc, err);
        if (st == TS_OK)
            st = ts_chan_create(PICTURES, TS_CHAN_BLOCK, free_item, &e->pictures, err);
        if (st != TS_OK) {
            ts_venc_close(e->venc);
            return st;
        }
        o->n_encodings++;
        s->encoding = e;
    }
    s->encoding->sinks[s->encoding->n_sinks++] = s;
    return ts_chan_create(PACKETS, s->network ? TS_CHAN_REJECT : TS_CHAN_BLOCK, free_packet,
                          &s->packets, err);
}

static ts_status add_sink(ts_outputs *o, size_t index, const json_t *config, ts_error *err)
{
    sink *s = &o->sink[o->n_sinks++];
    s->owner = o;
    s->index = index;
    s->config = config;
    const char *kind = s->kind = text_of(config, "kind");
    if (!strcmp(kind, "ws") || !strcmp(kind, "mjpeg") || !strcmp(kind, "null")) {
        atomic_store(&s->state, SINK_RUNNING);
        return TS_OK;
    }
    ts_status st = configure_sink(s, o->options.directory, err);
    return st == TS_OK ? join_encoding(o, s, err) : st;
}

static ts_status start_threads(ts_outputs *o, ts_error *err)
{
    ts_status st = TS_OK;
    char name[16];
    for (size_t i = 0; i < o->n_sinks && st == TS_OK; i++) {
        snprintf(name, sizeof name, "ts-mux%zu", i);
        if (o->sink[i].encoding)
            st = ts_thread_start(name, sink_main, &o->sink[i], &o->sink[i].thread, err);
    }
    for (size_t i = 0; i < o->n_encodings && st == TS_OK; i++) {
        snprintf(name, sizeof name, "ts-venc%zu", i);
        st = ts_thread_start(name, encoding_main, &o->encodings[i], &o->encodings[i].thread, err);
    }
    return st;
}

ts_status ts_outputs_open(const ts_outputs_options *options, ts_outputs **out, ts_error *err)
{
    ts_outputs *o = calloc(1, sizeof *o);
    if (!o)
        return ts_fail(err, TS_E_NO_MEMORY, "outputs");
    o->options = *options;
    o->sinks = json_deep_copy(options->sinks);
    ts_status st = TS_OK;
    size_t i;
    json_t *config;
    json_array_foreach(o->sinks, i, config)
    {
        if (st == TS_OK && i < MAX_SINKS)
            st = add_sink(o, i, config, err);
    }
    if (st == TS_OK)
        st = start_threads(o, err);
    if (st != TS_OK) {
        ts_outputs_finish(o, true);
        ts_outputs_destroy(o);
        return st;
    }
    *out = o;
    return TS_OK;
}

bool ts_outputs_wants(const ts_outputs *o, bool drawn)
{
    for (size_t i = 0; i < o->n_encodings; i++)
        if (o->encodings[i].drawn == drawn)
            return true;
    return false;
}

void ts_outputs_offer(ts_outputs *o, ts_pixels *picture, bool drawn, int64_t pts_ns)
{
    for (size_t i = 0; i < o->n_encodings; i++) {
        encoding *e = &o->encodings[i];
        if (e->drawn != drawn)
            continue;
        item *it = malloc(sizeof *it);
        if (!it)
            continue;
        *it = (item){ts_pixels_ref(picture), pts_ns};
        if (!ts_chan_send(e->pictures, it))
            free_item(it);
    }
}

void ts_outputs_keyframe(ts_outputs *o)
{
    for (size_t i = 0; i < o->n_encodings; i++)
        atomic_store(&o->encodings[i].want_key, true);
}

void ts_outputs_finish(ts_outputs *o, bool abort)
{
    if (abort)
        atomic_store(&o->abort, true);
    for (size_t i = 0; i < o->n_encodings; i++) {
        encoding *e = &o->encodings[i];
        if (e->pictures)
            ts_chan_close(e->pictures);
    }
    for (size_t i = 0; i < o->n_encodings; i++) {
        encoding *e = &o->encodings[i];
        if (!e->thread)
            for (size_t k = 0; k < e->n_sinks; k++)
                if (e->sinks[k]->packets)
                    ts_chan_close(e->sinks[k]->packets);
        ts_thread_join(e->thread);
        e->thread = NULL;
    }
    for (size_t i = 0; i < o->n_sinks; i++) {
        ts_thread_join(o->sink[i].thread);
        o->sink[i].thread = NULL;
    }
}

void ts_outputs_abort(ts_outputs *o)
{
    atomic_store(&o->abort, true);
}

void ts_outputs_destroy(ts_outputs *o)
{
    if (!o)
        return;
    ts_outputs_finish(o, true);
    for (size_t i = 0; i < o->n_sinks; i++) {
        close_mux(&o->sink[i]);
        ts_chan_destroy(o->sink[i].packets);
    }
    for (size_t i = 0; i < o->n_encodings; i++) {
        ts_chan_destroy(o->encodings[i].pictures);
        ts_venc_close(o->encodings[i].venc);
    }
    json_decref(o->sinks);
    free(o);
}

bool ts_outputs_failed(const ts_outputs *o)
{
    return atomic_load(&((ts_outputs *)o)->failed);
}

double ts_outputs_encode_ms(ts_outputs *o)
{
    double ms = 0;
    for (size_t i = 0; i < o->n_encodings; i++)
        ms = fmax(ms, atomic_load(&o->encodings[i].encode_ms));
    return ms;
}

json_t *ts_outputs_json(ts_outputs *o)
{
    json_t *list = json_array();
    for (size_t i = 0; i < o->n_sinks; i++) {
        sink *s = &o->sink[i];
        char masked[1024];
        ts_source_mask_url(s->url, masked, sizeof masked);
        json_t *row =
            json_pack("{s:s, s:s}", "kind", s->kind, "state", STATES[atomic_load(&s->state)]);
        if (s->network)
            json_object_set_new(row, "url", json_string(masked));
        else if (s->encoding)
            json_object_set(row, !strcmp(s->kind, "hls") ? "dir" : "path",
                            json_object_get(s->config, !strcmp(s->kind, "hls") ? "dir" : "path"));
        if (s->encoding) {
            encoding *e = s->encoding;
            json_object_set_new(row, "encoder", json_string(ts_venc_name(e->venc)));
            json_object_set_new(row, "frames", json_integer(atomic_load(&e->frames)));
            json_object_set_new(row, "frames_duplicated",
                                json_integer(atomic_load(&e->duplicated)));
            json_object_set_new(row, "packets", json_integer(atomic_load(&s->n_packets)));
            json_object_set_new(row, "packets_dropped", json_integer(atomic_load(&s->dropped)));
            json_object_set_new(row, "bytes", json_integer(atomic_load(&s->bytes)));
            json_object_set_new(row, "reconnects", json_integer(atomic_load(&s->reconnects)));
            json_object_set_new(row, "queue", json_integer((json_int_t)ts_chan_depth(s->packets)));
        }
        json_array_append_new(list, row);
    }
    return list;
}
