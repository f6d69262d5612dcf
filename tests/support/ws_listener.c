#include "tests/support/ws_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

int ws_listener_open(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)&address, &len))
        return -1;
    *port = ntohs(address.sin_port);
    return fd;
}

static bool find_key(const char *head, char key[64])
{
    static const char name[] = "sec-websocket-key:";
    for (; *head; head++)
        if (!strncasecmp(head, name, sizeof name - 1))
            return sscanf(head + sizeof name - 1, " %63[^\r]", key) == 1;
    return false;
}

bool ws_listener_accept(int listener, ts_app *app, const ts_route *route)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return false;
    char head[8192], key[64] = "";
    size_t n = 0;
    char *end = NULL;
    while (!end && n < sizeof head - 1) {
        ssize_t got = recv(fd, head + n, sizeof head - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        head[n] = 0;
        end = strstr(head, "\r\n\r\n");
    }
    if (!end || !find_key(head, key)) {
        close(fd);
        return true;
    }
    ts_takeover_info info = {.route = route,
                             .path = route->pattern,
                             .scopes = TS_SCOPE_ALL,
                             .peer = "test",
                             .key = key,
                             .extra = end + 4,
                             .n_extra = n - (size_t)(end + 4 - head)};
    ts_ws_takeover(app, fd, &info);
    return true;
}
