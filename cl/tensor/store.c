#include "cl/tensor/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/hash.h"
#include "cl/tensor/layout.h"

enum {
    N_BUCKETS = 1024,
    MAX_OBSERVERS = 4
};

typedef struct slot {
    struct slot *next;
    ts_entry entry;
    bool editing, exclusive;
} slot;

struct ts_store {
    pthread_mutex_t store_lock; /* guards: buckets, count, what is in the slots */
    pthread_cond_t edited;
    slot *buckets[N_BUCKETS];
    size_t count, max_tensors;

    struct {
        ts_store_observer call;
        void *arg;
    } observers[MAX_OBSERVERS]; /* set before there are publishers */
    int n_observers;
};

/* ---- entries ---- */

void ts_entry_finish(ts_entry *entry)
{
    if (!entry)
        return;
    ts_tensor_unref(entry->tensor);
    json_decref(entry->tags);
    entry->tensor = NULL;
    entry->tags = NULL;
}

void ts_entries_free(ts_entry *entries, size_t n)
{
    for (size_t i = 0; entries && i < n; i++)
        ts_entry_finish(&entries[i]);
    free(entries);
}

static ts_entry snapshot(const ts_entry *entry)
{
    ts_entry copy = *entry;
    ts_tensor_ref(copy.tensor);
    json_incref(copy.tags);
    return copy;
}

/* ---- the table ---- */

ts_status ts_store_create(size_t max_tensors, ts_store **out, ts_error *err)
{
    ts_store *store = calloc(1, sizeof *store);
    if (!store)
        return ts_fail(err, TS_E_NO_MEMORY, "tensor table");
    pthread_mutex_init(&store->store_lock, NULL);
    pthread_cond_init(&store->edited, NULL);
    store->max_tensors = max_tensors;
    *out = store;
    return TS_OK;
}

void ts_store_destroy(ts_store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (store->buckets[i]) {
            slot *s = store->buckets[i];
            store->buckets[i] = s->next;
            ts_entry_finish(&s->entry);
            free(s);
        }
    }
    pthread_cond_destroy(&store->edited);
    pthread_mutex_destroy(&store->store_lock);
    free(store);
}

void ts_store_observe(ts_store *store, ts_store_observer observer, void *arg)
{
    if (!observer) {
        store->n_observers -= store->n_observers > 0;
        return;
    }
    if (store->n_observers == MAX_OBSERVERS)
        return;
    store->observers[store->n_observers].call = observer;
    store->observers[store->n_observers++].arg = arg;
}

static void tell(ts_store *store, ts_store_change change, const ts_entry *entry)
{
    for (int i = 0; i < store->n_observers; i++)
        store->observers[i].call(store->observers[i].arg, change, entry);
}

static slot **bucket_of(ts_store *store, const char *name)
{
    return &store->buckets[ts_fnv1a(TS_FNV_SEED, name, strlen(name)) % N_BUCKETS];
}

static slot *find_locked(ts_store *store, const char *name)
{
    for (slot *s = *bucket_of(store, name); s; s = s->next)
        if (strcmp(s->entry.name, name) == 0)
            return s;
    return NULL;
}

/* The slot of a name once nobody is editing it; an edit that is not exclusive need not be awaited. */
static slot *find_settled_locked(ts_store *store, const char *name, bool only_exclusive)
{
    slot *s;
    while ((s = find_locked(store, name)) && s->editing && (s->exclusive || !only_exclusive))
        pthread_cond_wait(&store->edited, &store->store_lock);
    return s;
}

static slot *add_locked(ts_store *store, const char *name)
{
    slot *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    strcpy(s->entry.name, name);
    s->entry.step = -1;
    slot **bucket = bucket_of(store, name);
    s->next = *bucket;
    *bucket = s;
    store->count++;
    return s;
}

static void remove_locked(ts_store *store, slot *s)
{
    slot **link = bucket_of(store, s->entry.name);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    store->count--;
    free(s);
}

/* ---- publishing ---- */

static ts_status check_version(const slot *s, const char *name, const ts_publish_options *o,
                               ts_error *err)
{
    uint64_t version = s ? s->entry.version : 0;
    if (o->if_absent && s)
        return ts_fail(err, TS_E_VERSION, "tensor %s exists", name);
    if (o->if_exists && !s)
        return ts_fail(err, TS_E_VERSION, "there is no tensor %s", name);
    if (o->if_version && *o->if_version != version)
        return ts_fail(err, TS_E_VERSION, "tensor %s has version %" PRIu64 ", not %" PRIu64, name,
                       version, *o->if_version);
    return TS_OK;
}

/* The old tensor and tags go to *old, to be dropped without the lock. */
static void set_locked(slot *s, ts_tensor *tensor, const ts_publish_options *o, ts_entry *old)
{
    ts_entry *e = &s->entry;
    *old = (ts_entry){.tensor = e->tensor};
    e->tensor = ts_tensor_ref(tensor);
    e->version++;
    e->step = o->has_step ? o->step : e->step + 1;
    e->t = o->has_t ? o->t : ts_wall_seconds();
    if (o->run) {
        strncpy(e->run, o->run, TS_NAME_MAX);
        e->run[TS_NAME_MAX] = '\0';
    }
    if (o->tags) {
        old->tags = e->tags;
        e->tags = json_deep_copy(o->tags);
    }
}

static const ts_publish_options no_options;

ts_status ts_store_publish(ts_store *store, const char *name, ts_tensor *tensor,
                           const ts_publish_options *options, bool *created, ts_entry *entry,
                           ts_error *err)
{
    ts_entry now;
    ts_status st = ts_name_check("tensor", name, err);
    if (st != TS_OK)
        return st;
    const ts_publish_options *o = options ? options : &no_options;
    ts_entry old = {0};
    bool is_new = false;
    pthread_mutex_lock(&store->store_lock);
    slot *s = find_settled_locked(store, name, false);
    st = check_version(s, name, o, err);
    if (st == TS_OK && !s) {
        is_new = true;
        if (store->count >= store->max_tensors)
            st = ts_fail(err, TS_E_LIMIT, "there are %zu tensors already (--max-tensors)",
                         store->count);
        else if (!(s = add_locked(store, name)))
            st = ts_fail(err, TS_E_NO_MEMORY, "tensor %s", name);
    }
    if (st == TS_OK) {
        set_locked(s, tensor, o, &old);
        now = snapshot(&s->entry);
    }
    pthread_mutex_unlock(&store->store_lock);
    if (st != TS_OK)
        return st;
    ts_entry_finish(&old);
    tell(store, is_new ? TS_STORE_CREATED : TS_STORE_UPDATED, &now);
    if (created)
        *created = is_new;
    if (entry)
        *entry = now;
    else
        ts_entry_finish(&now);
    return TS_OK;
}

/* Wait until none of the names is being edited; each wait lets others in, so look again. */
static void settle_all_locked(ts_store *store, size_t n, const char *const *names)
{
    for (size_t i = 0; i < n; i++) {
        slot *s = find_locked(store, names[i]);
        if (!s || !s->editing)
            continue;
        pthread_cond_wait(&store->edited, &store->store_lock);
        i = SIZE_MAX; /* from the start */
    }
}

/* Make a slot for every name, or none. A new slot has version 0 until it is set. */
static ts_status add_all_locked(ts_store *store, size_t n, const char *const *names,
                                const ts_publish_options *o, ts_error *err)
{
    size_t missing = 0;
    settle_all_locked(store, n, names);
    for (size_t i = 0; i < n; i++) {
        slot *s = find_locked(store, names[i]);
        ts_status st = check_version(s, names[i], o, err);
        if (st != TS_OK)
            return st;
        missing += s == NULL;
    }
    if (missing > store->max_tensors - store->count || store->count > store->max_tensors)
        return ts_fail(err, TS_E_LIMIT, "%zu more tensors would be over --max-tensors (%zu)",
                       missing, store->max_tensors);
    for (size_t i = 0; i < n; i++) {
        if (find_locked(store, names[i]) || add_locked(store, names[i]))
            continue;
        for (size_t k = 0; k < i; k++) {
            slot *s = find_locked(store, names[k]);
            if (s && !s->entry.version)
                remove_locked(store, s);
        }
        return ts_fail(err, TS_E_NO_MEMORY, "tensor %s", names[i]);
    }
    return TS_OK;
}

ts_status ts_store_publish_all(ts_store *store, size_t n, const char *const *names,
                               ts_tensor *const *tensors, const ts_publish_options *options,
                               ts_entry *entries, ts_error *err)
{
    for (size_t i = 0; i < n; i++) {
        ts_status st = ts_name_check("tensor", names[i], err);
        if (st != TS_OK)
            return st;
    }
    const ts_publish_options *o = options ? options : &no_options;
    ts_entry *now = calloc(2 * n + 1, sizeof *now), *old = now + n;
    if (!now)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu tensors", n);
    pthread_mutex_lock(&store->store_lock);
    ts_status st = add_all_locked(store, n, names, o, err);
    for (size_t i = 0; st == TS_OK && i < n; i++) {
        slot *s = find_locked(store, names[i]);
        set_locked(s, tensors[i], o, &old[i]);
        now[i] = snapshot(&s->entry);
    }
    pthread_mutex_unlock(&store->store_lock);
    for (size_t i = 0; st == TS_OK && i < n; i++) {
        tell(store, old[i].tensor ? TS_STORE_UPDATED : TS_STORE_CREATED, &now[i]);
        ts_entry_finish(&old[i]);
        if (entries)
            entries[i] = now[i];
        else
            ts_entry_finish(&now[i]);
    }
    free(now);
    return st;
}

/* ---- edits ---- */

ts_status ts_store_edit_begin(ts_store *store, const char *name, const ts_publish_options *options,
                              ts_entry *entry, bool *exclusive, ts_error *err)
{
    const ts_publish_options *o = options ? options : &no_options;
    pthread_mutex_lock(&store->store_lock);
    slot *s = find_settled_locked(store, name, false);
    ts_status st =
        s ? check_version(s, name, o, err) : ts_fail(err, TS_E_NOT_FOUND, "no tensor %s", name);
    if (st == TS_OK) {
        s->editing = true;
        s->exclusive = ts_tensor_unique(s->entry.tensor);
        *exclusive = s->exclusive;
        *entry = snapshot(&s->entry);
    }
    pthread_mutex_unlock(&store->store_lock);
    return st;
}

ts_status ts_store_edit_end(ts_store *store, ts_entry *entry, ts_tensor *tensor,
                            const ts_publish_options *options, ts_entry *out, ts_error *err)
{
    const ts_publish_options *o = options ? options : &no_options;
    ts_entry old = {0}, now = {0};
    ts_status st = TS_OK;
    pthread_mutex_lock(&store->store_lock);
    slot *s = find_locked(store, entry->name);
    if (!s)
        st = ts_fail(err, TS_E_NOT_FOUND, "tensor %s was removed meanwhile", entry->name);
    if (s) {
        s->editing = s->exclusive = false;
        if (tensor) {
            set_locked(s, tensor, o, &old);
            now = snapshot(&s->entry);
        }
        pthread_cond_broadcast(&store->edited);
    }
    pthread_mutex_unlock(&store->store_lock);
    ts_entry_finish(entry);
    ts_entry_finish(&old);
    if (now.tensor)
        tell(store, TS_STORE_UPDATED, &now);
    if (out && now.tensor)
        *out = now;
    else
        ts_entry_finish(&now);
    return st;
}

/* The tensor to write into: the old memory, or a copy of it. */
static ts_status open_for_writing(ts_queue *queue, const ts_tensor *old, bool exclusive,
                                  ts_tensor **out, ts_error *err)
{
    ts_dtype dtype = ts_tensor_dtype(old);
    const ts_shape *shape = ts_tensor_shape(old);
    if (exclusive)
        return ts_tensor_wrap(ts_tensor_buffer(old), ts_tensor_offset(old), dtype, shape, out, err);
    ts_status st = ts_tensor_create(ts_tensor_device(old), dtype, shape, out, err);
    if (st != TS_OK)
        return st;
    st = ts_buffer_copy(queue, ts_tensor_buffer(old), ts_tensor_offset(old), ts_tensor_buffer(*out),
                        0, ts_tensor_nbytes(old), err);
    if (st != TS_OK)
        ts_tensor_unref(*out);
    return st;
}

static ts_status patched(ts_queue *queue, const ts_tensor *old, bool exclusive,
                         const ts_tensor *patch, const ts_shape *offset, ts_tensor **out,
                         ts_error *err)
{
    size_t nbytes;
    ts_tensor *tensor = NULL;
    if (ts_tensor_dtype(patch) != ts_tensor_dtype(old))
        return ts_fail(err, TS_E_DTYPE, "the patch is %s, the tensor %s",
                       ts_dtype_name(ts_tensor_dtype(patch)), ts_dtype_name(ts_tensor_dtype(old)));
    ts_status st = ts_region_check(old, offset, ts_tensor_shape(patch), &nbytes, err);
    if (st == TS_OK)
        st = open_for_writing(queue, old, exclusive, &tensor, err);
    if (st != TS_OK)
        return st;
    st = ts_region_write(queue, ts_tensor_buffer(patch), tensor, offset, ts_tensor_shape(patch),
                         err);
    if (st == TS_OK)
        st = ts_queue_finish(queue, err);
    if (st != TS_OK)
        ts_tensor_unref(tensor);
    else
        *out = tensor;
    return st;
}

ts_status ts_store_patch(ts_store *store, ts_queue *queue, const char *name, const ts_tensor *patch,
                         const ts_shape *offset, const ts_publish_options *options, ts_entry *out,
                         ts_error *err)
{
    ts_entry entry;
    bool exclusive;
    ts_status st = ts_store_edit_begin(store, name, options, &entry, &exclusive, err);
    if (st != TS_OK)
        return st;
    ts_tensor *tensor = NULL;
    st = patched(queue, entry.tensor, exclusive, patch, offset, &tensor, err);
    ts_status ended = ts_store_edit_end(store, &entry, tensor, options, out, err);
    ts_tensor_unref(tensor);
    return st == TS_OK ? ended : st;
}

/* ---- reading ---- */

ts_status ts_store_get(ts_store *store, const char *name, ts_entry *out, ts_error *err)
{
    pthread_mutex_lock(&store->store_lock);
    slot *s = find_settled_locked(store, name, true);
    if (s)
        *out = snapshot(&s->entry);
    pthread_mutex_unlock(&store->store_lock);
    if (!s)
        return ts_fail(err, TS_E_NOT_FOUND, "no tensor %s", name);
    return TS_OK;
}

ts_status ts_store_remove_version(ts_store *store, const char *name, const uint64_t *if_version,
                                  ts_error *err)
{
    ts_publish_options o = {.if_version = if_version};
    ts_entry gone = {0};
    pthread_mutex_lock(&store->store_lock);
    slot *s = find_settled_locked(store, name, false);
    ts_status st =
        s ? check_version(s, name, &o, err) : ts_fail(err, TS_E_NOT_FOUND, "no tensor %s", name);
    if (st == TS_OK) {
        gone = s->entry;
        remove_locked(store, s);
    }
    pthread_mutex_unlock(&store->store_lock);
    if (st != TS_OK)
        return st;
    tell(store, TS_STORE_DELETED, &gone);
    ts_entry_finish(&gone);
    return TS_OK;
}

ts_status ts_store_remove(ts_store *store, const char *name, ts_error *err)
{
    return ts_store_remove_version(store, name, NULL, err);
}

static bool matches(const ts_entry *e, const char *prefix, const char *run)
{
    return (!prefix || strncmp(e->name, prefix, strlen(prefix)) == 0) &&
           (!run || strcmp(e->run, run) == 0);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ts_entry *)a)->name, ((const ts_entry *)b)->name);
}

ts_status ts_store_list(ts_store *store, const char *prefix, const char *run, ts_entry **out,
                        size_t *n, ts_error *err)
{
    size_t used = 0;
    pthread_mutex_lock(&store->store_lock);
    ts_entry *list = calloc(store->count + 1, sizeof *list);
    for (size_t i = 0; list && i < N_BUCKETS; i++)
        for (const slot *s = store->buckets[i]; s; s = s->next)
            if (s->entry.tensor && matches(&s->entry, prefix, run))
                list[used++] = snapshot(&s->entry);
    pthread_mutex_unlock(&store->store_lock);
    if (!list)
        return ts_fail(err, TS_E_NO_MEMORY, "list of tensors");
    qsort(list, used, sizeof *list, by_name);
    *out = list;
    *n = used;
    return TS_OK;
}

size_t ts_store_count(ts_store *store)
{
    pthread_mutex_lock(&store->store_lock);
    size_t n = store->count;
    pthread_mutex_unlock(&store->store_lock);
    return n;
}
