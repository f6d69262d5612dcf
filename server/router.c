#include "server/router.h"

#include <stdio.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Undo percent-encoding of [from, end) into out[cap]; false: too long, or a bad escape. */
static bool decode(const char *from, const char *end, char *out, size_t cap)
{
    size_t n = 0;
    while (from < end) {
        char c = *from++;
        if (c == '%') {
            if (end - from < 2 || hex_digit(from[0]) < 0 || hex_digit(from[1]) < 0)
                return false;
            c = (char)(hex_digit(from[0]) * 16 + hex_digit(from[1]));
            from += 2;
        }
        if (c == 0 || n + 1 >= cap)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

static bool take_param(ts_path_params *params, const char *name, size_t name_len, const char *from,
                       const char *end)
{
    if (params->n == (int)(sizeof params->part / sizeof *params->part))
        return false;
    int i = params->n++;
    params->part[i].name = name;
    params->part[i].name_len = name_len;
    return decode(from, end, params->part[i].value, sizeof params->part[i].value);
}

/* One segment of the pattern against one of the path. */
static bool match_segment(const char *pattern, const char *pattern_end, const char *path,
                          const char *path_end, ts_path_params *params)
{
    const char *open = memchr(pattern, '{', (size_t)(pattern_end - pattern));
    if (!open) {
        char text[512];
        return decode(path, path_end, text, sizeof text) &&
               strlen(text) == (size_t)(pattern_end - pattern) &&
               memcmp(text, pattern, strlen(text)) == 0;
    }
    const char *close = memchr(open, '}', (size_t)(pattern_end - open));
    size_t before = (size_t)(open - pattern), after = (size_t)(pattern_end - close - 1);
    /* "{n}.webp": fixed text around the part must stand there unencoded. */
    if ((size_t)(path_end - path) <= before + after || memcmp(path, pattern, before) != 0 ||
        memcmp(path_end - after, close + 1, after) != 0)
        return false;
    return take_param(params, open + 1, (size_t)(close - open - 1), path + before,
                      path_end - after);
}

static bool match(const char *pattern, const char *path, ts_path_params *params)
{
    params->n = 0;
    while (*pattern == '/' && *path == '/') {
        const char *pattern_end = pattern + 1 + strcspn(pattern + 1, "/");
        const char *path_end = path + 1 + strcspn(path + 1, "/");
        if (pattern[1] == '{' && pattern_end[-1] == '}' && pattern_end[-2] == '*')
            return path[1] && take_param(params, pattern + 2, (size_t)(pattern_end - pattern - 4),
                                         path + 1, path + strlen(path));
        if (!match_segment(pattern + 1, pattern_end, path + 1, path_end, params))
            return false;
        pattern = pattern_end;
        path = path_end;
    }
    return *pattern == 0 && *path == 0;
}

static void add_method(char allow[64], const char *method)
{
    size_t n = strlen(allow);
    if (!strstr(allow, method))
        snprintf(allow + n, 64 - n, "%s%s", n ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        add_method(allow, "HEAD");
}

static bool has_method(const ts_route *route, const char *method)
{
    if (strcmp(route->method, method) == 0)
        return true;
    return strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0;
}

ts_status ts_router_find(const ts_router *router, const char *method, const char *path,
                         const ts_route **out, ts_path_params *params, char allow[64],
                         ts_error *err)
{
    const ts_route *first = NULL;
    allow[0] = 0;
    for (size_t i = 0; i < router->n_routes; i++) {
        const ts_route *route = &router->routes[i];
        bool catch_all = strncmp(route->pattern, "/{", 2) == 0;
        /* A fixed path hides the patterns that would match it too. */
        if (first && !strchr(first->pattern, '{') && strcmp(first->pattern, route->pattern) != 0)
            continue;
        if (!match(route->pattern, path, params))
            continue;
        if (catch_all && !(router->has_file && router->has_file(params->part[0].value)))
            continue;
        if (has_method(route, method)) {
            *out = route;
            return TS_OK;
        }
        first = first ? first : route;
        add_method(allow, route->method);
    }
    if (!first)
        return ts_fail(err, TS_E_NOT_FOUND, "no such path: %.200s", path);
    add_method(allow, "OPTIONS");
    return ts_fail(err, TS_E_METHOD, "%.20s is not among the methods of this path: %s", method,
                   allow);
}
