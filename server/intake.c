#include "server/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/chan.h"
#include "cl/base/thread.h"
#include "cl/tensor/upload.h"
#include "server/codec.h"

enum {
    N_THREADS = 3,
    QUEUE_DEPTH = 1024,
    BACKPRESSURE_US = 60000000
};

typedef struct worker {
    ts_intake *intake;
    ts_chan *jobs;
    ts_thread *thread;
    ts_queue *queue;
    ts_buf image;
} worker;

struct ts_intake {
    ts_app *app;
    worker workers[N_THREADS];
};

void ts_intake_job_free(ts_intake_job *job)
{
    if (!job)
        return;
    json_decref(job->header);
    json_decref(job->reply);
    free(job->data);
    ts_stream_unref(job->stream);
    free(job);
}

/* ---- headers ---- */

static ts_status read_shape(const json_t *header, const char *key, ts_shape *out, ts_error *err)
{
    const json_t *list = json_object_get(header, key), *dim;
    size_t i;
    memset(out, 0, sizeof *out);
    if (!json_is_array(list) || json_array_size(list) > TS_MAX_RANK)
        return ts_fail(err, TS_E_OPTION, "%s: expected a list of at most %d whole numbers", key,
                       TS_MAX_RANK);
    json_array_foreach(list, i, dim)
    {
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return ts_fail(err, TS_E_OPTION, "%s[%zu]: expected a whole number from 0 on", key, i);
        out->dim[out->rank++] = json_integer_value(dim);
    }
    return TS_OK;
}

static ts_status raw_tensor(worker *w, ts_intake_job *job, ts_tensor **out, ts_error *err)
{
    static const char *const orders[] = {"C", "F", NULL};
    const char *dtype_name = NULL;
    ts_layout layout = {.fortran = false};
    size_t nbytes;
    int order = 0;
    ts_status st = ts_json_get_string(job->header, "", "dtype", &dtype_name, err);
    if (st == TS_OK)
        st = ts_json_get_enum(job->header, "", "order", orders, &order, err);
    if (st != TS_OK)
        return st;
    if (!dtype_name || !ts_dtype_parse(dtype_name, &layout.dtype))
        return ts_fail(err, TS_E_DTYPE, "dtype: '%.20s' is not known",
                       dtype_name ? dtype_name : "");
    layout.fortran = order == 1;
    st = read_shape(job->header, "shape", &layout.shape, err);
    if (st == TS_OK)
        st = ts_shape_check(&layout.shape, layout.dtype, &nbytes, err);
    if (st == TS_OK && nbytes != job->len) {
        char text[128];
        st = ts_fail(err, TS_E_SIZE, "%s %s has %zu bytes, the message %zu", dtype_name,
                     ts_shape_text(&layout.shape, text, sizeof text), nbytes, job->len);
    }
    if (st == TS_OK)
        st = ts_upload_bytes(w->intake->app->uploader, w->queue, &layout, job->payload, job->len,
                             out, err);
    return st;
}

static ts_status image_tensor(worker *w, ts_intake_job *job, ts_tensor **out, ts_error *err)
{
    ts_image_info info;
    ts_status st = ts_image_decode(job->payload, job->len, 0, &info, &w->image, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = TS_SHAPE(info.height, info.width, info.channels);
    return ts_tensor_from_host(w->queue, TS_U8, &shape, w->image.data, w->image.len, out, err);
}

static ts_status make_tensor(worker *w, ts_intake_job *job, ts_tensor **out, ts_error *err)
{
    static const char *const kinds[] = {"image/webp", "image/png", "image/jpeg", NULL};
    int kind = -1;
    ts_status st = ts_json_get_enum(job->header, "", "encoding", kinds, &kind, err);
    if (st == TS_OK)
        st = kind >= 0 ? image_tensor(w, job, out, err) : raw_tensor(w, job, out, err);
    if (st == TS_OK)
        st = ts_queue_finish(w->queue, err);
    return st;
}

static ts_status read_times(const json_t *header, bool *has_step, int64_t *step, bool *has_t,
                            double *t, ts_error *err)
{
    *has_step = json_is_number(json_object_get(header, "step"));
    *has_t = json_is_number(json_object_get(header, "t"));
    ts_status st = ts_json_get_int(header, "", "step", INT64_MIN, INT64_MAX, step, err);
    if (st == TS_OK)
        st = ts_json_get_double(header, "", "t", -1e18, 1e18, t, err);
    return st;
}

/* ---- what the messages do ---- */

static ts_status take_frame(worker *w, ts_intake_job *job, ts_error *err)
{
    ts_pushed frame = {0};
    ts_status st =
        read_times(job->header, &frame.has_step, &frame.step, &frame.has_t, &frame.t, err);
    if (st == TS_OK)
        st = make_tensor(w, job, &frame.tensor, err);
    if (st == TS_OK)
        st = ts_stream_push(job->stream, &frame, BACKPRESSURE_US, err);
    ts_tensor_unref(frame.tensor);
    return st;
}

static ts_status take_tensor(worker *w, ts_intake_job *job, ts_error *err)
{
    const char *name = NULL, *run = NULL;
    ts_publish_options options = {0};
    ts_tensor *tensor = NULL;
    bool created;
    ts_status st = ts_json_get_string(job->header, "", "name", &name, err);
    if (st == TS_OK)
        st = name ? ts_name_check("tensor", name, err) : ts_fail(err, TS_E_OPTION, "name: missing");
    if (st == TS_OK)
        st = ts_json_get_string(job->header, "", "run", &run, err);
    if (st == TS_OK && run)
        st = ts_name_check("run", run, err);
    if (st == TS_OK)
        st = read_times(job->header, &options.has_step, &options.step, &options.has_t, &options.t,
                        err);
    options.run = run;
    options.tags = json_object_get(job->header, "tags");
    bool region = json_object_get(job->header, "offset") != NULL;
    ts_shape offset = {.rank = 0};
    if (st == TS_OK && region)
        st = read_shape(job->header, "offset", &offset, err);
    if (st == TS_OK)
        st = make_tensor(w, job, &tensor, err);
    ts_entry entry = {.name = ""};
    if (st == TS_OK && region)
        st = ts_store_patch(w->intake->app->store, w->queue, name, tensor, &offset, &options,
                            &entry, err);
    else if (st == TS_OK)
        st = ts_store_publish(w->intake->app->store, name, tensor, &options, &created, &entry, err);
    if (st == TS_OK && json_is_true(json_object_get(job->header, "ack")))
        job->reply = json_pack("{s:s,s:s,s:I,s:I}", "type", "ack", "name", name, "version",
                               (json_int_t)entry.version, "step", (json_int_t)entry.step);
    ts_entry_finish(&entry);
    ts_tensor_unref(tensor);
    return st;
}

static void worker_main(void *arg)
{
    worker *w = arg;
    ts_intake_job *job;
    while ((job = ts_chan_recv(w->jobs))) {
        ts_error err = {0};
        const char *type = json_string_value(json_object_get(job->header, "type"));
        ts_status st =
            type && !strcmp(type, "frame") ? take_frame(w, job, &err) : take_tensor(w, job, &err);
        job->done(job, st, &err);
        ts_error_clear(&err);
    }
}

/* ---- start and stop ---- */

ts_status ts_intake_create(ts_app *app, ts_intake **out, ts_error *err)
{
    ts_intake *in = calloc(1, sizeof *in);
    if (!in)
        return ts_fail(err, TS_E_NO_MEMORY, "intake");
    in->app = app;
    ts_status st = TS_OK;
    for (int i = 0; i < N_THREADS && st == TS_OK; i++) {
        worker *w = &in->workers[i];
        char name[16];
        snprintf(name, sizeof name, "ts-in%d", i);
        w->intake = in;
        st = ts_queue_create(app->device, name, &w->queue, err);
        if (st == TS_OK)
            st = ts_chan_create(QUEUE_DEPTH, TS_CHAN_BLOCK, NULL, &w->jobs, err);
        if (st == TS_OK)
            st = ts_thread_start(name, worker_main, w, &w->thread, err);
    }
    if (st != TS_OK) {
        ts_intake_destroy(in);
        return st;
    }
    *out = in;
    return TS_OK;
}

void ts_intake_destroy(ts_intake *in)
{
    if (!in)
        return;
    for (int i = 0; i < N_THREADS; i++) {
        worker *w = &in->workers[i];
        if (w->jobs)
            ts_chan_close(w->jobs);
        ts_thread_join(w->thread);
        ts_chan_destroy(w->jobs);
        ts_queue_destroy(w->queue);
        ts_buf_finish(&w->image);
    }
    free(in);
}

bool ts_intake_submit(ts_intake *in, ts_intake_job *job)
{
    return ts_chan_send(in->workers[job->client % N_THREADS].jobs, job);
}
