/* Tell the service manager how it goes (the sd_notify protocol), where there is one. */
#ifndef TS_SERVER_NOTIFY_H
#define TS_SERVER_NOTIFY_H

#ifdef __cplusplus
extern "C" {
#endif

/** Send "READY=1", "STOPPING=1", "WATCHDOG=1", … to the socket `address` (NULL: nobody asked). */
void ts_notify(const char *address, const char *state);

#ifdef __cplusplus
}
#endif
#endif
