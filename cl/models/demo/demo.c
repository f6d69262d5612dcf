#include "cl/models/demo/demo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIELD = TS_DEMO_FIELD,
    BOX = TS_DEMO_BOX,
    UNITS = TS_DEMO_UNITS,
    BATCH = TS_DEMO_BATCH,
    REACTION_STEPS = 6, /* even: the result ends in the first pair */
    WAVE_STEPS = 2
};

struct ts_demo {
    ts_buffer *u[2], *v[2];                  /* [FIELD, FIELD] */
    ts_buffer *p[3];                         /* [BOX, BOX, BOX]: before, now, next */
    ts_buffer *points, *freq, *w1, *w2, *w3; /* network and batch */
    ts_buffer *m1, *m2, *m3;                 /* momenta */
    ts_buffer *f, *h1, *d1, *h2, *d2, *err;  /* [BATCH, UNITS]; err [BATCH] */
    int64_t wave_step, train_step;
    uint32_t random;
};

static float uniform(ts_demo *d) /* xorshift; a fixed seed makes every demo the same */
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 17;
    d->random ^= d->random << 5;
    return (float)(d->random >> 8) / 16777216.0f;
}

static float normal(ts_demo *d)
{
    float a = fmaxf(uniform(d), 1e-7f), b = uniform(d);
    return sqrtf(-2 * logf(a)) * cosf(6.2831853f * b);
}

static ts_status allocate(ts_demo *d, ts_queue *queue, ts_error *err)
{
    struct {
        ts_buffer **buffer;
        size_t floats;
    } list[] = {
        {&d->u[0], FIELD * FIELD},   {&d->u[1], FIELD * FIELD},   {&d->v[0], FIELD * FIELD},
        {&d->v[1], FIELD * FIELD},   {&d->p[0], BOX * BOX * BOX}, {&d->p[1], BOX * BOX * BOX},
        {&d->p[2], BOX * BOX * BOX}, {&d->points, BATCH * 2},     {&d->freq, UNITS},
        {&d->w1, UNITS * UNITS},     {&d->w2, UNITS * UNITS},     {&d->w3, UNITS},
        {&d->m1, UNITS * UNITS},     {&d->m2, UNITS * UNITS},     {&d->m3, UNITS},
        {&d->f, BATCH * UNITS},      {&d->h1, BATCH * UNITS},     {&d->d1, BATCH * UNITS},
        {&d->h2, BATCH * UNITS},     {&d->d2, BATCH * UNITS},     {&d->err, BATCH},
    };
    ts_status st = TS_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && st == TS_OK; i++) {
        size_t bytes = list[i].floats * sizeof(float);
        st = ts_buffer_create(ts_queue_device(queue), bytes, list[i].buffer, err);
        if (st == TS_OK)
            st = ts_buffer_fill_u32(queue, *list[i].buffer, 0, 0, bytes, err);
    }
    return st;
}

/* A uniform first substance with a few square seeds of the second. */
static ts_status seed_reaction(ts_demo *d, ts_queue *queue, float *scratch, ts_error *err)
{
    for (int i = 0; i < FIELD * FIELD; i++)
        scratch[i] = 1;
    ts_status st =
        ts_buffer_write(queue, d->u[0], 0, scratch, FIELD * FIELD * sizeof *scratch, err);
    memset(scratch, 0, FIELD * FIELD * sizeof *scratch);
    for (int k = 0; k < 24; k++) {
        int x0 = (int)(uniform(d) * (FIELD - 12)), y0 = (int)(uniform(d) * (FIELD - 12));
        for (int y = y0; y < y0 + 10; y++)
            for (int x = x0; x < x0 + 10; x++)
                scratch[y * FIELD + x] = 0.5f + 0.1f * uniform(d);
    }
    if (st == TS_OK)
        st = ts_buffer_write(queue, d->v[0], 0, scratch, FIELD * FIELD * sizeof *scratch, err);
    return st;
}

static ts_status seed_weights(ts_demo *d, ts_queue *queue, ts_buffer *w, int n, float scale,
                              float *scratch, ts_error *err)
{
    for (int i = 0; i < n; i++)
        scratch[i] = scale * normal(d);
    return ts_buffer_write(queue, w, 0, scratch, (size_t)n * sizeof *scratch, err);
}

ts_status ts_demo_create(ts_queue *queue, ts_demo **out, ts_error *err)
{
    ts_demo *d = calloc(1, sizeof *d);
    float *scratch = calloc(FIELD * FIELD, sizeof *scratch);
    if (!d || !scratch) {
        free(d);
        free(scratch);
        return ts_fail(err, TS_E_NO_MEMORY, "demo");
    }
    d->random = 0x1234567;
    const float scale = 1.0f / sqrtf(UNITS);
    ts_status st = allocate(d, queue, err);
    if (st == TS_OK)
        st = seed_reaction(d, queue, scratch, err);
    if (st == TS_OK)
        st = seed_weights(d, queue, d->freq, UNITS, 3.0f, scratch, err);
    if (st == TS_OK)
        st = seed_weights(d, queue, d->w1, UNITS * UNITS, scale, scratch, err);
    if (st == TS_OK)
        st = seed_weights(d, queue, d->w2, UNITS * UNITS, scale, scratch, err);
    if (st == TS_OK)
        st = seed_weights(d, queue, d->w3, UNITS, scale, scratch, err);
    free(scratch);
    if (st != TS_OK) {
        ts_demo_destroy(d);
        return st;
    }
    *out = d;
    return TS_OK;
}

void ts_demo_destroy(ts_demo *d)
{
    if (!d)
        return;
    ts_buffer *all[] = {d->u[0],   d->u[1], d->v[0], d->v[1], d->p[0], d->p[1], d->p[2],
                        d->points, d->freq, d->w1,   d->w2,   d->w3,   d->m1,   d->m2,
                        d->m3,     d->f,    d->h1,   d->d1,   d->h2,   d->d2,   d->err};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ts_buffer_unref(all[i]);
    free(d);
}

/* A snapshot that the next step will not touch. */
static ts_status snapshot(ts_queue *queue, ts_buffer *from, const ts_shape *shape, ts_tensor **out,
                          ts_error *err)
{
    ts_tensor *tensor = NULL;
    ts_status st = ts_tensor_create(ts_queue_device(queue), TS_F32, shape, &tensor, err);
    if (st == TS_OK)
        st = ts_buffer_copy(queue, from, 0, ts_tensor_buffer(tensor), ts_tensor_offset(tensor),
                            ts_tensor_nbytes(tensor), err);
    if (st == TS_OK)
        st = ts_queue_finish(queue, err);
    if (st != TS_OK) {
        ts_tensor_unref(tensor);
        return st;
    }
    *out = tensor;
    return TS_OK;
}

ts_status ts_demo_reaction(ts_demo *d, ts_queue *queue, ts_tensor **out, ts_error *err)
{
    ts_kernel *kernel = NULL;
    ts_status st = ts_queue_kernel(queue, "demo", "", "demo_reaction", &kernel, err);
    for (int i = 0; i < REACTION_STEPS && st == TS_OK; i++) {
        int a = i & 1, b = 1 - a;
        st = ts_launch(queue, kernel, 1, (size_t[]){FIELD}, NULL,
                       TS_ARGS(TS_BUF(d->u[a]), TS_BUF(d->v[a]), TS_BUF(d->u[b]), TS_BUF(d->v[b]),
                               TS_INT(FIELD), TS_INT(FIELD), TS_FLOAT(1.0f), TS_FLOAT(0.5f),
                               TS_FLOAT(0.037f), TS_FLOAT(0.06f)),
                       err);
    }
    if (st == TS_OK)
        st = snapshot(queue, d->v[0], &TS_SHAPE(FIELD, FIELD), out, err);
    return st;
}

ts_status ts_demo_wave(ts_demo *d, ts_queue *queue, ts_tensor **out, ts_error *err)
{
    ts_kernel *kernel = NULL;
    ts_status st = ts_queue_kernel(queue, "demo", "", "demo_wave", &kernel, err);
    for (int i = 0; i < WAVE_STEPS && st == TS_OK; i++) {
        double t = (double)d->wave_step++;
        int x = (int)(BOX * (0.5 + 0.25 * cos(t * 0.011)));
        int y = (int)(BOX * (0.5 + 0.25 * sin(t * 0.017)));
        st = ts_launch(queue, kernel, 2, (size_t[]){BOX, BOX}, NULL,
                       TS_ARGS(TS_BUF(d->p[1]), TS_BUF(d->p[0]), TS_BUF(d->p[2]), TS_INT(BOX),
                               TS_INT(BOX), TS_INT(BOX), TS_FLOAT(0.25f), TS_FLOAT(0.004f),
                               TS_INT(x), TS_INT(y), TS_INT(BOX / 2), TS_FLOAT(sin(t * 0.31))),
                       err);
        ts_buffer *oldest = d->p[0];
        d->p[0] = d->p[1];
        d->p[1] = d->p[2];
        d->p[2] = oldest;
    }
    if (st == TS_OK)
        st = snapshot(queue, d->p[1], &TS_SHAPE(BOX, BOX, BOX), out, err);
    return st;
}

static ts_status update(ts_queue *queue, ts_buffer *delta, ts_buffer *input, ts_buffer *w,
                        ts_buffer *m, int rows, ts_error *err)
{
    ts_kernel *kernel = NULL;
    ts_status st = ts_queue_kernel(queue, "demo", "", "demo_train_update", &kernel, err);
    if (st == TS_OK)
        st = ts_launch(queue, kernel, 1, (size_t[]){(size_t)rows}, NULL,
                       TS_ARGS(TS_BUF(delta), TS_BUF(input), TS_BUF(w), TS_BUF(m), TS_INT(BATCH),
                               TS_INT(rows), TS_INT(UNITS), TS_FLOAT(0.02f)),
                       err);
    return st;
}

ts_status ts_demo_train(ts_demo *d, ts_queue *queue, ts_tensor **weights, float *loss,
                        ts_error *err)
{
    float batch[BATCH * 2], errors[BATCH];
    for (int i = 0; i < BATCH * 2; i++)
        batch[i] = 2 * uniform(d) - 1;
    ts_kernel *kernel = NULL;
    ts_status st = ts_buffer_write(queue, d->points, 0, batch, sizeof batch, err);
    if (st == TS_OK)
        st = ts_queue_kernel(queue, "demo", "", "demo_train_sample", &kernel, err);
    if (st == TS_OK)
        st = ts_launch(queue, kernel, 1, (size_t[]){BATCH}, NULL,
                       TS_ARGS(TS_BUF(d->points), TS_BUF(d->freq), TS_BUF(d->w1), TS_BUF(d->w2),
                               TS_BUF(d->w3), TS_BUF(d->f), TS_BUF(d->h1), TS_BUF(d->d1),
                               TS_BUF(d->h2), TS_BUF(d->d2), TS_BUF(d->err), TS_INT(BATCH),
                               TS_INT(UNITS), TS_FLOAT((double)d->train_step++ * 0.002)),
                       err);
    if (st == TS_OK)
        st = update(queue, d->d1, d->f, d->w1, d->m1, UNITS, err);
    if (st == TS_OK)
        st = update(queue, d->d2, d->h1, d->w2, d->m2, UNITS, err);
    if (st == TS_OK)
        st = update(queue, d->err, d->h2, d->w3, d->m3, 1, err);
    if (st == TS_OK)
        st = ts_buffer_read(queue, d->err, 0, errors, sizeof errors, err);
    if (st != TS_OK)
        return st;
    *loss = 0;
    for (int i = 0; i < BATCH; i++)
        *loss += errors[i] * errors[i] / BATCH;
    return snapshot(queue, d->w2, &TS_SHAPE(UNITS, UNITS), weights, err);
}
