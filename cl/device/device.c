#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/device/device_internal.h"
#include "cl/device/fault.h"

const char *ts_cl_name(cl_int code)
{
    switch (code) {
#define NAME(c) \
    case c:     \
        return #c
        NAME(CL_SUCCESS);
        NAME(CL_DEVICE_NOT_FOUND);
        NAME(CL_DEVICE_NOT_AVAILABLE);
        NAME(CL_COMPILER_NOT_AVAILABLE);
        NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE);
        NAME(CL_OUT_OF_RESOURCES);
        NAME(CL_OUT_OF_HOST_MEMORY);
        NAME(CL_PROFILING_INFO_NOT_AVAILABLE);
        NAME(CL_MEM_COPY_OVERLAP);
        NAME(CL_BUILD_PROGRAM_FAILURE);
        NAME(CL_MAP_FAILURE);
        NAME(CL_MISALIGNED_SUB_BUFFER_OFFSET);
        NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
        NAME(CL_COMPILE_PROGRAM_FAILURE);
        NAME(CL_LINK_PROGRAM_FAILURE);
        NAME(CL_INVALID_VALUE);
        NAME(CL_INVALID_DEVICE);
        NAME(CL_INVALID_CONTEXT);
        NAME(CL_INVALID_COMMAND_QUEUE);
        NAME(CL_INVALID_MEM_OBJECT);
        NAME(CL_INVALID_BINARY);
        NAME(CL_INVALID_BUILD_OPTIONS);
        NAME(CL_INVALID_PROGRAM);
        NAME(CL_INVALID_PROGRAM_EXECUTABLE);
        NAME(CL_INVALID_KERNEL_NAME);
        NAME(CL_INVALID_KERNEL);
        NAME(CL_INVALID_ARG_INDEX);
        NAME(CL_INVALID_ARG_VALUE);
        NAME(CL_INVALID_ARG_SIZE);
        NAME(CL_INVALID_KERNEL_ARGS);
        NAME(CL_INVALID_WORK_DIMENSION);
        NAME(CL_INVALID_WORK_GROUP_SIZE);
        NAME(CL_INVALID_WORK_ITEM_SIZE);
        NAME(CL_INVALID_GLOBAL_OFFSET);
        NAME(CL_INVALID_EVENT_WAIT_LIST);
        NAME(CL_INVALID_EVENT);
        NAME(CL_INVALID_OPERATION);
        NAME(CL_INVALID_BUFFER_SIZE);
        NAME(CL_INVALID_GLOBAL_WORK_SIZE);
#undef NAME
    default:
        return "unknown code";
    }
}

static bool is_memory_code(cl_int code)
{
    return code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES ||
           code == CL_OUT_OF_HOST_MEMORY;
}

/* -9999: what NVIDIA's driver answers after an illegal access in a kernel. */
static bool is_loss_code(cl_int code)
{
    return code == CL_DEVICE_NOT_AVAILABLE || code == CL_INVALID_COMMAND_QUEUE ||
           code == CL_INVALID_CONTEXT || code == -9999;
}

static void mark_lost(ts_device *device, cl_int code)
{
    if (!atomic_exchange(&device->lost, true))
        ts_log(TS_LOG_ERROR, "cl", "device lost name=\"%s\" code=%d (%s)", device->caps.name, code,
               ts_cl_name(code));
}

ts_status ts_fail_cl_at(ts_error *err, ts_device *device, cl_int code, const char *where,
                        const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (device && is_loss_code(code))
        mark_lost(device, code);
    bool lost = device && ts_device_lost(device);
    ts_status st = is_memory_code(code) && !lost      ? TS_E_DEVICE_MEMORY
                   : code == CL_BUILD_PROGRAM_FAILURE ? TS_E_INTERNAL
                                                      : TS_E_DEVICE;
    if (st == TS_E_DEVICE_MEMORY && device) {
        ts_device_stats stats;
        ts_device_get_stats(device, &stats);
        return ts_fail_at(err, st, code, where,
                          "%s: %s (%d); %llu of %llu bytes of device memory are in use", text,
                          ts_cl_name(code), code, (unsigned long long)stats.used_bytes,
                          (unsigned long long)stats.budget_bytes);
    }
    return ts_fail_at(err, st, code, where, "%s: %s (%d)", text, ts_cl_name(code), code);
}

cl_int ts_device_touch(ts_device *device, cl_mem mem)
{
    static const cl_uint zero = 0;
    pthread_mutex_lock(&device->probe_lock);
    cl_int rc =
        clEnqueueFillBuffer(device->probe, mem, &zero, sizeof zero, 0, sizeof zero, 0, NULL, NULL);
    if (rc == CL_SUCCESS)
        rc = clFinish(device->probe);
    pthread_mutex_unlock(&device->probe_lock);
    return rc;
}

void ts_device_probe(ts_device *device, cl_int code)
{
    if (code != CL_OUT_OF_RESOURCES || ts_device_lost(device))
        return;
    cl_int rc;
    cl_mem mem = clCreateBuffer(device->context, CL_MEM_READ_WRITE, 256, NULL, &rc);
    if (mem) {
        rc = ts_device_touch(device, mem);
        clReleaseMemObject(mem);
    }
    if (rc != CL_SUCCESS)
        mark_lost(device, rc);
}

ts_status ts_device_alive(const ts_device *device, ts_error *err)
{
    if (ts_device_lost(device))
        return ts_fail(err, TS_E_DEVICE, "device %s is lost", device->caps.name);
    return TS_OK;
}

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void CL_CALLBACK context_notice(const char *text, const void *data, size_t len, void *arg)
{
    (void)data, (void)len, (void)arg;
    ts_log(TS_LOG_DEBUG, "cl", "driver says: %s", text);
}

static ts_status create_context(ts_device *device, cl_context *context, cl_command_queue *probe,
                                ts_error *err)
{
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                          (cl_context_properties)device->platform, 0};
    cl_int rc = ts_cl_fault("clCreateContext");
    if (rc == CL_SUCCESS)
        *context = clCreateContext(properties, 1, &device->id, context_notice, NULL, &rc);
    if (rc != CL_SUCCESS)
        return ts_fail_cl(err, NULL, rc, "context on %s", device->caps.name);
    *probe = clCreateCommandQueue(*context, device->id, 0, &rc);
    if (rc != CL_SUCCESS) {
        clReleaseContext(*context);
        return ts_fail_cl(err, NULL, rc, "command queue on %s", device->caps.name);
    }
    return TS_OK;
}

/* Make a context the present one; who reads the generation first never sees a newer context's. */
static void set_context(ts_device *device, cl_context context, cl_command_queue probe,
                        unsigned generation)
{
    pthread_mutex_lock(&device->probe_lock);
    if (device->probe)
        clReleaseCommandQueue(device->probe);
    device->probe = probe;
    pthread_mutex_unlock(&device->probe_lock);
    device->contexts[generation] = context;
    atomic_store(&device->context, context);
    atomic_store(&device->generation, generation);
}

static ts_status open_context(ts_device *device, ts_error *err)
{
    cl_context context;
    cl_command_queue probe;
    ts_status st = create_context(device, &context, &probe, err);
    if (st == TS_OK)
        set_context(device, context, probe, 0);
    return st;
}

void ts_device_mark_lost(ts_device *device)
{
    mark_lost(device, CL_DEVICE_NOT_AVAILABLE);
}

int64_t ts_device_stalled_us(ts_device *device)
{
    int64_t oldest = 0, now = ts_now_us();
    for (int i = 0; i < N_SLOTS; i++) {
        int64_t since = atomic_load(&device->slots[i].waiting_since_us);
        if (since && now - since > oldest)
            oldest = now - since;
    }
    return oldest;
}

ts_status ts_device_recover(ts_device *device, ts_error *err)
{
    unsigned next = atomic_load(&device->generation) + 1;
    cl_context context;
    cl_command_queue probe;
    if (!ts_device_lost(device))
        return TS_OK;
    if (next == MAX_GENERATIONS)
        return ts_fail(err, TS_E_LIMIT, "device %s was lost %u times", device->caps.name, next);
    ts_status st = create_context(device, &context, &probe, err);
    if (st != TS_OK)
        return st;
    set_context(device, context, probe, next);
    ts_programs_retire(device);
    ts_device_trim(device);
    for (int i = 0; i < N_SLOTS; i++)
        atomic_store(&device->slots[i].waiting_since_us, 0);
    atomic_store(&device->lost, false);
    st = ts_device_check(device, err);
    if (st != TS_OK)
        ts_device_mark_lost(device);
    return st;
}

static ts_status run_check(ts_queue *queue, ts_buffer *x, ts_buffer *out, ts_error *err)
{
    enum {
        N = 67
    };
    ts_kernel *kernel;
    float host[N];
    ts_status st = ts_queue_kernel(queue, "elementwise", "", "elementwise_axpy", &kernel, err);
    for (int i = 0; i < N; i++)
        host[i] = (float)i;
    if (st == TS_OK)
        st = ts_buffer_write(queue, x, 0, host, sizeof host, err);
    if (st == TS_OK)
        st = ts_launch(queue, kernel, 1, (size_t[]){3}, NULL,
                       TS_ARGS(TS_BUF(x), TS_BUF(x), TS_BUF(out), TS_FLOAT(2), TS_ULONG(N)), err);
    if (st == TS_OK)
        st = ts_buffer_read(queue, out, 0, host, sizeof host, err);
    for (int i = 0; st == TS_OK && i < N; i++)
        if (host[i] != 3 * (float)i)
            st = ts_fail(err, TS_E_DEVICE, "%s computed 3·%d = %g",
                         ts_device_caps(ts_queue_device(queue))->name, i, (double)host[i]);
    return st;
}

ts_status ts_device_check(ts_device *device, ts_error *err)
{
    ts_queue *queue = NULL;
    ts_buffer *x = NULL, *out = NULL;
    ts_status st = ts_queue_create(device, "check", &queue, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, 512, &x, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, 512, &out, err);
    if (st == TS_OK)
        st = run_check(queue, x, out, err);
    ts_buffer_unref(x);
    ts_buffer_unref(out);
    ts_queue_destroy(queue);
    return st;
}

static void set_options(ts_device *device, const ts_device_options *options)
{
    static const ts_device_options defaults = {0};
    if (!options)
        options = &defaults;
    device->budget_bytes = options->memory_budget_bytes ? options->memory_budget_bytes
                                                        : device->caps.global_bytes / 5 * 4;
    device->profiling = options->profiling;
    device->cache_dir = copy_text(options->cache_dir);
    device->kernel_dir = copy_text(options->kernel_dir);
}

/* Test builds take faults from the environment, so that whole servers can be tried with them. */
static ts_status faults_from_environment(ts_error *err)
{
#ifdef TS_FAULTS
    const char *spec = getenv("TENSORSCOPE_FAULT"), *seed = getenv("TENSORSCOPE_FAULT_SEED");
    if (spec && *spec)
        return ts_device_faults(spec, seed ? strtoull(seed, NULL, 10) : 0, err);
#endif
    (void)err;
    return TS_OK;
}

ts_status ts_device_open(size_t index, const ts_device_options *options, ts_device **out,
                         ts_error *err)
{
    ts_device *device = calloc(1, sizeof *device);
    if (!device)
        return ts_fail(err, TS_E_NO_MEMORY, "device");
    pthread_mutex_init(&device->probe_lock, NULL);
    pthread_mutex_init(&device->pool_lock, NULL);
    pthread_mutex_init(&device->programs_lock, NULL);
    pthread_cond_init(&device->programs_built, NULL);
    ts_status st = faults_from_environment(err);
    if (st == TS_OK)
        st = ts_platform_device(index, &device->platform, &device->id, &device->caps, err);
    if (st == TS_OK && !device->caps.compiler)
        st = ts_fail(err, TS_E_DEVICE, "device %s has no OpenCL compiler", device->caps.name);
    if (st == TS_OK) {
        set_options(device, options);
        st = open_context(device, err);
    }
    if (st != TS_OK) {
        ts_device_close(device);
        return st;
    }
    *out = device;
    return TS_OK;
}

void ts_device_close(ts_device *device)
{
    if (!device)
        return;
    ts_programs_finish(device);
    ts_pool_finish(device);
    if (device->probe)
        clReleaseCommandQueue(device->probe);
    for (int i = 0; i < MAX_GENERATIONS; i++)
        if (device->contexts[i])
            clReleaseContext(device->contexts[i]);
    pthread_cond_destroy(&device->programs_built);
    pthread_mutex_destroy(&device->programs_lock);
    pthread_mutex_destroy(&device->pool_lock);
    pthread_mutex_destroy(&device->probe_lock);
    free(device->cache_dir);
    free(device->kernel_dir);
    free(device);
}

const ts_caps *ts_device_caps(const ts_device *device)
{
    return &device->caps;
}

bool ts_device_lost(const ts_device *device)
{
    return atomic_load_explicit(&device->lost, memory_order_relaxed);
}

void ts_device_get_stats(ts_device *device, ts_device_stats *out)
{
    pthread_mutex_lock(&device->pool_lock);
    *out = (ts_device_stats){.budget_bytes = device->budget_bytes,
                             .used_bytes = device->used_bytes,
                             .pooled_bytes = device->pooled_bytes};
    pthread_mutex_unlock(&device->pool_lock);
    out->bytes_h2d = atomic_load(&device->bytes_h2d);
    out->bytes_d2h = atomic_load(&device->bytes_d2h);
    out->allocations = atomic_load(&device->allocations);
    out->pool_hits = atomic_load(&device->pool_hits);
    out->launches = atomic_load(&device->launches);
}
