#define _GNU_SOURCE /* pthread_setname_np, sched_getaffinity */
#include "cl/base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct ts_thread {
    pthread_t id;
    void (*run)(void *);
    void *arg;
    char name[16];
};

static void *thread_main(void *arg)
{
    ts_thread *thread = arg;
    pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->arg);
    return NULL;
}

ts_status ts_thread_start(const char *name, void (*run)(void *), void *arg, ts_thread **out,
                          ts_error *err)
{
    ts_thread *thread = calloc(1, sizeof *thread);
    if (!thread)
        return ts_fail(err, TS_E_NO_MEMORY, "thread %s", name);
    thread->run = run;
    thread->arg = arg;
    snprintf(thread->name, sizeof thread->name, "%s", name);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        free(thread);
        return ts_fail_errno(err, rc, "thread %s", name);
    }
    *out = thread;
    return TS_OK;
}

void ts_thread_join(ts_thread *thread)
{
    if (!thread)
        return;
    pthread_join(thread->id, NULL);
    free(thread);
}

int ts_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}
