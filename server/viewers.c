#include "server/viewers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "cl/base/clock.h"
#include "server/conn.h"
#include "server/live_internal.h"

enum {
    WAIT_US = 500000
};

/* A question to the WebSocket thread; whoever comes last frees it. */
typedef struct enquiry {
    ts_ws_task task;
    ts_live *live;
    pthread_mutex_t enquiry_lock; /* guards list, answered, abandoned */
    pthread_cond_t answered_cond;
    json_t *list;
    bool answered, abandoned;
} enquiry;

static void enquiry_free(enquiry *ask)
{
    pthread_cond_destroy(&ask->answered_cond);
    pthread_mutex_destroy(&ask->enquiry_lock);
    free(ask);
}

static json_t *viewer_json(const session *s, const subscriber *sub)
{
    const subscriber_wish *wish = &sub->wish;
    json_t *body = json_pack("{s:s, s:s, s:I, s:I}", "address", s->conn->request.peer, "stream",
                             ts_stream_name(sub->stream), "sent", (json_int_t)sub->sent, "drops",
                             (json_int_t)sub->dropped_total);
    if (wish->quality)
        json_object_set_new(body, "quality", json_integer(wish->quality));
    if (wish->scale > 0)
        json_object_set_new(body, "scale", json_real(wish->scale));
    if (wish->adaptive)
        json_object_set_new(body, "level", json_integer(sub->ladder.level));
    if (sub->rtt_ms > 0)
        json_object_set_new(body, "rtt_ms", json_real(sub->rtt_ms));
    return body;
}

static void answer(ts_ws_task *task)
{
    enquiry *ask = (enquiry *)task;
    json_t *list = json_array();
    for (const session *s = ask->live->sessions; s; s = s->next)
        for (const subscriber *sub = s->subscribers; sub; sub = sub->next)
            json_array_append_new(list, viewer_json(s, sub));
    pthread_mutex_lock(&ask->enquiry_lock);
    bool abandoned = ask->abandoned;
    if (!abandoned) {
        ask->list = list;
        ask->answered = true;
        pthread_cond_signal(&ask->answered_cond);
    }
    pthread_mutex_unlock(&ask->enquiry_lock);
    if (abandoned) {
        json_decref(list);
        enquiry_free(ask);
    }
}

json_t *ts_live_viewers(ts_live *live)
{
    enquiry *ask = calloc(1, sizeof *ask);
    if (!ask)
        return NULL;
    ask->task.run = answer;
    ask->live = live;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ask->answered_cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&ask->enquiry_lock, NULL);
    if (!ts_ws_post(live->ws, &ask->task)) {
        enquiry_free(ask);
        return NULL;
    }
    int64_t until = ts_now_us() + WAIT_US;
    struct timespec deadline = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    pthread_mutex_lock(&ask->enquiry_lock);
    while (!ask->answered)
        if (pthread_cond_timedwait(&ask->answered_cond, &ask->enquiry_lock, &deadline) == ETIMEDOUT)
            break;
    json_t *list = ask->list;
    bool answered = ask->answered;
    ask->abandoned = !answered;
    pthread_mutex_unlock(&ask->enquiry_lock);
    if (answered)
        enquiry_free(ask);
    return list;
}
