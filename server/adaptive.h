/*
 * Adaptive quality: the ladder of levels and the controller that moves one subscriber on it, every
 * 500 ms, from what its link and the server showed. No clocks, no sockets.
 *
 * Thread: one at a time.
 */
#ifndef TS_SERVER_ADAPTIVE_H
#define TS_SERVER_ADAPTIVE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_ADAPTIVE_LEVELS = 8,
    TS_ADAPTIVE_TICK_US = 500000
};

typedef struct ts_level {
    double scale;
    int quality;
    double fps_fraction;
} ts_level;

extern const ts_level ts_ladder[TS_ADAPTIVE_LEVELS];

typedef struct ts_adaptive_input {
    double queued_bytes; /* in the socket now */
    double sent_bytes;   /* in this tick */
    bool saturated;      /* the queue was never empty in this tick */
    double rtt_ms;       /* of a ping or an ack; NaN: none measured */
    int offered, dropped;
    bool server_busy;
    double demand_bps; /* at the present level */
} ts_adaptive_input;

typedef struct ts_adaptive {
    int level, min_level, max_level;
    double max_frame_drop; /* 1 is taken as 0.1 */
    const char *reason;    /* of the last change, static */
    /* private: */
    double link_bps, rtt_ms, rtt_min_ms;
    bool link_known, rtt_known, probing;
    int unsaturated, good, hold, since_up;
} ts_adaptive;

void ts_adaptive_init(ts_adaptive *a, int level, int min_level, int max_level,
                      double max_frame_drop);
/** One tick. True: the level changed. */
bool ts_adaptive_tick(ts_adaptive *a, const ts_adaptive_input *in);

#ifdef __cplusplus
}
#endif
#endif
