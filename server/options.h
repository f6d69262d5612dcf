/*
 * The options of `tensorscope serve`: one table (options.def) makes this struct, the parser of flags,
 * environment and file, --help and GET /v1/config.
 *
 * Precedence: flag, environment (TENSORSCOPE_MAX_BODY), --config file (JSON), default.
 * Thread: read-only once the server has started.
 */
#ifndef TS_SERVER_OPTIONS_H
#define TS_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/json.h"
#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_strings {
    char **items;
    size_t n;
} ts_strings;

#define TS_OPTION_TYPE_LIST    ts_strings
#define TS_OPTION_TYPE_STRING  char * /* never NULL; "" is none */
#define TS_OPTION_TYPE_BOOL    bool
#define TS_OPTION_TYPE_INT     int64_t
#define TS_OPTION_TYPE_SIZE    uint64_t /* bytes */
#define TS_OPTION_TYPE_SECONDS double

typedef struct ts_options {
#define OPTION(kind, field, def, min, max, argument, help) TS_OPTION_TYPE_##kind field;
#include "server/options.def"
#undef OPTION
} ts_options;

/**
 * Fill *out from the flags of argv[1…] (argv[0] is "serve"), the environment and the --config file.
 * *help is set instead where --help was asked for.
 * Errors: TS_E_OPTION naming the flag, variable or file and line, and the nearest known key.
 */
TS_CHECKED ts_status ts_options_parse(int argc, char **argv, char **environment, ts_options *out,
                                      bool *help, ts_error *err);
/** Check one configuration file (tensorscope check-config). */
TS_CHECKED ts_status ts_options_check_file(const char *path, ts_error *err);
/** The same for a file's content. */
TS_CHECKED ts_status ts_options_check_text(const void *data, size_t len, ts_error *err);
void ts_options_finish(ts_options *options);
/** The text of `tensorscope serve --help`, one option per line, appended. */
void ts_options_help(ts_buf *out);
/** Parse "64M", "10s" and the like, as flags take them. False: malformed. */
bool ts_parse_size(const char *text, uint64_t *out);
bool ts_parse_seconds(const char *text, double *out);
/** The options in force as JSON; credentials in URLs are left out. Owner: caller. */
json_t *ts_options_json(const ts_options *options);

#ifdef __cplusplus
}
#endif
#endif
