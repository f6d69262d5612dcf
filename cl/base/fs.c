#define _XOPEN_SOURCE 700 /* nftw */
#include "cl/base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ts_status ts_fs_read(const char *path, size_t max, ts_buf *out, ts_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ts_fail_errno(err, errno, "open %s", path);
    ts_status st = TS_OK;
    size_t start = out->len;
    for (;;) {
        if (!ts_buf_reserve(out, 65536)) {
            st = ts_fail(err, TS_E_NO_MEMORY, "read %s", path);
            break;
        }
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            st = ts_fail_errno(err, errno, "read %s", path);
        if (n <= 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > max) {
            st = ts_fail(err, TS_E_TOO_LARGE, "%s is larger than %zu bytes", path, max);
            break;
        }
    }
    close(fd);
    return st;
}

static ts_status write_all(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return TS_E_INTERNAL;
        data += n;
        len -= (size_t)n;
    }
    return TS_OK;
}

/* The rename is durable only once the directory is. */
static void sync_parent(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

ts_status ts_fs_write_atomic(const char *path, const void *data, size_t len, ts_error *err)
{
    char temp[PATH_MAX];
    int n = snprintf(temp, sizeof temp, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof temp)
        return ts_fail(err, TS_E_NAME, "path too long: %s", path);
    int fd = mkstemp(temp);
    if (fd < 0)
        return ts_fail_errno(err, errno, "create %s", temp);
    if (write_all(fd, data, len) != TS_OK || fsync(fd) != 0) {
        ts_status st = ts_fail_errno(err, errno, "write %s", temp);
        close(fd);
        unlink(temp);
        return st;
    }
    close(fd);
    if (rename(temp, path) != 0) {
        ts_status st = ts_fail_errno(err, errno, "rename %s", path);
        unlink(temp);
        return st;
    }
    sync_parent(path);
    return TS_OK;
}

ts_status ts_fs_mkdirs(const char *path, ts_error *err)
{
    char copy[PATH_MAX];
    if (strlen(path) >= sizeof copy)
        return ts_fail(err, TS_E_NAME, "path too long: %s", path);
    strcpy(copy, path);
    for (char *slash = copy + 1;; slash++) {
        if (*slash && *slash != '/')
            continue;
        char keep = *slash;
        *slash = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            return ts_fail_errno(err, errno, "mkdir %s", copy);
        *slash = keep;
        if (!keep)
            return TS_OK;
    }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

ts_status ts_fs_remove(const char *path, ts_error *err)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return ts_fail_errno(err, errno, "remove %s", path);
    return TS_OK;
}

ts_status ts_fs_map_open(const char *path, ts_fs_map *out, ts_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        ts_status status = ts_fail_errno(err, errno, "open %s", path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    *out = (ts_fs_map){.len = (size_t)st.st_size};
    if (out->len) {
        void *data = mmap(NULL, out->len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            ts_status status = ts_fail_errno(err, errno, "map %s", path);
            close(fd);
            return status;
        }
        out->data = data;
    }
    close(fd);
    return TS_OK;
}

void ts_fs_map_close(ts_fs_map *map)
{
    if (!map || !map->data)
        return;
    munmap((void *)map->data, map->len);
    *map = (ts_fs_map){0};
}
