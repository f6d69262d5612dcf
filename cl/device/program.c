/*
 * Programs: source with its includes in, built once per device and options, binaries kept on disk.
 *
 * A binary's file name is the hash of everything that decides its contents; the file carries a
 * checksum. What can't be read or built from a file is built from source and written again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/embed.h"
#include "cl/base/fs.h"
#include "cl/base/hash.h"
#include "cl/base/log.h"
#include "cl/device/device_internal.h"

enum {
    MAX_INCLUDES = 16,
    MAX_SOURCE = 4 << 20,
    MAX_BINARY = 256 << 20
};

/* ---- source ---- */

typedef struct expansion {
    const ts_device *device;
    ts_buf out;
    char seen[MAX_INCLUDES][64]; /* each file is taken once */
    int n_seen;
} expansion;

static ts_status expand_file(expansion *e, const char *name, ts_error *err);

/* The name in `#include "name"`, if the line is one. */
static bool include_name(const char *line, size_t len, char *name, size_t n)
{
    const char *end = line + len;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    static const char word[] = "#include \"";
    if ((size_t)(end - line) < sizeof word || memcmp(line, word, sizeof word - 1) != 0)
        return false;
    line += sizeof word - 1;
    const char *quote = memchr(line, '"', (size_t)(end - line));
    if (!quote || (size_t)(quote - line) >= n)
        return false;
    memcpy(name, line, (size_t)(quote - line));
    name[quote - line] = '\0';
    return true;
}

static ts_status expand_text(expansion *e, const char *name, const char *text, size_t len,
                             ts_error *err)
{
    ts_buf_printf(&e->out, "#line 1 \"%s\"\n", name);
    int line_number = 1;
    for (const char *p = text, *end = text + len; p < end; line_number++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t line = stop ? (size_t)(stop - p) : (size_t)(end - p);
        char included[64];
        if (include_name(p, line, included, sizeof included)) {
            ts_status st = expand_file(e, included, err);
            if (st != TS_OK)
                return st;
            ts_buf_printf(&e->out, "#line %d \"%s\"\n", line_number + 1, name);
        } else {
            ts_buf_append(&e->out, p, line);
            ts_buf_str(&e->out, "\n");
        }
        p += line + 1;
    }
    return TS_OK;
}

static bool first_time(expansion *e, const char *name)
{
    for (int i = 0; i < e->n_seen; i++)
        if (strcmp(e->seen[i], name) == 0)
            return false;
    if (e->n_seen < MAX_INCLUDES)
        snprintf(e->seen[e->n_seen++], sizeof e->seen[0], "%s", name);
    return true;
}

static ts_status expand_file(expansion *e, const char *name, ts_error *err)
{
    if (!first_time(e, name))
        return TS_OK;
    if (e->device->kernel_dir) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", e->device->kernel_dir, name);
        ts_buf text = {0};
        ts_status st = ts_fs_read(path, MAX_SOURCE, &text, err);
        if (st == TS_OK)
            st = expand_text(e, name, (const char *)text.data, text.len, err);
        ts_buf_finish(&text);
        return st;
    }
    const ts_embedded *file = ts_embedded_find(ts_kernel_files, name);
    if (!file)
        return ts_fail(err, TS_E_INTERNAL, "no kernel file %s", name);
    return expand_text(e, name, (const char *)file->data, (size_t)(file->end - file->data), err);
}

static ts_status expand_family(const ts_device *device, const char *family, ts_buf *out,
                               ts_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s.cl", family);
    expansion e = {.device = device};
    ts_status st = expand_file(&e, name, err);
    ts_buf_append(&e.out, "", 1);
    if (st == TS_OK && e.out.failed)
        st = ts_fail(err, TS_E_NO_MEMORY, "source of %s", name);
    if (st == TS_OK)
        *out = e.out;
    else
        ts_buf_finish(&e.out);
    return st;
}

static void full_options(const ts_device *device, const char *options, ts_buf *out)
{
    const ts_caps *caps = &device->caps;
    ts_buf_printf(out, "-cl-std=CL1.2%s%s%s%s", caps->kind == TS_DEVICE_CPU ? " -DTS_CPU=1" : "",
                  caps->nvidia ? " -DTS_NVIDIA=1" : "", caps->fp64 ? " -DTS_HAS_FP64=1" : "",
                  caps->fp16 ? " -DTS_HAS_FP16=1" : "");
    if (*options)
        ts_buf_printf(out, " %s", options);
}

/* ---- build ---- */

static char *build_log(const ts_device *device, cl_program program)
{
    size_t len = 0;
    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &len) !=
            CL_SUCCESS ||
        len < 2)
        return NULL;
    char *text = calloc(1, len + 1);
    if (text)
        (void)clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, len, text, NULL);
    return text;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

static ts_status build(ts_device *device, cl_program program, const char *family,
                       const char *options, ts_error *err)
{
    cl_int rc = TS_CL(clBuildProgram, program, 1, &device->id, options, NULL, NULL);
    char *log = build_log(device, program);
    if (rc == CL_SUCCESS) {
        if (log && !is_blank(log))
            ts_log(TS_LOG_DEBUG, "cl", "build family=%s log=\"%s\"", family, log);
        free(log);
        return TS_OK;
    }
    ts_status st = ts_fail_cl(err, device, rc, "build %s.cl with \"%s\"", family, options);
    if (err && !err->detail)
        err->detail = log;
    else
        free(log);
    return st;
}

static ts_status from_source(ts_device *device, const char *family, const char *options,
                             const ts_buf *source, cl_program *out, ts_error *err)
{
    const char *text = (const char *)source->data;
    cl_int rc = ts_cl_fault("clCreateProgramWithSource");
    cl_program program = NULL;
    if (rc == CL_SUCCESS)
        program = clCreateProgramWithSource(device->context, 1, &text, NULL, &rc);
    if (rc != CL_SUCCESS)
        return ts_fail_cl(err, device, rc, "program %s.cl", family);
    ts_status st = build(device, program, family, options, err);
    if (st != TS_OK)
        clReleaseProgram(program);
    else
        *out = program;
    return st;
}

/* ---- binaries on disk: magic, SHA-256 of the rest, the rest ---- */

static const char MAGIC[8] = "TSCLBIN1";

enum {
    HEADER_BYTES = sizeof MAGIC + 32
};

static void cache_path(const ts_device *device, const char *options, const ts_buf *source,
                       ts_buf *path)
{
    ts_buf key = {0};
    const ts_caps *caps = &device->caps;
    ts_buf_printf(&key, "%s\n%s\n%s\n%s\n%s\n", caps->platform, caps->name, caps->driver,
                  caps->version, options);
    ts_buf_append(&key, source->data, source->len);
    uint8_t digest[32];
    char hex[65];
    ts_sha256(key.data, key.len, digest);
    ts_hex(digest, sizeof digest, hex);
    ts_buf_finish(&key);
    ts_buf_printf(path, "%s/cl-%s.bin", device->cache_dir, hex);
}

static cl_program program_of_binary(ts_device *device, const char *family, const char *options,
                                    const ts_buf *file)
{
    uint8_t digest[32];
    if (file->len <= HEADER_BYTES || memcmp(file->data, MAGIC, sizeof MAGIC) != 0)
        return NULL;
    ts_sha256(file->data + HEADER_BYTES, file->len - HEADER_BYTES, digest);
    if (memcmp(digest, file->data + sizeof MAGIC, sizeof digest) != 0)
        return NULL;
    const unsigned char *binary = file->data + HEADER_BYTES;
    size_t len = file->len - HEADER_BYTES;
    cl_int rc, status = CL_SUCCESS;
    cl_program program =
        clCreateProgramWithBinary(device->context, 1, &device->id, &len, &binary, &status, &rc);
    if (rc != CL_SUCCESS)
        return NULL;
    ts_error err = {0};
    if (status != CL_SUCCESS || build(device, program, family, options, &err) != TS_OK) {
        clReleaseProgram(program);
        program = NULL;
    }
    ts_error_clear(&err);
    return program;
}

static cl_program load_binary(ts_device *device, const char *family, const char *options,
                              const char *path)
{
    ts_buf file = {0};
    ts_error err = {0};
    cl_program program = NULL;
    ts_status st = ts_fs_read(path, MAX_BINARY, &file, &err);
    if (st == TS_OK)
        program = program_of_binary(device, family, options, &file);
    if (!program && st != TS_E_NOT_FOUND)
        ts_log(TS_LOG_WARN, "cl", "program cache entry unusable, building family=%s path=%s",
               family, path);
    ts_buf_finish(&file);
    ts_error_clear(&err);
    return program;
}

static bool get_binary(cl_program program, ts_buf *out)
{
    size_t len = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof len, &len, NULL) != CL_SUCCESS ||
        !len || !ts_buf_reserve(out, HEADER_BYTES + len))
        return false;
    unsigned char *binary = out->data + HEADER_BYTES;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) != CL_SUCCESS)
        return false;
    memcpy(out->data, MAGIC, sizeof MAGIC);
    ts_sha256(binary, len, out->data + sizeof MAGIC);
    out->len = HEADER_BYTES + len;
    return true;
}

/* A cache that can't be written costs time at the next start, nothing else. */
static void save_binary(const ts_device *device, cl_program program, const char *path)
{
    ts_buf file = {0};
    ts_error err = {0};
    if (get_binary(program, &file)) {
        ts_status st = ts_fs_mkdirs(device->cache_dir, &err);
        if (st == TS_OK)
            st = ts_fs_write_atomic(path, file.data, file.len, &err);
        if (st != TS_OK)
            ts_log_error(TS_LOG_WARN, "cl", "program cache not written", &err);
    }
    ts_error_clear(&err);
    ts_buf_finish(&file);
}

static ts_status build_program(ts_device *device, const char *family, const char *options,
                               cl_program *out, ts_error *err)
{
    ts_buf source = {0}, all = {0}, path = {0};
    int64_t start = ts_now_us();
    ts_status st = expand_family(device, family, &source, err);
    full_options(device, options, &all);
    cl_program program = NULL;
    if (st == TS_OK && device->cache_dir) {
        cache_path(device, ts_buf_cstr(&all), &source, &path);
        program = load_binary(device, family, ts_buf_cstr(&all), ts_buf_cstr(&path));
    }
    bool cached = program != NULL;
    if (st == TS_OK && !program)
        st = from_source(device, family, ts_buf_cstr(&all), &source, &program, err);
    if (st == TS_OK && !cached && device->cache_dir)
        save_binary(device, program, ts_buf_cstr(&path));
    if (st == TS_OK) {
        ts_log(TS_LOG_DEBUG, "cl", "program family=%s options=\"%s\" cached=%d ms=%.1f", family,
               options, cached, (double)(ts_now_us() - start) / 1000.0);
        *out = program;
    }
    ts_buf_finish(&source);
    ts_buf_finish(&all);
    ts_buf_finish(&path);
    return st;
}

/* ---- the table ---- */

static program_entry *find_locked(ts_device *device, const char *family, const char *options)
{
    for (program_entry *p = device->programs; p; p = p->next)
        if (strcmp(p->family, family) == 0 && strcmp(p->options, options) == 0)
            return p;
    return NULL;
}

static void free_program(program_entry *p)
{
    if (!p)
        return;
    if (p->cl)
        clReleaseProgram(p->cl);
    free(p->family);
    free(p->options);
    free(p);
}

/* An entry without program: who asks for it waits for whoever made it. */
static program_entry *add_locked(ts_device *device, const char *family, const char *options)
{
    program_entry *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->family = strdup(family);
    p->options = strdup(options);
    if (!p->family || !p->options) {
        free_program(p);
        return NULL;
    }
    p->generation = atomic_load(&device->generation);
    p->next = device->programs;
    device->programs = p;
    return p;
}

static void remove_locked(ts_device *device, program_entry *p)
{
    program_entry **link = &device->programs;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    free_program(p);
}

ts_status ts_program_get(ts_device *device, const char *family, const char *options,
                         cl_program *out, ts_error *err)
{
    pthread_mutex_lock(&device->programs_lock);
    program_entry *p;
    while ((p = find_locked(device, family, options)) && !p->cl)
        pthread_cond_wait(&device->programs_built, &device->programs_lock);
    if (p) {
        *out = p->cl;
        pthread_mutex_unlock(&device->programs_lock);
        return TS_OK;
    }
    p = add_locked(device, family, options);
    pthread_mutex_unlock(&device->programs_lock);
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "program %s", family);

    cl_program cl = NULL;
    ts_status st = build_program(device, family, options, &cl, err);
    pthread_mutex_lock(&device->programs_lock);
    if (st == TS_OK && p->generation != atomic_load(&device->generation)) {
        clReleaseProgram(cl);
        st = ts_fail(err, TS_E_DEVICE, "device %s was opened again", device->caps.name);
    }
    if (st == TS_OK)
        *out = p->cl = cl;
    else
        remove_locked(device, p); /* a waiter tries again, and gets the build log */
    pthread_cond_broadcast(&device->programs_built);
    pthread_mutex_unlock(&device->programs_lock);
    return st;
}

void ts_programs_retire(ts_device *device)
{
    pthread_mutex_lock(&device->programs_lock);
    for (program_entry **link = &device->programs; *link;) {
        program_entry *p = *link;
        if (!p->cl) { /* its builder will see that it is too old */
            link = &p->next;
            continue;
        }
        *link = p->next;
        p->next = device->old_programs;
        device->old_programs = p;
    }
    pthread_mutex_unlock(&device->programs_lock);
}

static void free_programs(program_entry *list)
{
    while (list) {
        program_entry *next = list->next;
        free_program(list);
        list = next;
    }
}

void ts_programs_finish(ts_device *device)
{
    free_programs(device->programs);
    free_programs(device->old_programs);
    device->programs = device->old_programs = NULL;
}
