/* The only exit(): subcommands, and `serve` from its options to the last signal. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "api/routes.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/app.h"
#include "server/commands.h"
#include "server/notify.h"
#include "server/sandbox.h"
#include "server/version.h"

static const ts_command commands[] = {
#define COMMAND(name, function, help) {name, help, function},
#include "server/commands.def"
#undef COMMAND
};

/* ---- serve ---- */

static void print_serve_help(void)
{
    ts_buf text = {0};
    ts_buf_str(&text, "usage: tensorscope serve [options]\n\n");
    ts_options_help(&text);
    ts_buf_str(&text,
               "\nEach is also an environment variable (--max-body: TENSORSCOPE_MAX_BODY) and "
               "a key of\nthe configuration file (\"max_body\"). Precedence: flag, "
               "environment, file, default.\n");
    fwrite(text.data, 1, text.len, stdout);
    ts_buf_finish(&text);
}

/* What went wrong at the start, as an exit status: 3 where no device can be used. */
static int start_failure(const ts_error *err)
{
    bool device = err->where && strstr(err->where, "cl/device/");
    int status = ts_command_fail("serve", err);
    if (err->detail)
        fprintf(stderr, "%s\n", err->detail);
    return device ? 3 : status == 2 ? 2 : 1;
}

/* A second signal while shutting down does not wait for anything; SIGHUP wakes this at the end. */
static _Atomic bool ended;

static void exit_at_second_signal(void *arg)
{
    sigset_t *signals = arg;
    int number = 0;
    while (!ended && sigwait(signals, &number) == 0)
        if (number != SIGHUP)
            _exit(130);
}

/* SIGHUP: the options again, from the same flags, environment and file. */
static void reload(ts_app *app, int argc, char **argv)
{
    ts_options fresh;
    ts_error err = {0};
    bool help = false;
    if (ts_options_parse(argc, argv, environ, &fresh, &help, &err) == TS_OK) {
        ts_app_reload(app, &fresh);
        ts_options_finish(&fresh);
    } else {
        ts_log_error(TS_LOG_ERROR, "http", "options were not reread", &err);
        ts_app_reload(app, NULL);
    }
    ts_error_clear(&err);
}

/* The next signal; meanwhile the service manager's watchdog is told that this thread lives. */
static int next_signal(const sigset_t *signals, const char *manager)
{
    const char *watchdog = getenv("WATCHDOG_USEC");
    long long us = manager && watchdog ? atoll(watchdog) / 2 : 0;
    struct timespec wait = {.tv_sec = us > 0 ? us / 1000000 : 3600, .tv_nsec = us % 1000000 * 1000};
    int number;
    while ((number = sigtimedwait(signals, NULL, &wait)) < 0)
        if (us > 0)
            ts_notify(manager, "WATCHDOG=1");
    return number;
}

static int wait_for_end(ts_app *app, sigset_t *signals, int argc, char **argv)
{
    const char *manager = getenv("NOTIFY_SOCKET");
    ts_notify(manager, "READY=1");
    while (next_signal(signals, manager) == SIGHUP)
        reload(app, argc, argv);
    ts_notify(manager, "STOPPING=1");
    ts_thread *watcher = NULL;
    ts_error err = {0};
    if (ts_thread_start("ts-signal", exit_at_second_signal, signals, &watcher, &err) != TS_OK)
        ts_error_clear(&err);
    if (!ts_app_drain(app))
        _exit(0); /* a handler still runs and uses what would be freed */
    ts_app_stop(app);
    ended = true;
    kill(getpid(), SIGHUP);
    ts_thread_join(watcher);
    return 0;
}

/* A connection is a descriptor; the usual soft limit of 1024 is there for programs that use select(). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve(int argc, char **argv)
{
    ts_options options;
    ts_error err = {0};
    bool help = false;
    if (ts_options_parse(argc, argv, environ, &options, &help, &err) != TS_OK) {
        ts_command_fail("serve", &err);
        return 2;
    }
    if (help) {
        ts_options_finish(&options);
        print_serve_help();
        return 0;
    }
    static sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    ts_app *app = NULL;
    if (ts_app_start(&options, &ts_api_router, &app, &err) != TS_OK)
        return start_failure(&err);
    return wait_for_end(app, &signals, argc, argv);
}

/* ---- the executable ---- */

static void print_help(FILE *out)
{
    fprintf(out, "usage: tensorscope COMMAND [options]\n\n  %-14s %s\n", "serve", "run the server");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "  %-14s %s\n  %-14s %s\n\nEach command has --help.\n", "--version",
            "print the version and what is built in", "--help", "print this");
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        puts(TS_VERSION_TEXT);
        return 0;
    }
    if (strcmp(name, "serve") == 0)
        return serve(argc - 1, argv + 1);
    if (strcmp(name, "decode-worker") == 0) /* started by --sandbox only */
        return ts_sandbox_worker();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "tensorscope: no command \"%s\"; see tensorscope --help\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    return run(argc, argv);
}
