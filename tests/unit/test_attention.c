/* Attention and rotary embedding against their twins. */
#include "cl/ops/attention.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

typedef struct shape {
    int64_t batch, heads, kv, m, n, d, dv;
    bool causal, valid, mask;
} shape;

/* Heads lie side by side in rows ([B,rows,H,D]), as projections leave them. */
static void attention_case(ts_opsfix *f, const shape *s)
{
    ts_error err = {0};
    size_t nq = (size_t)(s->batch * s->m * s->heads * s->d);
    size_t nk = (size_t)(s->batch * s->n * s->kv * s->d),
           nv = (size_t)(s->batch * s->n * s->kv * s->dv);
    size_t ny = (size_t)(s->batch * s->m * s->heads * s->dv);
    float *q = ts_opsfix_random(1, -2, 2, nq), *k = ts_opsfix_random(2, -2, 2, nk);
    float *v = ts_opsfix_random(3, -1, 1, nv),
          *mask = ts_opsfix_random(4, -3, 3, (size_t)(s->m * s->n));
    float *want = malloc(ny * sizeof *want);
    uint8_t *valid = malloc((size_t)s->n);
    for (int64_t j = 0; j < s->n; j++)
        valid[j] = j % 3 != 1;
    if (s->mask)
        mask[0] = -INFINITY;
    float *hq = malloc((size_t)(s->m * s->d) * 4), *hk = malloc((size_t)(s->n * s->d) * 4);
    float *hv = malloc((size_t)(s->n * s->dv) * 4), *hy = malloc((size_t)(s->m * s->dv) * 4);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++) {
            int64_t g = h / (s->heads / s->kv);
            for (int64_t i = 0; i < s->m; i++)
                memcpy(hq + i * s->d, q + ((b * s->m + i) * s->heads + h) * s->d, (size_t)s->d * 4);
            for (int64_t j = 0; j < s->n; j++) {
                memcpy(hk + j * s->d, k + ((b * s->n + j) * s->kv + g) * s->d, (size_t)s->d * 4);
                memcpy(hv + j * s->dv, v + ((b * s->n + j) * s->kv + g) * s->dv, (size_t)s->dv * 4);
            }
            ref_attention(s->m, s->n, s->d, s->dv, hq, hk, hv, 1 / sqrt((double)s->d),
                          s->causal ? s->n - s->m : -1, s->valid ? valid : NULL,
                          s->mask ? mask : NULL, hy);
            for (int64_t i = 0; i < s->m; i++)
                memcpy(want + ((b * s->m + i) * s->heads + h) * s->dv, hy + i * s->dv,
                       (size_t)s->dv * 4);
        }
    ts_arr dq = ts_opsfix_up(f, &TS_SHAPE((int64_t)nq), q),
           dk = ts_opsfix_up(f, &TS_SHAPE((int64_t)nk), k);
    ts_arr dv = ts_opsfix_up(f, &TS_SHAPE((int64_t)nv), v),
           y = ts_opsfix_new(f, &TS_SHAPE((int64_t)ny));
    ts_arr dmask = ts_opsfix_up(f, &TS_SHAPE(s->m, s->n), mask), dvalid;
    CHECK_OK(ts_arr_from_host(f->ops, TS_U8, &TS_SHAPE(s->n), valid, &dvalid, &err));
    ts_attention a = {.batch = s->batch,
                      .heads = s->heads,
                      .kv_heads = s->kv,
                      .queries = s->m,
                      .keys = s->n,
                      .width = s->d,
                      .value_width = s->dv,
                      .q = ts_heads_in_rows(s->m, s->heads, s->d),
                      .k = ts_heads_in_rows(s->n, s->kv, s->d),
                      .v = ts_heads_in_rows(s->n, s->kv, s->dv),
                      .y = ts_heads_in_rows(s->m, s->heads, s->dv),
                      .causal = s->causal,
                      .causal_first = s->n - s->m,
                      .valid = s->valid ? &dvalid : NULL,
                      .mask = s->mask ? &dmask : NULL,
                      .mask_strides = {.row = s->n}};
    CHECK_OK(ts_op_attention(f->ops, &a, &dq, &dk, &dv, &y, &err));
    char what[64];
    snprintf(what, sizeof what, "attention %lldx%lld, %lld wide", (long long)s->m, (long long)s->n,
             (long long)s->d);
    ts_opsfix_check(f, &y, want, 2e-6, 1e-5, what);
    ts_arr_free(&dq);
    ts_arr_free(&dk);
    ts_arr_free(&dv);
    ts_arr_free(&dmask);
    ts_arr_free(&dvalid);
    free(q);
    free(k);
    free(v);
    free(mask);
    free(want);
    free(valid);
    free(hq);
    free(hk);
    free(hv);
    free(hy);
}

static void attention_matches_its_twin(void **state)
{
    static const shape cases[] = {
        {1, 1, 1, 1, 1, 1, 1, false, false, false},
        {2, 3, 3, 5, 7, 16, 16, false, false, false},
        {1, 4, 2, 20, 300, 32, 32, true, true, false},
        {1, 2, 1, 9, 129, 33, 17, false, false, true},
        {1, 6, 6, 10, 400, 32, 32, true, false, false},
        {2, 2, 2, 130, 130, 64, 64, true, true, true},
        {1, 1, 1, 45, 45, 160, 160, false, false, false},
        {1, 6, 3, 10, 3001, 32, 32, true, true, false}, /* parts of the keys on GPUs */
        {2, 2, 2, 3, 700, 64, 48, false, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        attention_case(*state, &cases[i]);
}

static void a_query_that_sees_nothing_gives_zeros(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float q[2] = {1, 2}, k[4] = {1, 2, 3, 4}, zero[2] = {0, 0};
    const uint8_t none[2] = {0, 0};
    ts_arr dq = ts_opsfix_up(f, &TS_SHAPE(1, 2), q), dk = ts_opsfix_up(f, &TS_SHAPE(2, 2), k);
    ts_arr y = ts_opsfix_new(f, &TS_SHAPE(1, 2)), valid;
    CHECK_OK(ts_arr_from_host(f->ops, TS_U8, &TS_SHAPE(2), none, &valid, &err));
    ts_attention a = {.batch = 1,
                      .heads = 1,
                      .queries = 1,
                      .keys = 2,
                      .width = 2,
                      .q = {2, 2, 2},
                      .k = {4, 4, 2},
                      .v = {4, 4, 2},
                      .y = {2, 2, 2},
                      .valid = &valid};
    CHECK_OK(ts_op_attention(f->ops, &a, &dq, &dk, &dk, &y, &err));
    ts_opsfix_check(f, &y, zero, 0, 0, "blind query");
    ts_arr_free(&dq);
    ts_arr_free(&dk);
    ts_arr_free(&valid);
}

static void rotary_turns_halves(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        ROWS = 5,
        HEADS = 3,
        D = 8
    };
    const int32_t pos[ROWS] = {0, 1, 7, 1000, 131071};
    const float freq[D / 2] = {1, 0.1f, 0.01f, 0.001f};
    float *x = ts_opsfix_random(1, -1, 1, ROWS * HEADS * D), want[ROWS * HEADS * D];
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < D / 2; i++) {
                double angle = (float)pos[r] * freq[i];
                const float *p = x + (r * HEADS + h) * D;
                float *w = want + (r * HEADS + h) * D;
                w[i] = (float)(p[i] * cos(angle) - p[i + D / 2] * sin(angle));
                w[i + D / 2] = (float)(p[i + D / 2] * cos(angle) + p[i] * sin(angle));
            }
    ts_arr y = ts_opsfix_up(f, &TS_SHAPE(ROWS, HEADS * D), x), dpos, dfreq;
    CHECK_OK(ts_arr_from_host(f->ops, TS_I32, &TS_SHAPE(ROWS), pos, &dpos, &err));
    dfreq = ts_opsfix_up(f, &TS_SHAPE(D / 2), freq);
    CHECK_OK(ts_op_rotary(f->ops, &y, &dpos, &dfreq, HEADS, D, HEADS * D, &err));
    ts_opsfix_check(f, &y, want, 1e-6, 1e-6, "rotary");
    ts_arr_free(&dpos);
    ts_arr_free(&dfreq);
    free(x);
}

/* The cache's step is the rotary embedding and two copies. */
static void new_rows_are_stored_turned(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        ROWS = 3,
        H = 4,
        KV = 2,
        D = 6,
        W = (H + 2 * KV) * D
    };
    const int32_t pos[ROWS] = {5, 0, 77};
    const float freq[D / 2] = {1, 0.1f, 0.01f};
    float *x = ts_opsfix_random(1, -1, 1, ROWS * W), k[ROWS * KV * D];
    float v[ROWS * KV * D], *turned = malloc(ROWS * W * sizeof *turned);
    ts_arr a = ts_opsfix_up(f, &TS_SHAPE(ROWS, W), x), b = ts_opsfix_up(f, &TS_SHAPE(ROWS, W), x);
    ts_arr keys = ts_opsfix_new(f, &TS_SHAPE(ROWS, KV * D)), dpos, dfreq;
    ts_arr values = ts_opsfix_new(f, &TS_SHAPE(ROWS, KV * D));
    CHECK_OK(ts_arr_from_host(f->ops, TS_I32, &TS_SHAPE(ROWS), pos, &dpos, &err));
    dfreq = ts_opsfix_up(f, &TS_SHAPE(D / 2), freq);
    CHECK_OK(ts_op_rotary(f->ops, &a, &dpos, &dfreq, H + KV, D, W, &err));
    CHECK_OK(ts_arr_read(f->ops, &a, turned, &err));
    CHECK_OK(ts_op_attention_store(f->ops, &b, &dpos, &dfreq, H, KV, D, &keys, &values, &err));
    float *stored = malloc(ROWS * W * sizeof *stored);
    CHECK_OK(ts_arr_read(f->ops, &b, stored, &err));
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < W; i++) {
            if (i < H * D)
                assert_true(stored[r * W + i] == turned[r * W + i]);
            else if (i < (H + KV) * D)
                k[r * KV * D + i - H * D] = turned[r * W + i];
            else
                v[r * KV * D + i - (H + KV) * D] = x[r * W + i];
        }
    ts_opsfix_check(f, &keys, k, 0, 0, "keys");
    ts_opsfix_check(f, &values, v, 0, 0, "values");
    ts_arr_free(&a);
    ts_arr_free(&b);
    ts_arr_free(&dpos);
    ts_arr_free(&dfreq);
    free(x);
    free(turned);
    free(stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_matches_its_twin),
        cmocka_unit_test(a_query_that_sees_nothing_gives_zeros),
        cmocka_unit_test(rotary_turns_halves),
        cmocka_unit_test(new_rows_are_stored_turned),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
