/* What the files of a pipeline share: pipeline.c (life), pipeline_source.c, pipeline_device.c. */
#ifndef TS_SERVER_MEDIA_PIPELINE_INTERNAL_H
#define TS_SERVER_MEDIA_PIPELINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "cl/base/chan.h"
#include "cl/base/name.h"
#include "cl/base/thread.h"
#include "server/media/outputs.h"
#include "server/media/pilot.h"
#include "server/media/pipeline.h"
#include "server/media/pixel_pool.h"
#include "server/media/source.h"
#include "server/media/stages.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MAX_EVENTS = 256
};

typedef enum pipeline_state {
    STATE_CREATED,
    STATE_OPENING,
    STATE_RUNNING,
    STATE_DEGRADED,
    STATE_RECONNECTING,
    STATE_DRAINING,
    STATE_STOPPED,
    STATE_FAILED
} pipeline_state;

/* One picture on its way from the source's thread to the device's. */
typedef struct pipeline_work {
    ts_picture picture;
    bool hold;      /* no picture: repeat the last one with NO SIGNAL */
    bool reset;     /* the source was away too long: forget tracks and camera */
    int64_t out_ns; /* on the output's clock */
    double decode_ms;
} pipeline_work;

struct ts_pipeline {
    char name[TS_NAME_MAX + 1];
    ts_pipeline_host host;
    ts_stages *stages;
    ts_pixel_pool *pool;
    ts_detector *detector;

    pthread_mutex_t lock; /* guards: document … row */
    pthread_cond_t ended_cond;
    json_t *document;
    int document_rev;
    pipeline_state state;
    bool ended;
    int64_t running_since_us;
    json_t *events, *final_sinks;
    ts_error error;
    ts_source_info info;
    bool live;
    ts_outputs *outputs;
    ts_ball_state ball;
    int tracks_created;
    int bad_sinks; /* sinks that are reconnecting or failed */
    char *row;

    ts_thread *thread, *device_thread;
    ts_chan *work;
    int64_t last_out_ns; /* source's thread: newest stamp given out; INT64_MIN: none */

    atomic_bool stopping, want_reset;
    atomic_llong decoded, processed, dropped, reconnects, stalls, h2d_bytes, d2h_bytes,
        last_frame_us;
    _Atomic double zoom;
};

void ts_pipeline_set_state(ts_pipeline *p, pipeline_state to, const char *reason,
                           const char *detail);
/** FAILED, and everything winds down. */
void ts_pipeline_fail(ts_pipeline *p, const char *reason, const ts_error *err);
/** A reference to the document in force. */
json_t *ts_pipeline_document(ts_pipeline *p);
/** The source's thread: opens, reads and reconnects until the end. */
void ts_pipeline_source_main(ts_pipeline *p);
/** The device's thread. */
void ts_pipeline_device_main(void *pipeline);
void ts_pipeline_work_free(void *work);

#ifdef __cplusplus
}
#endif
#endif
