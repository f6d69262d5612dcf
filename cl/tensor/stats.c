#include "cl/tensor/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/kernels/stats.clh"

enum {
    DIGIT_BITS = 11,
    RADIX = 1 << DIGIT_BITS,
    MAX_LEVELS = 6,
    N_PERCENTILES = 7,
    MAX_RANKS = 2 * N_PERCENTILES, /* an interpolation needs two neighbours */
    NO_SLOT = 255,
    N_FOLDED = 64
};

static const int PERCENTILES[N_PERCENTILES] = {1, 5, 25, 50, 75, 95, 99};

typedef struct job {
    ts_queue *queue;
    const ts_tensor *tensor;
    uint64_t first, n; /* elements */
    bool doubles, cpu;
    size_t real_bytes, items;
    char options[32];

    double value[N_VALUES];
    uint64_t count[N_COUNTS];
    double mean, squares;
    uint64_t *histogram;
    int bins;
} job;

static void plan(job *j, ts_queue *queue, const ts_tensor *tensor, int bins)
{
    const ts_caps *caps = ts_device_caps(ts_queue_device(queue));
    *j = (job){.queue = queue, .tensor = tensor, .bins = bins};
    j->n = (uint64_t)ts_shape_elements(ts_tensor_shape(tensor));
    j->first = ts_tensor_offset(tensor) / ts_dtype_bytes(ts_tensor_dtype(tensor));
    j->doubles = caps->fp64;
    j->cpu = caps->kind == TS_DEVICE_CPU;
    j->real_bytes = j->doubles ? sizeof(double) : sizeof(float);
    j->items = caps->compute_units * (j->cpu ? 2u : 1024u);
    if (j->items > j->n)
        j->items = (size_t)j->n;
    snprintf(j->options, sizeof j->options, "-DTS_IN=%d", (int)ts_tensor_dtype(tensor));
}

static ts_arg real_arg(const job *j, double value)
{
    return j->doubles ? TS_DOUBLE(value) : TS_FLOAT(value);
}

static double real_at(const job *j, const void *data, size_t i)
{
    return j->doubles ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static ts_status launch(const job *j, const char *name, size_t items, const ts_arg *args,
                        size_t n_args, ts_error *err)
{
    ts_kernel *kernel;
    ts_status st = ts_queue_kernel(j->queue, "stats", j->options, name, &kernel, err);
    if (st != TS_OK)
        return st;
    return ts_launch(j->queue, kernel, 1, &items, NULL, args, n_args, err);
}

/* ---- first pass: sums and extremes ---- */

static void fold_on_host(job *j, const void *values, const uint64_t *counts, size_t items)
{
    double *v = j->value;
    v[V_SUM] = v[V_ABS] = v[V_SQUARES] = 0;
    v[V_MIN] = INFINITY;
    v[V_MAX] = -INFINITY;
    memset(j->count, 0, sizeof j->count);
    for (size_t k = 0; k < items; k++) {
        for (int i = 0; i < 3; i++)
            v[i] += real_at(j, values, (size_t)i * items + k);
        for (int c = 0; c < 5; c++)
            j->count[c] += counts[(size_t)c * items + k];
        if (!counts[C_FINITE * items + k])
            continue;
        double low = real_at(j, values, V_MIN * items + k);
        double high = real_at(j, values, V_MAX * items + k);
        uint64_t at_low = counts[C_ARGMIN * items + k], at_high = counts[C_ARGMAX * items + k];
        if (low < v[V_MIN] || (low == v[V_MIN] && at_low < j->count[C_ARGMIN])) {
            v[V_MIN] = low;
            j->count[C_ARGMIN] = at_low;
        }
        if (high > v[V_MAX] || (high == v[V_MAX] && at_high < j->count[C_ARGMAX])) {
            v[V_MAX] = high;
            j->count[C_ARGMAX] = at_high;
        }
    }
}

static ts_status read_sums(job *j, ts_buffer *values, ts_buffer *counts, size_t items,
                           ts_error *err)
{
    void *host_values = calloc(N_VALUES * items, j->real_bytes);
    uint64_t *host_counts = calloc(N_COUNTS * items, sizeof *host_counts);
    ts_status st = host_values && host_counts ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "statistics");
    if (st == TS_OK)
        st =
            ts_buffer_read(j->queue, values, 0, host_values, N_VALUES * items * j->real_bytes, err);
    if (st == TS_OK)
        st = ts_buffer_read(j->queue, counts, 0, host_counts,
                            N_COUNTS * items * sizeof *host_counts, err);
    if (st == TS_OK)
        fold_on_host(j, host_values, host_counts, items);
    free(host_values);
    free(host_counts);
    return st;
}

/* Many items' results are folded on the device first, so that little is read back. */
static ts_status fold_and_read(job *j, ts_buffer *values, ts_buffer *counts, ts_error *err)
{
    if (j->items <= N_FOLDED)
        return read_sums(j, values, counts, j->items, err);
    ts_device *device = ts_queue_device(j->queue);
    ts_buffer *v = NULL, *c = NULL;
    ts_status st = ts_buffer_create(device, N_VALUES * N_FOLDED * j->real_bytes, &v, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, N_COUNTS * N_FOLDED * sizeof(uint64_t), &c, err);
    if (st == TS_OK)
        st = launch(
            j, "stats_fold", N_FOLDED,
            TS_ARGS(TS_BUF(values), TS_BUF(counts), TS_ULONG(j->items), TS_BUF(v), TS_BUF(c)), err);
    if (st == TS_OK)
        st = read_sums(j, v, c, N_FOLDED, err);
    ts_buffer_unref(v);
    ts_buffer_unref(c);
    return st;
}

static ts_status pass_sums(job *j, ts_error *err)
{
    ts_device *device = ts_queue_device(j->queue);
    ts_buffer *values = NULL, *counts = NULL;
    ts_status st = ts_buffer_create(device, N_VALUES * j->items * j->real_bytes, &values, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, N_COUNTS * j->items * sizeof(uint64_t), &counts, err);
    if (st == TS_OK)
        st = launch(j, "stats_sums", j->items,
                    TS_ARGS(TS_BUF(ts_tensor_buffer(j->tensor)), TS_ULONG(j->first), TS_ULONG(j->n),
                            TS_BUF(values), TS_BUF(counts)),
                    err);
    if (st == TS_OK)
        st = fold_and_read(j, values, counts, err);
    ts_buffer_unref(values);
    ts_buffer_unref(counts);
    return st;
}

/* ---- counts: a row for every item on CPU devices, else one ---- */

static ts_status make_counts(const job *j, size_t row, ts_buffer **out, ts_error *err)
{
    size_t bytes = row * (j->cpu ? j->items : 1) * sizeof(uint32_t);
    ts_status st = ts_buffer_create(ts_queue_device(j->queue), bytes, out, err);
    return st == TS_OK ? ts_buffer_fill_u32(j->queue, *out, 0, 0, bytes, err) : st;
}

/* total[i] = the sum of column i. */
static ts_status sum_counts(const job *j, ts_buffer *counts, size_t row, uint64_t *total,
                            ts_error *err)
{
    size_t rows = j->cpu ? j->items : 1, bytes = row * rows * sizeof(uint32_t);
    uint32_t *host = malloc(bytes);
    if (!host)
        return ts_fail(err, TS_E_NO_MEMORY, "statistics");
    ts_status st = ts_buffer_read(j->queue, counts, 0, host, bytes, err);
    memset(total, 0, row * sizeof *total);
    for (size_t r = 0; st == TS_OK && r < rows; r++)
        for (size_t i = 0; i < row; i++)
            total[i] += host[r * row + i];
    free(host);
    return st;
}

/* ---- second pass: centred squares and histogram ---- */

static ts_status sum_squares(job *j, ts_buffer *squares, ts_error *err)
{
    void *host = calloc(j->items, j->real_bytes);
    if (!host)
        return ts_fail(err, TS_E_NO_MEMORY, "statistics");
    ts_status st = ts_buffer_read(j->queue, squares, 0, host, j->items * j->real_bytes, err);
    j->squares = 0;
    for (size_t k = 0; st == TS_OK && k < j->items; k++)
        j->squares += real_at(j, host, k);
    free(host);
    return st;
}

static ts_status pass_centred(job *j, ts_error *err)
{
    double low = j->value[V_MIN], high = j->value[V_MAX];
    double scale = isfinite(high - low) && (j->doubles || high - low < 3e38) ? 1 : 0.5;
    ts_buffer *squares = NULL, *counts = NULL;
    ts_status st =
        ts_buffer_create(ts_queue_device(j->queue), j->items * j->real_bytes, &squares, err);
    if (st == TS_OK)
        st = make_counts(j, (size_t)j->bins, &counts, err);
    if (st == TS_OK)
        st = launch(j, "stats_centred", j->items,
                    TS_ARGS(TS_BUF(ts_tensor_buffer(j->tensor)), TS_ULONG(j->first), TS_ULONG(j->n),
                            real_arg(j, j->mean), real_arg(j, low * scale),
                            real_arg(j, high * scale - low * scale), real_arg(j, scale),
                            TS_UINT(j->bins), TS_BUF(squares), TS_BUF(counts)),
                    err);
    if (st == TS_OK)
        st = sum_squares(j, squares, err);
    if (st == TS_OK)
        st = sum_counts(j, counts, (size_t)j->bins, j->histogram, err);
    ts_buffer_unref(squares);
    ts_buffer_unref(counts);
    return st;
}

/* ---- order statistics ---- */

/* A wanted rank: where it is in the tree so far. */
typedef struct rank {
    uint64_t left; /* elements before it within its slot */
    uint64_t key;
    int slot;
} rank;

typedef struct rank_search {
    int n_ranks, n_slots, levels, key_bits;
    rank ranks[MAX_RANKS];
    uint8_t *tables; /* [levels][MAX_RANKS][RADIX] */
    uint64_t *counts;
    ts_buffer *device_tables;
} rank_search;

/* Find each rank's digit in its slot's counts, and give the prefixes that are left new slots. */
static void descend(rank_search *s, int level)
{
    uint8_t *table = s->tables + (size_t)level * MAX_RANKS * RADIX;
    int shift = s->key_bits - DIGIT_BITS * (level + 1), n_new = 0;
    for (int r = 0; r < s->n_ranks; r++) {
        rank *rk = &s->ranks[r];
        const uint64_t *count = s->counts + (size_t)rk->slot * RADIX;
        unsigned digit = 0;
        while (digit < RADIX - 1 && rk->left >= count[digit])
            rk->left -= count[digit++];
        rk->key |= shift >= 0 ? (uint64_t)digit << shift : (uint64_t)digit >> -shift;
        uint8_t *to = &table[(size_t)rk->slot * RADIX + digit];
        if (*to == NO_SLOT)
            *to = (uint8_t)n_new++;
        rk->slot = *to;
    }
    s->n_slots = n_new;
}

static ts_status search_level(const job *j, rank_search *s, int level, ts_error *err)
{
    ts_buffer *counts = NULL;
    size_t row = (size_t)s->n_slots * RADIX, table_bytes = (size_t)MAX_RANKS * RADIX;
    ts_status st = make_counts(j, row, &counts, err);
    if (st == TS_OK && level > 0)
        st = ts_buffer_write(j->queue, s->device_tables, (size_t)(level - 1) * table_bytes,
                             s->tables + (size_t)(level - 1) * table_bytes, table_bytes, err);
    if (st == TS_OK)
        st = launch(j, "stats_ranks", j->items,
                    TS_ARGS(TS_BUF(ts_tensor_buffer(j->tensor)), TS_ULONG(j->first), TS_ULONG(j->n),
                            TS_UINT(level), TS_UINT(MAX_RANKS), TS_BUF(s->device_tables),
                            TS_UINT(s->n_slots), TS_BUF(counts)),
                    err);
    if (st == TS_OK)
        st = sum_counts(j, counts, row, s->counts, err);
    ts_buffer_unref(counts);
    if (st == TS_OK)
        descend(s, level);
    return st;
}

static double value_of_key(ts_dtype dtype, uint64_t key)
{
    uint32_t low = (uint32_t)key;
    uint64_t bits;
    float f;
    double d;
    switch (dtype) {
    case TS_U64:
        return (double)key;
    case TS_I64:
        return (double)(int64_t)(key ^ UINT64_C(0x8000000000000000));
    case TS_U32:
        return (double)low;
    case TS_I32:
        return (double)(int32_t)(low ^ 0x80000000u);
    case TS_F64:
        bits = key >> 63 ? key & ~UINT64_C(0x8000000000000000) : ~key;
        memcpy(&d, &bits, sizeof d);
        return d;
    default:
        low = low >> 31 ? low & 0x7fffffffu : ~low;
        memcpy(&f, &low, sizeof f);
        return (double)f;
    }
}

static ts_status search_ranks(const job *j, rank_search *s, ts_error *err)
{
    s->key_bits = ts_dtype_bytes(ts_tensor_dtype(j->tensor)) == 8 ? 64 : 32;
    s->levels = (s->key_bits + DIGIT_BITS - 1) / DIGIT_BITS;
    s->n_slots = 1;
    size_t table_bytes = (size_t)s->levels * MAX_RANKS * RADIX;
    s->tables = malloc(table_bytes);
    s->counts = calloc((size_t)MAX_RANKS * RADIX, sizeof *s->counts);
    ts_status st = s->tables && s->counts ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "statistics");
    if (st == TS_OK) {
        memset(s->tables, NO_SLOT, table_bytes);
        st = ts_buffer_create(ts_queue_device(j->queue), table_bytes, &s->device_tables, err);
    }
    for (int level = 0; st == TS_OK && level < s->levels; level++)
        st = search_level(j, s, level, err);
    ts_buffer_unref(s->device_tables);
    free(s->tables);
    free(s->counts);
    return st;
}

/* Percentiles by linear interpolation between neighbours, as NumPy's default. */
static ts_status pass_percentiles(const job *j, double out[N_PERCENTILES], ts_error *err)
{
    rank_search s = {.n_ranks = MAX_RANKS};
    double part[N_PERCENTILES];
    for (int p = 0; p < N_PERCENTILES; p++) {
        double at = PERCENTILES[p] / 100.0 * (double)(j->count[C_FINITE] - 1);
        uint64_t below = (uint64_t)floor(at);
        part[p] = at - (double)below;
        s.ranks[2 * p].left = below;
        s.ranks[2 * p + 1].left =
            below + 1 < j->count[C_FINITE] ? below + 1 : j->count[C_FINITE] - 1;
    }
    ts_status st = search_ranks(j, &s, err);
    for (int p = 0; st == TS_OK && p < N_PERCENTILES; p++) {
        double a = value_of_key(ts_tensor_dtype(j->tensor), s.ranks[2 * p].key);
        double b = value_of_key(ts_tensor_dtype(j->tensor), s.ranks[2 * p + 1].key);
        out[p] = a == b ? a : a * (1 - part[p]) + b * part[p];
    }
    return st;
}

/* ---- the answer ---- */

static json_t *number_or_null(bool is, double value)
{
    return is ? ts_json_double(value) : json_null();
}

static json_t *percentiles_json(bool some, const double values[N_PERCENTILES])
{
    json_t *out = json_object();
    for (int p = 0; p < N_PERCENTILES; p++) {
        char key[8];
        snprintf(key, sizeof key, "%d", PERCENTILES[p]);
        json_object_set_new(out, key, number_or_null(some, values[p]));
    }
    return out;
}

static json_t *histogram_json(const job *j)
{
    json_t *out = json_array();
    for (int i = 0; i < j->bins; i++)
        json_array_append_new(out, json_integer((json_int_t)j->histogram[i]));
    return out;
}

static json_t *stats_json(const job *j, const double percentiles[N_PERCENTILES])
{
    const uint64_t *c = j->count;
    double n = (double)c[C_FINITE];
    bool some = c[C_FINITE] > 0;
    json_t *out =
        json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "count", (json_int_t)j->n, "finite",
                  (json_int_t)c[C_FINITE], "nan", (json_int_t)c[C_NAN], "posinf",
                  (json_int_t)c[C_POSINF], "neginf", (json_int_t)c[C_NEGINF], "nan_count",
                  (json_int_t)c[C_NAN], "inf_count", (json_int_t)(c[C_POSINF] + c[C_NEGINF]));
    if (!out)
        return NULL;
    json_object_set_new(out, "min", number_or_null(some, j->value[V_MIN]));
    json_object_set_new(out, "max", number_or_null(some, j->value[V_MAX]));
    json_object_set_new(out, "mean", number_or_null(some, j->mean));
    json_object_set_new(out, "std", number_or_null(some, sqrt(j->squares / n)));
    json_object_set_new(out, "abs_mean", number_or_null(some, j->value[V_ABS] / n));
    json_object_set_new(out, "l2", number_or_null(some, sqrt(j->value[V_SQUARES])));
    json_object_set_new(out, "zero_fraction", number_or_null(some, (double)c[C_ZERO] / n));
    json_object_set_new(out, "argmin", some ? json_integer((json_int_t)c[C_ARGMIN]) : json_null());
    json_object_set_new(out, "argmax", some ? json_integer((json_int_t)c[C_ARGMAX]) : json_null());
    json_object_set_new(out, "percentiles", percentiles_json(some, percentiles));
    json_object_set_new(out, "histogram", histogram_json(j));
    return out;
}

ts_status ts_tensor_stats(ts_queue *queue, const ts_tensor *tensor, int bins, json_t **out,
                          ts_error *err)
{
    if (bins < 1 || bins > TS_STATS_MAX_BINS)
        return ts_fail(err, TS_E_OPTION, "bins is %d, want 1 … %d", bins, TS_STATS_MAX_BINS);
    job j;
    double percentiles[N_PERCENTILES] = {0};
    plan(&j, queue, tensor, bins);
    j.histogram = calloc((size_t)bins, sizeof *j.histogram);
    if (!j.histogram)
        return ts_fail(err, TS_E_NO_MEMORY, "statistics");
    ts_status st = j.n ? pass_sums(&j, err) : TS_OK;
    if (st == TS_OK && j.count[C_FINITE]) {
        j.mean = j.value[V_SUM] / (double)j.count[C_FINITE];
        st = pass_centred(&j, err);
        if (st == TS_OK)
            st = pass_percentiles(&j, percentiles, err);
    }
    if (st == TS_OK) {
        *out = stats_json(&j, percentiles);
        if (!*out)
            st = ts_fail(err, TS_E_NO_MEMORY, "statistics");
    }
    free(j.histogram);
    return st;
}
