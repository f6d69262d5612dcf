/* What hub.c, variant.c, render.c and history.c share; nobody else includes this. */
#ifndef TS_SERVER_HUB_INTERNAL_H
#define TS_SERVER_HUB_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "cl/base/thread.h"
#include "cl/viz/viz.h"
#include "server/encode.h"
#include "server/history.h"
#include "server/hub.h"
#include "server/mailbox.h"
#include "server/output.h"
#include "server/stagetimes.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    IDLE_VARIANT_US = 5000000, /* without watchers, until it is freed */
    MAX_UNITS = 64,
    FPS_WINDOW = 256,
    TS_PICTURE_MAX_JOBS = 64 /* variants of one unit */
};

/* X(enumerator, reason) */
#define TS_DROP_MAP(X)                    \
    X(SUPERSEDED, "superseded")           \
    X(BUDGET, "budget")                   \
    X(SUBSCRIBER_SLOW, "subscriber_slow") \
    X(ENCODER_BUSY, "encoder_busy")       \
    X(MEMORY, "memory")                   \
    X(ERROR, "error")

typedef enum drop_reason {
#define X(name, text) DROP_##name,
    TS_DROP_MAP(X)
#undef X
    N_DROP_REASONS
} drop_reason;

typedef struct unit unit;
typedef struct variant variant;

struct ts_watch {
    ts_watch *next;
    variant *variant;
    ts_sink *sink;
    double max_fps;
    size_t viewers;
};

/* One encoding of a unit's pixels. */
struct variant {
    variant *next;
    unit *unit;
    ts_codec codec;
    int quality;
    bool delta, pixels, base; /* base: the stream's own picture, as recorded in its history */
    ts_watch *watches;
    size_t n_watches;
    ts_frame *latest;
    uint64_t latest_generation;
    int in_flight;
    int64_t idle_since_us;
    /* delta: */
    bool need_key;
    ts_pixels *before; /* the picture last sent; only one job at a time touches it */
    uint64_t before_seq;
    int64_t last_key_us;
    int since_key;
};

/* One rendering: a view at a scale in a pixel format. Freed by the render thread only. */
struct unit {
    unit *next;
    ts_stream *stream;
    json_t *patch;    /* NULL: the stream's own view */
    char *patch_text; /* "" where patch is NULL */
    double scale;     /* watcher's, without the output's */
    ts_pixel_format format;
    variant *variants;
    uint64_t rendered_generation;
    /* render thread: */
    ts_view *view;
    uint64_t view_rev, source_rev;
    bool view_valid;
    ts_viz *viz;
    int64_t last_render_us;
    ts_viz *replay_viz; /* kept pictures do not move the live one's averages */
    uint64_t rendered_version, rendered_rev;
    int width, height; /* of the last picture */
    ts_viz_output probe_output;
    /* tensors that the view mentions (hub_lock) */
    char **names;
    size_t n_names;
};

/* A source with its state, shared by the stream and whoever is using it. */
typedef struct source_box {
    atomic_int refs;
    const ts_source_ops *ops;
    void *state;
} source_box;
void source_unref(source_box *box);

typedef struct stream_counters {
    uint64_t produced, rendered, encoded, sent, dropped[N_DROP_REASONS];
    uint64_t bytes_h2d, bytes_d2h, bytes_out;
    int64_t frame_times_us[FPS_WINDOW]; /* ring of the last renders */
    int64_t last_update_us;
    double psnr_db;
    bool has_psnr;
} stream_counters;

struct ts_stream {
    atomic_int refs;
    ts_hub *hub;
    ts_stream *next;
    char name[TS_NAME_MAX + 1];
    /* hub_lock: */
    bool deleted;
    json_t *source_json, *view_json, *output_json, *extra_json;
    ts_output output;
    uint64_t config_rev, version;
    source_box *source;
    ts_mailbox box;
    uint64_t generation;          /* grows with whatever makes the picture new */
    uint64_t rendered_generation; /* of the last render pass */
    uint64_t seq;
    bool rendering, reset_range;
    int64_t touched_us;
    unit *units;
    size_t n_units;
    ts_history *history;
    ts_watch *history_watch;
    ts_sink history_sink;
    stream_counters counters;
    ts_stagetimes times;
    ts_drop_budget budget;
    ts_history *sync; /* recent tensors of a member of a group; NULL: in none */
    uint64_t sync_seq, sync_shown;
    uint64_t kept_version; /* of the tensor that the history took last; render thread */
    char error[256];       /* of the last render, "" when fine */
    ts_buf metrics_text;
    int64_t metrics_cached_us;
    /* render thread: */
    ts_snapshot snapshot;
    source_box *snapshot_source;
    uint64_t snapshot_generation;
    bool snapshot_valid;
    ts_status snapshot_status;
    char snapshot_error[256];
};

struct ts_hub {
    ts_app *app;
    pthread_mutex_t hub_lock; /* guards: everything in streams marked so, and the fields below */
    pthread_cond_t work;      /* the render thread has something to look at */
    pthread_cond_t pushed;    /* a pushed frame was taken, or a render is done */
    ts_stream *streams;       /* by name */
    size_t n_streams;
    ts_stream *removed; /* from the table; the render thread lets go of them */
    ts_render_job *jobs, **jobs_last;
    bool stopping;
    bool save_wanted;
    /* fixed after the start: */
    ts_thread *render_thread, *save_thread;
    pthread_cond_t save;
    pthread_mutex_t file_lock; /* guards: the file streams.json */
    ts_queue *queue;
    ts_encode_pool *encoders;
    ts_encoder *replay_encoder; /* of the render thread */
    ts_frame_pool *replay_frames;
    char *path;
    bool observes; /* the tensors */
};

/* ---- hub.c ---- */
ts_stream *hub_find_locked(ts_hub *hub, const char *name);
void stream_offer_locked(ts_stream *stream);
json_t *stream_json_locked(const ts_stream *stream);
/** Position in the history, -1: none. */
int64_t stream_seek_locked(const ts_stream *stream, ts_seek_by by, int64_t value);
static inline bool stream_keeps_tensors(const ts_stream *s)
{
    return s->output.history.on && s->output.history.keep == TS_KEEP_TENSORS;
}

/* ---- variant.c ---- */
/** Free everything below the stream; render thread, or nobody renders any more. */
void stream_free_units(ts_stream *stream);
void unit_free(unit *u);
void stream_remove_idle_locked(ts_stream *stream, int64_t now_us);
/** The highest max_fps that a watcher asks for, at most the output's; 0: nobody watches. */
double stream_wanted_fps(const ts_stream *stream);
bool unit_watched(const unit *u);
size_t stream_viewers(const ts_stream *stream);
/** A unit could take another picture: none of its variants has two under way. */
bool unit_ready(const unit *u);
void variant_publish_locked(variant *v, ts_frame *frame);
void stream_event_locked(ts_stream *stream, const char *event);
/** (Re)make the history's own watch, as the output demands. */
void stream_watch_history_locked(ts_stream *stream);
void stream_watch_history_end_locked(ts_stream *stream);

/* ---- sync.c ---- */
enum {
    SYNC_STEP,
    SYNC_TIME,
    SYNC_LATEST
};
/** Begin or end remembering, as the output says. */
void sync_configure_locked(ts_stream *stream);
/** A member has something new. False: the stream is in no group. */
bool sync_record_locked(ts_stream *stream, const ts_entry *entry);
/** Put what the group shows in the place of the newest; true: *entry is another, with a reference. */
bool sync_choose_locked(ts_stream *stream, ts_entry *entry);

/* ---- stream_metrics.c ---- */
void stream_forget_metrics(const ts_stream *stream);

/* ---- render.c ---- */
void render_main(void *arg);

#ifdef __cplusplus
}
#endif
#endif
