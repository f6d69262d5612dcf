#include "tests/support/devfix.h"

#include "tests/support/check.h"

void ts_devfix_open(ts_device **device, ts_queue **queue)
{
    ts_error err = {0};
    size_t index;
    CHECK_OK(ts_device_select(getenv("TS_TEST_DEVICE"), &index, &err));
    CHECK_OK(ts_device_open(index, NULL, device, &err));
    CHECK_OK(ts_queue_create(*device, "test", queue, &err));
}

void ts_devfix_close(ts_device *device, ts_queue *queue)
{
    ts_queue_destroy(queue);
    ts_device_close(device);
}
