#include "server/devwatch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/models.h"

enum {
    LOOK_US = 200000,
    RETRY_US = 1000000, /* a driver that resets a device needs a moment */
    MAX_FAILURES = 3,
    EXIT_DEVICE_LOST = 4
};

/* A device lost again this soon after it came back counts as not having come back. */
static const int64_t STEADY_US = 60000000;

typedef struct watched {
    int failures;
    int64_t recovered_us, next_try_us;
} watched;

struct ts_devwatch {
    ts_app *app;
    ts_thread *thread;
    watched *devices;
    pthread_mutex_t stop_lock; /* guards: stopping */
    pthread_cond_t stopped;
    bool stopping;
};

/* False when it is time to stop. */
static bool pause_watch(ts_devwatch *watch)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_US * 1000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&watch->stop_lock);
    if (!watch->stopping)
        pthread_cond_timedwait(&watch->stopped, &watch->stop_lock, &until);
    bool go_on = !watch->stopping;
    pthread_mutex_unlock(&watch->stop_lock);
    return go_on;
}

static void reload_models(ts_app *app)
{
    json_t *list = app->models ? ts_models_list(app->models, NULL) : NULL, *model;
    size_t i;
    json_array_foreach(list, i, model)
    {
        const char *name = json_string_value(json_object_get(model, "name"));
        const char *state = json_string_value(json_object_get(model, "state"));
        ts_error err = {0};
        if (!name || !state || strcmp(state, "READY") != 0)
            continue;
        if (ts_models_load(app->models, name, NULL, &err) != TS_OK)
            ts_log_error(TS_LOG_ERROR, "cl", name, &err);
        ts_error_clear(&err);
    }
    json_decref(list);
}

static void count_failure(watched *w, ts_device *device, const ts_error *err)
{
    w->failures++;
    w->next_try_us = ts_now_us() + RETRY_US * w->failures;
    ts_log(TS_LOG_ERROR, "cl", "device not opened again name=\"%s\" failures=%d: %s",
           ts_device_caps(device)->name, w->failures, err->text);
    if (w->failures < MAX_FAILURES)
        return;
    /* No orderly end: threads may hang in the driver for ever. State on disk is always whole. */
    ts_log(TS_LOG_ERROR, "cl", "giving up, exit status %d", EXIT_DEVICE_LOST);
    _exit(EXIT_DEVICE_LOST);
}

static void recover(ts_devwatch *watch, size_t i)
{
    ts_device *device = watch->app->devices[i];
    watched *w = &watch->devices[i];
    ts_error err = {0};
    if (w->recovered_us && ts_now_us() - w->recovered_us < STEADY_US) {
        w->recovered_us = 0;
        ts_fail(&err, TS_E_DEVICE, "it was lost again");
        count_failure(w, device, &err);
        ts_error_clear(&err);
    }
    if (ts_device_recover(device, &err) != TS_OK) {
        count_failure(w, device, &err);
        ts_error_clear(&err);
        return;
    }
    w->recovered_us = ts_now_us();
    ts_log(TS_LOG_WARN, "cl", "device open again name=\"%s\"; tensors and clips on it are gone",
           ts_device_caps(device)->name);
    reload_models(watch->app);
}

static void look(ts_devwatch *watch, size_t i)
{
    ts_device *device = watch->app->devices[i];
    watched *w = &watch->devices[i];
    double stalled = (double)ts_device_stalled_us(device) * 1e-6;
    if (!ts_device_lost(device) && stalled > watch->app->options.device_timeout) {
        ts_log(TS_LOG_ERROR, "cl", "device hangs name=\"%s\" seconds=%.1f (--device-timeout)",
               ts_device_caps(device)->name, stalled);
        ts_device_mark_lost(device);
    }
    if (ts_device_lost(device)) {
        if (ts_now_us() >= w->next_try_us)
            recover(watch, i);
    } else if (w->failures && ts_now_us() - w->recovered_us > STEADY_US)
        w->failures = 0;
}

static void watch_devices(void *arg)
{
    ts_devwatch *watch = arg;
    while (pause_watch(watch))
        for (size_t i = 0; i < watch->app->n_devices; i++)
            look(watch, i);
}

ts_status ts_devwatch_create(ts_app *app, ts_devwatch **out, ts_error *err)
{
    ts_devwatch *watch = calloc(1, sizeof *watch);
    if (watch)
        watch->devices = calloc(app->n_devices + 1, sizeof *watch->devices);
    if (!watch || !watch->devices) {
        free(watch);
        return ts_fail(err, TS_E_NO_MEMORY, "device watch");
    }
    watch->app = app;
    pthread_mutex_init(&watch->stop_lock, NULL);
    pthread_cond_init(&watch->stopped, NULL);
    ts_status st = ts_thread_start("ts-devwatch", watch_devices, watch, &watch->thread, err);
    if (st != TS_OK) {
        ts_devwatch_destroy(watch);
        return st;
    }
    *out = watch;
    return TS_OK;
}

void ts_devwatch_destroy(ts_devwatch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->stop_lock);
    watch->stopping = true;
    pthread_cond_signal(&watch->stopped);
    pthread_mutex_unlock(&watch->stop_lock);
    ts_thread_join(watch->thread);
    pthread_cond_destroy(&watch->stopped);
    pthread_mutex_destroy(&watch->stop_lock);
    free(watch->devices);
    free(watch);
}
