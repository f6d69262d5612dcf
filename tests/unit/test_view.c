/* Parsing, folding and refusing views; colormaps by name. */
#include "cl/viz/colormap.h"
#include "cl/viz/view_values.h"
#include "tests/support/check.h"

static json_t *json_of(const char *text)
{
    ts_error err = {0};
    json_t *value = NULL;
    CHECK_OK(ts_json_parse(text, strlen(text), &value, &err));
    return value;
}

static ts_view *parse(const char *text)
{
    ts_error err = {0};
    json_t *value = json_of(text);
    ts_view *view = NULL;
    CHECK_OK(ts_view_parse(value, &view, &err));
    json_decref(value);
    return view;
}

/* The view is refused with bad-option and a text that names `path`. */
static void refused(const char *text, const char *path)
{
    ts_error err = {0};
    json_t *value = json_of(text);
    ts_view *view = NULL;
    ts_status st = ts_view_parse(value, &view, &err);
    if (st != TS_E_OPTION)
        fail_msg("%s: got %s", text, ts_status_code(st));
    if (!strstr(err.text, path))
        fail_msg("%s: '%s' does not name %s", text, err.text, path);
    assert_null(view);
    json_decref(value);
}

static void default_view_has_the_documented_values(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_view *view = NULL;
    CHECK_OK(ts_view_parse(NULL, &view, &err));
    assert_int_equal(view->part.range.mode, RANGE_MINMAX);
    assert_int_equal(view->part.resize.filter, RESAMPLE_NEAREST);
    assert_int_equal(view->part.colormap.nan.c[0], 255);
    assert_int_equal(view->part.colormap.posinf.c[1], 128);
    assert_true(view->part.tone.gain == 1 && view->part.tone.gamma == 1);
    assert_int_equal(view->n_panels, 0);
    assert_true(ts_view_is_stateless(view));
    ts_view_unref(view);
}

static void inner_view_is_folded_at_the_top_and_in_panels(void **state)
{
    (void)state;
    ts_view *view = parse("{\"view\":{\"kind\":\"slice\",\"axis\":0,\"colormap\":\"hot\"},"
                          "\"tone\":{\"gain\":2}}");
    assert_int_equal(view->part.kind, KIND_SLICE);
    assert_string_equal(view->part.colormap.name, "hot");
    assert_null(json_object_get(ts_view_json(view), "view"));
    assert_string_equal(json_string_value(json_object_get(ts_view_json(view), "kind")), "slice");
    ts_view_unref(view);

    view = parse("{\"panels\":[{\"tensor\":\"a\",\"view\":{\"kind\":\"line\","
                 "\"colormap\":\"gray\"},\"title\":\"t\"}]}");
    assert_int_equal(view->panels[0].kind, KIND_LINE);
    assert_string_equal(view->panels[0].colormap.name, "gray");
    const json_t *panel = json_array_get(json_object_get(ts_view_json(view), "panels"), 0);
    assert_null(json_object_get(panel, "view"));
    ts_view_unref(view);
}

static void key_given_inside_and_outside_is_refused(void **state)
{
    (void)state;
    refused("{\"view\":{\"colormap\":\"hot\"},\"colormap\":\"hot\"}", "colormap");
    refused("{\"panels\":[{\"view\":{\"kind\":\"line\"},\"kind\":\"line\"}]}", "panels[0].kind");
    refused("{\"view\":3}", "view");
}

static void unknown_keys_are_named_with_their_path(void **state)
{
    (void)state;
    refused("{\"colourmap\":\"hot\"}", "colourmap");
    refused("{\"normalize\":{\"mod\":\"minmax\"}}", "normalize.mod");
    refused("{\"normalize\":{\"ema\":{\"alpa\":1}}}", "normalize.ema.alpa");
    refused("{\"tone\":{\"gama\":1}}", "tone.gama");
    refused("{\"resize\":{\"widht\":1}}", "resize.widht");
    refused("{\"viewport\":{\"z\":1}}", "viewport.z");
    refused("{\"overlay\":{\"colorbar\":{\"tick\":1}}}", "overlay.colorbar.tick");
    refused("{\"overlay\":{\"text\":[{\"text\":\"a\",\"size\":3}]}}", "overlay.text[0].size");
    refused("{\"canvas\":{\"w\":1}}", "canvas.w");
    refused("{\"panels\":[{\"tensor\":\"a\",\"tite\":\"x\"}]}", "panels[0].tite");
    refused("{\"compare\":{\"mod\":\"side\"}}", "compare.mod");
    refused("{\"camera\":{\"pitch\":1}}", "camera.pitch");
    refused("{\"tile\":{\"w\":1}}", "tile.w");
    refused("{\"filter\":[{\"op\":\"abs\"},{\"op\":\"box\",\"k\":1}]}", "filter[1].k");
    refused("{\"panels\":[{\"panels\":[]}]}", "panels[0].panels");
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    refused("{\"kind\":\"pie\"}", "kind");
    refused("{\"normalize\":{\"mode\":\"fixed\",\"lo\":0}}", "normalize.hi");
    refused("{\"normalize\":{\"mode\":\"percentile\",\"p_lo\":60,\"p_hi\":40}}", "normalize.p_lo");
    refused("{\"normalize\":{\"lo\":\"low\"}}", "normalize.lo");
    refused("{\"normalize\":{\"ema\":{\"alpha\":1.5}}}", "normalize.ema.alpha");
    refused("{\"resize\":{\"width\":0}}", "resize.width");
    refused("{\"resize\":{\"width\":16384}}", "resize.width");
    refused("{\"resize\":{\"width\":16383,\"height\":16383}}", "resize.width");
    refused("{\"resize\":{\"scale\":2,\"width\":4}}", "resize.scale");
    refused("{\"colormap\":\"sunset\"}", "colormap");
    refused("{\"colormap\":{\"name\":\"viridis\",\"min_color\":[0,0,0],\"max_color\":[1,1,1]}}",
            "colormap.name");
    refused("{\"colormap\":{\"min_color\":[0,0,0]}}", "colormap.max_color");
    refused("{\"colormap\":{\"stops\":[[0,[0,0,0]]]}}", "colormap.stops");
    refused("{\"colormap\":{\"stops\":[[1,[0,0,0]],[0,[1,1,1]]]}}", "colormap.stops[1]");
    refused("{\"colormap\":{\"nan\":[0,0,256]}}", "colormap.nan");
    refused("{\"viewport\":{\"x\":1}}", "viewport.y");
    refused("{\"viewport\":{\"cx\":1,\"cy\":1,\"x\":0}}", "viewport.x");
    refused("{\"viewport\":{\"cx\":1,\"cy\":1,\"zoom\":300}}", "viewport.zoom");
    refused("{\"filter\":{\"op\":\"median\",\"r\":3}}", "filter.r");
    refused("{\"filter\":{\"r\":3}}", "filter.op");
    refused("{\"panels\":[]}", "panels");
    refused("{\"panels\":[{\"tensor\":\"../x\"}]}", "panels[0].tensor");
    refused("{\"panels\":[{\"rect\":[0,0,0,5]}]}", "panels[0].rect");
    refused("{\"compare\":{\"position\":2}}", "compare.position");
    refused("{\"opacity\":[[0,2]]}", "opacity");
    refused("{\"camera\":{\"elevation\":90}}", "camera.elevation");
    refused("{\"panels\":[{}],\"compare\":{}}", "compare");
}

static void query_pairs_build_the_same_view(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *object = json_object();
    CHECK_OK(ts_view_from_query(object, "normalize.mode", "fixed", &err));
    CHECK_OK(ts_view_from_query(object, "normalize.lo", "-1.5", &err));
    CHECK_OK(ts_view_from_query(object, "normalize.hi", "2", &err));
    CHECK_OK(ts_view_from_query(object, "colormap", "hot", &err));
    CHECK_OK(ts_view_from_query(object, "colormap.reverse", "true", &err));
    CHECK_OK(ts_view_from_query(object, "channels", "[2,0,1]", &err));
    CHECK_OK(ts_view_from_query(object, "overlay.title", "42", &err));
    ts_view *view = NULL;
    CHECK_OK(ts_view_parse(object, &view, &err));
    assert_true(view->part.range.lo == -1.5 && view->part.range.hi == 2);
    assert_true(view->part.colormap.reverse);
    assert_string_equal(view->part.colormap.name, "hot");
    assert_int_equal(view->part.channels[0], 2);
    assert_string_equal(view->part.overlay.title, "42");
    ts_view_unref(view);

    CHECK_STATUS(TS_E_OPTION, ts_view_from_query(object, "normalize.lo", "1", &err));
    CHECK_STATUS(TS_E_OPTION, ts_view_from_query(object, "normalize.lo.x", "1", &err));
    CHECK_STATUS(TS_E_OPTION, ts_view_from_query(object, "a..b", "1", &err));
    CHECK_STATUS(TS_E_OPTION, ts_view_from_query(object, "a.b.c.d.e.f.g.h.i.j", "1", &err));
    CHECK_STATUS(TS_E_OPTION, ts_view_from_query(object, "", "1", &err));
    json_decref(object);
}

static void collect(void *arg, const char *name)
{
    strcat(arg, name);
    strcat(arg, " ");
}

static void tensors_of_panels_and_compare_are_visited(void **state)
{
    (void)state;
    char names[64] = "";
    ts_view *view = parse("{\"panels\":[{\"tensor\":\"a\"},{},{\"tensor\":\"b\"}]}");
    ts_view_each_tensor(view, collect, names);
    assert_string_equal(names, "a b ");
    ts_view_unref(view);
    view = parse("{\"compare\":{\"a\":\"x\",\"b\":\"y\"}}");
    names[0] = 0;
    ts_view_each_tensor(view, collect, names);
    assert_string_equal(names, "x y ");
    ts_view_unref(view);
}

static void stateful_views_say_so(void **state)
{
    (void)state;
    const char *const texts[] = {"{\"normalize\":{\"ema\":{}}}",
                                 "{\"kind\":\"waterfall\"}",
                                 "{\"filter\":{\"op\":\"delta\"}}",
                                 "{\"overlay\":{\"title\":\"frame {seq}\"}}",
                                 "{\"compare\":{\"mode\":\"flicker\"}}",
                                 "{\"panels\":[{},{\"filter\":[{\"op\":\"temporal\"}]}]}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ts_view *view = parse(texts[i]);
        assert_false(ts_view_is_stateless(view));
        ts_view_unref(view);
    }
}

static void every_fixture_parses(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/golden/tensor-video/manifest.json", TS_TEST_DIR);
    json_t *list = json_load_file(path, 0, NULL);
    size_t i, n = 0;
    json_t *item;
    json_t *cases = json_object_get(list, "cases");
    json_array_foreach(cases, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "id"));
        snprintf(path, sizeof path, "%s/golden/tensor-video/cases/%s/options.json", TS_TEST_DIR,
                 name);
        json_t *options = json_load_file(path, 0, NULL);
        assert_non_null(options);
        ts_error err = {0};
        ts_view *view = NULL;
        CHECK_OK(ts_view_parse(json_object_get(options, "render"), &view, &err));
        ts_view_unref(view);
        json_decref(options);
        n++;
    }
    assert_int_equal(n, 99);
    json_decref(list);
}

static void colormaps_are_found_by_name_alias_and_reverse(void **state)
{
    (void)state;
    const ts_colormap *map;
    bool reversed;
    assert_true(ts_colormap_find("RdBu_r", &map, &reversed));
    assert_true(reversed);
    assert_string_equal(map->name, "rdbu");
    assert_true(ts_colormap_find("Grey", &map, &reversed));
    assert_string_equal(map->name, "gray");
    assert_false(ts_colormap_find("_r", &map, &reversed));
    assert_false(ts_colormap_find("", &map, &reversed));
    float c[3];
    ts_colormap_find("viridis", &map, &reversed);
    ts_colormap_eval(map, false, false, 1.0 / 3, c);
    assert_int_equal((int)(c[0] * 255 + 0.5f), 49);
    assert_int_equal((int)(c[1] * 255 + 0.5f), 104);
    assert_int_equal((int)(c[2] * 255 + 0.5f), 142);
}

static void user_colormaps_are_kept_replaced_and_removed(void **state)
{
    (void)state;
    ts_error err = {0};
    bool created = false;
    json_t *value = json_of("{\"stops\":[[0,[0,0,0]],[0.5,[1,0,0]],[0.5,[0,1,0]],[1,[1,1,1]]]}");
    CHECK_OK(ts_colormap_put("mine", value, &created, &err));
    assert_true(created);
    CHECK_OK(ts_colormap_put("mine", value, &created, &err));
    assert_false(created);
    CHECK_STATUS(TS_E_EXISTS, ts_colormap_put("viridis", value, &created, &err));
    CHECK_STATUS(TS_E_EXISTS, ts_colormap_put("viridis_r", value, &created, &err));
    CHECK_STATUS(TS_E_NAME, ts_colormap_put("a/b", value, &created, &err));
    json_decref(value);
    const ts_colormap *map;
    bool reversed;
    assert_true(ts_colormap_find("mine", &map, &reversed));
    float c[3];
    ts_colormap_eval(map, false, false, 0.5, c);
    assert_true(c[0] == 0 && c[1] == 1); /* the later of equal positions holds there */
    ts_colormap_eval(map, false, false, 0.25, c);
    ts_check_close(c[0], 0.5, 1e-6, 0, "red at 0.25", 0);
    CHECK_OK(ts_colormap_remove("mine", &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_colormap_remove("mine", &err));
    CHECK_STATUS(TS_E_FORBIDDEN, ts_colormap_remove("hot", &err));
    ts_colormap_unref(map);

    value = json_of("[[0,0,0],[0.5,2,0]]");
    CHECK_STATUS(TS_E_OPTION, ts_colormap_put("mine", value, &created, &err));
    json_decref(value);
    json_t *list = ts_colormap_list();
    assert_int_equal(json_array_size(list), 24);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_view_has_the_documented_values),
        cmocka_unit_test(inner_view_is_folded_at_the_top_and_in_panels),
        cmocka_unit_test(key_given_inside_and_outside_is_refused),
        cmocka_unit_test(unknown_keys_are_named_with_their_path),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(query_pairs_build_the_same_view),
        cmocka_unit_test(tensors_of_panels_and_compare_are_visited),
        cmocka_unit_test(stateful_views_say_so),
        cmocka_unit_test(every_fixture_parses),
        cmocka_unit_test(colormaps_are_found_by_name_alias_and_reverse),
        cmocka_unit_test(user_colormaps_are_kept_replaced_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
