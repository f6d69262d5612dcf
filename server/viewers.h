/* Who watches: the WebSocket subscribers as GET /v1/server lists them. */
#ifndef TS_SERVER_VIEWERS_H
#define TS_SERVER_VIEWERS_H

#include "server/live.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One object per subscription: address, stream, quality, scale, level (adaptive ones), sent, drops,
 * rtt_ms. Owner: caller. Asks the WebSocket thread and waits half a second at most; NULL where it
 * does not answer (it is stopping).
 */
json_t *ts_live_viewers(ts_live *live);

#ifdef __cplusplus
}
#endif
#endif
