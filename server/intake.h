/*
 * Binary messages of clients on their way to the device: tensors into the store, frames into a
 * stream. A few threads with a queue of their own each; the messages of one client keep their order.
 *
 * Thread: any may submit; `done` is called on an intake thread.
 */
#ifndef TS_SERVER_INTAKE_H
#define TS_SERVER_INTAKE_H

#include "server/hub.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_intake ts_intake;

typedef struct ts_intake_job {
    uint64_t client; /* equal numbers keep their order */
    json_t *header;  /* owned */
    uint8_t *data;   /* owned; the whole message, or NULL */
    const uint8_t *payload;
    size_t len;
    ts_stream *stream; /* a reference, of "frame" messages; or NULL */
    void (*done)(struct ts_intake_job *job, ts_status status, const ts_error *err);
    void *arg;
    json_t *reply; /* set by the intake: what to tell the client; or NULL */
} ts_intake_job;

TS_CHECKED ts_status ts_intake_create(ts_app *app, ts_intake **out, ts_error *err);
/** Drop what is queued and stop; jobs still in hand end first. NULL is fine. */
void ts_intake_destroy(ts_intake *intake);
/** False: stopping; the job is still the caller's. */
bool ts_intake_submit(ts_intake *intake, ts_intake_job *job);
void ts_intake_job_free(ts_intake_job *job); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
