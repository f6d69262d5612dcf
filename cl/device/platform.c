#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/device/device_internal.h"

#ifndef CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV
#    define CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV 0x4000
#    define CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV 0x4001
#endif

typedef struct found {
    cl_platform_id platform;
    cl_device_id id;
} found;

/* A text property, cut to fit; `extra` gets the whole (may be NULL). */
static void device_text(cl_device_id id, cl_device_info what, char *out, size_t n)
{
    size_t len = 0;
    out[0] = '\0';
    if (clGetDeviceInfo(id, what, 0, NULL, &len) != CL_SUCCESS || len == 0)
        return;
    char *text = malloc(len + 1);
    if (!text)
        return;
    if (clGetDeviceInfo(id, what, len, text, NULL) == CL_SUCCESS) {
        text[len] = '\0';
        const char *start = text + strspn(text, " \t");
        snprintf(out, n, "%s", start);
        for (size_t end = strlen(out); end && isspace((unsigned char)out[end - 1]); end--)
            out[end - 1] = '\0';
    }
    free(text);
}

#define DEVICE_VALUE(id, what, variable) \
    (void)clGetDeviceInfo((id), (what), sizeof(variable), &(variable), NULL)

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += len)
        if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

static void fill_features(cl_device_id id, ts_caps *caps)
{
    char extensions[8192];
    device_text(id, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions);
    caps->fp64 = has_word(extensions, "cl_khr_fp64");
    caps->fp16 = has_word(extensions, "cl_khr_fp16");
    caps->nvidia = has_word(extensions, "cl_nv_device_attribute_query");
    if (!caps->nvidia)
        return;
    cl_uint major = 0, minor = 0;
    DEVICE_VALUE(id, CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV, major);
    DEVICE_VALUE(id, CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV, minor);
    caps->sm = (int)(major * 10 + minor);
}

static void fill_sizes(cl_device_id id, ts_caps *caps)
{
    cl_bool unified = CL_FALSE, compiler = CL_FALSE;
    cl_uint units = 0, align_bits = 0, width = 0;
    cl_ulong global = 0, max_alloc = 0, local = 0;
    size_t group = 0;
    DEVICE_VALUE(id, CL_DEVICE_HOST_UNIFIED_MEMORY, unified);
    DEVICE_VALUE(id, CL_DEVICE_COMPILER_AVAILABLE, compiler);
    DEVICE_VALUE(id, CL_DEVICE_MAX_COMPUTE_UNITS, units);
    DEVICE_VALUE(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, align_bits);
    DEVICE_VALUE(id, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT, width);
    DEVICE_VALUE(id, CL_DEVICE_GLOBAL_MEM_SIZE, global);
    DEVICE_VALUE(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, max_alloc);
    DEVICE_VALUE(id, CL_DEVICE_LOCAL_MEM_SIZE, local);
    DEVICE_VALUE(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, group);
    caps->unified_memory = unified;
    caps->compiler = compiler;
    caps->compute_units = units;
    caps->base_align_bytes = align_bits / 8 ? align_bits / 8 : 128;
    caps->preferred_float_width = (int)width;
    caps->global_bytes = global;
    caps->max_alloc_bytes = max_alloc;
    caps->local_bytes = (size_t)local;
    caps->max_work_group = group;
}

static void fill_caps(const found *f, size_t index, ts_caps *caps)
{
    *caps = (ts_caps){.index = index, .kind = TS_DEVICE_OTHER};
    cl_device_type type = 0;
    DEVICE_VALUE(f->id, CL_DEVICE_TYPE, type);
    if (type & CL_DEVICE_TYPE_GPU)
        caps->kind = TS_DEVICE_GPU;
    else if (type & CL_DEVICE_TYPE_CPU)
        caps->kind = TS_DEVICE_CPU;
    device_text(f->id, CL_DEVICE_NAME, caps->name, sizeof caps->name);
    device_text(f->id, CL_DEVICE_VENDOR, caps->vendor, sizeof caps->vendor);
    device_text(f->id, CL_DEVICE_VERSION, caps->version, sizeof caps->version);
    device_text(f->id, CL_DRIVER_VERSION, caps->driver, sizeof caps->driver);
    (void)clGetPlatformInfo(f->platform, CL_PLATFORM_NAME, sizeof caps->platform - 1,
                            caps->platform, NULL);
    fill_features(f->id, caps);
    fill_sizes(f->id, caps);
}

/* All devices of one platform behind those already found. */
static bool add_platform(cl_platform_id platform, found **list, size_t *n)
{
    cl_uint count = 0;
    if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &count) != CL_SUCCESS || !count)
        return true;
    found *grown = ts_realloc_array(*list, *n + count, sizeof *grown);
    cl_device_id *ids = calloc(count, sizeof(cl_device_id));
    if (grown)
        *list = grown;
    bool ok = grown && ids;
    if (ok && clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, NULL) == CL_SUCCESS)
        for (cl_uint i = 0; i < count; i++)
            (*list)[(*n)++] = (found){platform, ids[i]};
    free(ids);
    return ok;
}

static ts_status find_all(found **out, size_t *n, ts_error *err)
{
    *out = NULL;
    *n = 0;
    cl_uint count = 0;
    /* The loader answers CL_PLATFORM_NOT_FOUND_KHR where there is no driver: no devices. */
    if (clGetPlatformIDs(0, NULL, &count) != CL_SUCCESS || !count)
        return TS_OK;
    cl_platform_id *platforms = calloc(count, sizeof(cl_platform_id));
    bool ok = platforms && clGetPlatformIDs(count, platforms, NULL) == CL_SUCCESS;
    for (cl_uint i = 0; ok && i < count; i++)
        ok = add_platform(platforms[i], out, n);
    free(platforms);
    if (ok)
        return TS_OK;
    free(*out);
    *out = NULL;
    return ts_fail(err, TS_E_NO_MEMORY, "list of OpenCL devices");
}

ts_status ts_device_list(ts_caps **out, size_t *n, ts_error *err)
{
    found *list;
    ts_status st = find_all(&list, n, err);
    if (st != TS_OK)
        return st;
    ts_caps *caps = calloc(*n ? *n : 1, sizeof *caps);
    for (size_t i = 0; caps && i < *n; i++)
        fill_caps(&list[i], i, &caps[i]);
    free(list);
    if (!caps)
        return ts_fail(err, TS_E_NO_MEMORY, "list of OpenCL devices");
    *out = caps;
    return TS_OK;
}

ts_status ts_platform_device(size_t index, cl_platform_id *platform, cl_device_id *id,
                             ts_caps *caps, ts_error *err)
{
    found *list;
    size_t n;
    ts_status st = find_all(&list, &n, err);
    if (st != TS_OK)
        return st;
    if (index < n) {
        *platform = list[index].platform;
        *id = list[index].id;
        fill_caps(&list[index], index, caps);
    } else {
        st = ts_fail(err, TS_E_NOT_FOUND, "no OpenCL device %zu (there are %zu)", index, n);
    }
    free(list);
    return st;
}

static bool contains_nocase(const char *text, const char *part)
{
    size_t len = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < len && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == len)
            return true;
    }
    return false;
}

static bool is_number(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10;
}

static bool pick_auto(const ts_caps *caps, size_t n, size_t *index)
{
    static const ts_device_kind order[] = {TS_DEVICE_GPU, TS_DEVICE_CPU, TS_DEVICE_OTHER};
    for (size_t k = 0; k < sizeof order / sizeof *order; k++)
        for (size_t i = 0; i < n; i++)
            if (caps[i].kind == order[k] && caps[i].compiler) {
                *index = i;
                return true;
            }
    return false;
}

static bool pick(const char *spec, const ts_caps *caps, size_t n, size_t *index)
{
    if (!spec || !*spec || strcmp(spec, "auto") == 0)
        return pick_auto(caps, n, index);
    if (is_number(spec)) {
        *index = strtoul(spec, NULL, 10);
        return *index < n && caps[*index].compiler;
    }
    for (*index = 0; *index < n; (*index)++)
        if (caps[*index].compiler && contains_nocase(caps[*index].name, spec))
            return true;
    return false;
}

ts_status ts_device_select(const char *spec, size_t *index, ts_error *err)
{
    ts_caps *caps;
    size_t n;
    ts_status st = ts_device_list(&caps, &n, err);
    if (st != TS_OK)
        return st;
    if (!pick(spec, caps, n, index)) {
        ts_buf names = {0};
        for (size_t i = 0; i < n; i++)
            ts_buf_printf(&names, "%s%zu: %s%s", i ? ", " : "", i, caps[i].name,
                          caps[i].compiler ? "" : " (no compiler)");
        st = ts_fail(err, TS_E_NOT_FOUND, "no usable OpenCL device \"%s\"; there are: %s",
                     spec ? spec : "auto", n ? ts_buf_cstr(&names) : "none");
        ts_buf_finish(&names);
    }
    free(caps);
    return st;
}
