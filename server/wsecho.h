/* The endpoint of /ws/echo: every message comes back. For protocol tests (--enable-echo). */
#ifndef TS_SERVER_WSECHO_H
#define TS_SERVER_WSECHO_H

#include "server/ws.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const ts_ws_endpoint ts_ws_echo;

#ifdef __cplusplus
}
#endif
#endif
