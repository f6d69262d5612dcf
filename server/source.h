/*
 * Sources: where a stream's pictures come from. A kind of source is a table of functions, and a line
 * in server/sources.def; the key of the JSON object says the kind ({"tensor":"w"} is `tensor`).
 *
 * A source that computes on its own threads calls ts_stream_touch() when it has something new; one
 * that follows tensors says so by `depends`; one that follows the clock by `due`. The render thread
 * then calls `snapshot`, only while somebody watches.
 *
 * Thread: `open`, `compose` and `close` any; `snapshot`, `due` and `command` the render thread of the
 * stream's device; `depends`, `depends_stream` and `revision` any, without blocking or locking; `push`
 * any.
 */
#ifndef TS_SERVER_SOURCE_H
#define TS_SERVER_SOURCE_H

#include "cl/tensor/store.h"
#include "cl/viz/pixels.h"
#include "server/app.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_stream ts_stream;

/** What a source shows now. Zero-initialise; release with ts_snapshot_finish(). */
typedef struct ts_snapshot {
    ts_entry entry;    /* entry.tensor NULL: the composed view names all it needs */
    ts_pixels *pixels; /* a finished picture instead of a tensor; NULL else */
    bool has_step, has_t;
    int64_t step;
    double t;                      /* seconds since the epoch */
    int64_t arrived_us;            /* monotonic; 0: when the stream was touched */
    json_t *metrics;               /* into the frame header's "metrics"; or NULL */
    char missing[TS_NAME_MAX + 1]; /* what does not exist yet: its name is shown on a grey card */
} ts_snapshot;
void ts_snapshot_finish(ts_snapshot *snapshot);

typedef struct ts_source_env {
    ts_app *app;
    ts_stream *stream; /* outlives the source */
    const char *name;  /* the stream's */
} ts_source_env;

/** What ops->push takes: a tensor on the device with its step and time. */
typedef struct ts_pushed {
    ts_tensor *tensor; /* the source takes its own reference */
    bool has_step, has_t;
    int64_t step;
    double t;
} ts_pushed;

typedef struct ts_source_ops {
    const char *key;
    /** Check the object and make the state. Errors: TS_E_OPTION naming the key. */
    ts_status (*open)(const ts_source_env *env, const json_t *source, void **state, ts_error *err);
    void (*close)(void *state); /* NULL state is fine */
    /** Whether a change of this tensor makes the source new. NULL: it follows no tensor. */
    bool (*depends)(void *state, const char *tensor);
    /** The same for another stream's news. NULL: it follows no stream. */
    bool (*depends_stream)(void *state, const char *stream);
    /**
     * The view object that is really rendered for a viewer's (folded) one: panels, compare. NULL: the
     * viewer's own. `*out` is a new reference.
     */
    ts_status (*compose)(void *state, const json_t *view, json_t **out, ts_error *err);
    /** Grows whenever compose() would give something else; NULL: never. */
    uint64_t (*revision)(void *state);
    /**
     * When the clock makes it new: now_us or earlier means now; INT64_MAX: not. Called with hub_lock
     * held, so it only looks. NULL: the clock does not matter.
     */
    int64_t (*due)(void *state, int64_t now_us);
    ts_status (*snapshot)(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err);
    /** Take a pushed frame, and set its step and t where it had none. NULL: takes no frames. */
    ts_status (*push)(void *state, ts_pushed *frame, ts_error *err);
    /** A client's message of another kind ("latent", "gaze", "camera"); NULL or TS_E_NOT_FOUND: not
        known here. `payload` are the octets behind a binary message's header. */
    ts_status (*command)(void *state, const char *type, const json_t *message, const void *payload,
                         size_t len, json_t **reply, ts_error *err);
    /** Where several kinds share a key: whether this object is this kind's. NULL: every one is. */
    bool (*claims)(const json_t *source);
} ts_source_ops;

/** The kind of a source object. Errors: TS_E_OPTION (not an object, no known key). */
TS_CHECKED ts_status ts_source_find(const json_t *source, const ts_source_ops **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
