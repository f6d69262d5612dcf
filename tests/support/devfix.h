/* The device that unit tests run on, with one queue. TS_TEST_DEVICE picks it, as --device does. */
#ifndef TS_TESTS_SUPPORT_DEVFIX_H
#define TS_TESTS_SUPPORT_DEVFIX_H

#include "cl/device/device.h"

/* Fails the test on errors. */
void ts_devfix_open(ts_device **device, ts_queue **queue);
void ts_devfix_close(ts_device *device, ts_queue *queue);

#endif
