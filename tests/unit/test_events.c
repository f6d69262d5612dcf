/* Events: ids, filters, resuming, the once-a-second rule; metrics: series, labels, exposition. */
#include "cl/base/clock.h"
#include "server/events.h"
#include "server/metrics.h"
#include "server/request_impl.h"
#include "tests/support/check.h"

static ts_error err;

static void never(void *connection)
{
    (void)connection;
}

/* One reader: the text that it gets now. */
typedef struct listener {
    ts_response res;
    char text[65536];
} listener;

static void open_listener(listener *l, ts_events *events, uint64_t since, const char *kind,
                          const char *name)
{
    memset(l, 0, sizeof *l);
    ts_events_stream(events, since, kind, name, &l->res);
    assert_int_equal(l->res.status, 200);
    ts_stream_attach(l->res.stream, never, never, NULL);
}

static const char *read_now(listener *l)
{
    size_t used = 0, n = 0;
    ts_pull got;
    while ((got = ts_stream_pull(l->res.stream, l->text + used, sizeof l->text - 1 - used, &n)) ==
           TS_PULL_DATA)
        used += n;
    l->text[used] = 0;
    return l->text;
}

static int count(const char *text, const char *word)
{
    int n = 0;
    while ((text = strstr(text, word)))
        n++, text++;
    return n;
}

static void tells_new_events_to_all_readers(void **state)
{
    (void)state;
    ts_events *events = NULL;
    static listener all, streams, one;
    CHECK_OK(ts_events_create(&events, &err));
    ts_events_emit(events, "created", "stream", "before", NULL);
    open_listener(&all, events, UINT64_MAX, NULL, NULL);
    open_listener(&streams, events, UINT64_MAX, "stream", NULL);
    open_listener(&one, events, UINT64_MAX, NULL, "b");
    assert_string_equal(read_now(&all), ": \n\n");
    read_now(&streams);
    read_now(&one);
    ts_events_emit(events, "created", "stream", "a", NULL);
    ts_events_emit(events, "created", "model", "b", json_pack("{s:i}", "bytes", 7));
    assert_int_equal(count(read_now(&all), "\nevent: created\n"), 2);
    assert_non_null(strstr(all.text, "\"bytes\":7"));
    assert_int_equal(count(read_now(&streams), "\nevent:"), 1);
    assert_non_null(strstr(streams.text, "\"name\":\"a\""));
    assert_int_equal(count(read_now(&one), "\nevent:"), 1);
    assert_non_null(strstr(one.text, "\"kind\":\"model\""));
    assert_string_equal(read_now(&all), "");
    ts_response_clear(&all.res);
    ts_response_clear(&streams.res);
    ts_response_clear(&one.res);
    ts_events_destroy(events);
}

static void goes_on_behind_an_id(void **state)
{
    (void)state;
    ts_events *events = NULL;
    static listener l;
    char name[16];
    CHECK_OK(ts_events_create(&events, &err));
    uint64_t first = ts_events_last_id(events);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        ts_events_emit(events, "created", "stream", name, NULL);
    }
    assert_int_equal(ts_events_last_id(events), first + 5000);
    open_listener(&l, events, first + 4998, NULL, NULL);
    assert_int_equal(count(read_now(&l), "\nevent:"), 2);
    assert_non_null(strstr(l.text, "\"n4998\""));
    ts_response_clear(&l.res);
    /* what the ring has lost is skipped, the rest comes whole */
    ts_buf all = {0};
    open_listener(&l, events, first, NULL, NULL);
    size_t n = 0;
    while (ts_stream_pull(l.res.stream, l.text, sizeof l.text, &n) == TS_PULL_DATA)
        ts_buf_append(&all, l.text, n);
    int seen = count(ts_buf_cstr(&all), "\nevent:");
    ts_buf_finish(&all);
    assert_int_equal(seen, 4096);
    ts_response_clear(&l.res);
    /* an id of the future means: only new ones */
    open_listener(&l, events, first + 99999, NULL, NULL);
    assert_string_equal(read_now(&l), ": \n\n");
    ts_response_clear(&l.res);
    ts_events_destroy(events);
}

static void holds_tensor_changes_back(void **state)
{
    (void)state;
    ts_events *events = NULL;
    static listener l;
    CHECK_OK(ts_events_create(&events, &err));
    open_listener(&l, events, UINT64_MAX, NULL, NULL);
    read_now(&l);
    for (int i = 0; i < 10; i++)
        ts_events_emit(events, "changed", "tensor", "w", json_pack("{s:i}", "version", i));
    ts_events_emit(events, "changed", "tensor", "v", NULL);
    assert_int_equal(count(read_now(&l), "\nevent: changed"), 2);
    ts_events_tick(events);
    assert_string_equal(read_now(&l), "");
    ts_sleep_us(1050000);
    ts_events_tick(events);
    assert_int_equal(count(read_now(&l), "\nevent: changed"), 1);
    assert_non_null(strstr(l.text, "\"version\":9"));
    ts_events_emit(events, "changed", "tensor", "w", NULL);
    ts_events_emit(events, "deleted", "tensor", "w", NULL);
    assert_int_equal(count(read_now(&l), "\nevent:"), 1);
    assert_non_null(strstr(l.text, "event: deleted"));
    ts_sleep_us(1050000);
    ts_events_tick(events); /* no change is told of what is gone */
    assert_string_equal(read_now(&l), "");
    ts_response_clear(&l.res);
    ts_events_destroy(events);
}

static void hear(void *arg, const ts_event_view *event)
{
    snprintf(arg, 64, "%s %s %s", event->event, event->kind, event->name);
}

static void tells_listeners_and_ends_stopped_readers(void **state)
{
    (void)state;
    ts_events *events = NULL;
    static listener l;
    char heard[64] = "";
    size_t n = 0;
    CHECK_OK(ts_events_create(&events, &err));
    ts_events_listen(events, hear, heard);
    ts_events_emit(events, "finished", "fit", "f1", NULL);
    assert_string_equal(heard, "finished fit f1");
    open_listener(&l, events, UINT64_MAX, NULL, NULL);
    read_now(&l);
    ts_stream_stop(l.res.stream);
    assert_int_equal(ts_stream_pull(l.res.stream, l.text, 10, &n), TS_PULL_END);
    ts_response_clear(&l.res);
    ts_events_emit(NULL, "created", "x", "y", json_object());
    ts_events_destroy(events);
}

/* ---- metrics ---- */

static void keeps_series_by_labels(void **state)
{
    (void)state;
    ts_metrics *m = NULL;
    ts_buf text = {0};
    CHECK_OK(ts_metrics_create(&m, &err));
    char labels[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(labels, sizeof labels, "200,/r%d", i % 100);
        ts_metrics_add(m, TS_METRIC_http_requests_total, labels, 1);
    }
    assert_true(ts_metrics_value(m, TS_METRIC_http_requests_total, "200,/r7") == 10);
    for (int i = 0; i < 100; i += 2) {
        snprintf(labels, sizeof labels, "200,/r%d", i);
        ts_metrics_forget(m, TS_METRIC_http_requests_total, labels);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(labels, sizeof labels, "200,/r%d", i);
        assert_true(ts_metrics_value(m, TS_METRIC_http_requests_total, labels) == (i % 2 ? 10 : 0));
    }
    ts_metrics_set(m, TS_METRIC_ws_frames_sent_total, "a\"b\\c", 3);
    ts_metrics_write(m, &text);
    assert_non_null(strstr(ts_buf_cstr(&text), "{code=\"200\",route=\"/r7\"} 10\n"));
    assert_null(strstr(ts_buf_cstr(&text), "route=\"/r8\""));
    assert_non_null(strstr(ts_buf_cstr(&text), "{stream=\"a\\\"b\\\\c\"} 3\n"));
    ts_metrics_clear(m, TS_METRIC_http_requests_total);
    assert_true(ts_metrics_value(m, TS_METRIC_http_requests_total, "200,/r7") == 0);
    ts_buf_finish(&text);
    ts_metrics_destroy(m);
}

static void counts_observations_into_buckets(void **state)
{
    (void)state;
    ts_metrics *m = NULL;
    ts_buf text = {0};
    CHECK_OK(ts_metrics_create(&m, &err));
    ts_metrics_observe(m, TS_METRIC_http_request_seconds, "/x", 0.0004);
    ts_metrics_observe(m, TS_METRIC_http_request_seconds, "/x", 0.3);
    ts_metrics_observe(m, TS_METRIC_http_request_seconds, "/x", 99);
    ts_metrics_write(m, &text);
    const char *out = ts_buf_cstr(&text);
    assert_non_null(strstr(out, "{route=\"/x\",le=\"0.00025\"} 0\n"));
    assert_non_null(strstr(out, "{route=\"/x\",le=\"0.0005\"} 1\n"));
    assert_non_null(strstr(out, "{route=\"/x\",le=\"0.25\"} 1\n"));
    assert_non_null(strstr(out, "{route=\"/x\",le=\"0.5\"} 2\n"));
    assert_non_null(strstr(out, "{route=\"/x\",le=\"10\"} 2\n"));
    assert_non_null(strstr(out, "{route=\"/x\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(out, "seconds_count{route=\"/x\"} 3\n"));
    ts_buf_finish(&text);
    ts_metrics_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_new_events_to_all_readers),
        cmocka_unit_test(goes_on_behind_an_id),
        cmocka_unit_test(holds_tensor_changes_back),
        cmocka_unit_test(tells_listeners_and_ends_stopped_readers),
        cmocka_unit_test(keeps_series_by_labels),
        cmocka_unit_test(counts_observations_into_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
