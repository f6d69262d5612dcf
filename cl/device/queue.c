/* Command queues, and the copies and maps that go through them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/size.h"
#include "cl/device/device_internal.h"

/* The queue this thread used last: buffers that only it still uses may be reused by it at once. */
static _Thread_local const ts_device *current_device;
static _Thread_local int current_slot = -1;

int ts_queue_current_slot(const ts_device *device)
{
    return current_device == device ? current_slot : -1;
}

static int take_slot(ts_device *device)
{
    for (int i = 0; i < N_SLOTS; i++) {
        bool taken = false;
        if (atomic_compare_exchange_strong(&device->slots[i].taken, &taken, true))
            return i;
    }
    return OVERFLOW_SLOT;
}

static cl_command_queue make_queue(ts_device *device, cl_int *rc)
{
    *rc = ts_cl_fault("clCreateCommandQueue");
    if (*rc != CL_SUCCESS)
        return NULL;
    return clCreateCommandQueue(device->context, device->id,
                                device->profiling ? CL_QUEUE_PROFILING_ENABLE : 0, rc);
}

ts_status ts_queue_create(ts_device *device, const char *name, ts_queue **out, ts_error *err)
{
    ts_status st = ts_device_alive(device, err);
    if (st != TS_OK)
        return st;
    ts_queue *q = calloc(1, sizeof *q);
    if (!q)
        return ts_fail(err, TS_E_NO_MEMORY, "command queue");
    unsigned generation = atomic_load(&device->generation); /* before the context is read */
    cl_int rc;
    q->cl = make_queue(device, &rc);
    if (rc != CL_SUCCESS) {
        free(q);
        return ts_fail_cl(err, device, rc, "command queue on %s", device->caps.name);
    }
    q->device = device;
    q->generation = generation;
    q->slot = take_slot(device);
    snprintf(q->name, sizeof q->name, "%s", name ? name : "");
    *out = q;
    return TS_OK;
}

static void free_kernels(ts_kernel *list)
{
    while (list) {
        ts_kernel *next = list->next;
        clReleaseKernel(list->cl);
        free(list->key);
        free(list);
        list = next;
    }
}

static void forget_events(ts_queue *queue)
{
    for (size_t i = 0; i < queue->n_events; i++)
        if (queue->events[i])
            clReleaseEvent(queue->events[i]);
    queue->n_events = 0;
}

/* The device was opened again: a new command queue, and kernels are made anew when asked for. */
static ts_status renew(ts_queue *queue, unsigned generation, ts_error *err)
{
    cl_int rc;
    cl_command_queue cl = make_queue(queue->device, &rc);
    if (rc != CL_SUCCESS)
        return ts_fail_cl(err, queue->device, rc, "command queue on %s", queue->device->caps.name);
    clReleaseCommandQueue(queue->cl);
    queue->cl = cl;
    queue->generation = generation;
    forget_events(queue);
    for (int i = 0; i < N_KERNEL_BUCKETS; i++) {
        while (queue->kernels[i]) {
            ts_kernel *k = queue->kernels[i];
            queue->kernels[i] = k->next;
            k->next = queue->old_kernels;
            queue->old_kernels = k;
        }
    }
    ts_queue_idle(queue);
    return TS_OK;
}

ts_status ts_queue_enter(ts_queue *queue, ts_error *err)
{
    ts_status st = ts_device_alive(queue->device, err);
    if (st != TS_OK)
        return st;
    unsigned generation = atomic_load_explicit(&queue->device->generation, memory_order_acquire);
    return generation == queue->generation ? TS_OK : renew(queue, generation, err);
}

void ts_queue_destroy(ts_queue *queue)
{
    if (!queue)
        return;
    ts_device *device = queue->device;
    bool current = queue->generation == atomic_load(&device->generation);
    if (current && !ts_device_lost(device))
        clFinish(queue->cl);
    ts_queue_idle(queue);
    forget_events(queue);
    for (int i = 0; i < N_KERNEL_BUCKETS; i++)
        free_kernels(queue->kernels[i]);
    free_kernels(queue->old_kernels);
    clReleaseCommandQueue(queue->cl);
    if (ts_queue_current_slot(device) == queue->slot)
        current_slot = -1;
    if (queue->slot != OVERFLOW_SLOT)
        atomic_store(&device->slots[queue->slot].taken, false);
    free(queue->events);
    free(queue);
}

ts_device *ts_queue_device(ts_queue *queue)
{
    return queue->device;
}

void ts_queue_uses(ts_queue *queue, ts_buffer *buffer)
{
    ts_device *device = queue->device;
    current_device = device;
    current_slot = queue->slot == OVERFLOW_SLOT ? -1 : queue->slot;
    if (queue->slot != OVERFLOW_SLOT) {
        atomic_uint_fast64_t *pending = &device->slots[queue->slot].pending;
        if (atomic_load_explicit(pending, memory_order_relaxed) == 0)
            atomic_store_explicit(pending,
                                  atomic_load_explicit(&device->clock, memory_order_acquire) + 1,
                                  memory_order_release);
    }
    uint64_t bit = UINT64_C(1) << queue->slot;
    if (!(atomic_load_explicit(&buffer->used_by, memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(&buffer->used_by, bit, memory_order_relaxed);
}

void ts_queue_idle(ts_queue *queue)
{
    if (queue->slot != OVERFLOW_SLOT)
        atomic_store_explicit(&queue->device->slots[queue->slot].pending, 0, memory_order_release);
}

/* Around a call that waits, so that a device that hangs is noticed. */
static void begin_wait(ts_queue *queue)
{
    if (queue->slot != OVERFLOW_SLOT)
        atomic_store(&queue->device->slots[queue->slot].waiting_since_us, ts_now_us());
}

static void end_wait(ts_queue *queue)
{
    if (queue->slot != OVERFLOW_SLOT)
        atomic_store(&queue->device->slots[queue->slot].waiting_since_us, 0);
}

ts_status ts_queue_finish(ts_queue *queue, ts_error *err)
{
    ts_status st = ts_queue_enter(queue, err);
    if (st != TS_OK)
        return st;
    begin_wait(queue);
    cl_int rc = TS_CL(clFinish, queue->cl);
    end_wait(queue);
    if (rc != CL_SUCCESS)
        return ts_fail_wait(err, queue->device, rc, "finish queue %s", queue->name);
    ts_queue_idle(queue);
    return TS_OK;
}

/* ---- profiling ---- */

enum {
    MAX_EVENTS = 65536
};

cl_event *ts_queue_event(ts_queue *queue)
{
    if (!queue->device->profiling || queue->n_events == MAX_EVENTS)
        return NULL;
    if (queue->n_events == queue->cap_events) {
        size_t cap = queue->cap_events ? queue->cap_events * 2 : 64;
        cl_event *grown = ts_realloc_array(queue->events, cap, sizeof *grown);
        if (!grown)
            return NULL;
        queue->events = grown;
        queue->cap_events = cap;
    }
    queue->events[queue->n_events] = NULL;
    return &queue->events[queue->n_events++];
}

static double event_us(cl_event event)
{
    cl_ulong start = 0, end = 0;
    if (clWaitForEvents(1, &event) != CL_SUCCESS ||
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) !=
            CL_SUCCESS ||
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) !=
            CL_SUCCESS)
        return 0;
    return end > start ? (double)(end - start) / 1000.0 : 0;
}

double ts_queue_take_device_us(ts_queue *queue)
{
    double total = 0;
    for (size_t i = 0; i < queue->n_events; i++) {
        if (!queue->events[i])
            continue; /* the command failed */
        total += event_us(queue->events[i]);
        clReleaseEvent(queue->events[i]);
    }
    queue->n_events = 0;
    return total;
}

/* ---- copies ---- */

static ts_status check_span(const char *what, ts_queue *queue, const ts_buffer *buffer,
                            size_t offset, size_t bytes, ts_error *err)
{
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return ts_fail(err, TS_E_RANGE, "%s: bytes %zu to %zu of a buffer of %zu", what, offset,
                       offset + bytes, buffer->bytes);
    ts_status st = ts_queue_enter(queue, err);
    if (st == TS_OK && buffer->generation != queue->generation)
        st = ts_fail(err, TS_E_GONE, "%s: the memory was lost with its device", what);
    return st;
}

static void count(atomic_uint_fast64_t *counter, size_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

ts_status ts_buffer_write(ts_queue *queue, ts_buffer *buffer, size_t offset, const void *src,
                          size_t bytes, ts_error *err)
{
    ts_status st = check_span("write", queue, buffer, offset, bytes, err);
    if (st != TS_OK || bytes == 0)
        return st;
    ts_queue_uses(queue, buffer);
    begin_wait(queue);
    cl_int rc = TS_CL(clEnqueueWriteBuffer, queue->cl, buffer->mem, CL_TRUE, offset, bytes, src, 0,
                      NULL, ts_queue_event(queue));
    end_wait(queue);
    if (rc != CL_SUCCESS)
        return ts_fail_wait(err, queue->device, rc, "write %zu bytes", bytes);
    ts_queue_idle(queue);
    count(&queue->device->bytes_h2d, bytes);
    return TS_OK;
}

ts_status ts_buffer_read(ts_queue *queue, ts_buffer *buffer, size_t offset, void *dst, size_t bytes,
                         ts_error *err)
{
    ts_status st = check_span("read", queue, buffer, offset, bytes, err);
    if (st != TS_OK || bytes == 0)
        return st;
    ts_queue_uses(queue, buffer);
    begin_wait(queue);
    cl_int rc = TS_CL(clEnqueueReadBuffer, queue->cl, buffer->mem, CL_TRUE, offset, bytes, dst, 0,
                      NULL, ts_queue_event(queue));
    end_wait(queue);
    if (rc != CL_SUCCESS)
        return ts_fail_wait(err, queue->device, rc, "read %zu bytes", bytes);
    ts_queue_idle(queue);
    count(&queue->device->bytes_d2h, bytes);
    return TS_OK;
}

ts_status ts_buffer_copy(ts_queue *queue, ts_buffer *src, size_t src_offset, ts_buffer *dst,
                         size_t dst_offset, size_t bytes, ts_error *err)
{
    ts_status st = check_span("copy from", queue, src, src_offset, bytes, err);
    if (st == TS_OK)
        st = check_span("copy to", queue, dst, dst_offset, bytes, err);
    if (st != TS_OK || bytes == 0)
        return st;
    ts_queue_uses(queue, src);
    ts_queue_uses(queue, dst);
    cl_int rc = TS_CL(clEnqueueCopyBuffer, queue->cl, src->mem, dst->mem, src_offset, dst_offset,
                      bytes, 0, NULL, ts_queue_event(queue));
    if (rc != CL_SUCCESS)
        return ts_fail_cl(err, queue->device, rc, "copy %zu bytes", bytes);
    return TS_OK;
}

ts_status ts_buffer_fill_u32(ts_queue *queue, ts_buffer *buffer, size_t offset, uint32_t value,
                             size_t bytes, ts_error *err)
{
    if (bytes % 4 || offset % 4)
        return ts_fail(err, TS_E_RANGE, "fill: offset %zu and size %zu must be multiples of 4",
                       offset, bytes);
    ts_status st = check_span("fill", queue, buffer, offset, bytes, err);
    if (st != TS_OK || bytes == 0)
        return st;
    ts_queue_uses(queue, buffer);
    cl_int rc = TS_CL(clEnqueueFillBuffer, queue->cl, buffer->mem, &value, sizeof value, offset,
                      bytes, 0, NULL, ts_queue_event(queue));
    if (rc != CL_SUCCESS)
        return ts_fail_cl(err, queue->device, rc, "fill %zu bytes", bytes);
    return TS_OK;
}

static cl_map_flags map_flags(ts_map_mode mode)
{
    if (mode == TS_MAP_WRITE)
        return CL_MAP_WRITE_INVALIDATE_REGION;
    return (mode & TS_MAP_WRITE) ? CL_MAP_READ | CL_MAP_WRITE : CL_MAP_READ;
}

ts_status ts_buffer_map(ts_queue *queue, ts_buffer *buffer, size_t offset, size_t bytes,
                        ts_map_mode mode, void **out, ts_error *err)
{
    ts_status st = check_span("map", queue, buffer, offset, bytes, err);
    if (st != TS_OK)
        return st;
    if (bytes == 0)
        return ts_fail(err, TS_E_RANGE, "map of no bytes");
    ts_queue_uses(queue, buffer);
    cl_int rc = ts_cl_fault("clEnqueueMapBuffer");
    void *mapped = NULL;
    begin_wait(queue);
    if (rc == CL_SUCCESS)
        mapped = clEnqueueMapBuffer(queue->cl, buffer->mem, CL_TRUE, map_flags(mode), offset, bytes,
                                    0, NULL, ts_queue_event(queue), &rc);
    end_wait(queue);
    if (rc != CL_SUCCESS)
        return ts_fail_wait(err, queue->device, rc, "map %zu bytes", bytes);
    ts_queue_idle(queue);
    if (mode & TS_MAP_READ)
        count(&queue->device->bytes_d2h, bytes);
    if (mode & TS_MAP_WRITE)
        count(&queue->device->bytes_h2d, bytes);
    *out = mapped;
    return TS_OK;
}

void ts_buffer_unmap(ts_queue *queue, ts_buffer *buffer, void *mapped)
{
    if (!mapped || buffer->generation != queue->generation)
        return;
    ts_queue_uses(queue, buffer);
    /* Not to fail: what goes wrong here shows at the next call that waits. */
    (void)clEnqueueUnmapMemObject(queue->cl, buffer->mem, mapped, 0, NULL, NULL);
}

/* ---- pinned host memory ---- */

struct ts_pinned {
    cl_mem mem;
    void *data;
};

ts_status ts_pinned_create(ts_queue *queue, size_t bytes, ts_pinned **out, ts_error *err)
{
    ts_status st = ts_queue_enter(queue, err);
    if (st != TS_OK)
        return st;
    ts_pinned *pinned = calloc(1, sizeof *pinned);
    if (!pinned)
        return ts_fail(err, TS_E_NO_MEMORY, "pinned memory");
    cl_int rc = ts_cl_fault("clCreateBuffer");
    if (rc == CL_SUCCESS)
        pinned->mem = clCreateBuffer(queue->device->context,
                                     CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &rc);
    if (rc == CL_SUCCESS)
        rc = ts_cl_fault("clEnqueueMapBuffer");
    if (rc == CL_SUCCESS)
        pinned->data = clEnqueueMapBuffer(queue->cl, pinned->mem, CL_TRUE,
                                          CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, NULL, &rc);
    if (rc != CL_SUCCESS) {
        if (pinned->mem)
            clReleaseMemObject(pinned->mem);
        free(pinned);
        return ts_fail_cl(err, queue->device, rc, "pin %zu bytes", bytes);
    }
    *out = pinned;
    return TS_OK;
}

void *ts_pinned_data(ts_pinned *pinned)
{
    return pinned->data;
}

void ts_pinned_destroy(ts_queue *queue, ts_pinned *pinned)
{
    if (!pinned)
        return;
    (void)clEnqueueUnmapMemObject(queue->cl, pinned->mem, pinned->data, 0, NULL, NULL);
    clReleaseMemObject(pinned->mem);
    free(pinned);
}
