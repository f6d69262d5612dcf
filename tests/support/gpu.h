/* One device and queue for a test program: the first one that "auto" picks. */
#ifndef TS_TESTS_SUPPORT_GPU_H
#define TS_TESTS_SUPPORT_GPU_H

#include "cl/device/device.h"
#include "tests/support/check.h"

typedef struct test_gpu {
    ts_device *device;
    ts_queue *queue;
} test_gpu;

static inline void test_gpu_open(test_gpu *gpu)
{
    ts_error err = {0};
    size_t index = 0;
    CHECK_OK(ts_device_select(getenv("TENSORSCOPE_DEVICE"), &index, &err));
    CHECK_OK(ts_device_open(index, &(ts_device_options){0}, &gpu->device, &err));
    CHECK_OK(ts_queue_create(gpu->device, "test", &gpu->queue, &err));
}

static inline void test_gpu_close(test_gpu *gpu)
{
    ts_queue_destroy(gpu->queue);
    ts_device_close(gpu->device);
}

#endif
