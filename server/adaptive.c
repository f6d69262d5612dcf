#include "server/adaptive.h"

#include <math.h>
#include <string.h>

enum {
    HOLD_MIN = 6,
    HOLD_MAX = 48,
    FAILED_WITHIN = 4, /* ticks of a step up */
    HELD_AFTER = 20,
    FORGET_LINK_AFTER = 20
};

const ts_level ts_ladder[TS_ADAPTIVE_LEVELS] = {
    {1, 90, 1},      {1, 80, 1},     {1, 65, 1},      {1, 50, 0.75},
    {0.75, 50, 0.5}, {0.5, 50, 0.5}, {0.5, 35, 0.25}, {0.25, 30, 0.25},
};

void ts_adaptive_init(ts_adaptive *a, int level, int min_level, int max_level,
                      double max_frame_drop)
{
    memset(a, 0, sizeof *a);
    a->level = level;
    a->min_level = min_level;
    a->max_level = max_level;
    a->max_frame_drop = max_frame_drop >= 1 ? 0.1 : max_frame_drop;
    a->reason = "init";
    a->hold = HOLD_MIN;
}

static void estimate(ts_adaptive *a, const ts_adaptive_input *in)
{
    double bps = in->sent_bytes * 8 / 0.5;
    if (in->saturated) {
        a->link_bps = a->link_known ? a->link_bps + 0.3 * (bps - a->link_bps) : bps;
        a->link_known = true;
        a->unsaturated = 0;
    } else {
        if (a->link_known && bps > a->link_bps)
            a->link_bps = bps;
        if (++a->unsaturated >= FORGET_LINK_AFTER)
            a->link_known = false;
    }
    if (isnan(in->rtt_ms))
        return;
    a->rtt_ms = a->rtt_known ? a->rtt_ms + 0.2 * (in->rtt_ms - a->rtt_ms) : in->rtt_ms;
    if (!a->rtt_known || in->rtt_ms < a->rtt_min_ms)
        a->rtt_min_ms = in->rtt_ms;
    a->rtt_known = true;
}

static double queue_delay_s(const ts_adaptive *a, const ts_adaptive_input *in)
{
    if (in->queued_bytes <= 0)
        return 0;
    if (!a->link_known || a->link_bps <= 0)
        return in->saturated ? 0.3 : 0;
    return in->queued_bytes * 8 / a->link_bps;
}

/* How many levels down, and why. */
static int down_steps(const ts_adaptive *a, const ts_adaptive_input *in, double delay_s,
                      const char **why)
{
    *why = "queue>1s";
    if (delay_s > 1)
        return 2;
    *why = "queue>250ms";
    if (delay_s > 0.25)
        return 1;
    *why = "rtt";
    if (a->rtt_known && a->rtt_ms > 3 * a->rtt_min_ms + 100)
        return 1;
    *why = "drops";
    if (in->offered > 0 && (double)in->dropped / in->offered > a->max_frame_drop)
        return 1;
    *why = "server";
    return in->server_busy ? 1 : 0;
}

static bool step_down(ts_adaptive *a, int steps, const char *why)
{
    a->good = 0;
    if (a->probing && a->since_up <= FAILED_WITHIN)
        a->hold = a->hold * 2 < HOLD_MAX ? a->hold * 2 : HOLD_MAX;
    int level = a->level + steps < a->max_level ? a->level + steps : a->max_level;
    if (level == a->level)
        return false;
    a->level = level;
    a->reason = why;
    return true;
}

static bool rules(ts_adaptive *a, const ts_adaptive_input *in)
{
    const char *why;
    double delay = queue_delay_s(a, in);
    int steps = down_steps(a, in, delay, &why);
    if (steps)
        return step_down(a, steps, why);
    if (delay >= 0.05 || in->dropped > 0) {
        a->good = 0;
        return false;
    }
    if (++a->good < a->hold || a->level <= a->min_level)
        return false;
    if (a->link_known && 1.3 * in->demand_bps >= 0.8 * a->link_bps)
        return false;
    a->level--;
    a->good = 0;
    a->since_up = 0;
    a->probing = true;
    a->reason = "probe-up";
    return true;
}

bool ts_adaptive_tick(ts_adaptive *a, const ts_adaptive_input *in)
{
    estimate(a, in);
    a->since_up++;
    bool changed = rules(a, in);
    if (a->probing && a->since_up >= HELD_AFTER) {
        a->hold = HOLD_MIN;
        a->probing = false;
    }
    return changed;
}
