#define _GNU_SOURCE
#include "server/commands.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cl/base/json.h"
#include "cl/device/device.h"
#include "server/options.h"

int ts_exit_status(ts_status status)
{
    switch (status) {
    case TS_OK:
        return 0;
    case TS_E_OPTION:
    case TS_E_NAME:
        return 2;
    case TS_E_DEVICE:
        return 4;
    case TS_E_FILE:
    case TS_E_JSON:
    case TS_E_SIZE:
    case TS_E_DTYPE:
    case TS_E_SHAPE:
        return 5;
    case TS_E_DISK_FULL:
    case TS_E_NO_ENCODER:
        return 6;
    default:
        return 1;
    }
}

int ts_command_fail(const char *name, const ts_error *err)
{
    fprintf(stderr, "tensorscope %s: %s\n", name,
            err->text[0] ? err->text : ts_status_code(err->status));
    return ts_exit_status(err->status);
}

static bool wants_help(int argc, char **argv, const char *text)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(text, stdout);
            return true;
        }
    return false;
}

static int usage(const char *name, const char *argument)
{
    fprintf(stderr, "tensorscope %s: unexpected argument \"%s\"; see tensorscope %s --help\n", name,
            argument, name);
    return 2;
}

/* ---- devices ---- */

static const char *kind_word(ts_device_kind kind)
{
    return kind == TS_DEVICE_CPU ? "cpu" : kind == TS_DEVICE_GPU ? "gpu" : "other";
}

static void print_devices_json(const ts_caps *list, size_t n)
{
    json_t *devices = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            devices, json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:b}",
                               "index", (json_int_t)list[i].index, "name", list[i].name, "kind",
                               kind_word(list[i].kind), "vendor", list[i].vendor, "platform",
                               list[i].platform, "version", list[i].version, "driver",
                               list[i].driver, "compute_units", (json_int_t)list[i].compute_units,
                               "memory_bytes", (json_int_t)list[i].global_bytes, "max_alloc_bytes",
                               (json_int_t)list[i].max_alloc_bytes, "fp16", list[i].fp16, "usable",
                               list[i].compiler));
    json_t *body = json_pack("{s:o}", "devices", devices);
    json_dumpf(body, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(body);
}

/* Keep the one device that --device means. */
static ts_status keep_selected(const char *spec, ts_caps *list, size_t *n, ts_error *err)
{
    size_t index = 0;
    ts_status st = ts_device_select(spec, &index, err);
    for (size_t i = 0; i < *n && st == TS_OK; i++)
        if (list[i].index == index) {
            list[0] = list[i];
            *n = 1;
            break;
        }
    return st;
}

static ts_status read_devices_flags(int argc, char **argv, bool *json, const char **spec,
                                    ts_error *err)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            *json = true;
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            *spec = argv[++i];
        else if (strncmp(argv[i], "--device=", 9) == 0)
            *spec = argv[i] + 9;
        else
            return ts_fail(err, TS_E_OPTION, "unexpected argument \"%.80s\"; see --help", argv[i]);
    }
    return TS_OK;
}

int ts_command_devices(int argc, char **argv)
{
    bool json = false;
    const char *spec = NULL;
    ts_error err = {0};
    if (wants_help(argc, argv,
                   "usage: tensorscope devices [--device DEVICE] [--json]\n"
                   "List the OpenCL devices; --device takes auto, an index or a part "
                   "of a name.\n"))
        return 0;
    if (read_devices_flags(argc, argv, &json, &spec, &err) != TS_OK)
        return ts_command_fail("devices", &err);
    ts_caps *list = NULL;
    size_t n = 0;
    ts_status st = ts_device_list(&list, &n, &err);
    if (st == TS_OK && n && spec)
        st = keep_selected(spec, list, &n, &err);
    if (st != TS_OK) {
        free(list);
        ts_command_fail("devices", &err);
        return 3;
    }
    if (json)
        print_devices_json(list, n);
    for (size_t i = 0; i < n && !json; i++)
        printf("%zu  %s  (%s, %s, driver %s, %u units, %.1f GiB%s)\n", list[i].index, list[i].name,
               kind_word(list[i].kind), list[i].platform, list[i].driver, list[i].compute_units,
               (double)list[i].global_bytes / 1073741824.0,
               list[i].compiler ? "" : ", no compiler: not usable");
    free(list);
    if (n == 0) {
        fprintf(stderr, "tensorscope devices: no OpenCL device is installed\n");
        return 3;
    }
    return 0;
}

/* ---- healthcheck ---- */

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd >= 0 && connect(fd, (const void *)&address, sizeof address) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_tcp(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        struct timeval timeout = {.tv_sec = 5};
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

/* http://host:port, http://[::1]:port or unix:/path */
static int connect_url(const char *url)
{
    if (strncmp(url, "unix:", 5) == 0)
        return connect_unix(url + 5);
    if (strncmp(url, "http://", 7) == 0)
        url += 7;
    char host[256], port[16] = "80";
    const char *end = url + strcspn(url, "/?");
    const char *bracket = *url == '[' ? memchr(url, ']', (size_t)(end - url)) : NULL;
    const char *after = bracket ? bracket + 1 : url;
    const char *colon = memchr(after, ':', (size_t)(end - after));
    const char *host_end = bracket ? bracket : colon ? colon : end;
    url += bracket != NULL;
    snprintf(host, sizeof host, "%.*s", (int)(host_end - url), url);
    if (colon)
        snprintf(port, sizeof port, "%.*s", (int)(end - colon - 1), colon + 1);
    return connect_tcp(host, port);
}

/* The path of an URL, or /livez where it has none. */
static const char *path_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    return path && path[1] ? path : "/livez";
}

static int ask(int fd, const char *path)
{
    char request[1024], answer[256];
    size_t n = 0;
    int len = snprintf(request, sizeof request,
                       "GET %.800s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) < 0)
        return 0;
    while (n + 1 < sizeof answer) {
        ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    answer[n] = 0;
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

int ts_command_healthcheck(int argc, char **argv)
{
    const char *url = "http://127.0.0.1:8080";
    if (wants_help(argc, argv,
                   "usage: tensorscope healthcheck [URL]\n"
                   "Exit 0 if the server at URL (http://127.0.0.1:8080, or unix:/path) "
                   "answers 200 at the URL's path, or at /livez; else 1.\n"))
        return 0;
    if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
        return usage("healthcheck", argv[argc - 1]);
    if (argc == 2)
        url = argv[1];
    if (strncmp(url, "https://", 8) == 0) {
        fprintf(stderr, "tensorscope healthcheck: use a plain http:// or unix: address\n");
        return 2;
    }
    int fd = connect_url(url);
    if (fd < 0) {
        fprintf(stderr, "tensorscope healthcheck: %s is not reached: %s\n", url, strerror(errno));
        return 1;
    }
    int status = ask(fd, path_of(url));
    close(fd);
    if (status == 200)
        return 0;
    fprintf(stderr, "tensorscope healthcheck: %s answers %d\n", url, status);
    return 1;
}

/* ---- check-config ---- */

int ts_command_check_config(int argc, char **argv)
{
    ts_error err = {0};
    if (wants_help(argc, argv,
                   "usage: tensorscope check-config FILE\n"
                   "Check the options in a JSON file; exit 0 or 2.\n"))
        return 0;
    if (argc != 2) {
        fprintf(stderr, "tensorscope check-config: expected one file\n");
        return 2;
    }
    if (ts_options_check_file(argv[1], &err) != TS_OK) {
        ts_command_fail("check-config", &err);
        return 2;
    }
    printf("%s: ok\n", argv[1]);
    return 0;
}
