#include "server/media/pipeline_doc.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/name.h"
#include "server/media/source.h"

/* The default document: its shape is the schema, its values the defaults. */
static const char DEFAULTS[] =
    "{\"name\":null,\"profile\":\"tensorscope\","
    "\"source\":{\"url\":\"\",\"kind\":\"auto\",\"live\":null,\"transport\":\"tcp\",\"loop\":false,"
    "\"start_s\":0,\"end_s\":null,\"open_timeout_ms\":10000,\"stall_ms\":3000,"
    "\"backoff_initial_ms\":1000,\"backoff_max_ms\":30000,\"max_attempts\":0,"
    "\"keep_state_ms\":2000,\"hold\":\"repeat\",\"audio\":\"drop\",\"pace\":\"none\","
    "\"options\":{}},"
    "\"hw\":{\"decode\":\"auto\",\"encode\":\"auto\",\"device\":0,\"prefer_gpu\":true},"
    "\"processing\":{\"detect_width\":1920,\"detect_height\":1080,\"detect_every\":1},"
    "\"detector\":{\"kind\":\"model\",\"model\":\"rf-detr-medium\",\"confidence\":0.25,\"iou_"
    "threshold\":0.45,"
    "\"precision\":\"auto\",\"fit\":\"stretch\",\"multi_scale\":false,\"warmup\":3,"
    "\"ball_class_id\":0,\"classes\":null,\"roi\":false,\"script\":null,\"color\":{}},"
    "\"select\":{\"temporal_fallback\":false,\"compat\":false,\"zones\":[],"
    "\"margins\":{\"top\":0,\"left\":0,\"right\":0,\"bottom\":0}},"
    "\"tracking\":{\"ball\":{\"enable\":true,\"max_lost_frames\":15,\"min_confidence\":0.3,"
    "\"history_size\":30,\"adaptive_noise\":true,\"allow_chaos_mode\":false,"
    "\"allow_jitter_mode\":false,\"detection_smoothing\":0.25},"
    "\"mot\":{\"enable\":true,\"track_thresh\":0.6,\"low_thresh\":0.1,\"init_thresh\":0.7,"
    "\"match_thresh\":0.8,\"second_thresh\":0.5,\"unconfirmed_thresh\":0.7,\"track_buffer\":30,"
    "\"duplicate_iou\":0.85,\"fuse_score\":true,\"class_aware\":true}},"
    "\"camera\":{\"mode\":\"smooth\",\"follow\":\"ball\",\"rect\":null,\"dead_zone\":0.06,"
    "\"omega\":4.0,\"omega_zoom\":2.0,\"lead_s\":0.25,\"lead_max\":0.12,\"vmax\":1.6,"
    "\"amax\":4.0,\"guard\":0.12,\"base\":0.6,"
    "\"zoom_table\":[[900,1.15],[600,1.3],[350,1.45],[0,1.6]],\"anticipation\":0.35,"
    "\"zoom_padding\":1.2,\"smoothing_freq\":30,\"smoothing_min_cutoff\":2.5,"
    "\"smoothing_beta\":0.001},"
    "\"output\":{\"width\":1280,\"height\":720,\"filter\":\"auto\"},"
    "\"overlay\":{\"enable\":true,\"boxes\":true,\"ids\":true,\"trail\":true,\"ball\":true,"
    "\"hud\":true,\"zones\":false,\"roi\":false,\"crop_minimap\":false,\"text\":null,"
    "\"bloom\":false,\"where\":\"all\"},"
    "\"sinks\":[],\"tracking_path\":null,\"tracking_format\":\"json\",\"log_every\":100,"
    "\"stop_timeout_s\":5,\"debug\":{\"delay_ms\":{\"decode\":0,\"device\":0,\"encode\":0,"
    "\"detect\":0}}}";

static const char SINK_DEFAULTS[] =
    "{\"kind\":\"\",\"url\":null,\"path\":null,\"dir\":null,\"bitrate\":\"4000k\","
    "\"preset\":\"ultrafast\",\"codec\":\"h264\",\"encoder\":\"auto\",\"required\":false,"
    "\"gop_s\":2,\"latency\":\"zerolatency\",\"fps\":null,\"pix_fmt\":\"yuv420p\","
    "\"fragmented\":false,\"segment_s\":2,\"list_size\":5,\"quality\":80,\"drawn\":true}";

static const char COLOR_DEFAULTS[] =
    "{\"white\":225,\"red\":60,\"blue\":50,\"ball_area\":[24,900],\"player_area\":[180,20000],"
    "\"player_height\":20}";

/* Numbers with a range; a path ends a key of any depth ("*" stands for a sink's index). */
static const struct {
    const char *path;
    double min, max;
} RANGES[] = {
    {"source.start_s", 0, 1e9},
    {"source.end_s", 0, 1e9},
    {"source.open_timeout_ms", 100, 600000},
    {"source.stall_ms", 100, 600000},
    {"source.backoff_initial_ms", 10, 600000},
    {"source.backoff_max_ms", 10, 3600000},
    {"source.max_attempts", 0, 1e9},
    {"source.keep_state_ms", 0, 600000},
    {"hw.device", 0, 64},
    {"processing.detect_width", 16, 8192},
    {"processing.detect_height", 16, 8192},
    {"detector.confidence", 0, 1},
    {"detector.iou_threshold", 0, 1},
    {"detector.warmup", 0, 100},
    {"detector.ball_class_id", 0, 100000},
    {"select.margins.top", 0, 1},
    {"select.margins.left", 0, 1},
    {"select.margins.right", 0, 1},
    {"select.margins.bottom", 0, 1},
    {"tracking.ball.max_lost_frames", 0, 10000},
    {"tracking.ball.min_confidence", 0, 1},
    {"tracking.ball.history_size", 5, 256},
    {"tracking.ball.detection_smoothing", 0, 1},
    {"tracking.mot.track_thresh", 0, 1},
    {"tracking.mot.low_thresh", 0, 1},
    {"tracking.mot.init_thresh", 0, 1},
    {"tracking.mot.match_thresh", 0, 1},
    {"tracking.mot.second_thresh", 0, 1},
    {"tracking.mot.unconfirmed_thresh", 0, 1},
    {"tracking.mot.duplicate_iou", 0, 1},
    {"tracking.mot.track_buffer", 0, 100000},
    {"camera.dead_zone", 0, 1},
    {"camera.omega", 1e-3, 50},
    {"camera.omega_zoom", 1e-3, 50},
    {"camera.lead_s", 0, 10},
    {"camera.lead_max", 0, 1},
    {"camera.vmax", 1e-3, 100},
    {"camera.amax", 1e-3, 1000},
    {"camera.guard", 0, 0.49},
    {"camera.base", 1e-3, 1},
    {"camera.anticipation", 0, 10},
    {"camera.zoom_padding", 1, 2},
    {"camera.smoothing_freq", 1e-3, 1000},
    {"camera.smoothing_min_cutoff", 1e-4, 1000},
    {"camera.smoothing_beta", 0, 1000},
    {"output.width", 16, 8192},
    {"output.height", 16, 8192},
    {"log_every", 0, 1e9},
    {"stop_timeout_s", 0, 600},
    {"sinks.*.gop_s", 0.05, 600},
    {"sinks.*.fps", 1e-3, 240},
    {"sinks.*.segment_s", 0.2, 60},
    {"sinks.*.list_size", 1, 1000},
    {"sinks.*.quality", 1, 100},
    {"debug.delay_ms.decode", 0, 10000},
    {"debug.delay_ms.device", 0, 10000},
    {"debug.delay_ms.encode", 0, 10000},
    {"debug.delay_ms.detect", 0, 10000},
};

/* Strings out of a list; "a|b" with the bars. */
static const struct {
    const char *path, *words;
} CHOICES[] = {
    {"profile", "tensorscope|reference"},
    {"source.kind", "auto|rtsp|rtmp|udp|hls|http|mjpeg|file|push|v4l2"},
    {"source.transport", "tcp|udp"},
    {"source.hold", "repeat|freeze"},
    {"source.audio", "drop|copy|aac"},
    {"source.pace", "none|source"},
    {"hw.decode", "auto|cpu|cuda|vaapi|qsv"},
    {"hw.encode", "auto|cpu|cuda|vaapi|qsv"},
    {"detector.kind", "model|color|script|none"},
    {"detector.precision", "auto|f32|f16"},
    {"detector.fit", "stretch|letterbox"},
    {"camera.mode", "smooth|reference|fixed"},
    {"output.filter", "auto|bilinear|bicubic|area"},
    {"overlay.where", "all|clean+drawn"},
    {"tracking_format", "json|mot"},
    {"sinks.*.kind", "file|rtmp|rtmps|rtsp|hls|mjpeg|ws|null"},
    {"sinks.*.codec", "h264|hevc|mjpeg|webp"},
    {"sinks.*.latency", "zerolatency|quality"},
    {"sinks.*.pix_fmt", "yuv420p"},
};

/* Types of keys whose default is null: s string, n number, b boolean, a array; several allowed. */
static const struct {
    const char *path, *types;
} NULLABLE[] = {
    {"name", "s"},
    {"source.live", "b"},
    {"source.end_s", "n"},
    {"detector.classes", "a"},
    {"detector.script", "s"},
    {"camera.rect", "a"},
    {"overlay.text", "s"},
    {"tracking_path", "s"},
    {"sinks.*.url", "s"},
    {"sinks.*.path", "s"},
    {"sinks.*.dir", "s"},
    {"sinks.*.fps", "n"},
};

/* Keys that may also be of another type than their default. */
static const struct {
    const char *path, *types;
} ALSO[] = {{"processing.detect_every", "s"}, {"sinks.*.bitrate", "n"}};

/* Keys that may change while the pipeline runs (prefixes end in a dot). */
static const char *const HOT[] = {"detector.confidence", "select.", "camera.", "overlay.",
                                  "log_every"};

static json_t *parse_text(const char *text)
{
    return json_loads(text, 0, NULL);
}

static char type_letter(const json_t *v)
{
    return json_is_string(v)    ? 's'
           : json_is_number(v)  ? 'n'
           : json_is_boolean(v) ? 'b'
           : json_is_array(v)   ? 'a'
           : json_is_object(v)  ? 'o'
                                : '0';
}

static const char *type_words(const char *types)
{
    switch (types[0]) {
    case 's':
        return "a string";
    case 'n':
        return "a number";
    case 'b':
        return "true or false";
    case 'a':
        return "a list";
    default:
        return "an object";
    }
}

/* `pattern` with "*" in place of a number equals `path`. */
static bool path_is(const char *pattern, const char *path)
{
    while (*pattern && *path) {
        if (*pattern == '*' && isdigit((unsigned char)*path)) {
            while (isdigit((unsigned char)*path))
                path++;
            pattern++;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *pattern == *path;
}

static ts_status check_type(const char *path, const json_t *value, const json_t *standard,
                            ts_error *err)
{
    char types[4] = {type_letter(standard), 0};
    if (json_is_null(standard))
        for (size_t i = 0; i < sizeof NULLABLE / sizeof *NULLABLE; i++)
            if (path_is(NULLABLE[i].path, path))
                types[0] = NULLABLE[i].types[0];
    for (size_t i = 0; i < sizeof ALSO / sizeof *ALSO; i++)
        if (path_is(ALSO[i].path, path))
            types[1] = ALSO[i].types[0];
    if (json_is_null(value) && json_is_null(standard))
        return TS_OK;
    if (strchr(types, type_letter(value)))
        return TS_OK;
    return ts_fail(err, TS_E_OPTION, "%s: expected %s", path, type_words(types));
}

static ts_status check_value(const char *path, const json_t *value, ts_error *err)
{
    for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES; i++) {
        double n = json_number_value(value);
        if (json_is_number(value) && path_is(RANGES[i].path, path) &&
            !(n >= RANGES[i].min && n <= RANGES[i].max))
            return ts_fail(err, TS_E_OPTION, "%s: %g is outside %g to %g", path, n, RANGES[i].min,
                           RANGES[i].max);
    }
    for (size_t i = 0; i < sizeof CHOICES / sizeof *CHOICES; i++) {
        if (!json_is_string(value) || !path_is(CHOICES[i].path, path))
            continue;
        const char *text = json_string_value(value), *at = CHOICES[i].words;
        size_t n = strlen(text);
        for (; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
            if (strncmp(at, text, n) == 0 && (at[n] == '|' || at[n] == 0))
                return TS_OK;
        return ts_fail(err, TS_E_OPTION, "%s: '%.40s' is not one of %s", path, text,
                       CHOICES[i].words);
    }
    return TS_OK;
}

/* Overlay `value` on a copy of `standard`, key by key. */
static ts_status complete(const char *path, const json_t *value, const json_t *standard,
                          json_t **out, ts_error *err)
{
    ts_status st = check_type(path, value, standard, err);
    if (st == TS_OK)
        st = check_value(path, value, err);
    if (st != TS_OK)
        return st;
    bool free_form = !json_is_object(standard) || json_object_size(standard) == 0;
    if (free_form) {
        *out = json_deep_copy(value);
        return TS_OK;
    }
    const char *keys[64];
    size_t n = 0;
    const char *key;
    json_t *part, *copy = json_deep_copy(standard);
    json_object_foreach((json_t *)standard, key, part)
    {
        if (n < 63)
            keys[n++] = key;
    }
    keys[n] = NULL;
    st = ts_json_only(value, path, keys, err);
    json_object_foreach((json_t *)value, key, part)
    {
        char below[256];
        json_t *done = NULL;
        if (st != TS_OK)
            break;
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
        st = complete(below, part, json_object_get(standard, key), &done, err);
        if (st == TS_OK)
            json_object_set_new(copy, key, done);
    }
    if (st != TS_OK) {
        json_decref(copy);
        return st;
    }
    *out = copy;
    return TS_OK;
}

int64_t ts_pipeline_bitrate(const json_t *value)
{
    double n = json_number_value(value);
    if (json_is_string(value)) {
        char *end;
        n = strtod(json_string_value(value), &end);
        if (end == json_string_value(value))
            return 0;
        if (*end == 'k' || *end == 'K')
            n *= 1e3, end++;
        else if (*end == 'M' || *end == 'm')
            n *= 1e6, end++;
        if (*end)
            return 0;
    }
    return n >= 1 && n < 1e12 ? (int64_t)n : 0;
}

static bool safe_path(const char *path)
{
    if (!*path || *path == '/' || *path == '~' || strlen(path) > 512)
        return false;
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t n = strcspn(part, "/");
        if (n == 0 || part[0] == '.')
            return false;
    }
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == '\\' || *c == ':')
            return false;
    return true;
}

static ts_status check_local(const char *path, const json_t *value, bool local_files, ts_error *err)
{
    const char *text = json_string_value(value);
    if (!text || local_files || safe_path(text))
        return TS_OK;
    return ts_fail(err, TS_E_OPTION,
                   "%s: '%.80s' must be a relative path without '..' or hidden parts", path, text);
}

static const char *const SCHEMES[] = {"rtsp", "rtsps", "rtmp", "rtmps", "udp",
                                      "rtp",  "srt",   "http", "https", NULL};

static ts_status check_url(const char *path, const char *url, bool local_files, ts_error *err)
{
    const char *sep = strstr(url, "://");
    if (!sep)
        return ts_fail(err, TS_E_OPTION, "%s: '%.60s' is no URL", path, url);
    for (int i = 0; SCHEMES[i]; i++)
        if (strlen(SCHEMES[i]) == (size_t)(sep - url) &&
            strncmp(url, SCHEMES[i], (size_t)(sep - url)) == 0)
            return TS_OK;
    if (local_files && strncmp(url, "file://", 7) == 0)
        return TS_OK;
    return ts_fail(err, TS_E_OPTION,
                   "%s: scheme '%.*s' is not one of rtsp, rtmp, udp, rtp, srt, "
                   "http and their TLS forms",
                   path, (int)(sep - url > 20 ? 20 : sep - url), url);
}

static ts_status check_sink(size_t i, const json_t *sink, bool local_files, ts_error *err)
{
    const char *kind = json_string_value(json_object_get(sink, "kind"));
    const json_t *url = json_object_get(sink, "url"), *file = json_object_get(sink, "path");
    char path[48], below[64];
    snprintf(path, sizeof path, "sinks.%zu", i);
    int64_t bitrate = ts_pipeline_bitrate(json_object_get(sink, "bitrate"));
    if (bitrate < 50000 || bitrate > 200000000)
        return ts_fail(err, TS_E_OPTION,
                       "%s.bitrate: expected 50k to 200M, as \"4000k\", \"6M\" or bit/s", path);
    bool network = !strcmp(kind, "rtmp") || !strcmp(kind, "rtmps") || !strcmp(kind, "rtsp");
    if (network && !json_is_string(url))
        return ts_fail(err, TS_E_OPTION, "%s.url: a sink of kind %s needs one", path, kind);
    snprintf(below, sizeof below, "%s.url", path);
    if (network)
        return check_url(below, json_string_value(url), false, err);
    if (!strcmp(kind, "file") && !json_is_string(file))
        return ts_fail(err, TS_E_OPTION, "%s.path: a file sink needs one", path);
    snprintf(below, sizeof below, "%s.path", path);
    ts_status st = check_local(below, file, local_files, err);
    if (!strcmp(kind, "hls") && !json_is_string(json_object_get(sink, "dir")))
        return ts_fail(err, TS_E_OPTION, "%s.dir: an HLS sink needs one", path);
    snprintf(below, sizeof below, "%s.dir", path);
    if (st == TS_OK)
        st = check_local(below, json_object_get(sink, "dir"), local_files, err);
    return st;
}

static ts_status complete_sinks(json_t *doc, bool local_files, ts_error *err)
{
    json_t *list = json_object_get(doc, "sinks"), *standard = parse_text(SINK_DEFAULTS), *sink;
    ts_status st = TS_OK;
    size_t i;
    if (json_array_size(list) > 16)
        st = ts_fail(err, TS_E_OPTION, "sinks: at most 16");
    json_array_foreach(list, i, sink)
    {
        char path[32];
        json_t *done = NULL;
        if (st != TS_OK)
            break;
        snprintf(path, sizeof path, "sinks.%zu", i);
        if (!json_is_object(sink) || !json_object_get(sink, "kind"))
            st = ts_fail(err, TS_E_OPTION, "%s: expected an object with a kind", path);
        else
            st = complete(path, sink, standard, &done, err);
        if (st == TS_OK) {
            json_array_set_new(list, i, done);
            st = check_sink(i, done, local_files, err);
        }
    }
    json_decref(standard);
    return st;
}

static ts_status check_zone(size_t i, const json_t *zone, ts_error *err)
{
    static const char *const keys[] = {"x1", "y1", "x2", "y2", "name", NULL};
    char path[40];
    double v[4];
    snprintf(path, sizeof path, "select.zones.%zu", i);
    ts_status st = ts_json_only(zone, path, keys, err);
    for (int k = 0; k < 4 && st == TS_OK; k++) {
        v[k] = NAN;
        st = ts_json_get_double(zone, path, keys[k], 0, 1, &v[k], err);
    }
    if (st == TS_OK && !(v[0] < v[2] && v[1] < v[3]))
        st = ts_fail(err, TS_E_OPTION, "%s: needs x1 < x2 and y1 < y2, fractions of the frame",
                     path);
    return st;
}

/* n pairs or one list of numbers. */
static bool numbers(const json_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!json_is_number(json_array_get(list, i)))
            return false;
    return json_array_size(list) == n;
}

static ts_status check_lists(const json_t *doc, ts_error *err)
{
    const json_t *camera = json_object_get(doc, "camera");
    const json_t *zones = json_object_get(json_object_get(doc, "select"), "zones");
    const json_t *table = json_object_get(camera, "zoom_table"), *row;
    const json_t *rect = json_object_get(camera, "rect");
    size_t i;
    if (json_array_size(zones) > TS_CHAIN_ZONES)
        return ts_fail(err, TS_E_OPTION, "select.zones: at most %d", TS_CHAIN_ZONES);
    json_array_foreach((json_t *)zones, i, row)
    {
        ts_status st = check_zone(i, row, err);
        if (st != TS_OK)
            return st;
    }
    if (json_array_size(table) < 1 || json_array_size(table) > TS_ZOOM_LEVELS)
        return ts_fail(err, TS_E_OPTION, "camera.zoom_table: 1 to %d pairs [speed, zoom]",
                       TS_ZOOM_LEVELS);
    json_array_foreach((json_t *)table, i, row)
    {
        if (!numbers(row, 2) || json_number_value(json_array_get(row, 1)) < 1 ||
            json_number_value(json_array_get(row, 1)) > 20)
            return ts_fail(err, TS_E_OPTION,
                           "camera.zoom_table.%zu: expected [speed in px/s, zoom 1 to 20]", i);
    }
    bool fixed = !strcmp(json_string_value(json_object_get(camera, "mode")), "fixed");
    if ((fixed || json_is_array(rect)) && !numbers(rect, 4))
        return ts_fail(err, TS_E_OPTION, "camera.rect: expected [x1, y1, x2, y2] in pixels");
    return TS_OK;
}

static ts_status check_follow(const json_t *camera, ts_error *err)
{
    static const char *const words[] = {"ball", "players", "ball+players", "none"};
    const char *follow = json_string_value(json_object_get(camera, "follow"));
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(follow, words[i]))
            return TS_OK;
    if (!strncmp(follow, "track:", 6) && isdigit((unsigned char)follow[6]))
        return TS_OK;
    return ts_fail(err, TS_E_OPTION,
                   "camera.follow: '%.40s' is not ball, players, ball+players, track:ID or none",
                   follow);
}

static ts_status check_document(json_t *doc, bool local_files, ts_error *err)
{
    const json_t *source = json_object_get(doc, "source"), *out = json_object_get(doc, "output");
    const json_t *detector = json_object_get(doc, "detector"), *every;
    const char *url = json_string_value(json_object_get(source, "url"));
    const char *kind = json_string_value(json_object_get(detector, "kind"));
    const char *name = json_string_value(json_object_get(doc, "name"));
    if (name && (!ts_name_valid(name) || strlen(name) > 121))
        return ts_fail(err, TS_E_NAME,
                       "name: '%.130s' is no pipeline name (121 characters at most)", name);
    if (!*url && strcmp(json_string_value(json_object_get(source, "kind")), "push"))
        return ts_fail(err, TS_E_OPTION, "source.url: a pipeline needs one");
    if (json_integer_value(json_object_get(out, "width")) % 2 ||
        json_integer_value(json_object_get(out, "height")) % 2)
        return ts_fail(err, TS_E_OPTION, "output: width and height must be even");
    every = json_object_get(json_object_get(doc, "processing"), "detect_every");
    if (json_is_string(every) ? strcmp(json_string_value(every), "auto") != 0
                              : !(json_number_value(every) >= 1))
        return ts_fail(err, TS_E_OPTION, "processing.detect_every: 1 or more, or \"auto\"");
    if (!strcmp(kind, "script") && !json_is_string(json_object_get(detector, "script")))
        return ts_fail(err, TS_E_OPTION, "detector.script: kind script needs a file");
    if (!strcmp(kind, "model") &&
        !ts_name_valid(json_string_value(json_object_get(detector, "model"))))
        return ts_fail(err, TS_E_OPTION,
                       "detector.model: kind model needs a model's name; "
                       "kinds color, script and none need none");
    ts_status st = strstr(url, "://") ? check_url("source.url", url, local_files, err)
                                      : check_local("source.url", json_object_get(source, "url"),
                                                    local_files || !*url, err);
    if (st == TS_OK)
        st = check_local("tracking_path", json_object_get(doc, "tracking_path"), local_files, err);
    if (st == TS_OK)
        st = check_local("detector.script", json_object_get(detector, "script"), local_files, err);
    if (st == TS_OK)
        st = check_follow(json_object_get(doc, "camera"), err);
    if (st == TS_OK)
        st = check_lists(doc, err);
    if (st == TS_OK) {
        json_t *standard = parse_text(COLOR_DEFAULTS), *color = NULL;
        st = complete("detector.color", json_object_get(detector, "color"), standard, &color, err);
        if (st == TS_OK)
            json_object_set_new((json_t *)detector, "color", color);
        json_decref(standard);
    }
    return st == TS_OK ? complete_sinks(doc, local_files, err) : st;
}

ts_status ts_pipeline_doc_complete(const json_t *document, bool local_files, json_t **out,
                                   ts_error *err)
{
    json_t *standard = parse_text(DEFAULTS), *doc = NULL;
    if (!standard)
        return ts_fail(err, TS_E_NO_MEMORY, "pipeline document");
    ts_status st = json_is_object(document)
                       ? complete("", document, standard, &doc, err)
                       : ts_fail(err, TS_E_OPTION, "the document must be a JSON object");
    json_decref(standard);
    if (st == TS_OK)
        st = check_document(doc, local_files, err);
    if (st != TS_OK) {
        json_decref(doc);
        return st;
    }
    *out = doc;
    return TS_OK;
}

/* ---- changes while running ---- */

static bool is_hot(const char *path)
{
    if (!strcmp(path, "camera.mode"))
        return false;
    if (path_is("sinks.*.bitrate", path))
        return true;
    for (size_t i = 0; i < sizeof HOT / sizeof *HOT; i++) {
        size_t n = strlen(HOT[i]);
        if (HOT[i][n - 1] == '.' ? strncmp(path, HOT[i], n) == 0 : strcmp(path, HOT[i]) == 0)
            return true;
    }
    return false;
}

static void compare(const char *path, const json_t *a, const json_t *b, ts_buf *cold)
{
    char below[256];
    const char *key;
    json_t *part;
    if (json_equal(a, b))
        return;
    bool same_size = json_is_array(a) && json_is_array(b) && json_is_object(json_array_get(a, 0)) &&
                     json_array_size(a) == json_array_size(b);
    if (json_is_object(a) && json_is_object(b) && json_object_size(a) > 0) {
        json_object_foreach((json_t *)b, key, part)
        {
            snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
            compare(below, json_object_get(a, key), part, cold);
        }
    } else if (same_size && !strcmp(path, "sinks")) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            snprintf(below, sizeof below, "%s.%zu", path, i);
            compare(below, json_array_get(a, i), json_array_get(b, i), cold);
        }
    } else if (!is_hot(path)) {
        ts_buf_printf(cold, "%s%s", cold->len ? ", " : "", path);
    }
}

bool ts_pipeline_doc_hot(const json_t *before, const json_t *after, ts_buf *cold)
{
    compare("", before, after, cold);
    return cold->len == 0;
}

static void mask_member(json_t *object, const char *key)
{
    const char *url = json_string_value(json_object_get(object, key));
    char masked[1024];
    if (!url)
        return;
    ts_source_mask_url(url, masked, sizeof masked);
    json_object_set_new(object, key, json_string(masked));
}

json_t *ts_pipeline_doc_masked(const json_t *document)
{
    json_t *copy = json_deep_copy(document), *sink;
    size_t i;
    mask_member(json_object_get(copy, "source"), "url");
    json_array_foreach(json_object_get(copy, "sinks"), i, sink) mask_member(sink, "url");
    return copy;
}

/* ---- parameters ---- */

static double num(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static double item(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}

static ts_smooth_params smooth_params(const json_t *camera)
{
    const json_t *table = json_object_get(camera, "zoom_table"), *row;
    ts_smooth_params p = TS_SMOOTH_DEFAULTS;
    p.dead_zone = num(camera, "dead_zone");
    p.omega = num(camera, "omega");
    p.omega_zoom = num(camera, "omega_zoom");
    p.lead_s = num(camera, "lead_s");
    p.lead_max = num(camera, "lead_max");
    p.vmax = num(camera, "vmax");
    p.amax = num(camera, "amax");
    p.guard = num(camera, "guard");
    p.base = num(camera, "base");
    p.n_levels = (int)json_array_size(table);
    for (size_t i = 0; i < json_array_size(table); i++) {
        row = json_array_get(table, i);
        p.levels[i][0] = item(row, 0);
        p.levels[i][1] = item(row, 1);
    }
    return p;
}

static ts_ball_params ball_params(const json_t *ball)
{
    ts_ball_params p = TS_BALL_DEFAULTS;
    p.max_lost_frames = (int)num(ball, "max_lost_frames");
    p.min_confidence = num(ball, "min_confidence");
    p.history_size = (int)num(ball, "history_size");
    p.adaptive_noise = flag(ball, "adaptive_noise");
    p.allow_chaos_mode = flag(ball, "allow_chaos_mode");
    p.allow_jitter_mode = flag(ball, "allow_jitter_mode");
    p.detection_smoothing = num(ball, "detection_smoothing");
    return p;
}

ts_chain_params ts_pipeline_doc_chain(const json_t *doc, int width, int height)
{
    const json_t *camera = json_object_get(doc, "camera"), *select = json_object_get(doc, "select");
    const json_t *detector = json_object_get(doc, "detector"),
                 *out = json_object_get(doc, "output");
    const json_t *margins = json_object_get(select, "margins"), *rect, *zone;
    const json_t *zones = json_object_get(select, "zones");
    const char *mode = json_string_value(json_object_get(camera, "mode"));
    ts_chain_params p = {.width = width, .height = height, .ref = TS_REF_DEFAULTS};
    p.reference = !strcmp(json_string_value(json_object_get(doc, "profile")), "reference");
    p.out_width = (int)num(out, "width");
    p.out_height = (int)num(out, "height");
    p.select = (ts_select_params){num(detector, "confidence"), (int)num(detector, "ball_class_id"),
                                  flag(select, "temporal_fallback"), flag(select, "compat")};
    for (size_t i = 0; i < json_array_size(zones); i++) {
        zone = json_array_get(zones, i);
        p.zones[p.n_zones++] =
            (ts_zone){num(zone, "x1"), num(zone, "y1"), num(zone, "x2"), num(zone, "y2")};
    }
    p.margin_top = num(margins, "top");
    p.margin_left = num(margins, "left");
    p.margin_right = num(margins, "right");
    p.margin_bottom = num(margins, "bottom");
    p.ball = ball_params(json_object_get(json_object_get(doc, "tracking"), "ball"));
    p.smooth = smooth_params(camera);
    p.ref.dead_zone = num(camera, "dead_zone");
    p.ref.anticipation = num(camera, "anticipation");
    p.ref.zoom_padding = num(camera, "zoom_padding");
    p.ref.smoothing_freq = num(camera, "smoothing_freq");
    p.ref.smoothing_min_cutoff = num(camera, "smoothing_min_cutoff");
    p.ref.smoothing_beta = num(camera, "smoothing_beta");
    p.mode = !strcmp(mode, "fixed")       ? TS_CAMERA_FIXED
             : !strcmp(mode, "reference") ? TS_CAMERA_REFERENCE
                                          : TS_CAMERA_SMOOTH;
    rect = json_object_get(camera, "rect");
    p.fixed = (ts_crop){item(rect, 0), item(rect, 1), item(rect, 2), item(rect, 3)};
    p.follow = strcmp(json_string_value(json_object_get(camera, "follow")), "none") != 0;
    p.roi = flag(detector, "roi");
    return p;
}

ts_mot_params ts_pipeline_doc_mot(const json_t *doc, double fps)
{
    const json_t *mot = json_object_get(json_object_get(doc, "tracking"), "mot");
    ts_mot_params p = TS_MOT_DEFAULTS;
    p.track_thresh = num(mot, "track_thresh");
    p.low_thresh = num(mot, "low_thresh");
    p.init_thresh = num(mot, "init_thresh");
    p.match_thresh = num(mot, "match_thresh");
    p.second_thresh = num(mot, "second_thresh");
    p.unconfirmed_thresh = num(mot, "unconfirmed_thresh");
    p.track_buffer = (int)num(mot, "track_buffer");
    p.duplicate_iou = num(mot, "duplicate_iou");
    p.fuse_score = flag(mot, "fuse_score");
    p.class_aware = flag(mot, "class_aware");
    p.fps = fps;
    return p;
}

ts_color_params ts_pipeline_doc_color(const json_t *doc)
{
    const json_t *color = json_object_get(json_object_get(doc, "detector"), "color");
    const json_t *ball = json_object_get(color, "ball_area"),
                 *player = json_object_get(color, "player_area");
    ts_color_params p = TS_COLOR_DEFAULTS;
    p.white = (int)num(color, "white");
    p.red = (int)num(color, "red");
    p.blue = (int)num(color, "blue");
    p.ball_area_min = (int)item(ball, 0);
    p.ball_area_max = (int)item(ball, 1);
    p.player_area_min = (int)item(player, 0);
    p.player_area_max = (int)item(player, 1);
    p.player_height_min = (int)num(color, "player_height");
    return p;
}
