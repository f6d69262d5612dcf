/*
 * The composition root: what one server is made of, and how it starts and stops.
 *
 * app.c creates the parts in order and destroys them in reverse; each owner adds its line there.
 * A pointer is NULL where its part is not (an edge has no device). Handlers and parts read these
 * fields; nobody writes them after the start.
 *
 * Thread: fields are fixed once ts_app_start() returned; the parts say their own rules.
 */
#ifndef TS_SERVER_APP_H
#define TS_SERVER_APP_H

#include <stdbool.h>

#include "cl/device/device.h"
#include "cl/tensor/store.h"
#include "cl/tensor/upload.h"
#include "server/options.h"
#include "server/router.h"
#include "server/runs.h"
#include "server/takeover.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_app_state ts_app_state;
typedef struct ts_http ts_http;
typedef struct ts_auth ts_auth;
typedef struct ts_limits ts_limits;
typedef struct ts_metrics ts_metrics;
typedef struct ts_events ts_events;
typedef struct ts_devwatch ts_devwatch;
typedef struct ts_hub ts_hub;
typedef struct ts_live ts_live;
typedef struct ts_ws ts_ws;
typedef struct ts_encoder ts_encoder;
typedef struct ts_models ts_models;
typedef struct ts_infer_stats ts_infer_stats;
typedef struct ts_clips ts_clips;
typedef struct ts_fits ts_fits;
typedef struct ts_pairs ts_pairs;
typedef struct ts_pipelines ts_pipelines;
typedef struct ts_recordings ts_recordings;
typedef struct ts_webhooks ts_webhooks;
typedef struct ts_figures ts_figures;
typedef struct ts_mqtt ts_mqtt;
typedef struct ts_trace ts_trace;
typedef struct ts_cluster ts_cluster;
typedef struct ts_demo_thread ts_demo_thread;

/* The tag is declared in router.h. */
struct ts_app {
    ts_options options;
    const ts_router *router;
    int64_t started_us;
    ts_app_state *state; /* ts_app_ready(), ts_app_draining() */

    ts_device **devices; /* n_devices; devices[0] == device */
    size_t n_devices;
    ts_device *device; /* the default one; NULL on an edge */
    ts_store *store;
    ts_uploader *uploader; /* of `device` */
    ts_runs *runs;
    ts_devwatch *devwatch;

    ts_metrics *metrics;
    ts_limits *limits;
    ts_auth *auth;
    ts_events *events;
    ts_webhooks *webhooks;
    ts_figures *figures;
    ts_mqtt *mqtt;   /* with --mqtt */
    ts_trace *trace; /* with --trace */
    ts_http *http;
    ts_takeover_fn takeover; /* set by the WebSocket side; NULL: upgrades are refused */

    ts_hub *hub;
    ts_live *live;
    ts_ws *ws; /* of `live` */
    ts_encoder *encoder;
    ts_models *models;
    ts_infer_stats *infer_stats;
    ts_clips *clips;
    ts_fits *fits;
    ts_pairs *pairs; /* compare streams */
    ts_pipelines *pipelines;
    ts_recordings *recordings;
    struct ts_sandbox *sandbox; /* with --sandbox */
    ts_cluster *cluster;
    ts_demo_thread *demo;
};

/**
 * Build everything, load state, and listen; prints the "listening" lines when ready.
 * Owner: ts_app_drain, then ts_app_stop. Takes the options' memory in every case.
 * Errors: TS_E_NOT_FOUND and TS_E_DEVICE (no usable device), TS_E_OPTION, else a run-time one.
 */
TS_CHECKED ts_status ts_app_start(ts_options *options, const ts_router *router, ts_app **out,
                                  ts_error *err);
/**
 * Not ready any more, stop accepting, let running requests end (--drain-timeout at most). False:
 * some still run, and nothing may be freed.
 */
bool ts_app_drain(ts_app *app);
/** Free everything, after ts_app_drain(). */
void ts_app_stop(ts_app *app);
/** True when everything asked for at the start is there and no shutdown is in progress. Any thread. */
bool ts_app_ready(const ts_app *app);
bool ts_app_draining(const ts_app *app);
/** Memory of this process that is in use. */
uint64_t ts_app_resident_bytes(void);
/**
 * SIGHUP: reread tokens and certificates, take the log levels of `fresh` (NULL: keep them), and log
 * what else changed there and needs a restart. What is wrong is logged and not taken.
 */
void ts_app_reload(ts_app *app, const ts_options *fresh);

#ifdef __cplusplus
}
#endif
#endif
