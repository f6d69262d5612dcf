#include "cl/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cl/base/buf.h"
#include "cl/base/clock.h"

enum {
    MAX_CHANNELS = 32
};

static const char *const LEVELS[] = {"error", "warn", "info", "debug", "trace"};

static pthread_mutex_t levels_lock = PTHREAD_MUTEX_INITIALIZER; /* guards: channels, n_channels */
static struct {
    char name[32];
    ts_log_level level;
} channels[MAX_CHANNELS];
static int n_channels;
static _Atomic int default_level = TS_LOG_INFO;
static atomic_bool as_json;

static int parse_level(const char *text, size_t len)
{
    for (int i = 0; i <= TS_LOG_TRACE; i++)
        if (strlen(LEVELS[i]) == len && memcmp(LEVELS[i], text, len) == 0)
            return i;
    return -1;
}

ts_status ts_log_set_levels(const char *spec, ts_error *err)
{
    ts_status st = TS_OK;
    pthread_mutex_lock(&levels_lock);
    n_channels = 0;
    while (*spec && st == TS_OK) {
        size_t len = strcspn(spec, ",");
        const char *eq = memchr(spec, '=', len);
        const char *word = eq ? eq + 1 : spec;
        int level = parse_level(word, len - (size_t)(word - spec));
        size_t name_len = eq ? (size_t)(eq - spec) : 0;
        if (level < 0 || name_len >= sizeof channels[0].name || n_channels == MAX_CHANNELS) {
            st = ts_fail(err, TS_E_OPTION,
                         "log-level: '%.*s' is not error, warn, info, debug or trace, "
                         "nor CHANNEL=LEVEL",
                         (int)len, spec);
        } else if (eq) {
            memcpy(channels[n_channels].name, spec, name_len);
            channels[n_channels].name[name_len] = '\0';
            channels[n_channels++].level = (ts_log_level)level;
        } else {
            default_level = level;
        }
        spec += len;
        spec += *spec == ',';
    }
    pthread_mutex_unlock(&levels_lock);
    return st;
}

void ts_log_set_json(bool json)
{
    as_json = json;
}

bool ts_log_enabled(ts_log_level level, const char *channel)
{
    int limit = default_level;
    pthread_mutex_lock(&levels_lock);
    for (int i = 0; i < n_channels; i++)
        if (strcmp(channels[i].name, channel) == 0)
            limit = (int)channels[i].level;
    pthread_mutex_unlock(&levels_lock);
    return (int)level <= limit;
}

static void append_escaped(ts_buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            ts_buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            ts_buf_printf(out, "\\u%04x", c);
        else
            ts_buf_append(out, &c, 1);
    }
}

void ts_log(ts_log_level level, const char *channel, const char *fmt, ...)
{
    if (!ts_log_enabled(level, channel))
        return;
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    ts_buf line = {0};
    if (as_json) {
        ts_buf_printf(&line,
                      "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"channel\":\"%s\",\"msg\":\"",
                      stamp, now.tv_nsec / 1000000, LEVELS[level], channel);
        append_escaped(&line, text);
        ts_buf_str(&line, "\"}\n");
    } else {
        for (char *c = text; *c; c++) /* one event, one line: input must not forge another */
            if ((unsigned char)*c < 0x20)
                *c = ' ';
        ts_buf_printf(&line, "%s.%03ldZ %-5s %s: %s\n", stamp, now.tv_nsec / 1000000, LEVELS[level],
                      channel, text);
    }
    if (!line.failed && write(STDERR_FILENO, line.data, line.len) < 0) {
        /* nowhere left to say it */
    }
    ts_buf_finish(&line);
}

void ts_log_error(ts_log_level level, const char *channel, const char *what, const ts_error *err)
{
    ts_log(level, channel, "%s: %s code=%s native=%d where=%s", what, err->text,
           ts_status_code(err->status), err->native, err->where ? err->where : "-");
    if (err->detail)
        ts_log(TS_LOG_DEBUG, channel, "%s", err->detail);
}
