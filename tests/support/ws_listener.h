/* A bare acceptor that hands upgrade requests to server/ws.h, for tests without the HTTP side. */
#ifndef TS_TESTS_SUPPORT_WS_LISTENER_H
#define TS_TESTS_SUPPORT_WS_LISTENER_H

#include "server/ws.h"

/** Bind 127.0.0.1:0 and listen; returns the descriptor and its port. */
int ws_listener_open(int *port);
/** Accept one connection, read its request head and hand it over. False: the listener is closed. */
bool ws_listener_accept(int listener, ts_app *app, const ts_route *route);

#endif
