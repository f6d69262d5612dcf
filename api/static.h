/* The dashboard's files as the router sees them. */
#ifndef TS_API_STATIC_H
#define TS_API_STATIC_H

#include <stdbool.h>

/** Whether the dashboard has this file ("js/index.js", without the first slash). */
bool api_static_has(const char *path);

#endif
