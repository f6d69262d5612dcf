#include "server/webhooks.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/hash.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/version.h"

enum {
    MAX_HOOKS = 256,
    MAX_WAITING = 10000, /* deliveries; beyond, new ones count as failed */
    IN_FLIGHT = 16,
    TIMEOUT_MS = 10000
};

static const int retry_after_s[] = {1, 5, 30, 120, 600};

typedef struct hook {
    char id[32];
    char *url, *secret;
    json_t *events, *kinds; /* arrays; NULL: all */
    double created;
    uint64_t delivered, failed;
    int last_status;
} hook;

/* One event on its way to one hook. */
typedef struct delivery {
    struct delivery *next;
    char hook_id[32];
    char *json;
    int attempt;
    int64_t due_us;
    CURL *curl;
    struct curl_slist *headers;
    char *url;
} delivery;

struct ts_webhooks {
    pthread_mutex_t hooks_lock; /* guards hooks, n_hooks, waiting, n_waiting, stop */
    hook hooks[MAX_HOOKS];
    size_t n_hooks;
    delivery *waiting;
    size_t n_waiting;
    bool stop;
    char *path;
    ts_metrics *metrics;
    CURLM *multi; /* the thread's; curl_multi_wakeup() alone is called by others */
    int in_flight;
    delivery *running[IN_FLIGHT]; /* the first in_flight */
    ts_thread *thread;
};

/* ---- registrations ---- */

static void hook_finish(hook *one)
{
    free(one->url);
    free(one->secret);
    json_decref(one->events);
    json_decref(one->kinds);
    *one = (hook){0};
}

static hook *find_locked(ts_webhooks *webhooks, const char *id)
{
    for (size_t i = 0; i < webhooks->n_hooks; i++)
        if (strcmp(webhooks->hooks[i].id, id) == 0)
            return &webhooks->hooks[i];
    return NULL;
}

static json_t *hook_json(const hook *one, bool with_secret)
{
    json_t *body = json_pack("{s:s, s:s, s:f, s:I, s:I, s:i}", "id", one->id, "url", one->url,
                             "created", one->created, "delivered", (json_int_t)one->delivered,
                             "failed", (json_int_t)one->failed, "last_status", one->last_status);
    json_object_set(body, "events", one->events ? one->events : json_null());
    json_object_set(body, "kinds", one->kinds ? one->kinds : json_null());
    if (with_secret)
        json_object_set_new(body, "secret", json_string(one->secret));
    return body;
}

static json_t *list_locked(const ts_webhooks *webhooks, bool with_secrets)
{
    json_t *list = json_array();
    for (size_t i = 0; i < webhooks->n_hooks; i++)
        json_array_append_new(list, hook_json(&webhooks->hooks[i], with_secrets));
    return list;
}

static ts_status save_locked(const ts_webhooks *webhooks, ts_error *err)
{
    ts_buf text = {0};
    json_t *body = json_pack("{s:o}", "webhooks", list_locked(webhooks, true));
    ts_json_write(body, &text);
    json_decref(body);
    ts_status st = ts_fs_write_atomic(webhooks->path, text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

static const char *const known_events[] = {"created", "changed",    "deleted",
                                           "state",   "detections", "finished",
                                           "moved",   "owner-lost", NULL};

/* An optional array of words; with `known`, only of these. */
static ts_status read_words(const json_t *body, const char *key, const char *const *known,
                            json_t **out, ts_error *err)
{
    json_t *list = json_object_get(body, key), *item;
    size_t i;
    if (!list || json_is_null(list))
        return TS_OK;
    if (!json_is_array(list) || json_array_size(list) > 64)
        return ts_fail(err, TS_E_OPTION, "%s: expected an array of at most 64 strings", key);
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        size_t k = 0;
        if (!text || !*text)
            return ts_fail(err, TS_E_OPTION, "%s[%zu]: expected a string", key, i);
        while (known && known[k] && strcmp(known[k], text) != 0)
            k++;
        if (known && !known[k])
            return ts_fail(err, TS_E_OPTION, "%s[%zu]: \"%.40s\" is not an event's name", key, i,
                           text);
    }
    *out = json_deep_copy(list);
    return TS_OK;
}

static ts_status read_hook(const json_t *body, hook *out, ts_error *err)
{
    const char *url = NULL, *secret = "";
    ts_status st = ts_json_get_string(body, "", "url", &url, err);
    if (st == TS_OK)
        st = ts_json_get_string(body, "", "secret", &secret, err);
    bool http = url && (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0);
    if (st == TS_OK && (!http || strlen(url) > 2048 || strpbrk(url, " \r\n\t")))
        st = ts_fail(err, TS_E_OPTION, "url: expected an http:// or https:// URL");
    if (st == TS_OK)
        st = read_words(body, "events", known_events, &out->events, err);
    if (st == TS_OK)
        st = read_words(body, "kinds", NULL, &out->kinds, err);
    if (st == TS_OK) {
        out->url = strdup(url);
        out->secret = strdup(secret);
        out->created = ts_wall_seconds();
        if (!out->url || !out->secret)
            st = ts_fail(err, TS_E_NO_MEMORY, "webhook");
    }
    return st;
}

ts_status ts_webhooks_add(ts_webhooks *webhooks, const json_t *body, char id[32], ts_error *err)
{
    static const char *const keys[] = {"url", "events", "kinds", "secret", NULL};
    hook one = {0};
    uint8_t random[8];
    ts_status st = ts_json_only(body, "", keys, err);
    if (st == TS_OK)
        st = read_hook(body, &one, err);
    if (st == TS_OK && getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        st = ts_fail(err, TS_E_INTERNAL, "random numbers for an id");
    if (st != TS_OK) {
        hook_finish(&one);
        return st;
    }
    memcpy(one.id, "wh-", 3);
    ts_hex(random, sizeof random, one.id + 3);
    snprintf(id, 32, "%s", one.id);
    pthread_mutex_lock(&webhooks->hooks_lock);
    if (webhooks->n_hooks == MAX_HOOKS) {
        st = ts_fail(err, TS_E_LIMIT, "%d webhooks are registered, which is the limit", MAX_HOOKS);
    } else {
        webhooks->hooks[webhooks->n_hooks++] = one;
        st = save_locked(webhooks, err);
        if (st != TS_OK)
            webhooks->n_hooks--;
    }
    pthread_mutex_unlock(&webhooks->hooks_lock);
    if (st != TS_OK)
        hook_finish(&one);
    return st;
}

ts_status ts_webhooks_remove(ts_webhooks *webhooks, const char *id, ts_error *err)
{
    pthread_mutex_lock(&webhooks->hooks_lock);
    hook *one = find_locked(webhooks, id);
    ts_status st = TS_OK;
    if (!one) {
        st = ts_fail(err, TS_E_NOT_FOUND, "no webhook \"%.60s\"", id);
    } else {
        hook gone = *one;
        *one = webhooks->hooks[--webhooks->n_hooks];
        st = save_locked(webhooks, err);
        if (st == TS_OK) {
            hook_finish(&gone);
        } else { /* a failed call changes nothing */
            webhooks->hooks[webhooks->n_hooks++] = *one;
            *one = gone;
        }
    }
    pthread_mutex_unlock(&webhooks->hooks_lock);
    return st;
}

json_t *ts_webhooks_list(ts_webhooks *webhooks)
{
    pthread_mutex_lock(&webhooks->hooks_lock);
    json_t *list = list_locked(webhooks, false);
    pthread_mutex_unlock(&webhooks->hooks_lock);
    return list;
}

json_t *ts_webhooks_get(ts_webhooks *webhooks, const char *id)
{
    pthread_mutex_lock(&webhooks->hooks_lock);
    const hook *one = find_locked(webhooks, id);
    json_t *body = one ? hook_json(one, false) : NULL;
    pthread_mutex_unlock(&webhooks->hooks_lock);
    return body;
}

/* A file that cannot be read is put aside, not overwritten. */
static void put_aside(const char *path, const ts_error *err)
{
    char bad[4096];
    snprintf(bad, sizeof bad, "%s.bad-%lld", path, (long long)ts_wall_seconds());
    ts_log_error(TS_LOG_WARN, "http", "webhooks.json is put aside", err);
    if (rename(path, bad) != 0)
        ts_log(TS_LOG_WARN, "http", "webhooks.json could not be renamed");
}

static void load(ts_webhooks *webhooks)
{
    ts_buf text = {0};
    ts_error err = {0};
    json_t *body = NULL, *item;
    size_t i;
    ts_status st = ts_fs_read(webhooks->path, 4 << 20, &text, &err);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &body, &err);
    json_array_foreach(json_object_get(body, "webhooks"), i, item)
    {
        hook one = {0};
        const char *id = json_string_value(json_object_get(item, "id"));
        if (st == TS_OK && webhooks->n_hooks < MAX_HOOKS)
            st = id && strlen(id) < sizeof one.id
                     ? read_hook(item, &one, &err)
                     : ts_fail(&err, TS_E_FILE, "webhooks[%zu] has no id", i);
        if (st != TS_OK) {
            hook_finish(&one);
            break;
        }
        snprintf(one.id, sizeof one.id, "%s", id);
        one.created = json_number_value(json_object_get(item, "created"));
        webhooks->hooks[webhooks->n_hooks++] = one;
    }
    if (st != TS_OK && st != TS_E_NOT_FOUND)
        put_aside(webhooks->path, &err);
    ts_error_clear(&err);
    json_decref(body);
    ts_buf_finish(&text);
}

/* ---- deliveries ---- */

static void delivery_free(delivery *one)
{
    curl_slist_free_all(one->headers);
    if (one->curl)
        curl_easy_cleanup(one->curl);
    free(one->url);
    free(one->json);
    free(one);
}

static bool has_word(const json_t *list, const char *word)
{
    size_t i;
    json_t *item;
    if (!list || json_array_size(list) == 0)
        return true;
    json_array_foreach((json_t *)(uintptr_t)list, i, item)
    {
        if (strcmp(json_string_value(item), word) == 0)
            return true;
    }
    return false;
}

static void push_locked(ts_webhooks *webhooks, delivery *one)
{
    delivery **at = &webhooks->waiting;
    while (*at && (*at)->due_us <= one->due_us)
        at = &(*at)->next;
    one->next = *at;
    *at = one;
    webhooks->n_waiting++;
}

/* The emitting thread: only notes who gets it. */
static void hear(void *arg, const ts_event_view *event)
{
    ts_webhooks *webhooks = arg;
    bool any = false;
    pthread_mutex_lock(&webhooks->hooks_lock);
    for (size_t i = 0; i < webhooks->n_hooks; i++) {
        hook *to = &webhooks->hooks[i];
        if (!has_word(to->events, event->event) || !has_word(to->kinds, event->kind))
            continue;
        delivery *one = webhooks->n_waiting < MAX_WAITING ? calloc(1, sizeof *one) : NULL;
        char *json = one ? strdup(event->json) : NULL;
        if (!json) {
            free(one);
            to->failed++;
            continue;
        }
        one->json = json;
        one->due_us = ts_now_us();
        snprintf(one->hook_id, sizeof one->hook_id, "%s", to->id);
        push_locked(webhooks, one);
        any = true;
    }
    pthread_mutex_unlock(&webhooks->hooks_lock);
    if (any)
        curl_multi_wakeup(webhooks->multi);
}

static size_t discard(char *data, size_t size, size_t n, void *arg)
{
    (void)data, (void)arg;
    return size * n;
}

/* "t=<unix>,v1=<hex HMAC-SHA256 of t.body>" */
static void sign(const char *secret, const char *json, char out[160])
{
    char stamp[24], hex[65];
    uint8_t mac[32];
    size_t len = 0;
    snprintf(stamp, sizeof stamp, "%lld", (long long)ts_wall_seconds());
    ts_buf text = {0};
    ts_buf_printf(&text, "%s.%s", stamp, json);
    EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret, strlen(secret), text.data, text.len, mac,
              sizeof mac, &len);
    ts_buf_finish(&text);
    ts_hex(mac, sizeof mac, hex);
    snprintf(out, 160, "Tensorscope-Signature: t=%s,v1=%s", stamp, hex);
}

static bool start_transfer(ts_webhooks *webhooks, delivery *one, const char *secret)
{
    char signature[160];
    sign(secret, one->json, signature);
    one->curl = curl_easy_init();
    one->headers = curl_slist_append(NULL, "Content-Type: application/json");
    one->headers = curl_slist_append(one->headers, signature);
    if (!one->curl || !one->headers)
        return false;
    curl_easy_setopt(one->curl, CURLOPT_URL, one->url);
    curl_easy_setopt(one->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(one->curl, CURLOPT_POSTFIELDS, one->json);
    curl_easy_setopt(one->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(one->json));
    curl_easy_setopt(one->curl, CURLOPT_HTTPHEADER, one->headers);
    curl_easy_setopt(one->curl, CURLOPT_USERAGENT, "tensorscope/" TS_VERSION);
    curl_easy_setopt(one->curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(one->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(one->curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(one->curl, CURLOPT_PRIVATE, one);
    return curl_multi_add_handle(webhooks->multi, one->curl) == CURLM_OK;
}

/* Take what is due, in its order, as long as there is room. */
static void start_due(ts_webhooks *webhooks)
{
    while (webhooks->in_flight < IN_FLIGHT) {
        char secret[4096] = "";
        pthread_mutex_lock(&webhooks->hooks_lock);
        delivery *one = webhooks->waiting;
        const hook *to = NULL;
        if (one && one->due_us <= ts_now_us()) {
            webhooks->waiting = one->next;
            webhooks->n_waiting--;
            to = find_locked(webhooks, one->hook_id);
            if (to) {
                one->url = strdup(to->url);
                snprintf(secret, sizeof secret, "%s", to->secret);
            }
        } else {
            one = NULL;
        }
        pthread_mutex_unlock(&webhooks->hooks_lock);
        if (!one)
            return;
        if (to && one->url && start_transfer(webhooks, one, secret))
            webhooks->running[webhooks->in_flight++] = one;
        else
            delivery_free(one); /* its webhook is gone */
    }
}

static void finish_transfer(ts_webhooks *webhooks, delivery *one, long status)
{
    int tries = (int)(sizeof retry_after_s / sizeof *retry_after_s);
    bool ok = status >= 200 && status < 300, again = !ok && one->attempt < tries;
    curl_multi_remove_handle(webhooks->multi, one->curl);
    curl_easy_cleanup(one->curl);
    curl_slist_free_all(one->headers);
    free(one->url);
    one->curl = NULL;
    one->headers = NULL;
    one->url = NULL;
    int at = 0;
    while (webhooks->running[at] != one)
        at++;
    webhooks->running[at] = webhooks->running[--webhooks->in_flight];
    pthread_mutex_lock(&webhooks->hooks_lock);
    hook *to = find_locked(webhooks, one->hook_id);
    if (to) {
        to->last_status = (int)status;
        to->delivered += ok;
        to->failed += !ok && !again;
    }
    if (again && to) {
        one->due_us = ts_now_us() + (int64_t)retry_after_s[one->attempt++] * 1000000;
        push_locked(webhooks, one);
        one = NULL;
    }
    pthread_mutex_unlock(&webhooks->hooks_lock);
    ts_metrics_add(webhooks->metrics, TS_METRIC_webhook_deliveries_total,
                   ok      ? "ok"
                   : again ? "retried"
                           : "failed",
                   1);
    if (one)
        delivery_free(one);
}

static void collect_finished(ts_webhooks *webhooks)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(webhooks->multi, &left))) {
        delivery *one = NULL;
        long status = 0;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &one);
        if (message->data.result == CURLE_OK)
            curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        finish_transfer(webhooks, one, status);
    }
}

static int wait_ms(ts_webhooks *webhooks, bool *stop)
{
    pthread_mutex_lock(&webhooks->hooks_lock);
    *stop = webhooks->stop;
    int64_t wait = webhooks->waiting && webhooks->in_flight < IN_FLIGHT
                       ? (webhooks->waiting->due_us - ts_now_us()) / 1000 + 1
                       : 60000;
    pthread_mutex_unlock(&webhooks->hooks_lock);
    return wait < 0 ? 0 : wait > 60000 ? 60000 : (int)wait;
}

static void webhook_main(void *arg)
{
    ts_webhooks *webhooks = arg;
    bool stop = false;
    while (!stop) {
        int running = 0;
        start_due(webhooks);
        curl_multi_perform(webhooks->multi, &running);
        collect_finished(webhooks);
        int wait = wait_ms(webhooks, &stop);
        if (!stop)
            curl_multi_poll(webhooks->multi, NULL, 0, wait, NULL);
    }
}

/* ---- start and stop ---- */

ts_status ts_webhooks_create(const char *data_dir, ts_events *events, ts_metrics *metrics,
                             ts_webhooks **out, ts_error *err)
{
    ts_webhooks *webhooks = calloc(1, sizeof *webhooks);
    if (!webhooks)
        return ts_fail(err, TS_E_NO_MEMORY, "webhooks");
    pthread_mutex_init(&webhooks->hooks_lock, NULL);
    webhooks->metrics = metrics;
    size_t cap = strlen(data_dir) + 32;
    webhooks->path = malloc(cap);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    webhooks->multi = curl_multi_init();
    ts_status st =
        webhooks->path && webhooks->multi ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "webhooks");
    if (st == TS_OK) {
        snprintf(webhooks->path, cap, "%s/webhooks.json", data_dir);
        load(webhooks);
        st = ts_thread_start("ts-webhook", webhook_main, webhooks, &webhooks->thread, err);
    }
    if (st != TS_OK) {
        ts_webhooks_destroy(webhooks);
        return st;
    }
    ts_events_listen(events, hear, webhooks);
    *out = webhooks;
    return TS_OK;
}

static void drop_running(ts_webhooks *webhooks)
{
    while (webhooks->in_flight) {
        delivery *one = webhooks->running[--webhooks->in_flight];
        curl_multi_remove_handle(webhooks->multi, one->curl);
        delivery_free(one);
    }
}

void ts_webhooks_destroy(ts_webhooks *webhooks)
{
    if (!webhooks)
        return;
    pthread_mutex_lock(&webhooks->hooks_lock);
    webhooks->stop = true;
    pthread_mutex_unlock(&webhooks->hooks_lock);
    if (webhooks->thread) {
        curl_multi_wakeup(webhooks->multi);
        ts_thread_join(webhooks->thread);
        drop_running(webhooks);
    }
    while (webhooks->waiting) {
        delivery *next = webhooks->waiting->next;
        delivery_free(webhooks->waiting);
        webhooks->waiting = next;
    }
    for (size_t i = 0; i < webhooks->n_hooks; i++)
        hook_finish(&webhooks->hooks[i]);
    curl_multi_cleanup(webhooks->multi);
    pthread_mutex_destroy(&webhooks->hooks_lock);
    free(webhooks->path);
    free(webhooks);
}
