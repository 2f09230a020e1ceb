/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_mongodb.h"
#include "lib/err.h"

#define WALL_NS INT64_C(1700000001000000000)

/* One socket's package and dram, and @n containers. */
struct row {
    struct cb_stream_bin bin;
    struct cb_stream_domain domains[2];
    struct cb_stream_target *targets;
    struct cb_stream_target **pointers;
    struct cb_stream_share *shares;
};

static void make_row(struct row *row, size_t n)
{
    *row = (struct row){0};
    row->targets = calloc(n, sizeof(*row->targets));
    row->pointers = calloc(n, sizeof(struct cb_stream_target *));
    row->shares = calloc(2 * n, sizeof(*row->shares));
    assert_true(row->targets && row->pointers && row->shares);
    for (size_t d = 0; d < 2; d++)
        row->domains[d] =
            (struct cb_stream_domain){.domain = d ? CB_DOMAIN_DRAM : CB_DOMAIN_PACKAGE,
                                      .energy_uj = 6000 + n * 4000,
                                      .idle_uj = 3000,
                                      .system_uj = 2000,
                                      .unattributed_uj = 1000};
    for (size_t t = 0; t < n; t++) {
        struct cb_stream_target *target = &row->targets[t];

        (void)snprintf(target->identity, sizeof(target->identity), "id%zu", t);
        (void)snprintf(target->text.container_id, sizeof(target->text.container_id), "id%zu", t);
        (void)snprintf(target->text.name, sizeof(target->text.name), "name%zu", t);
        target->cpu_ns = 7;
        target->has_metrics = true;
        for (size_t m = 0; m < CB_STREAM_METRICS; m++)
            target->metrics[m] = CB_STAT_ABSENT;
        target->metrics[CB_SCHEMA_MEMORY_BYTES - CB_STREAM_METRIC_FIRST] = 4096;
        row->pointers[t] = target;
        row->shares[2 * t].dynamic_uj = row->shares[2 * t + 1].dynamic_uj = 4000;
        row->shares[2 * t].param_uj = 100;
    }
    row->bin = (struct cb_stream_bin){.machine = "node1",
                                      .boot_id = "b",
                                      .wall_ns = WALL_NS,
                                      .resolution_ns = 1000000000,
                                      .again = 1,
                                      .covered_ns = 500000000,
                                      .machine_cpu_ns = CB_STAT_ABSENT,
                                      .n_domains = 2,
                                      .domains = row->domains,
                                      .n_targets = n,
                                      .targets = row->pointers,
                                      .shares = row->shares,
                                      .stride = 2};
}

static void clear_row(struct row *row)
{
    free(row->targets);
    free(row->pointers);
    free(row->shares);
}

/* The @i-th document of a batch. */
static void document_at(const struct cb_batch *batch, size_t i, unsigned *ret_format, bson_t *ret)
{
    size_t at = 0;

    for (;; i--) {
        uint32_t size;

        assert_true(at + 5 < batch->size);
        memcpy(&size, batch->bytes + at + 1, sizeof(size));
        assert_true(at + 1 + size <= batch->size);
        *ret_format = (unsigned char)batch->bytes[at];
        if (i == 0) {
            assert_true(bson_init_static(ret, (const uint8_t *)batch->bytes + at + 1, size));
            assert_true(bson_validate(ret, BSON_VALIDATE_NONE, NULL));
            return;
        }
        at += 1 + size;
    }
}

static bson_iter_t find(const bson_t *doc, const char *path)
{
    bson_iter_t iter;
    bson_iter_t found;

    assert_true(bson_iter_init(&iter, doc));
    if (!bson_iter_find_descendant(&iter, path, &found))
        fail_msg("no '%s'", path);
    return found;
}

static int64_t number_at(const bson_t *doc, const char *path)
{
    bson_iter_t iter = find(doc, path);

    return bson_iter_as_int64(&iter);
}

static const char *text_at(const bson_t *doc, const char *path)
{
    bson_iter_t iter = find(doc, path);

    assert_true(BSON_ITER_HOLDS_UTF8(&iter));
    return bson_iter_utf8(&iter, NULL);
}

static void a_row_is_one_document_in_whole_microjoules(void **state)
{
    struct cb_batch batch = {0};
    struct row row;
    unsigned format;
    bson_iter_t iter;
    bson_t doc;

    (void)state;
    make_row(&row, 2);
    cb_mongodb_pack(CB_MONGODB_CBWATTS, &row.bin, &batch);
    assert_int_equal(batch.rows, 1);
    document_at(&batch, 0, &format, &doc);
    assert_int_equal(format, CB_MONGODB_CBWATTS);
    assert_string_equal(text_at(&doc, "_id"), "1700000001000000000:1:0:node1");
    iter = find(&doc, "timestamp");
    assert_true(BSON_ITER_HOLDS_DATE_TIME(&iter));
    assert_int_equal(bson_iter_date_time(&iter), 1700000001000);
    assert_int_equal(number_at(&doc, "domains.1.energy_uj"), 14000);
    assert_string_equal(text_at(&doc, "domains.1.domain"), "dram");
    assert_int_equal(number_at(&doc, "targets.1.dynamic_uj.0"), 4000);
    assert_int_equal(number_at(&doc, "targets.1.uncertainty_uj.0"), 100);
    assert_int_equal(number_at(&doc, "targets.1.memory_bytes"), 4096);
    assert_int_equal(number_at(&doc, "targets.0.cpu_ns"), 7);
    assert_false(bson_has_field(&doc, "targets.0.pids"));
    assert_false(bson_has_field(&doc, "machine_cpu_ns"));
    cb_batch_clear(&batch);
    clear_row(&row);
}

static void power_reports_have_powerapis_form(void **state)
{
    struct cb_batch batch = {0};
    struct row row;
    unsigned format;
    bson_iter_t iter;
    bson_t doc;

    (void)state;
    make_row(&row, 2);
    cb_mongodb_pack(CB_MONGODB_POWERAPI, &row.bin, &batch);
    assert_int_equal(batch.rows, 2 * 4); /* rapl, global and two, of two scopes */
    document_at(&batch, 0, &format, &doc);
    assert_int_equal(format, CB_MONGODB_POWERAPI);
    assert_string_equal(text_at(&doc, "target"), "rapl");
    document_at(&batch, 7, &format, &doc);
    assert_string_equal(text_at(&doc, "sensor"), "node1");
    assert_string_equal(text_at(&doc, "target"), "name1");
    assert_string_equal(text_at(&doc, "metadata.scope"), "dram");
    assert_string_equal(text_at(&doc, "metadata.socket"), "0");
    iter = find(&doc, "power");
    assert_true(bson_iter_double(&iter) == 0.008); /* 4000 uJ in half a second */
    iter = find(&doc, "metadata.ratio");
    assert_true(bson_iter_double(&iter) == 0.5);
    cb_batch_clear(&batch);
    clear_row(&row);
}

static void a_row_of_very_many_containers_comes_in_parts(void **state)
{
    struct cb_batch batch = {0};
    struct row row;
    unsigned format;
    bson_t doc;

    (void)state;
    make_row(&row, 5001);
    cb_mongodb_pack(CB_MONGODB_CBWATTS, &row.bin, &batch);
    assert_int_equal(batch.rows, 2);
    document_at(&batch, 1, &format, &doc);
    assert_string_equal(text_at(&doc, "_id"), "1700000001000000000:1:1:node1");
    assert_int_equal(number_at(&doc, "part"), 1);
    assert_string_equal(text_at(&doc, "targets.0.name"), "name5000");
    cb_batch_clear(&batch);
    clear_row(&row);
}

static void formats_and_uris_are_checked(void **state)
{
    const struct cb_mongodb_config bad = {.uri = "http://user:secret@x", .formats = 1};
    struct cb_err err = {0};
    void *sink = NULL;
    unsigned formats = 9;

    (void)state;
    assert_int_equal(cb_mongodb_formats_parse("cbwatts,powerapi", &formats, &err), 0);
    assert_int_equal(formats, CB_MONGODB_CBWATTS | CB_MONGODB_POWERAPI);
    assert_int_equal(cb_mongodb_formats_parse("none", &formats, &err), 0);
    assert_int_equal(formats, 0);
    assert_int_equal(cb_mongodb_formats_parse("cbwatts,", &formats, &err), -EINVAL);
    assert_int_equal(cb_stream_mongodb.open(&bad, &sink, &err), -EINVAL);
    assert_null(sink);
    assert_null(strstr(err.text, "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_one_document_in_whole_microjoules),
        cmocka_unit_test(power_reports_have_powerapis_form),
        cmocka_unit_test(a_row_of_very_many_containers_comes_in_parts),
        cmocka_unit_test(formats_and_uris_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
