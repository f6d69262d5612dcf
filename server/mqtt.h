/*
 * Events published to an MQTT broker: the event's JSON at tensorscope/<kind>/<name>/<event>, QoS 0.
 *
 * One thread (ts-mqtt) owns the connection and reconnects after 1 to 30 s; meanwhile the newest 1024
 * events wait, older ones are dropped and counted. MQTT 3.1.1, spoken here: publishing needs four
 * packet types.
 */
#ifndef TS_SERVER_MQTT_H
#define TS_SERVER_MQTT_H

#include "server/events.h"
#include "server/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_mqtt ts_mqtt;

/**
 * Start publishing to mqtt://[user:password@]host[:port]. The broker may be away.
 * Errors: TS_E_OPTION (the URL).
 */
TS_CHECKED ts_status ts_mqtt_create(const char *url, ts_events *events, ts_metrics *metrics,
                                    ts_mqtt **out, ts_error *err);
/** NULL is fine; before the events. */
void ts_mqtt_destroy(ts_mqtt *mqtt);

#ifdef __cplusplus
}
#endif
#endif
