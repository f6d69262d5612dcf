/* What unit tests include: cmocka, and checks that print the numbers they compared. */
#ifndef TS_TESTS_SUPPORT_CHECK_H
#define TS_TESTS_SUPPORT_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/status.h"

#include <cmocka.h>

/* Expect TS_OK from a call given an `ts_error err` in scope; prints the error's text. */
#define CHECK_OK(call)                                                             \
    do {                                                                           \
        ts_status check_st_ = (call);                                              \
        if (check_st_ != TS_OK)                                                    \
            fail_msg("%s: %s (%s) %s", #call, err.text, ts_status_code(check_st_), \
                     err.detail ? err.detail : "");                                \
    } while (0)

/* Expect one status, and clear the error for the next call. */
#define CHECK_STATUS(want, call)                                                  \
    do {                                                                          \
        ts_status check_st_ = (call);                                             \
        if (check_st_ != (want))                                                  \
            fail_msg("%s: got %s, want %s: %s", #call, ts_status_code(check_st_), \
                     ts_status_code(want), err.text);                             \
        ts_error_clear(&err);                                                     \
    } while (0)

/* |got - want| <= atol + rtol*|want|, NaN equal to NaN. */
static inline void ts_check_close(double got, double want, double atol, double rtol,
                                  const char *what, size_t index)
{
    if (isnan(got) && isnan(want))
        return;
    if (got == want)
        return;
    if (!(fabs(got - want) <= atol + rtol * fabs(want)))
        fail_msg("%s[%zu]: got %.9g, want %.9g (atol %g, rtol %g)", what, index, got, want, atol,
                 rtol);
}

#endif
