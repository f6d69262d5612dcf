/* The confined end: decodes what it is given until its socket closes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/media/memvideo.h"
#include "server/sandbox.h"
#include "server/sandbox_internal.h"

/* ---- confinement ---- */

#if defined(__x86_64__)
#    define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#    define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

static void limit(int what, rlim_t value)
{
    struct rlimit r = {value, value};
    (void)setrlimit(what, &r);
}

static void limit_resources(void)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NPROC, 0);
    limit(RLIMIT_NOFILE, 16);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    limit(RLIMIT_AS, (rlim_t)3 << 30); /* sanitizers map terabytes of shadow */
#endif
}

#ifdef THIS_ARCH
/* Computing, memory, the socket and the memory files; anything else fails with EPERM. */
static bool filter_calls(void)
{
    static const int allowed[] = {
        __NR_read,
        __NR_write,
        __NR_readv,
        __NR_writev,
        __NR_recvmsg,
        __NR_sendmsg,
        __NR_close,
        __NR_fstat,
        __NR_lseek,
        __NR_mmap,
        __NR_munmap,
        __NR_mprotect,
        __NR_mremap,
        __NR_madvise,
        __NR_brk,
        __NR_futex,
        __NR_rt_sigreturn,
        __NR_rt_sigprocmask,
        __NR_clock_gettime,
        __NR_clock_nanosleep,
        __NR_getrandom,
        __NR_sched_yield,
        __NR_sched_getaffinity,
        __NR_getpid,
        __NR_gettid,
        __NR_tgkill,
        __NR_exit,
        __NR_exit_group,
        __NR_set_robust_list,
        __NR_ppoll,
#    ifdef __NR_poll
        __NR_poll,
#    endif
#    ifdef __NR_rseq
        __NR_rseq,
#    endif
#    if defined(__SANITIZE_ADDRESS__)
        __NR_sigaltstack,
        __NR_rt_sigaction,
        __NR_getrusage,
        __NR_prctl,
        __NR_sysinfo,
        __NR_uname,
#    endif
    };
    enum {
        N = sizeof allowed / sizeof *allowed
    };
    struct sock_filter code[N + 6];
    size_t n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N; i++) /* jump to the last instruction, which allows */
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i],
                                                 (uint8_t)(N - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#else
static bool filter_calls(void)
{
    return false; /* no list of calls for this processor */
}
#endif

static bool confine(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd < 1024; fd++) /* nothing of the server's but the socket */
        if (fd != SANDBOX_FD && fd != STDERR_FILENO)
            (void)close(fd);
    limit_resources();
    return filter_calls();
}

/* ---- decoding ---- */

/* Memory files mapped for one request. */
typedef struct mappings {
    const uint8_t *input;
    uint8_t *output;
    size_t input_bytes, output_bytes;
} mappings;

static void unmap(mappings *m)
{
    if (m->input)
        (void)munmap((void *)(uintptr_t)m->input, m->input_bytes);
    if (m->output)
        (void)munmap(m->output, m->output_bytes);
    *m = (mappings){0};
}

static bool map_input(mappings *m, int fd, uint64_t bytes)
{
    void *p = bytes ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    (void)close(fd);
    m->input = p == MAP_FAILED ? NULL : p;
    m->input_bytes = bytes;
    return m->input != NULL;
}

static bool map_output(mappings *m, int fd, uint64_t bytes)
{
    void *p = bytes ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    (void)close(fd);
    m->output = p == MAP_FAILED ? NULL : p;
    m->output_bytes = bytes;
    return m->output != NULL;
}

static void answer(int32_t op, ts_status status, const ts_error *err, sandbox_message *m)
{
    m->op = op;
    m->status = status;
    snprintf(m->text, sizeof m->text, "%s", err->text);
    if (!sandbox_send(SANDBOX_FD, m, NULL, 0))
        _exit(0);
}

static void do_image(sandbox_message *m, int fds[2])
{
    mappings maps = {0};
    ts_error err = {0};
    ts_buf out = {0};
    ts_image_info info = {0};
    ts_status st = TS_OK;
    if (!map_input(&maps, fds[0], m->input_bytes) || !map_output(&maps, fds[1], m->output_bytes))
        st = ts_fail(&err, TS_E_NO_MEMORY, "no memory to decode a picture");
    if (st == TS_OK)
        st = ts_image_decode(maps.input, maps.input_bytes, 0, &info, &out, &err);
    if (st == TS_OK && out.len > maps.output_bytes)
        st = ts_fail(&err, TS_E_FILE, "a picture of another size than its header says");
    if (st == TS_OK)
        memcpy(maps.output, out.data, out.len);
    m->width = info.width;
    m->height = info.height;
    m->channels = info.channels;
    m->output_bytes = out.len;
    ts_buf_finish(&out);
    unmap(&maps);
    answer(OP_IMAGE, st, &err, m);
    ts_error_clear(&err);
}

/* A video or an animation. */
typedef struct source {
    ts_memvideo *video;
    ts_animation *animation;
    int width, height;
    double fps;
    int64_t frames, end_us;
} source;

static ts_status source_open(source *s, const mappings *maps, ts_error *err)
{
    ts_image_info image;
    ts_memvideo_info video;
    bool picture = ts_image_probe(maps->input, maps->input_bytes, &image, NULL) == TS_OK;
    ts_status st;
    if (picture) {
        st = ts_animation_open(maps->input, maps->input_bytes, &s->animation, &image, err);
        s->width = image.width;
        s->height = image.height;
        return st;
    }
    st = ts_memvideo_open(maps->input, maps->input_bytes, &s->video, &video, err);
    if (st == TS_OK) {
        s->width = video.width;
        s->height = video.height;
        s->fps = video.fps;
    }
    return st;
}

static ts_status source_next(source *s, const uint8_t **rgba, ts_error *err)
{
    ts_status st = s->video ? ts_memvideo_next(s->video, rgba, err)
                            : ts_animation_next(s->animation, rgba, &s->end_us, err);
    s->frames += st == TS_OK && *rgba;
    return st;
}

static void source_close(source *s)
{
    ts_memvideo_close(s->video);
    ts_animation_close(s->animation);
}

static double source_fps(const source *s)
{
    if (s->video || s->end_us <= 0)
        return s->fps;
    return (double)s->frames * 1e6 / (double)s->end_us;
}

/* Frame after frame as they are asked for; false: the server is gone. */
static bool serve_frames(source *s, mappings *maps, sandbox_message *m)
{
    size_t bytes = 4 * (size_t)s->width * (size_t)s->height;
    for (;;) {
        int fds[2];
        ts_error err = {0};
        const uint8_t *rgba = NULL;
        if (sandbox_receive(SANDBOX_FD, m, fds, -1) != 1)
            return false;
        if (m->op != OP_NEXT)
            return true;
        ts_status st = TS_OK;
        if (!maps->output && (fds[0] < 0 || !map_output(maps, fds[0], m->output_bytes)))
            st = ts_fail(&err, TS_E_NO_MEMORY, "no memory for a frame");
        if (st == TS_OK && maps->output_bytes < bytes)
            st = ts_fail(&err, TS_E_INTERNAL, "the frame's memory is too small");
        if (st == TS_OK)
            st = source_next(s, &rgba, &err);
        if (st == TS_OK && rgba)
            memcpy(maps->output, rgba, bytes);
        m->fps = source_fps(s);
        answer(st == TS_OK && rgba ? OP_FRAME : OP_END, st, &err, m);
        ts_error_clear(&err);
        if (m->op == OP_END)
            return true;
    }
}

static bool do_clip(sandbox_message *m, int fds[2])
{
    mappings maps = {0};
    ts_error err = {0};
    source s = {0};
    ts_status st = map_input(&maps, fds[0], m->input_bytes)
                       ? source_open(&s, &maps, &err)
                       : ts_fail(&err, TS_E_NO_MEMORY, "no memory for a clip");
    m->width = s.width;
    m->height = s.height;
    m->fps = s.fps;
    answer(OP_INFO, st, &err, m);
    ts_error_clear(&err);
    bool there = st != TS_OK || serve_frames(&s, &maps, m);
    source_close(&s);
    unmap(&maps);
    return there;
}

int ts_sandbox_worker(void)
{
    sandbox_message m;
    int fds[2];
    ts_error none = {0};
    if (!confine())
        return 1;
    ts_memvideo_set_threads(1); /* no threads in here */
    while (sandbox_receive(SANDBOX_FD, &m, fds, -1) == 1) {
        if (m.op == OP_HELLO) {
            /* Shown by trying: no file can be opened any more. */
            int fd = open("/proc/self/status", O_RDONLY);
            answer(OP_HELLO, fd < 0 ? TS_OK : TS_E_INTERNAL, &none, &m);
        } else if (m.op == OP_IMAGE && fds[0] >= 0 && fds[1] >= 0) {
            do_image(&m, fds);
        } else if (m.op == OP_CLIP && fds[0] >= 0) {
            if (!do_clip(&m, fds))
                break;
        }
    }
    _exit(0);
}
