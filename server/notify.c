#include "server/notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void ts_notify(const char *address, const char *state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = address ? strlen(address) : 0;
    if (len < 2 || len >= sizeof to.sun_path || (*address != '/' && *address != '@'))
        return;
    memcpy(to.sun_path, address, len);
    if (*address == '@')
        to.sun_path[0] = 0; /* an abstract socket */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (const void *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    (void)sent; /* a manager that does not listen is none of ours */
    close(fd);
}
