/* What the table of recordings and the threads that write them share; nobody else includes this. */
#ifndef TS_SERVER_MEDIA_RECORDER_INTERNAL_H
#define TS_SERVER_MEDIA_RECORDER_INTERNAL_H

#include <pthread.h>

#include "cl/base/name.h"
#include "server/media/recorder.h"

typedef enum rec_state {
    RECORDING,
    FINALIZING,
    DONE,
    FAILED,
    RECOVERED
} rec_state;

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

/* What a request asks for beside what the writer's options hold. */
typedef struct rec_wish {
    const char *name;
    bool overwrite;
    double max_seconds, fps;
    bool has_fps;
    int64_t quality, bits;
} rec_wish;

/* The table's part. */
const char *rec_state_name(rec_state state);
json_t *rec_json(const recording *rec);
void rec_path(const ts_recordings *table, const recording *rec, const char *suffix, ts_buf *out);
void rec_data_path(const ts_recordings *table, const recording *rec, ts_buf *out);
void rec_save(const ts_recordings *table, const json_t *object, const char *id);

/* The thread's part: read options and find the stream; begin; stop soon; join and free. */
TS_CHECKED ts_status recorder_create(ts_recordings *table, const char *stream,
                                     const json_t *options, recording *rec, rec_wish *wish,
                                     recorder **out, ts_error *err);
TS_CHECKED ts_status recorder_watch(recorder *r, const rec_wish *wish, ts_error *err);
TS_CHECKED ts_status recorder_start(recorder *r, ts_error *err);
void recorder_stop(recorder *r);
void recorder_destroy(recorder *r); /* NULL is fine */

#endif
