/* Datagrams with file descriptors, for both ends of the sandbox. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/sandbox_internal.h"

typedef union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(2 * sizeof(int))];
} control;

bool sandbox_send(int socket, const sandbox_message *message, const int *fds, int n_fds)
{
    control c;
    struct iovec data = {(void *)(uintptr_t)message, sizeof *message};
    struct msghdr h = {.msg_iov = &data, .msg_iovlen = 1};
    memset(&c, 0, sizeof c);
    if (n_fds) {
        h.msg_control = c.bytes;
        h.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
        struct cmsghdr *m = CMSG_FIRSTHDR(&h);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
        memcpy(CMSG_DATA(m), fds, (size_t)n_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(socket, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *message;
}

static bool ready(int socket, int timeout_ms)
{
    struct pollfd p = {.fd = socket, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

int sandbox_receive(int socket, sandbox_message *message, int fds[2], int timeout_ms)
{
    control c;
    struct iovec data = {message, sizeof *message};
    struct msghdr h = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof c};
    fds[0] = fds[1] = -1;
    if (timeout_ms >= 0 && !ready(socket, timeout_ms))
        return -1;
    ssize_t n;
    do
        n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    struct cmsghdr *m = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
    if (m && m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_RIGHTS) {
        size_t n_fds = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(m), (n_fds > 2 ? 2 : n_fds) * sizeof(int));
    }
    message->text[sizeof message->text - 1] = 0;
    return n == (ssize_t)sizeof *message ? 1 : 0;
}
