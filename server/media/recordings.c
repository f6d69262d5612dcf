/* The table of recordings: starting, stopping, files, and what a restart finds. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "cl/base/size.h"
#include "server/events.h"
#include "server/media/recorder_internal.h"

enum {
    MAX_RECORDINGS = 4096,
    MAX_RUNNING = 16
};

/* ---- names and JSON ---- */

void rec_path(const ts_recordings *t, const recording *r, const char *suffix, ts_buf *out)
{
    ts_buf_reset(out);
    ts_buf_printf(out, "%s/%s%s", t->folder, r->id, suffix);
    (void)ts_buf_cstr(out);
}

void rec_data_path(const ts_recordings *t, const recording *r, ts_buf *out)
{
    char suffix[16] = ".frames"; /* no name can make this or the others meet <id>.json */
    if (!ts_rec_is_folder(r->format))
        snprintf(suffix, sizeof suffix, ".%s", ts_rec_format_name(r->format));
    rec_path(t, r, suffix, out);
}

static const char *const state_names[] = {"recording", "finalizing", "done", "failed", "recovered"};

const char *rec_state_name(rec_state state)
{
    return state_names[state];
}

json_t *rec_json(const recording *r)
{
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:s,s:f,s:I,s:I,s:f,s:I,s:i,s:i,s:f}", "id", r->id, "stream",
                  r->stream, "format", ts_rec_format_name(r->format), "state",
                  rec_state_name(r->state), "fps", r->fps, "frames", (json_int_t)r->frames, "bytes",
                  (json_int_t)r->bytes, "duration", r->duration, "dropped", (json_int_t)r->dropped,
                  "width", r->width, "height", r->height, "started", r->started);
    if (r->reason[0])
        json_object_set_new(o, "reason", json_string(r->reason));
    if (r->error[0])
        json_object_set_new(o, "error", json_string(r->error));
    return o;
}

void rec_save(const ts_recordings *t, const json_t *object, const char *id)
{
    ts_error err = {0};
    ts_buf path = {0}, text = {0};
    ts_buf_printf(&path, "%s/%s.json", t->folder, id);
    ts_json_write(object, &text);
    if (ts_fs_write_atomic(ts_buf_cstr(&path), text.data, text.len, &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "media", "a recording's state was not saved", &err);
    ts_error_clear(&err);
    ts_buf_finish(&path);
    ts_buf_finish(&text);
}

static recording *find_locked(const ts_recordings *t, const char *id)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->list[i]->id, id))
            return t->list[i];
    return NULL;
}

static ts_status no_such(const char *id, ts_error *err)
{
    return ts_fail(err, TS_E_NOT_FOUND, "no recording '%s'", id);
}

/* ---- starting ---- */

static void make_id(ts_recordings *t, char out[TS_NAME_MAX + 1])
{
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    do
        snprintf(out, TS_NAME_MAX + 1, "r%04d%02d%02d-%02d%02d%02d-%u", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ++t->next);
    while (find_locked(t, out));
}

static void remove_files(const ts_recordings *t, const recording *r)
{
    ts_buf path = {0};
    ts_error err = {0};
    rec_data_path(t, r, &path);
    if (ts_fs_remove(ts_buf_cstr(&path), &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "media", "a recording was not removed", &err);
    rec_path(t, r, ".json", &path);
    (void)unlink(ts_buf_cstr(&path));
    ts_error_clear(&err);
    ts_buf_finish(&path);
}

static void forget_locked(ts_recordings *t, const recording *r)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i] == r) {
            memmove(t->list + i, t->list + i + 1, (--t->n - i) * sizeof *t->list);
            return;
        }
}

static ts_status add_locked(ts_recordings *t, recording *r, ts_error *err)
{
    if (t->n >= MAX_RECORDINGS)
        return ts_fail(err, TS_E_LIMIT, "%d recordings are there already; delete some",
                       MAX_RECORDINGS);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 16;
        recording **p = ts_realloc_array(t->list, cap, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for the recordings");
        t->list = p;
        t->cap = cap;
    }
    t->list[t->n++] = r;
    return TS_OK;
}

static ts_status check_room_locked(const ts_recordings *t, ts_error *err)
{
    int running = 0;
    for (size_t i = 0; i < t->n; i++)
        running += t->list[i]->state <= FINALIZING;
    return running < MAX_RUNNING
               ? TS_OK
               : ts_fail(err, TS_E_LIMIT, "%d recordings are running, which is the limit", running);
}

/* Take the name. An old recording that is overwritten leaves the table; its files are *old's. */
static ts_status enter(ts_recordings *t, recording *rec, const rec_wish *w, recording **old,
                       ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    ts_status st = check_room_locked(t, err);
    if (w->name)
        snprintf(rec->id, sizeof rec->id, "%s", w->name);
    else
        make_id(t, rec->id);
    recording *same = find_locked(t, rec->id);
    if (st == TS_OK && same && !w->overwrite)
        st = ts_fail(err, TS_E_EXISTS, "a recording '%s' exists; \"overwrite\":true replaces it",
                     rec->id);
    if (st == TS_OK && same && same->state <= FINALIZING)
        st = ts_fail(err, TS_E_BUSY, "the recording '%s' is still running", rec->id);
    if (st == TS_OK && same) {
        forget_locked(t, same);
        *old = same;
    }
    if (st == TS_OK)
        st = add_locked(t, rec, err);
    pthread_mutex_unlock(&t->lock);
    return st;
}

static void recording_free(recording *r)
{
    if (!r)
        return;
    recorder_destroy(r->running);
    free(r);
}

static void take_back(ts_recordings *t, recording *rec)
{
    pthread_mutex_lock(&t->lock);
    forget_locked(t, rec);
    pthread_mutex_unlock(&t->lock);
    remove_files(t, rec);
}

/* The thread may be stopped from the moment that it can run. */
static ts_status run(ts_recordings *t, recording *rec, recorder *r, json_t **shown, ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    rec->running = r;
    *shown = rec_json(rec);
    pthread_mutex_unlock(&t->lock);
    rec_save(t, *shown, rec->id);
    ts_status st = recorder_start(r, err);
    if (st != TS_OK) {
        json_decref(*shown);
        *shown = NULL;
    }
    return st;
}

ts_status ts_recordings_start(ts_recordings *t, const char *stream, const json_t *options,
                              json_t **shown, ts_error *err)
{
    recording *rec = calloc(1, sizeof *rec), *old = NULL;
    recorder *r = NULL;
    rec_wish w;
    bool entered = false;
    if (!rec)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a recording");
    ts_status st = recorder_create(t, stream, options, rec, &w, &r, err);
    if (st == TS_OK) {
        st = enter(t, rec, &w, &old, err);
        entered = st == TS_OK;
    }
    if (old) {
        remove_files(t, old);
        recording_free(old);
    }
    if (st == TS_OK)
        st = recorder_watch(r, &w, err);
    if (st == TS_OK)
        st = run(t, rec, r, shown, err);
    if (st != TS_OK) {
        if (entered)
            take_back(t, rec);
        recorder_destroy(r);
        free(rec);
        return st;
    }
    /* By now somebody may have removed it already. */
    ts_events_emit(t->app->events, "created", "recording",
                   json_string_value(json_object_get(*shown, "id")), NULL);
    return TS_OK;
}

/* ---- the table's other calls ---- */

ts_status ts_recordings_stop(ts_recordings *t, const char *id, json_t **shown, ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    recording *rec = find_locked(t, id);
    if (rec && rec->running && rec->state == RECORDING)
        recorder_stop(rec->running);
    while (rec && rec->state <= FINALIZING) {
        pthread_cond_wait(&t->changed, &t->lock);
        rec = find_locked(t, id); /* may have been removed meanwhile */
    }
    *shown = rec ? rec_json(rec) : NULL;
    pthread_mutex_unlock(&t->lock);
    return rec ? TS_OK : no_such(id, err);
}

ts_status ts_recordings_get(ts_recordings *t, const char *id, json_t **shown, ts_error *err)
{
    pthread_mutex_lock(&t->lock);
    const recording *rec = find_locked(t, id);
    *shown = rec ? rec_json(rec) : NULL;
    pthread_mutex_unlock(&t->lock);
    return *shown ? TS_OK : no_such(id, err);
}

json_t *ts_recordings_list(ts_recordings *t, const char *prefix)
{
    json_t *list = json_array();
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n; i++)
        if (!prefix || !strncmp(t->list[i]->id, prefix, strlen(prefix)))
            json_array_append_new(list, rec_json(t->list[i]));
    pthread_mutex_unlock(&t->lock);
    return list;
}

ts_status ts_recordings_remove(ts_recordings *t, const char *id, ts_error *err)
{
    json_t *shown = NULL;
    ts_status st = ts_recordings_stop(t, id, &shown, err);
    json_decref(shown);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&t->lock);
    recording *rec = find_locked(t, id);
    if (rec)
        forget_locked(t, rec);
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (!rec)
        return no_such(id, err);
    remove_files(t, rec);
    recording_free(rec);
    ts_events_emit(t->app->events, "deleted", "recording", id, NULL);
    return TS_OK;
}

ts_status ts_recordings_file(ts_recordings *t, const char *id, ts_buf *path, const char **mime,
                             bool *temporary, ts_error *err)
{
    recording copy;
    pthread_mutex_lock(&t->lock);
    const recording *rec = find_locked(t, id);
    if (rec)
        copy = *rec;
    unsigned n = ++t->next;
    pthread_mutex_unlock(&t->lock);
    if (!rec)
        return no_such(id, err);
    *mime = ts_rec_mime(copy.format);
    *temporary = ts_rec_is_folder(copy.format);
    rec_data_path(t, &copy, path);
    if (!ts_rec_bytes(ts_buf_cstr(path)))
        return ts_fail(err, TS_E_NOT_READY, "the recording '%s' has no picture yet", id);
    if (!*temporary)
        return TS_OK;
    ts_buf tar = {0};
    ts_buf_printf(&tar, "%s/tmp/%s-%u.tar", t->app->options.data_dir, id, n);
    ts_status st = ts_rec_tar(ts_buf_cstr(path), ts_buf_cstr(&tar), err);
    if (st != TS_OK)
        (void)unlink(ts_buf_cstr(&tar));
    ts_buf_finish(path);
    *path = tar;
    return st;
}

/* ---- after a restart ---- */

static ts_status read_saved(const ts_recordings *t, const char *file, recording *r, ts_error *err)
{
    enum {
        MAX_STATE_FILE = 64 * 1024
    };
    ts_buf path = {0}, text = {0};
    json_t *o = NULL;
    const char *id = NULL, *stream = "", *format = "", *reason = "", *error = "";
    int64_t frames = 0, bytes = 0, dropped = 0, width = 0, height = 0;
    int state = FAILED;
    static const char *const states[] = {"recording", "finalizing", "done",
                                         "failed",    "recovered",  NULL};
    ts_buf_printf(&path, "%s/%s", t->folder, file);
    ts_status st = ts_fs_read(ts_buf_cstr(&path), MAX_STATE_FILE, &text, err);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &o, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "id", &id, err);
    if (st == TS_OK)
        st = ts_name_check("recording", id ? id : "", err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "stream", &stream, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "format", &format, err);
    if (st == TS_OK)
        st = ts_rec_format_parse(format, &r->format, err);
    if (st == TS_OK)
        st = ts_json_get_enum(o, "", "state", states, &state, err);
    if (st == TS_OK &&
        (ts_json_get_int(o, "", "frames", 0, INT64_MAX, &frames, err) != TS_OK ||
         ts_json_get_int(o, "", "bytes", 0, INT64_MAX, &bytes, err) != TS_OK ||
         ts_json_get_int(o, "", "dropped", 0, INT64_MAX, &dropped, err) != TS_OK ||
         ts_json_get_int(o, "", "width", 0, 65535, &width, err) != TS_OK ||
         ts_json_get_int(o, "", "height", 0, 65535, &height, err) != TS_OK ||
         ts_json_get_double(o, "", "fps", 0, 1000, &r->fps, err) != TS_OK ||
         ts_json_get_double(o, "", "duration", 0, 1e12, &r->duration, err) != TS_OK ||
         ts_json_get_double(o, "", "started", 0, 1e12, &r->started, err) != TS_OK ||
         ts_json_get_string(o, "", "reason", &reason, err) != TS_OK ||
         ts_json_get_string(o, "", "error", &error, err) != TS_OK))
        st = err ? err->status : TS_E_FILE;
    if (st == TS_OK) {
        snprintf(r->id, sizeof r->id, "%s", id);
        snprintf(r->stream, sizeof r->stream, "%s", stream);
        snprintf(r->reason, sizeof r->reason, "%s", reason);
        snprintf(r->error, sizeof r->error, "%s", error);
        r->state = (rec_state)state;
        r->frames = frames;
        r->bytes = (uint64_t)bytes;
        r->dropped = dropped;
        r->width = (int)width;
        r->height = (int)height;
    }
    json_decref(o);
    ts_buf_finish(&path);
    ts_buf_finish(&text);
    return st;
}

static void recover(ts_recordings *t, recording *r)
{
    ts_error err = {0};
    ts_buf path = {0};
    rec_data_path(t, r, &path);
    ts_status st = ts_rec_recover(r->format, ts_buf_cstr(&path), &err);
    r->state = st == TS_OK ? RECOVERED : FAILED;
    r->bytes = ts_rec_bytes(ts_buf_cstr(&path));
    if (st != TS_OK)
        snprintf(r->error, sizeof r->error, "%.199s", err.text);
    json_t *o = rec_json(r);
    rec_save(t, o, r->id);
    json_decref(o);
    ts_log(TS_LOG_INFO, "media", "recording=%s state=%s", r->id, rec_state_name(r->state));
    ts_error_clear(&err);
    ts_buf_finish(&path);
}

static ts_status load_saved(ts_recordings *t, ts_error *err)
{
    DIR *d = opendir(t->folder);
    struct dirent *e;
    ts_status st = d ? TS_OK : ts_fail(err, TS_E_INTERNAL, "%s cannot be read", t->folder);
    while (st == TS_OK && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        ts_error own = {0};
        if (n < 6 || strcmp(e->d_name + n - 5, ".json") != 0 || e->d_name[0] == '.')
            continue;
        recording *r = calloc(1, sizeof *r);
        if (!r)
            st = ts_fail(err, TS_E_NO_MEMORY, "no memory for the recordings");
        else if (read_saved(t, e->d_name, r, &own) != TS_OK) {
            ts_log_error(TS_LOG_WARN, "media", "a recording's state is unreadable", &own);
            free(r);
        } else {
            if (r->state <= FINALIZING)
                recover(t, r);
            st = add_locked(t, r, err);
            if (st != TS_OK)
                free(r);
        }
        ts_error_clear(&own);
    }
    if (d)
        closedir(d);
    return st;
}

ts_status ts_recordings_create(ts_app *app, ts_recordings **out, ts_error *err)
{
    ts_recordings *t = calloc(1, sizeof *t);
    ts_buf folder = {0};
    ts_buf_printf(&folder, "%s/recordings", app->options.data_dir);
    if (!t || folder.failed) {
        free(t);
        ts_buf_finish(&folder);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for the recordings");
    }
    t->app = app;
    (void)ts_buf_cstr(&folder);
    t->folder = (char *)folder.data;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    ts_status st = ts_fs_mkdirs(t->folder, err);
    if (st == TS_OK)
        st = load_saved(t, err);
    if (st != TS_OK) {
        ts_recordings_destroy(t);
        return st;
    }
    *out = t;
    return TS_OK;
}

void ts_recordings_destroy(ts_recordings *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i]->running)
            recorder_stop(t->list[i]->running);
    for (size_t i = 0; i < t->n; i++)
        recording_free(t->list[i]); /* joins */
    free(t->list);
    free(t->folder);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
