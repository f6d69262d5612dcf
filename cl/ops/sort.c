#include "cl/ops/sort.h"

#include <stdlib.h>

#include "cl/ops/scan.h"

enum {
    GROUP = 256,
    EACH = 8,
    FAT_BLOCKS = 8, /* every block costs a 256-entry table, so few of them */
    FAT_BITS = 8,
    GROUP_BITS = 4
};

struct ts_sort {
    bool fat;
    size_t capacity, blocks;
    unsigned digit_bits;
    ts_buffer *keys, *values, *table, *scratch;
};

ts_status ts_sort_create(ts_device *device, size_t capacity, ts_sort **out, ts_error *err)
{
    if (capacity > (size_t)1 << 31)
        return ts_fail(err, TS_E_TOO_LARGE, "a sort of %zu pairs, at most 2^31", capacity);
    ts_sort *sort = calloc(1, sizeof *sort);
    if (!sort)
        return ts_fail(err, TS_E_NO_MEMORY, "sort");
    sort->fat = ts_device_caps(device)->kind == TS_DEVICE_CPU;
    sort->capacity = capacity;
    sort->digit_bits = sort->fat ? FAT_BITS : GROUP_BITS;
    sort->blocks = sort->fat ? FAT_BLOCKS : (capacity + GROUP * EACH - 1) / (GROUP * EACH);
    if (sort->blocks == 0)
        sort->blocks = 1;
    size_t pairs = (capacity ? capacity : 1) * sizeof(uint32_t);
    size_t table = ((sort->blocks << sort->digit_bits) + 1) * sizeof(uint32_t);
    ts_status st = ts_buffer_create(device, pairs, &sort->keys, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, pairs, &sort->values, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, table, &sort->table, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, TS_SCAN_SCRATCH_BYTES, &sort->scratch, err);
    if (st != TS_OK) {
        ts_sort_destroy(sort);
        return st;
    }
    *out = sort;
    return TS_OK;
}

void ts_sort_destroy(ts_sort *sort)
{
    if (!sort)
        return;
    ts_buffer_unref(sort->keys);
    ts_buffer_unref(sort->values);
    ts_buffer_unref(sort->table);
    ts_buffer_unref(sort->scratch);
    free(sort);
}

typedef struct pairs {
    ts_buffer *keys, *values;
} pairs;

static ts_status one_pass(ts_sort *s, ts_queue *queue, pairs from, pairs to, ts_buffer *count,
                          size_t at, unsigned shift, ts_error *err)
{
    const char *options = s->fat ? "-DTS_FAT" : "";
    size_t local = s->fat ? 1 : GROUP, global = s->blocks * local;
    ts_kernel *kernel;
    ts_status st = ts_queue_kernel(queue, "sort", options, "sort_count", &kernel, err);
    if (st == TS_OK)
        st = ts_launch(queue, kernel, 1, &global, &local,
                       TS_ARGS(TS_BUF(from.keys), TS_BUF(count), TS_UINT(at), TS_UINT(s->capacity),
                               TS_UINT(shift), TS_UINT(s->blocks), TS_BUF(s->table)),
                       err);
    if (st == TS_OK)
        st = ts_scan_u32(queue, s->table, s->table, s->blocks << s->digit_bits, s->scratch, err);
    if (st == TS_OK)
        st = ts_queue_kernel(queue, "sort", options, "sort_scatter", &kernel, err);
    if (st == TS_OK)
        st = ts_launch(queue, kernel, 1, &global, &local,
                       TS_ARGS(TS_BUF(from.keys), TS_BUF(from.values), TS_BUF(count), TS_UINT(at),
                               TS_UINT(s->capacity), TS_UINT(shift), TS_UINT(s->blocks),
                               TS_BUF(s->table), TS_BUF(to.keys), TS_BUF(to.values)),
                       err);
    return st;
}

ts_status ts_sort_pairs(ts_sort *sort, ts_queue *queue, ts_buffer *keys, ts_buffer *values,
                        ts_buffer *count, size_t at, unsigned bits, ts_error *err)
{
    pairs from = {keys, values}, to = {sort->keys, sort->values};
    unsigned passes = (bits + sort->digit_bits - 1) / sort->digit_bits;
    for (unsigned p = 0; p < passes; ++p) {
        ts_status st = one_pass(sort, queue, from, to, count, at, p * sort->digit_bits, err);
        if (st != TS_OK)
            return st;
        pairs swap = from;
        from = to;
        to = swap;
    }
    if (from.keys == keys)
        return TS_OK;
    /* An odd number of passes left the result in the scratch. */
    size_t bytes = sort->capacity * sizeof(uint32_t);
    ts_status st = ts_buffer_copy(queue, from.keys, 0, keys, 0, bytes, err);
    if (st == TS_OK)
        st = ts_buffer_copy(queue, from.values, 0, values, 0, bytes, err);
    return st;
}
