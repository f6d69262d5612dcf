/* Files compiled into the binary by cl/base/embed.cmake; a table ends with a NULL name. */
#ifndef TS_CL_BASE_EMBED_H
#define TS_CL_BASE_EMBED_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A zero byte follows the content, so text can be used as a string. */
typedef struct ts_embedded {
    const char *name;
    const unsigned char *data, *end;
} ts_embedded;

extern const ts_embedded ts_kernel_files[]; /* cl/kernels */
extern const ts_embedded ts_web_files[];    /* clients/web and clients/js */
extern const ts_embedded ts_builtin_files[]; /* cl/models/builtin */
extern const ts_embedded ts_api_files[];    /* api documents and schemas */

/** Find by name; NULL if there is none. */
const ts_embedded *ts_embedded_find(const ts_embedded *table, const char *name);

#ifdef __cplusplus
}
#endif
#endif
