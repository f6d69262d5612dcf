#define _GNU_SOURCE /* gettid, pthread_getname_np */
#include "server/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/json.h"
#include "cl/base/log.h"

enum {
    FLUSH_US = 1000000,
    MAX_EVENTS = 20000000 /* some gigabytes; a forgotten trace must not fill the disk */
};

struct ts_trace {
    pthread_mutex_t file_lock; /* guards all below */
    FILE *file;
    uint64_t events;
    int64_t flushed_us;
};

ts_status ts_trace_open(const char *path, ts_trace **out, ts_error *err)
{
    ts_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return ts_fail(err, TS_E_NO_MEMORY, "trace");
    trace->file = fopen(path, "we");
    if (!trace->file) {
        int failed = errno;
        free(trace);
        return ts_fail(err, TS_E_OPTION, "--trace %.200s: %s", path, strerror(failed));
    }
    pthread_mutex_init(&trace->file_lock, NULL);
    fputs("[\n", trace->file);
    *out = trace;
    return TS_OK;
}

void ts_trace_close(ts_trace *trace)
{
    if (!trace)
        return;
    /* The format has no trailing comma: the last event is this one. */
    fprintf(trace->file,
            "{\"ph\":\"i\",\"name\":\"end\",\"ts\":%" PRId64
            ",\"pid\":1,\"tid\":1,\"s\":\"g\"}\n]\n",
            ts_now_us());
    if (fclose(trace->file) != 0)
        ts_log(TS_LOG_WARN, "trace", "the trace could not be written: %s", strerror(errno));
    pthread_mutex_destroy(&trace->file_lock);
    free(trace);
}

/* Once per thread, so that the viewer shows names. */
static void name_thread_locked(ts_trace *trace, int tid)
{
    static _Thread_local const ts_trace *named;
    char name[16] = "";
    if (named == trace)
        return;
    named = trace;
    pthread_getname_np(pthread_self(), name, sizeof name);
    fprintf(trace->file,
            "{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":1,\"tid\":%d,\"args\":{\"name\":\"%s\"}"
            "},\n",
            tid, name);
}

void ts_trace_span(ts_trace *trace, const char *what, const char *name, int64_t start_us,
                   ts_queue *queue)
{
    if (!trace)
        return;
    int64_t now = ts_now_us();
    int tid = (int)gettid();
    double device_us = queue ? ts_queue_take_device_us(queue) : 0;
    ts_buf quoted = {0};
    ts_json_write_string(name, &quoted);
    pthread_mutex_lock(&trace->file_lock);
    if (trace->events++ < MAX_EVENTS) {
        name_thread_locked(trace, tid);
        fprintf(trace->file,
                "{\"ph\":\"X\",\"name\":%s,\"cat\":\"%s\",\"ts\":%" PRId64 ",\"dur\":%" PRId64
                ",\"pid\":1,\"tid\":%d,\"args\":{\"device_us\":%.1f}},\n",
                ts_buf_cstr(&quoted), what, start_us, now - start_us, tid, device_us);
        if (now - trace->flushed_us > FLUSH_US) {
            fflush(trace->file);
            trace->flushed_us = now;
        }
    }
    pthread_mutex_unlock(&trace->file_lock);
    ts_buf_finish(&quoted);
}
