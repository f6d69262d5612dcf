/*
 * Watches over the devices: one that hangs longer than --device-timeout counts as lost; one that is
 * lost is opened again and the models are loaded anew. The third failure in a row ends the process with
 * status 4, so that a supervisor starts it afresh: a driver in that state rarely comes back in place.
 *
 * Meanwhile requests that need the device get 503, /readyz too; what lay on it is 410 until replaced.
 */
#ifndef TS_SERVER_DEVWATCH_H
#define TS_SERVER_DEVWATCH_H

#include "server/app.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_devwatch ts_devwatch;

TS_CHECKED ts_status ts_devwatch_create(ts_app *app, ts_devwatch **out, ts_error *err);
/** Stop watching; before anything that it uses goes. NULL is fine. */
void ts_devwatch_destroy(ts_devwatch *watch);

#ifdef __cplusplus
}
#endif
#endif
