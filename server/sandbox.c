/* The server's end of the sandbox: workers, their memory files, and what happens when one dies. */
#define _GNU_SOURCE
#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cl/base/log.h"
#include "server/sandbox_internal.h"

enum {
    WORKERS = 2,
    START_MS = 20000,
    WORK_MS = 30000, /* for one answer */
    MAX_SIDE = 16384
};

typedef struct worker {
    pid_t pid; /* 0: none */
    int socket;
    bool busy;
} worker;

struct ts_sandbox {
    pthread_mutex_t pool_lock; /* guards: busy */
    pthread_cond_t freed;
    worker workers[WORKERS];
};

/* ---- workers ---- */

static void worker_kill(worker *w)
{
    if (!w->pid)
        return;
    (void)close(w->socket);
    (void)kill(w->pid, SIGKILL);
    while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    w->pid = 0;
}

static ts_status spawn(worker *w, ts_error *err)
{
    static char name[] = "tensorscope", command[] = "decode-worker";
    char *const argv[] = {name, command, NULL}, *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return ts_fail_errno(err, errno, "sandbox socket");
    /* Above 3, so that dup2() really makes a new descriptor without close-on-exec. */
    int high = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, high, SANDBOX_FD);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = high < 0
                 ? errno
                 : posix_spawn(&w->pid, "/proc/self/exe", &actions, &attributes, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    (void)close(pair[1]);
    if (high >= 0)
        (void)close(high);
    w->socket = pair[0];
    if (rc == 0)
        return TS_OK;
    (void)close(pair[0]);
    w->pid = 0;
    return ts_fail_errno(err, rc, "start a sandboxed decoder");
}

static ts_status worker_start(worker *w, ts_error *err)
{
    sandbox_message m = {.op = OP_HELLO};
    int fds[2];
    ts_status st = spawn(w, err);
    if (st != TS_OK)
        return st;
    if (sandbox_send(w->socket, &m, NULL, 0) &&
        sandbox_receive(w->socket, &m, fds, START_MS) == 1 && m.status == TS_OK)
        return TS_OK;
    worker_kill(w);
    return ts_fail(err, TS_E_INTERNAL, "--sandbox: decoders cannot be confined on this system");
}

ts_status ts_sandbox_create(ts_sandbox **out, ts_error *err)
{
    ts_sandbox *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for the sandbox");
    pthread_mutex_init(&s->pool_lock, NULL);
    pthread_cond_init(&s->freed, NULL);
    ts_status st = TS_OK;
    for (int i = 0; i < WORKERS && st == TS_OK; i++)
        st = worker_start(&s->workers[i], err);
    if (st != TS_OK) {
        ts_sandbox_destroy(s);
        return st;
    }
    *out = s;
    return TS_OK;
}

void ts_sandbox_destroy(ts_sandbox *sandbox)
{
    if (!sandbox)
        return;
    for (int i = 0; i < WORKERS; i++)
        worker_kill(&sandbox->workers[i]);
    pthread_mutex_destroy(&sandbox->pool_lock);
    pthread_cond_destroy(&sandbox->freed);
    free(sandbox);
}

static worker *acquire(ts_sandbox *s)
{
    worker *w = NULL;
    pthread_mutex_lock(&s->pool_lock);
    while (!w) {
        for (int i = 0; i < WORKERS && !w; i++)
            w = s->workers[i].busy ? NULL : &s->workers[i];
        if (!w)
            pthread_cond_wait(&s->freed, &s->pool_lock);
    }
    w->busy = true;
    pthread_mutex_unlock(&s->pool_lock);
    return w;
}

static void give_back(ts_sandbox *s, worker *w)
{
    pthread_mutex_lock(&s->pool_lock);
    w->busy = false;
    pthread_cond_signal(&s->freed);
    pthread_mutex_unlock(&s->pool_lock);
}

/* A worker that went wrong is not asked again. */
static ts_status lost(worker *w, int how, ts_error *err)
{
    worker_kill(w);
    ts_log(TS_LOG_WARN, "media", "a sandboxed decoder %s", how < 0 ? "hung" : "died");
    return how < 0
               ? ts_fail(err, TS_E_FILE, "the file took more than %d s to decode", WORK_MS / 1000)
               : ts_fail(err, TS_E_FILE, "the decoder died on this file");
}

/* Send, and receive an answer of one of the ops given. */
static ts_status ask(worker *w, sandbox_message *m, const int *fds, int n_fds, int op, int other,
                     ts_error *err)
{
    int none[2], how = 0;
    if (w->pid && waitpid(w->pid, NULL, WNOHANG) == w->pid) { /* killed while idle */
        (void)close(w->socket);
        w->pid = 0;
    }
    if (!w->pid) {
        ts_status st = worker_start(w, err);
        if (st != TS_OK)
            return st;
    }
    if (!sandbox_send(w->socket, m, fds, n_fds) ||
        (how = sandbox_receive(w->socket, m, none, WORK_MS)) != 1)
        return lost(w, how, err);
    for (int i = 0; i < 2; i++)
        if (none[i] >= 0) /* workers have nothing to give */
            (void)close(none[i]);
    if (m->op != op && m->op != other)
        return lost(w, 0, err);
    if (m->status <= TS_OK || m->status >= TS_STATUS_COUNT)
        return TS_OK;
    return ts_fail(err, (ts_status)m->status, "%s", m->text);
}

/* ---- memory files ---- */

/* A memory file of fixed size; `data` (may be NULL) is copied in. */
static ts_status memory_file(const char *name, const void *data, size_t bytes, int *out,
                             ts_error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t at = 0;
    bool ok = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0;
    while (ok && data && at < bytes) {
        ssize_t n = pwrite(fd, (const uint8_t *)data + at, bytes - at, (off_t)at);
        ok = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? (size_t)n : 0;
    }
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (data ? F_SEAL_WRITE : 0);
    ok = ok && fcntl(fd, F_ADD_SEALS, seals) == 0;
    if (ok) {
        *out = fd;
        return TS_OK;
    }
    int code = errno;
    if (fd >= 0)
        (void)close(fd);
    return ts_fail_errno(err, code, "memory for a sandboxed decoder");
}

static ts_status map_pixels(int fd, size_t bytes, const uint8_t **out, ts_error *err)
{
    void *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return ts_fail_errno(err, errno, "map decoded pixels");
    *out = p;
    return TS_OK;
}

static void close_files(int *fds, int n)
{
    for (int i = 0; i < n; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
}

/* ---- pictures ---- */

static ts_status image_with(worker *w, int fds[2], size_t len, ts_image_info *info, ts_buf *out,
                            ts_error *err)
{
    size_t room = 4 * (size_t)info->width * (size_t)info->height;
    sandbox_message m = {.op = OP_IMAGE, .input_bytes = len, .output_bytes = room};
    const uint8_t *pixels = NULL;
    ts_status st = ask(w, &m, fds, 2, OP_IMAGE, OP_IMAGE, err);
    if (st != TS_OK)
        return st;
    /* What a worker says is checked like the file itself. */
    bool right = m.width == info->width && m.height == info->height && m.channels >= 1 &&
                 m.channels <= 4 &&
                 m.output_bytes == (uint64_t)m.width * (uint64_t)m.height * (uint64_t)m.channels;
    if (!right)
        return lost(w, 0, err);
    st = map_pixels(fds[1], room, &pixels, err);
    if (st != TS_OK)
        return st;
    ts_buf_append(out, pixels, m.output_bytes);
    (void)munmap((void *)(uintptr_t)pixels, room);
    info->channels = m.channels;
    return out->failed ? ts_fail(err, TS_E_NO_MEMORY, "no memory for a picture") : TS_OK;
}

ts_status ts_sandbox_image(ts_sandbox *sandbox, const void *data, size_t len, ts_image_info *info,
                           ts_buf *out, ts_error *err)
{
    int fds[2] = {-1, -1};
    size_t room = 4 * (size_t)info->width * (size_t)info->height;
    ts_status st = memory_file("file", data, len, &fds[0], err);
    if (st == TS_OK)
        st = memory_file("pixels", NULL, room, &fds[1], err);
    if (st == TS_OK) {
        worker *w = acquire(sandbox);
        st = image_with(w, fds, len, info, out, err);
        give_back(sandbox, w);
    }
    close_files(fds, 2);
    return st;
}

/* ---- clips ---- */

typedef struct clip_job {
    ts_sandbox_frame_fn frame;
    void *arg;
    ts_sandbox_clip *clip;
} clip_job;

static ts_status frames_with(worker *w, int output, size_t bytes, const uint8_t *pixels,
                             const clip_job *job, ts_error *err)
{
    bool first = true;
    for (;;) {
        sandbox_message m = {.op = OP_NEXT, .output_bytes = bytes};
        ts_status st = ask(w, &m, &output, first ? 1 : 0, OP_FRAME, OP_END, err);
        if (st != TS_OK)
            return st;
        first = false;
        job->clip->fps = m.fps;
        if (m.op == OP_END)
            return TS_OK;
        st = job->frame(job->arg, job->clip, pixels, err);
        if (st != TS_OK) {
            sandbox_message stop = {.op = OP_STOP};
            if (w->pid && !sandbox_send(w->socket, &stop, NULL, 0))
                worker_kill(w);
            return st;
        }
    }
}

static ts_status clip_with(worker *w, int input, size_t len, const clip_job *job, ts_error *err)
{
    sandbox_message m = {.op = OP_CLIP, .input_bytes = len};
    int output = -1;
    const uint8_t *pixels = NULL;
    ts_status st = ask(w, &m, &input, 1, OP_INFO, OP_INFO, err);
    if (st != TS_OK)
        return st;
    if (m.width < 1 || m.height < 1 || m.width > MAX_SIDE || m.height > MAX_SIDE)
        return lost(w, 0, err);
    *job->clip = (ts_sandbox_clip){m.width, m.height, m.fps};
    size_t bytes = 4 * (size_t)m.width * (size_t)m.height;
    st = memory_file("frame", NULL, bytes, &output, err);
    if (st == TS_OK)
        st = map_pixels(output, bytes, &pixels, err);
    if (st == TS_OK)
        st = frames_with(w, output, bytes, pixels, job, err);
    else
        worker_kill(w); /* it waits for the frame's memory */
    if (pixels)
        (void)munmap((void *)(uintptr_t)pixels, bytes);
    close_files(&output, 1);
    return st;
}

ts_status ts_sandbox_decode_clip(ts_sandbox *sandbox, const void *data, size_t len,
                                 ts_sandbox_frame_fn frame, void *arg, ts_sandbox_clip *clip,
                                 ts_error *err)
{
    clip_job job = {frame, arg, clip};
    int input = -1;
    if (!len)
        return ts_fail(err, TS_E_FILE, "an empty file");
    ts_status st = memory_file("file", data, len, &input, err);
    if (st == TS_OK) {
        worker *w = acquire(sandbox);
        st = clip_with(w, input, len, &job, err);
        give_back(sandbox, w);
    }
    close_files(&input, 1);
    return st;
}
