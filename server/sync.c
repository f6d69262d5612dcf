/*
 * Groups of streams that show the same step (or time): a faster run waits for the slowest.
 *
 * Every member remembers its recent tensors. What is shown is the newest that all have: the target is
 * the smallest of the members' newest steps, and each shows its newest at or before it.
 * All under hub_lock.
 */
#include <string.h>

#include "server/hub_internal.h"

enum {
    SYNC_ITEMS = 600 /* a faster run may be ahead by so many */
};

static bool in_group(const ts_stream *s, const char *group)
{
    return s->output.sync_group[0] && s->output.sync_by != SYNC_LATEST && s->sync &&
           !strcmp(s->output.sync_group, group);
}

void sync_configure_locked(ts_stream *s)
{
    bool on = s->output.sync_group[0] && s->output.sync_by != SYNC_LATEST;
    if (on && !s->sync && ts_history_create(&s->sync, NULL) == TS_OK)
        ts_history_configure(s->sync, SYNC_ITEMS, 0, 1, false);
    if (on || !s->sync)
        return;
    ts_history_destroy(s->sync);
    s->sync = NULL;
    s->sync_shown = 0;
}

/* By time steps are compared in microseconds, so that one search serves both. */
static int64_t position(const ts_stream *s, const ts_history_item *item)
{
    return s->output.sync_by == SYNC_TIME ? (int64_t)(item->t * 1e6) : item->step;
}

static bool find_target(const ts_hub *hub, const char *group, int64_t *target)
{
    bool any = false;
    for (const ts_stream *s = hub->streams; s; s = s->next) {
        if (!in_group(s, group) || !ts_history_count(s->sync))
            continue;
        int64_t newest = INT64_MIN;
        for (size_t i = 0; i < ts_history_count(s->sync); i++) {
            int64_t at = position(s, ts_history_at(s->sync, i));
            newest = at > newest ? at : newest;
        }
        if (!any || newest < *target)
            *target = newest;
        any = true;
    }
    return any;
}

static const ts_history_item *find_item(const ts_stream *s, int64_t target)
{
    const ts_history_item *best = NULL;
    for (size_t i = 0; i < ts_history_count(s->sync); i++) {
        const ts_history_item *item = ts_history_at(s->sync, i);
        if (position(s, item) <= target && (!best || position(s, item) >= position(s, best)))
            best = item;
    }
    return best;
}

/* Every member whose picture is not the group's any more is new. */
static void tell_group(ts_hub *hub, const char *group)
{
    int64_t target;
    if (!find_target(hub, group, &target))
        return;
    for (ts_stream *s = hub->streams; s; s = s->next) {
        if (!in_group(s, group))
            continue;
        const ts_history_item *item = find_item(s, target);
        if (item && item->seq != s->sync_shown)
            stream_offer_locked(s);
    }
}

bool sync_record_locked(ts_stream *s, const ts_entry *entry)
{
    if (!s->sync)
        return false;
    char group[TS_NAME_MAX + 1];
    memcpy(group, s->output.sync_group, sizeof group);
    ts_history_add_tensor(s->sync, ++s->sync_seq, entry);
    tell_group(s->hub, group);
    return true;
}

bool sync_choose_locked(ts_stream *s, ts_entry *entry)
{
    int64_t target;
    if (!s->sync)
        return false;
    if (!ts_history_count(s->sync) && entry->tensor)
        ts_history_add_tensor(s->sync, ++s->sync_seq, entry);
    if (!find_target(s->hub, s->output.sync_group, &target))
        return false;
    const ts_history_item *item = find_item(s, target);
    if (!item)
        return false;
    s->sync_shown = item->seq;
    if (item->entry.tensor == entry->tensor)
        return false;
    *entry = item->entry;
    ts_tensor_ref(entry->tensor);
    return true;
}
