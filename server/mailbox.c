#include "server/mailbox.h"

bool ts_mailbox_offer(ts_mailbox *box, int64_t now_us)
{
    bool superseded = box->pending;
    box->pending = true;
    box->offered_us = now_us;
    return superseded;
}

int64_t ts_mailbox_due(const ts_mailbox *box, double max_fps)
{
    if (!box->pending || box->busy)
        return INT64_MAX;
    if (!box->started)
        return box->offered_us;
    int64_t paced = box->last_start_us + (int64_t)(1e6 / max_fps);
    return paced > box->offered_us ? paced : box->offered_us;
}

void ts_mailbox_start(ts_mailbox *box, int64_t now_us)
{
    box->pending = false;
    box->busy = true;
    box->started = true;
    box->last_start_us = now_us;
}

void ts_mailbox_done(ts_mailbox *box)
{
    box->busy = false;
}

static void record(ts_drop_budget *b, bool dropped)
{
    uint64_t *word = &b->dropped_bits[b->at / 64], bit = (uint64_t)1 << (b->at % 64);
    if (*word & bit)
        b->n_dropped--;
    *word &= ~bit;
    if (dropped) {
        *word |= bit;
        b->n_dropped++;
    }
    b->at = (b->at + 1) % TS_DROP_WINDOW;
}

bool ts_drop_budget_offer(ts_drop_budget *b, double max_frame_drop, bool busy)
{
    if (!busy) {
        record(b, false);
        return true;
    }
    bool oldest_dropped = b->dropped_bits[b->at / 64] >> (b->at % 64) & 1;
    int after = b->n_dropped - (oldest_dropped ? 1 : 0) + 1;
    bool may_drop = after <= max_frame_drop * TS_DROP_WINDOW + 1e-9;
    record(b, may_drop);
    return may_drop;
}
