/* Device memory: size classes, reuse, the budget. */
#include <stdlib.h>

#include "cl/base/log.h"
#include "cl/base/size.h"
#include "cl/device/device_internal.h"

enum {
    MIN_BYTES = 256
};

/* The classes are 256 × 1.25^k, each rounded up to 256: at most a quarter is wasted. */
static int class_of(size_t bytes, size_t *capacity)
{
    size_t size = MIN_BYTES;
    int k = 0;
    while (size < bytes && k < N_CLASSES - 1) {
        size = ts_round_up(size + size / 4, MIN_BYTES);
        k++;
    }
    *capacity = size;
    return k;
}

static bool slot_done(ts_device *device, int slot, uint64_t retired)
{
    uint64_t pending = atomic_load_explicit(&device->slots[slot].pending, memory_order_acquire);
    return pending == 0 || pending > retired;
}

/* May `buffer` be written now? `own`: the calling thread's queue, whose commands stay in order. */
static bool reusable(ts_device *device, const ts_buffer *buffer, int own)
{
    uint64_t users = atomic_load_explicit(&buffer->used_by, memory_order_relaxed);
    for (int slot = 0; users; slot++, users >>= 1)
        if ((users & 1) && slot != own && !slot_done(device, slot, buffer->retired))
            return false;
    return true;
}

static void free_chain(ts_buffer *list)
{
    while (list) {
        ts_buffer *next = list->next;
        clReleaseMemObject(list->mem);
        free(list);
        list = next;
    }
}

/* Take a buffer of the class from limbo or the free list; the newest first, it is warm. */
static ts_buffer *take_locked(ts_device *device, int size_class)
{
    int own = ts_queue_current_slot(device);
    for (ts_buffer **link = &device->limbo; *link;) {
        ts_buffer *b = *link;
        if (!reusable(device, b, b->size_class == size_class ? own : -1)) {
            link = &b->next;
            continue;
        }
        *link = b->next;
        /* Taken while this thread's queue still uses it: the next free has to know. */
        uint64_t keep = reusable(device, b, -1) ? 0 : UINT64_C(1) << own;
        atomic_store_explicit(&b->used_by, keep, memory_order_relaxed);
        if (b->size_class == size_class)
            return b;
        b->next = device->free_list[b->size_class];
        device->free_list[b->size_class] = b;
    }
    ts_buffer *b = device->free_list[size_class];
    if (b) {
        device->free_list[size_class] = b->next;
        atomic_store_explicit(&b->used_by, 0, memory_order_relaxed);
    }
    return b;
}

/* Unlink everything that is pooled; OpenCL keeps memory alive that commands still use. */
static ts_buffer *take_all_locked(ts_device *device)
{
    ts_buffer *all = device->limbo;
    device->limbo = NULL;
    for (int k = 0; k < N_CLASSES; k++) {
        while (device->free_list[k]) {
            ts_buffer *b = device->free_list[k];
            device->free_list[k] = b->next;
            b->next = all;
            all = b;
        }
    }
    device->pooled_bytes = 0;
    return all;
}

void ts_device_trim(ts_device *device)
{
    pthread_mutex_lock(&device->pool_lock);
    ts_buffer *all = take_all_locked(device);
    pthread_mutex_unlock(&device->pool_lock);
    free_chain(all);
}

void ts_pool_finish(ts_device *device)
{
    if (device->used_bytes)
        ts_log(TS_LOG_WARN, "cl", "device closed with %llu bytes in use",
               (unsigned long long)device->used_bytes);
    ts_device_trim(device);
}

static cl_mem allocate(ts_device *device, size_t capacity, cl_int *rc)
{
    cl_mem_flags flags = CL_MEM_READ_WRITE;
    if (device->caps.unified_memory)
        flags |= CL_MEM_ALLOC_HOST_PTR;
    *rc = ts_cl_fault("clCreateBuffer");
    if (*rc != CL_SUCCESS)
        return NULL;
    cl_mem mem = clCreateBuffer(device->context, flags, capacity, NULL, rc);
    /* NVIDIA's driver takes the memory at first use: have it fail here and not in a launch. */
    if (mem && device->caps.nvidia && (*rc = ts_device_touch(device, mem)) != CL_SUCCESS) {
        clReleaseMemObject(mem);
        mem = NULL;
    }
    if (mem)
        atomic_fetch_add_explicit(&device->allocations, 1, memory_order_relaxed);
    return mem;
}

/* Count `capacity` as used; false when that is over the budget even with an empty pool. */
static bool reserve(ts_device *device, size_t capacity)
{
    ts_buffer *dropped = NULL;
    pthread_mutex_lock(&device->pool_lock);
    bool fits =
        capacity <= device->budget_bytes && device->used_bytes <= device->budget_bytes - capacity;
    if (fits) {
        device->used_bytes += capacity;
        if (device->used_bytes + device->pooled_bytes > device->budget_bytes)
            dropped = take_all_locked(device);
    }
    pthread_mutex_unlock(&device->pool_lock);
    free_chain(dropped);
    return fits;
}

static void unreserve(ts_device *device, size_t capacity)
{
    pthread_mutex_lock(&device->pool_lock);
    device->used_bytes -= capacity;
    pthread_mutex_unlock(&device->pool_lock);
}

static ts_buffer *from_pool(ts_device *device, int size_class)
{
    pthread_mutex_lock(&device->pool_lock);
    ts_buffer *b = take_locked(device, size_class);
    if (b) {
        device->pooled_bytes -= b->capacity;
        device->used_bytes += b->capacity;
    }
    pthread_mutex_unlock(&device->pool_lock);
    if (b)
        atomic_fetch_add_explicit(&device->pool_hits, 1, memory_order_relaxed);
    return b;
}

static ts_status over_budget(ts_device *device, size_t bytes, ts_error *err)
{
    ts_device_stats stats;
    ts_device_get_stats(device, &stats);
    uint64_t free_bytes =
        stats.budget_bytes > stats.used_bytes ? stats.budget_bytes - stats.used_bytes : 0;
    return ts_fail(err, TS_E_DEVICE_MEMORY,
                   "%zu bytes of device memory wanted, %llu free (%llu in use, limit %llu)", bytes,
                   (unsigned long long)free_bytes, (unsigned long long)stats.used_bytes,
                   (unsigned long long)stats.budget_bytes);
}

static ts_status fresh(ts_device *device, size_t bytes, size_t capacity, int size_class,
                       ts_buffer **out, ts_error *err)
{
    if (!reserve(device, capacity))
        return over_budget(device, bytes, err);
    ts_buffer *b = calloc(1, sizeof *b);
    unsigned generation = atomic_load(&device->generation); /* before the context is read */
    cl_int rc = CL_OUT_OF_HOST_MEMORY;
    if (b)
        b->mem = allocate(device, capacity, &rc);
    if (b && !b->mem) {
        ts_device_trim(device);
        b->mem = allocate(device, capacity, &rc);
    }
    if (!b || !b->mem) {
        free(b);
        unreserve(device, capacity);
        return ts_fail_cl(err, device, rc, "allocate %zu bytes on %s", bytes, device->caps.name);
    }
    b->device = device;
    b->generation = generation;
    b->capacity = capacity;
    b->size_class = size_class;
    *out = b;
    return TS_OK;
}

ts_status ts_buffer_create(ts_device *device, size_t bytes, ts_buffer **out, ts_error *err)
{
    ts_status st = ts_device_alive(device, err);
    if (st != TS_OK)
        return st;
    if (bytes > device->caps.max_alloc_bytes)
        return ts_fail(err, TS_E_DEVICE_MEMORY,
                       "%zu bytes wanted in one piece, %s allows at most %llu", bytes,
                       device->caps.name, (unsigned long long)device->caps.max_alloc_bytes);
    size_t capacity;
    int size_class = class_of(bytes, &capacity);
    /* Near the limits the slack of a class is not to be had: allocate exactly. */
    if (capacity > device->caps.max_alloc_bytes || capacity > device->budget_bytes / 8) {
        capacity = ts_round_up(bytes ? bytes : 1, MIN_BYTES);
        size_class = -1;
    }
    ts_buffer *b = size_class >= 0 ? from_pool(device, size_class) : NULL;
    if (!b)
        st = fresh(device, bytes, capacity, size_class, &b, err);
    if (st != TS_OK)
        return st;
    b->bytes = bytes;
    b->next = NULL;
    atomic_store_explicit(&b->refs, 1, memory_order_release);
    *out = b;
    return TS_OK;
}

ts_buffer *ts_buffer_ref(ts_buffer *buffer)
{
    if (buffer)
        atomic_fetch_add_explicit(&buffer->refs, 1, memory_order_relaxed);
    return buffer;
}

/* Keep a freed buffer, or return false where it has to be released. */
static bool keep_locked(ts_device *device, ts_buffer *b)
{
    uint64_t users = atomic_load_explicit(&b->used_by, memory_order_relaxed);
    if (b->generation != atomic_load_explicit(&device->generation, memory_order_relaxed))
        return false;
    if (b->size_class < 0 || (users >> OVERFLOW_SLOT) || ts_device_lost(device))
        return false;
    if (device->pooled_bytes + b->capacity > device->budget_bytes / 4)
        return false;
    ts_buffer **list = reusable(device, b, -1) ? &device->free_list[b->size_class] : &device->limbo;
    b->next = *list;
    *list = b;
    device->pooled_bytes += b->capacity;
    return true;
}

void ts_buffer_unref(ts_buffer *buffer)
{
    if (!buffer || atomic_fetch_sub_explicit(&buffer->refs, 1, memory_order_acq_rel) != 1)
        return;
    ts_device *device = buffer->device;
    buffer->retired = atomic_fetch_add_explicit(&device->clock, 1, memory_order_acq_rel) + 1;
    pthread_mutex_lock(&device->pool_lock);
    device->used_bytes -= buffer->capacity;
    bool kept = keep_locked(device, buffer);
    pthread_mutex_unlock(&device->pool_lock);
    if (kept)
        return;
    clReleaseMemObject(buffer->mem);
    free(buffer);
}

bool ts_buffer_unique(const ts_buffer *buffer)
{
    return atomic_load_explicit(&buffer->refs, memory_order_acquire) == 1;
}

size_t ts_buffer_bytes(const ts_buffer *buffer)
{
    return buffer->bytes;
}

ts_device *ts_buffer_device(const ts_buffer *buffer)
{
    return buffer->device;
}
