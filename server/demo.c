#include "server/demo.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "cl/models/demo/demo.h"
#include "server/hub.h"

enum {
    WATCHED_US = 50000,
    IDLE_US = 1000000,
    LOOK_US = 500000
};

struct ts_demo_thread {
    ts_app *app;
    ts_queue *queue;
    ts_demo *demo;
    ts_thread *thread;
    atomic_bool stopping;
    bool watched[3];
    int64_t looked_us;
};

/* Compute one step of a demo into a tensor. */
typedef ts_status (*step_fn)(ts_demo_thread *d, ts_tensor **out, ts_error *err);

static ts_status step_reaction(ts_demo_thread *d, ts_tensor **out, ts_error *err)
{
    return ts_demo_reaction(d->demo, d->queue, out, err);
}

static ts_status step_wave(ts_demo_thread *d, ts_tensor **out, ts_error *err)
{
    return ts_demo_wave(d->demo, d->queue, out, err);
}

static ts_status step_weights(ts_demo_thread *d, ts_tensor **out, ts_error *err)
{
    float loss;
    return ts_demo_train(d->demo, d->queue, out, &loss, err);
}

static const struct {
    const char *name, *view;
    step_fn step;
} DEMOS[3] = {
    {"demo.reaction",
     "{\"colormap\":\"magma\",\"normalize\":{\"mode\":\"fixed\",\"lo\":0,\"hi\":0.42},"
     "\"resize\":{\"width\":512,\"height\":512,\"filter\":\"bilinear\"}}",
     step_reaction},
    {"demo.wave",
     "{\"kind\":\"slice\",\"axis\":0,\"index\":32,\"colormap\":\"coolwarm\","
     "\"normalize\":{\"mode\":\"symmetric\",\"ema\":{\"alpha\":0.1}},"
     "\"resize\":{\"width\":384,\"height\":384,\"filter\":\"bicubic\"}}",
     step_wave},
    {"demo.weights",
     "{\"colormap\":\"rdbu_r\",\"normalize\":{\"mode\":\"symmetric\"},"
     "\"resize\":{\"width\":512,\"height\":512,\"filter\":\"nearest\"}}",
     step_weights},
};

static void look_for_watchers(ts_demo_thread *d)
{
    for (size_t i = 0; i < 3; i++) {
        ts_stream *stream = NULL;
        d->watched[i] = false;
        if (ts_hub_find(d->app->hub, DEMOS[i].name, &stream, NULL) != TS_OK)
            continue;
        json_t *metrics = ts_stream_metrics(stream);
        d->watched[i] = json_integer_value(json_object_get(metrics, "subscribers")) > 0;
        json_decref(metrics);
        ts_stream_unref(stream);
    }
    d->looked_us = ts_now_us();
}

static void advance(ts_demo_thread *d, size_t i)
{
    ts_error err = {0};
    ts_tensor *tensor = NULL;
    bool created;
    ts_status st = DEMOS[i].step(d, &tensor, &err);
    if (st == TS_OK)
        st = ts_store_publish(d->app->store, DEMOS[i].name, tensor, &(ts_publish_options){0},
                              &created, NULL, &err);
    if (st != TS_OK)
        ts_log_error(TS_LOG_WARN, "demo", DEMOS[i].name, &err);
    ts_tensor_unref(tensor);
    ts_error_clear(&err);
}

static void demo_main(void *arg)
{
    ts_demo_thread *d = arg;
    int64_t due[3] = {0};
    while (!atomic_load(&d->stopping)) {
        int64_t now = ts_now_us();
        if (now - d->looked_us > LOOK_US)
            look_for_watchers(d);
        for (size_t i = 0; i < 3; i++) {
            int64_t period = d->watched[i] ? WATCHED_US : IDLE_US;
            if (due[i] > now + period)
                due[i] = now; /* somebody came to watch: do not wait out the long period */
            if (now < due[i])
                continue;
            advance(d, i);
            due[i] = now + period;
        }
        ts_sleep_us(10000);
    }
}

/* A stream that was changed or removed by a person stays so; only what is not there is made. */
static ts_status make_stream(ts_demo_thread *d, size_t i, ts_error *err)
{
    ts_stream *exists = NULL;
    bool created;
    if (ts_hub_find(d->app->hub, DEMOS[i].name, &exists, NULL) == TS_OK) {
        ts_stream_unref(exists);
        return TS_OK;
    }
    json_t *view = json_loads(DEMOS[i].view, 0, NULL);
    json_t *document = json_pack("{s:{s:s}, s:o}", "source", "tensor", DEMOS[i].name, "view", view);
    ts_status st = document ? ts_hub_put(d->app->hub, DEMOS[i].name, document, &created, NULL, err)
                            : ts_fail(err, TS_E_NO_MEMORY, "demo stream");
    json_decref(document);
    return st;
}

ts_status ts_demo_thread_start(ts_app *app, ts_demo_thread **out, ts_error *err)
{
    ts_demo_thread *d = calloc(1, sizeof *d);
    if (!d)
        return ts_fail(err, TS_E_NO_MEMORY, "demo");
    d->app = app;
    ts_status st = ts_queue_create(app->device, "demo", &d->queue, err);
    if (st == TS_OK)
        st = ts_demo_create(d->queue, &d->demo, err);
    for (size_t i = 0; i < 3 && st == TS_OK; i++)
        st = make_stream(d, i, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-demo", demo_main, d, &d->thread, err);
    if (st != TS_OK) {
        ts_demo_thread_stop(d);
        return st;
    }
    *out = d;
    return TS_OK;
}

void ts_demo_thread_stop(ts_demo_thread *d)
{
    if (!d)
        return;
    atomic_store(&d->stopping, true);
    ts_thread_join(d->thread);
    ts_demo_destroy(d->demo);
    ts_queue_destroy(d->queue);
    free(d);
}
