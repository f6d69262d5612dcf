/*
 * The metrics of metrics.def, and their Prometheus text (GET /metrics).
 *
 * Label values are given in the table's order, separated by commas: ts_metrics_add(m,
 * TS_METRIC_http_requests_total, "200,/livez", 1). Thread: any; costs one short lock.
 */
#ifndef TS_SERVER_METRICS_H
#define TS_SERVER_METRICS_H

#include "cl/base/buf.h"
#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_metrics ts_metrics;

typedef enum ts_metric {
#define METRIC(kind, name, labels, help) TS_METRIC_##name,
#include "server/metrics.def"
#undef METRIC
    TS_METRIC_COUNT
} ts_metric;

TS_CHECKED ts_status ts_metrics_create(ts_metrics **out, ts_error *err);
void ts_metrics_destroy(ts_metrics *metrics); /* NULL is fine */

/** Add to a counter (or gauge). NULL metrics, as in unit tests, does nothing. */
void ts_metrics_add(ts_metrics *metrics, ts_metric metric, const char *labels, double delta);
/** Set a gauge, or a counter that is kept elsewhere. */
void ts_metrics_set(ts_metrics *metrics, ts_metric metric, const char *labels, double value);
/** Take one observation, in seconds, into a histogram. */
void ts_metrics_observe(ts_metrics *metrics, ts_metric metric, const char *labels, double seconds);
/** Forget one series (a deleted stream). */
void ts_metrics_forget(ts_metrics *metrics, ts_metric metric, const char *labels);
/** Forget all series of a metric. */
void ts_metrics_clear(ts_metrics *metrics, ts_metric metric);
/** Visit the series of a metric (a histogram: its sums), with the lock held. */
void ts_metrics_each(ts_metrics *metrics, ts_metric metric,
                     void (*visit)(void *arg, const char *labels, double value), void *arg);
/** A function that sets gauges just before each scrape; at most 16. */
void ts_metrics_on_scrape(ts_metrics *metrics, void (*collect)(void *arg), void *arg);
/** Current value of a series; 0 where there is none. */
double ts_metrics_value(ts_metrics *metrics, ts_metric metric, const char *labels);
/** Append the exposition text. */
void ts_metrics_write(ts_metrics *metrics, ts_buf *out);

#ifdef __cplusplus
}
#endif
#endif
