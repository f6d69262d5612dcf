/* Any octets as a tar file: whatever is unpacked lies below the folder it was told. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "server/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/tmp/ts-fuzz-XXXXXX", path[64], out[64];
    ts_error err = {0};
    if (!mkdtemp(dir))
        return 0;
    snprintf(path, sizeof path, "%s/a.tar", dir);
    snprintf(out, sizeof out, "%s/in/out", dir);
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(data, 1, size, f) == size;
    if (f)
        fclose(f);
    if (written && ts_fs_mkdirs(out, &err) == TS_OK) {
        if (ts_tar_unpack(path, out, &err) != TS_OK && !err.text[0])
            __builtin_trap(); /* a refusal says why */
        ts_error_clear(&err);
        /* "in" still holds "out" alone, so rmdir works once that is gone. */
        if (ts_fs_remove(out, &err) != TS_OK)
            __builtin_trap();
        snprintf(out, sizeof out, "%s/in", dir);
        if (rmdir(out) != 0)
            __builtin_trap();
    }
    if (ts_fs_remove(dir, &err) != TS_OK)
        __builtin_trap();
    ts_error_clear(&err);
    return 0;
}
