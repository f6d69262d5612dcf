#include "cl/ops/scan.h"

#include "cl/base/size.h"

enum {
    GROUP = 256,
    FAT_BLOCKS = 16,          /* work-items on a CPU: enough for its cores, cheap to launch */
    FAT_MIN = 1 << 15,        /* below this one work-item is done sooner than two launches */
    GROUP_CHUNK = GROUP * 16, /* elements that keep a work-group busy */
};

typedef struct plan {
    bool fat;
    size_t blocks, chunk;
} plan;

static plan make_plan(const ts_caps *caps, size_t n)
{
    plan p = {.fat = caps->kind == TS_DEVICE_CPU, .blocks = 1};
    if (p.fat)
        p.blocks = n < FAT_MIN ? 1 : FAT_BLOCKS;
    else
        p.blocks = n <= GROUP_CHUNK * 2 ? 1 : (n + GROUP_CHUNK - 1) / GROUP_CHUNK;
    if (p.blocks > TS_SCAN_MAX_BLOCKS)
        p.blocks = TS_SCAN_MAX_BLOCKS;
    p.chunk = (n + p.blocks - 1) / p.blocks;
    return p;
}

ts_status ts_scan_u32(ts_queue *queue, ts_buffer *src, ts_buffer *dst, size_t n, ts_buffer *scratch,
                      ts_error *err)
{
    plan p = make_plan(ts_device_caps(ts_queue_device(queue)), n);
    const char *options = p.fat ? "-DTS_FAT" : "";
    size_t local = p.fat ? 1 : GROUP, global = p.blocks * local;
    ts_kernel *kernel;
    ts_status st;
    if (p.blocks > 1) {
        st = ts_queue_kernel(queue, "scan", options, "scan_sums_u32", &kernel, err);
        if (st == TS_OK)
            st = ts_launch(queue, kernel, 1, &global, &local,
                           TS_ARGS(TS_BUF(src), TS_ULONG(n), TS_ULONG(p.chunk), TS_BUF(scratch)),
                           err);
        if (st != TS_OK)
            return st;
    }
    st = ts_queue_kernel(queue, "scan", options, "scan_apply_u32", &kernel, err);
    if (st != TS_OK)
        return st;
    return ts_launch(queue, kernel, 1, &global, &local,
                     TS_ARGS(TS_BUF(src), TS_BUF(dst), TS_ULONG(n), TS_ULONG(p.chunk),
                             TS_BUF(scratch), TS_UINT(p.blocks)),
                     err);
}
