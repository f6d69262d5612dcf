/*
 * `serve --demo`: three live streams from computations that run while the server does, so that the
 * dashboard shows something at once. They advance twenty times a second while somebody watches, once
 * a second otherwise.
 */
#ifndef TS_SERVER_DEMO_H
#define TS_SERVER_DEMO_H

#include "server/app.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Streams demo.reaction, demo.wave, demo.weights and their tensors. Errors: of the device. */
TS_CHECKED ts_status ts_demo_thread_start(ts_app *app, ts_demo_thread **out, ts_error *err);
void ts_demo_thread_stop(ts_demo_thread *demo); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
