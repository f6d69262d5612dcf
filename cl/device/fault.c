#include "cl/device/fault.h"

#include <stdlib.h>
#include <string.h>

#include "cl/device/device_internal.h"

enum {
    MAX_RULES = 16
};

typedef struct rule {
    char call[40];
    int64_t nth; /* 0: by probability */
    double probability;
    cl_int code;
    int64_t seen;
} rule;

static atomic_bool active;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER; /* guards: all below */
static rule rules[MAX_RULES];
static int n_rules;
static int64_t calls;
static uint64_t random_state;
static _Thread_local cl_int last_code;

static double next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static bool rule_fires(rule *r, const char *call)
{
    if (strcmp(r->call, "*") != 0 && strcmp(r->call, call) != 0)
        return false;
    r->seen++;
    return r->nth ? r->seen == r->nth : next_random() < r->probability;
}

cl_int ts_cl_fault(const char *call)
{
    if (!atomic_load_explicit(&active, memory_order_relaxed))
        return CL_SUCCESS;
    cl_int code = CL_SUCCESS;
    pthread_mutex_lock(&fault_lock);
    calls++;
    for (int i = 0; i < n_rules; i++)
        if (rule_fires(&rules[i], call) && code == CL_SUCCESS)
            code = rules[i].code;
    pthread_mutex_unlock(&fault_lock);
    last_code = code;
    return code;
}

cl_int ts_cl_fault_code(void)
{
    return last_code;
}

static void install(const rule *list, int n, uint64_t seed)
{
    pthread_mutex_lock(&fault_lock);
    memcpy(rules, list, (size_t)n * sizeof *list);
    n_rules = n;
    calls = 0;
    random_state = seed ? seed : 0x9e3779b97f4a7c15u;
    pthread_mutex_unlock(&fault_lock);
    atomic_store(&active, n > 0);
}

void ts_device_fail_after(int64_t n)
{
    rule one = {.call = "*", .nth = n, .code = CL_MEM_OBJECT_ALLOCATION_FAILURE};
    install(&one, n > 0, 0);
}

int64_t ts_device_fault_calls(void)
{
    pthread_mutex_lock(&fault_lock);
    int64_t n = calls;
    pthread_mutex_unlock(&fault_lock);
    return n;
}

static bool code_by_name(const char *name, size_t len, cl_int *out)
{
    for (cl_int code = -1; code > -80; code--) {
        const char *text = ts_cl_name(code);
        if (strlen(text) == len && memcmp(text, name, len) == 0) {
            *out = code;
            return true;
        }
    }
    char *end;
    long number = strtol(name, &end, 10);
    *out = (cl_int)number;
    return number < 0 && (size_t)(end - name) == len;
}

/* One "call@when:code", ended by a comma or the end. */
static bool parse_rule(const char *text, size_t len, rule *out)
{
    const char *at = memchr(text, '@', len);
    const char *colon = at ? memchr(at, ':', len - (size_t)(at - text)) : NULL;
    if (!colon || at == text || (size_t)(at - text) >= sizeof out->call)
        return false;
    *out = (rule){0};
    memcpy(out->call, text, (size_t)(at - text));
    char *end;
    if (at[1] == '*')
        out->probability = strtod(at + 2, &end);
    else
        out->nth = strtoll(at + 1, &end, 10);
    bool sane = out->nth > 0 || (out->probability > 0 && out->probability <= 1);
    return sane && end == colon &&
           code_by_name(colon + 1, len - (size_t)(colon + 1 - text), &out->code);
}

ts_status ts_device_faults(const char *spec, uint64_t seed, ts_error *err)
{
    rule list[MAX_RULES];
    int n = 0;
    for (const char *p = spec ? spec : ""; *p;) {
        size_t len = strcspn(p, ",");
        if (n == MAX_RULES || !parse_rule(p, len, &list[n]))
            return ts_fail(err, TS_E_OPTION, "fault \"%.*s\": want CALL@N:CODE or CALL@*P:CODE",
                           (int)len, p);
        n++;
        p += len + (p[len] == ',');
    }
    install(list, n, seed);
    return TS_OK;
}
