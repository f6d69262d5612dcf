/*
 * A metrics.csv whose columns are not known before: `step,time` and the names in the order in which
 * they were first seen. A new name rewrites the file with the longer header; a row is flushed at once.
 * Thread: one at a time.
 */
#ifndef TS_SERVER_TRAIN_PAIRCSV_H
#define TS_SERVER_TRAIN_PAIRCSV_H

#include <stdio.h>

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_PAIRCSV_MAX = 64,
    TS_PAIRCSV_NAME = 64
};

typedef struct ts_paircsv {
    char path[3200];
    char name[TS_PAIRCSV_MAX][TS_PAIRCSV_NAME + 1];
    int n;
    bool fixed; /* other names are left out */
    FILE *file;
} ts_paircsv;

/** Open to append; `fresh` begins anew, with `columns` (a list of names, NULL: as they come). */
TS_CHECKED ts_status ts_paircsv_open(ts_paircsv *csv, const char *path, const json_t *columns,
                                     bool fresh, ts_error *err);
void ts_paircsv_close(ts_paircsv *csv);
/** Whether a metric may be named so: [A-Za-z0-9_./-]{1,64}. */
bool ts_paircsv_name_valid(const char *name);
/** Add a row; `metrics` maps names to numbers or "nan", "inf", "-inf". Errors: TS_E_OPTION (names). */
TS_CHECKED ts_status ts_paircsv_row(ts_paircsv *csv, int64_t step, double time,
                                    const json_t *metrics, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
