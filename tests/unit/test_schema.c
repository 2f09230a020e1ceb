/* SPDX-License-Identifier: Apache-2.0 */
/* test_schema.c - lib/schema: one name for one thing, the conventions kept, the docs up to date.
 * SCHEMA_WRITE=1 writes docs/metrics.md instead of comparing it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/schema.h"
#include "sensor/metrics.h"

#define DOC "docs/metrics.md"

static bool ends(const char *text, const char *tail)
{
    size_t n = strlen(text);

    return n >= strlen(tail) && strcmp(text + n - strlen(tail), tail) == 0;
}

static void every_row_is_filled_and_found_by_its_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < CB_SCHEMA_COUNT; i++) {
        const struct cb_schema_metric *m = cb_schema((enum cb_schema_id)i);

        assert_non_null(m->name);
        assert_non_null(m->unit);
        assert_non_null(m->help);
        assert_true(ends(m->help, "."));
        assert_null(strpbrk(m->help, "\n\\|"));
        assert_ptr_equal(cb_schema_find(m->name), m); /* the first of that name: it is the only */
        if (m->prometheus)
            assert_ptr_equal(cb_schema_find_prometheus(m->prometheus), m);
    }
    assert_null(cb_schema_find("no_such_metric"));
    assert_null(cb_schema_find_prometheus("no_such_metric"));
}

static void names_end_in_their_unit(void **state)
{
    static const struct {
        const char *unit, *ours, *prometheus;
    } units[] = {
        {"microjoules", "_uj", "_joules"}, {"nanoseconds", "_ns", "_seconds"},
        {"watts", "_w", "_watts"},         {"seconds", "_s", "_seconds"},
        {"bytes", "_bytes", "_bytes"},     {"1", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < CB_SCHEMA_COUNT; i++) {
        const struct cb_schema_metric *m = cb_schema((enum cb_schema_id)i);
        size_t u = 0;

        while (strcmp(units[u].unit, m->unit) != 0)
            assert_true(++u < sizeof(units) / sizeof(units[0]));
        assert_true(ends(m->name, units[u].ours));
        if (m->prometheus) {
            char tail[32];

            (void)snprintf(tail, sizeof(tail), "%s%s", units[u].prometheus,
                           m->kind == CB_SCHEMA_COUNTER ? "_total" : "");
            assert_true(ends(m->prometheus, tail));
            assert_int_equal(strncmp(m->prometheus, "cb_", 3), 0);
            assert_int_equal(strspn(m->prometheus, "abcdefghijklmnopqrstuvwxyz_"),
                             strlen(m->prometheus));
            assert_int_not_equal(m->kind, CB_SCHEMA_TEXT);
        }
    }
}

static void what_the_sensor_reads_is_in_the_table(void **state)
{
    (void)state;
    assert_non_null(cb_schema_find("cpu_ns"));
    for (int i = 0; i < CB_METRIC_COUNT; i++) {
        const char *name = cb_metric_name((enum cb_metric)i);

        if (!cb_schema_find(name))
            fail_msg("'%s' of the sensor is not in lib/schema.c", name);
    }
}

/* Every "cb_..." that the exporter names is a row here. */
static void what_the_exporter_writes_is_in_the_table(void **state)
{
    FILE *file = fopen("formula/http_metrics.c", "re");
    char line[512];

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        const char *name = strstr(line, "{\"cb_");
        char copy[128];
        size_t n;

        if (!name)
            continue;
        n = strspn(name + 2, "abcdefghijklmnopqrstuvwxyz_");
        assert_true(n < sizeof(copy));
        memcpy(copy, name + 2, n);
        copy[n] = '\0';
        if (!cb_schema_find_prometheus(copy))
            fail_msg("'%s' of formula/http_metrics.c is not in lib/schema.c", copy);
    }
    (void)fclose(file);
}

static char *text_of(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    print(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void the_table_prints_one_line_a_metric(void **state)
{
    char *text = text_of(cb_schema_print);
    size_t lines = 0;

    (void)state;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1, lines++) {
        size_t tabs = 0;

        for (const char *p = line; *p != '\n'; p++)
            tabs += *p == '\t';
        assert_int_equal(tabs, 7);
    }
    assert_int_equal(lines, 1 + CB_SCHEMA_COUNT);
    assert_non_null(strstr(text, "energy_uj\tmicrojoules\tcounter\tcb_node_energy_joules_total\t"
                                 "machine,socket,domain,source\t"));
    free(text);
}

static void the_manual_is_made_from_the_table(void **state)
{
    char *text = text_of(cb_schema_print_markdown);
    char *found = calloc(1, strlen(text) + 2);
    FILE *file;

    (void)state;
    assert_non_null(found);
    if (getenv("SCHEMA_WRITE")) {
        file = fopen(DOC, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    file = fopen(DOC, "re");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, strlen(text) + 1, file), strlen(text));
    (void)fclose(file);
    if (strcmp(found, text) != 0)
        fail_msg("%s is not what lib/schema.c says: SCHEMA_WRITE=1 %s", DOC,
                 "build/gcc/tests/unit/test_schema");
    free(found);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_filled_and_found_by_its_names),
        cmocka_unit_test(names_end_in_their_unit),
        cmocka_unit_test(what_the_sensor_reads_is_in_the_table),
        cmocka_unit_test(what_the_exporter_writes_is_in_the_table),
        cmocka_unit_test(the_table_prints_one_line_a_metric),
        cmocka_unit_test(the_manual_is_made_from_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
