#include "server/encode.h"

#include <stdio.h>
#include <stdlib.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/thread.h"

enum {
    QUEUE_DEPTH = 4096,
    KEEP_FRAMES = 64,
    MAX_THREADS = 64
};

struct ts_encode_pool {
    ts_chan *jobs;
    ts_frame_pool *frames;
    int n;
    struct worker {
        ts_encode_pool *pool;
        ts_thread *thread;
        ts_encoder *encoder;
    } workers[MAX_THREADS];
};

static ts_status run(struct worker *w, ts_encode_job *job, ts_frame **out, ts_error *err)
{
    ts_frame *frame;
    ts_status st = ts_frame_acquire(w->pool->frames, &frame, err);
    if (st != TS_OK)
        return st;
    frame->width = job->pixels->width;
    frame->height = job->pixels->height;
    frame->quality = job->options.quality;
    frame->key = true;
    if (job->encode)
        st = job->encode(job, w->encoder, frame, err);
    else
        st = ts_frame_encode(job->pixels, &job->options, w->encoder, &frame->payload, err);
    if (st == TS_OK && frame->payload.failed)
        st = ts_fail(err, TS_E_NO_MEMORY, "encoded picture");
    if (st != TS_OK) {
        ts_frame_unref(frame);
        return st;
    }
    *out = frame;
    return TS_OK;
}

static void worker_main(void *arg)
{
    struct worker *w = arg;
    ts_encode_job *job;
    while ((job = ts_chan_recv(w->pool->jobs))) {
        ts_error err = {0};
        ts_frame *frame = NULL;
        job->started_us = ts_now_us();
        ts_status st = run(w, job, &frame, &err);
        job->ended_us = ts_now_us();
        ts_pixels_unref(job->pixels);
        job->pixels = NULL;
        job->done(job, frame, st, &err);
        ts_error_clear(&err);
    }
}

ts_status ts_encode_pool_create(int threads, ts_encode_pool **out, ts_error *err)
{
    ts_encode_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return ts_fail(err, TS_E_NO_MEMORY, "encode pool");
    if (threads <= 0)
        threads = ts_cpu_count() > 1 ? ts_cpu_count() - 1 : 1;
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    ts_status st = ts_chan_create(QUEUE_DEPTH, TS_CHAN_BLOCK, NULL, &pool->jobs, err);
    if (st == TS_OK)
        st = ts_frame_pool_create(KEEP_FRAMES, &pool->frames, err);
    for (int i = 0; st == TS_OK && i < threads; i++) {
        struct worker *w = &pool->workers[i];
        char name[16];
        snprintf(name, sizeof name, "ts-enc%d", i);
        w->pool = pool;
        st = ts_encoder_create(&w->encoder, err);
        if (st == TS_OK)
            st = ts_thread_start(name, worker_main, w, &w->thread, err);
        pool->n++;
    }
    if (st != TS_OK) {
        ts_encode_pool_destroy(pool);
        return st;
    }
    *out = pool;
    return TS_OK;
}

void ts_encode_pool_destroy(ts_encode_pool *pool)
{
    if (!pool)
        return;
    if (pool->jobs)
        ts_chan_close(pool->jobs);
    for (int i = 0; i < pool->n; i++) {
        ts_thread_join(pool->workers[i].thread);
        ts_encoder_destroy(pool->workers[i].encoder);
    }
    ts_chan_destroy(pool->jobs);
    ts_frame_pool_destroy(pool->frames);
    free(pool);
}

bool ts_encode_submit(ts_encode_pool *pool, ts_encode_job *job)
{
    job->submitted_us = ts_now_us();
    return ts_chan_send(pool->jobs, job);
}

size_t ts_encode_depth(ts_encode_pool *pool)
{
    return ts_chan_depth(pool->jobs);
}

