#include "server/wire.h"

#include <inttypes.h>
#include <math.h>

void ts_wire_frame_head(const ts_wire_frame *f, ts_buf *out)
{
    ts_buf_str(out, "{\"type\":\"frame\",\"stream\":\"");
    ts_buf_str(out, f->stream); /* a name: nothing to escape */
    ts_buf_printf(out, "\",\"seq\":%" PRIu64 ",\"step\":%" PRId64 ",\"t\":%.6f,\"t_send\":%.6f",
                  f->seq, f->step, f->t, f->t_send);
    ts_buf_printf(out, ",\"width\":%d,\"height\":%d,\"codec\":\"%s\",\"quality\":%d,\"key\":%s",
                  f->width, f->height, f->codec, f->quality, f->key ? "true" : "false");
    ts_buf_printf(out, ",\"config_rev\":%" PRIu64, f->config_rev);
    if (f->has_range) {
        ts_buf_str(out, ",\"range\":[");
        ts_json_write_double(f->lo, out);
        ts_buf_str(out, ",");
        ts_json_write_double(f->hi, out);
        ts_buf_str(out, "]");
    } else {
        ts_buf_str(out, ",\"range\":null");
    }
    ts_buf_printf(out, ",\"metrics\":%s", f->metrics ? f->metrics : "{}");
    if (f->rects)
        ts_buf_printf(out, ",\"base\":%" PRIu64 ",\"rects\":%s", f->base, f->rects);
    if (f->replay)
        ts_buf_str(out, ",\"replay\":true");
    if (f->pinned)
        ts_buf_str(out, ",\"pinned\":true");
    if (f->final)
        ts_buf_str(out, ",\"final\":true");
}

ts_status ts_wire_split(const uint8_t *data, size_t len, json_t **header, const uint8_t **payload,
                        size_t *payload_len, ts_error *err)
{
    if (len < 4)
        return ts_fail(err, TS_E_SIZE, "binary message of %zu octets, want at least 4", len);
    size_t n =
        (size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16 | (size_t)data[3] << 24;
    if (n > len - 4)
        return ts_fail(err, TS_E_SIZE, "header of %zu octets in a message of %zu", n, len);
    json_t *object;
    ts_status st = ts_json_parse(data + 4, n, &object, err);
    if (st != TS_OK)
        return st;
    if (!json_is_object(object)) {
        json_decref(object);
        return ts_fail(err, TS_E_JSON, "message header: expected an object");
    }
    *header = object;
    *payload = data + 4 + n;
    *payload_len = len - 4 - n;
    return TS_OK;
}
