/*
 * The server's own figures over time, for the dashboard's System page: a sample each five seconds kept
 * for an hour, and one a minute for a day.
 */
#ifndef TS_SERVER_FIGURES_H
#define TS_SERVER_FIGURES_H

#include "server/app.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_figures ts_figures;

TS_CHECKED ts_status ts_figures_create(ts_app *app, ts_figures **out, ts_error *err);
void ts_figures_destroy(ts_figures *figures); /* NULL is fine */
/** Called often; takes a sample when one is due. Thread: one. */
void ts_figures_tick(ts_figures *figures);
/** The newest sample as an object; empty before there is one. Thread: any. */
json_t *ts_figures_now(ts_figures *figures);
/** The samples of the last `window_s` seconds, oldest first. Thread: any. */
json_t *ts_figures_samples(ts_figures *figures, int64_t window_s);
/** Copy the streams' counters into the metrics (at a scrape). */
void ts_figures_collect_streams(ts_app *app);

#ifdef __cplusplus
}
#endif
#endif
