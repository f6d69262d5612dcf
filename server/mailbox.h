/*
 * Pacing and dropping rules between a producer and a renderer, without threads or clocks: callers
 * pass the time.
 *
 * Thread: one at a time.
 */
#ifndef TS_SERVER_MAILBOX_H
#define TS_SERVER_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One slot, latest wins. A render starts at max(offer, renderer free, last start + 1/max_fps).
 * Zero-initialised is empty.
 */
typedef struct ts_mailbox {
    bool pending, busy, started;
    int64_t offered_us;    /* of what is pending */
    int64_t last_start_us; /* valid if `started` */
} ts_mailbox;

/** Something new. True: it replaces what was pending, which is dropped (superseded). */
bool ts_mailbox_offer(ts_mailbox *box, int64_t now_us);
/** When the next render may start; INT64_MAX while the renderer is busy or nothing is pending. */
int64_t ts_mailbox_due(const ts_mailbox *box, double max_fps);
/** A render starts: takes what is pending. */
void ts_mailbox_start(ts_mailbox *box, int64_t now_us);
/** The render is done, or has failed. */
void ts_mailbox_done(ts_mailbox *box);

/** Drops among the last 100 offers. Zero-initialised is an empty history. */
typedef struct ts_drop_budget {
    uint64_t dropped_bits[2]; /* ring of the last 100 offers */
    int at, n_dropped;
} ts_drop_budget;

enum {
    TS_DROP_WINDOW = 100
};

/**
 * An offer: `busy` where the slot is taken. False: the caller must wait (back-pressure), because one
 * more drop would exceed max_frame_drop (0 … 1); it does not count as a drop then.
 */
bool ts_drop_budget_offer(ts_drop_budget *budget, double max_frame_drop, bool busy);

#ifdef __cplusplus
}
#endif
#endif
