#include "cl/base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

int64_t ts_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static double wall_offset;

static void init_wall_offset(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    wall_offset = (double)t.tv_sec + (double)t.tv_nsec * 1e-9 - (double)ts_now_us() * 1e-6;
}

/* The offset is taken once: a step of the system clock must not reorder frames. */
double ts_wall_seconds(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_wall_offset);
    return wall_offset + (double)ts_now_us() * 1e-6;
}

void ts_sleep_us(int64_t us)
{
    if (us <= 0)
        return;
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
        ;
}
