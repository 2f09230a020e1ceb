/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc_report.c - sensor/hwpc_report.c: what is written has the form of the real
 * hwpc-sensor's files (tests/fixtures/hwpc), and our reader reads it back. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/hwpc.h"
#include "sensor/hwpc_report.h"
#include "tests/support/fake_root.h"

#define FIXTURES "tests/fixtures/hwpc/"
#define MAX 64

/* The form and values of one report that was read, in its order of groups and CPUs. */
struct built {
    struct cb_hwpc_form form;
    struct cb_hwpc_form_group groups[MAX];
    struct cb_hwpc_cpu cpus[MAX][MAX];
    const char *names[MAX][MAX];
};

static size_t group_of(struct built *b, const char *name)
{
    size_t g = 0;

    while (g < b->form.n_groups && strcmp(b->groups[g].name, name) != 0)
        g++;
    if (g == b->form.n_groups) {
        b->groups[g] =
            (struct cb_hwpc_form_group){.name = name, .cpus = b->cpus[g], .names = b->names[g]};
        b->form.n_groups++;
    }
    return g;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void build(struct built *b, const struct cb_hwpc_report *report)
{
    *b = (struct built){.form = {.groups = b->groups}};
    for (size_t i = 0; i < report->n_counts; i++) {
        const struct cb_hwpc_count *c = &report->counts[i];
        size_t g = group_of(b, c->group);
        struct cb_hwpc_form_group *group = &b->groups[g];
        struct cb_hwpc_cpu *last = group->n_cpus ? &b->cpus[g][group->n_cpus - 1] : NULL;

        if (!last || strcmp(last->cpu, c->cpu) != 0) {
            last = &b->cpus[g][group->n_cpus++];
            (void)snprintf(last->package, sizeof(last->package), "%s", c->socket);
            (void)snprintf(last->cpu, sizeof(last->cpu), "%s", c->cpu);
        }
        if (group->n_cpus == 1)
            b->names[g][group->n_names++] = c->event;
    }
    for (size_t g = 0; g < b->form.n_groups; g++) {
        qsort(b->names[g], b->groups[g].n_names, sizeof(b->names[g][0]), by_name);
        b->form.n_values += b->groups[g].n_cpus * b->groups[g].n_names;
    }
}

static double count_of(const struct cb_hwpc_report *report, const char *group,
                       const struct cb_hwpc_cpu *cpu, const char *event)
{
    for (size_t i = 0; i < report->n_counts; i++) {
        const struct cb_hwpc_count *c = &report->counts[i];

        if (strcmp(c->group, group) == 0 && strcmp(c->socket, cpu->package) == 0 &&
            strcmp(c->cpu, cpu->cpu) == 0 && strcmp(c->event, event) == 0)
            return c->value;
    }
    fail_msg("no %s %s %s %s", group, cpu->package, cpu->cpu, event);
    return 0;
}

/* The same report as a batch of ours. */
static void fill(struct built *b, const struct cb_hwpc_report *report, struct cb_hwpc_batch *batch)
{
    uint64_t *values = NULL;

    build(b, report);
    cb_hwpc_batch_reset(batch, report->sensor, report->timestamp_ms);
    assert_int_equal(cb_hwpc_batch_add(batch, &b->form, report->target, &values), 0);
    for (size_t g = 0; g < b->form.n_groups; g++)
        for (size_t c = 0; c < b->groups[g].n_cpus; c++)
            for (size_t n = 0; n < b->groups[g].n_names; n++)
                *values++ =
                    (uint64_t)count_of(report, b->groups[g].name, &b->cpus[g][c], b->names[g][n]);
}

static char *json_of(const struct cb_hwpc_batch *batch, size_t i)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    cb_hwpc_batch_json(batch, i, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_same(const struct cb_hwpc_report *a, const struct cb_hwpc_report *b)
{
    assert_int_equal(a->timestamp_ms, b->timestamp_ms);
    assert_string_equal(a->sensor, b->sensor);
    assert_string_equal(a->target, b->target);
    assert_int_equal(a->n_counts, b->n_counts);
    for (size_t i = 0; i < a->n_counts; i++) {
        const struct cb_hwpc_count *c = &a->counts[i];
        struct cb_hwpc_cpu cpu;

        (void)snprintf(cpu.package, sizeof(cpu.package), "%s", c->socket);
        (void)snprintf(cpu.cpu, sizeof(cpu.cpu), "%s", c->cpu);
        assert_true(c->value == count_of(b, c->group, &cpu, c->event));
    }
}

static char *slurp(const char *path)
{
    FILE *in = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;

    if (!in)
        fail_msg("%s", path);
    assert_true(getdelim(&text, &room, '\0', in) > 0);
    (void)fclose(in);
    return text;
}

static void csv_is_byte_for_byte_what_the_real_sensor_writes(void **state)
{
    static const char *const files[] = {"core", "rapl", "pcu"};
    static struct built b;
    char *texts[3] = {NULL};
    size_t sizes[3];
    FILE *outs[3];
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    struct cb_hwpc_batch batch = {0};
    int n = 0;

    (void)state;
    for (size_t f = 0; f < 3; f++)
        outs[f] = open_memstream(&texts[f], &sizes[f]);
    assert_int_equal(cb_hwpc_reader_csv(FIXTURES "csv", false, false, &reader, NULL), 0);
    while (cb_hwpc_reader_next(reader, &report, NULL) == 0 && report) {
        fill(&b, report, &batch);
        for (size_t g = 0; g < b.form.n_groups; g++)
            for (size_t f = 0; f < 3; f++)
                if (strcmp(b.groups[g].name, files[f]) == 0) {
                    if (n == 0)
                        cb_hwpc_csv_header(&b.groups[g], outs[f]);
                    cb_hwpc_batch_csv(&batch, 0, g, outs[f]);
                }
        report = cb_hwpc_report_free(report);
        n++;
    }
    reader = cb_hwpc_reader_free(reader);
    cb_hwpc_batch_fini(&batch);
    assert_int_equal(n, 2);
    for (size_t f = 0; f < 3; f++) {
        char path[64];
        char *real;

        assert_int_equal(fclose(outs[f]), 0);
        (void)snprintf(path, sizeof(path), FIXTURES "csv/%s.csv", files[f]);
        real = slurp(path);
        assert_string_equal(texts[f], real);
        free(real);
        free(texts[f]);
    }
}

static void json_of_a_real_report_is_read_back_the_same(void **state)
{
    static struct built b;
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL, *again = NULL;
    struct cb_hwpc_batch batch = {0};
    FILE *in = fopen(FIXTURES "reports.jsonl", "re");
    int n = 0;

    (void)state;
    assert_non_null(in);
    assert_int_equal(cb_hwpc_reader_json(in, "reports.jsonl", false, &reader, NULL), 0);
    while (cb_hwpc_reader_next(reader, &report, NULL) == 0 && report) {
        char head[64];
        char *text;
        size_t used;

        fill(&b, report, &batch);
        text = json_of(&batch, 0);
        (void)snprintf(head, sizeof(head), "{\"timestamp\":%" PRId64 ",\"sensor\":\"sensor_test\",",
                       report->timestamp_ms);
        assert_int_equal(strncmp(text, head, strlen(head)), 0);
        assert_int_equal(strcspn(text, "\n"), strlen(text) - 1);
        assert_null(strpbrk(text, " \t"));
        assert_int_equal(cb_hwpc_parse(text, strlen(text), &again, &used, NULL), 0);
        assert_same(report, again);
        assert_same(again, report);
        again = cb_hwpc_report_free(again);
        report = cb_hwpc_report_free(report);
        free(text);
        n++;
    }
    assert_int_equal(n, 2);
    reader = cb_hwpc_reader_free(reader);
    cb_hwpc_batch_fini(&batch);
    (void)fclose(in);
}

static const char *const two_names[] = {"E", "time_enabled"};
static const struct cb_hwpc_cpu three_cpus[] = {{"0", "0"}, {"0", "7"}, {"1", "3"}};
static const struct cb_hwpc_form_group two_groups[] = {
    {.name = "core", .n_cpus = 3, .cpus = three_cpus, .n_names = 2, .names = two_names},
    {.name = "rapl", .n_cpus = 1, .cpus = &three_cpus[2], .n_names = 1, .names = two_names}};
static const struct cb_hwpc_form form = {.n_groups = 2, .groups = two_groups, .n_values = 7};

static void writes_packages_cpus_and_the_largest_counts(void **state)
{
    struct cb_hwpc_batch batch = {0};
    uint64_t *values;
    char *text;

    (void)state;
    cb_hwpc_batch_reset(&batch, "s", 1700000000123);
    assert_int_equal(cb_hwpc_batch_add(&batch, &form, "/a/b", &values), 0);
    for (size_t i = 0; i < 7; i++)
        values[i] = i ? i : UINT64_MAX;
    text = json_of(&batch, 0);
    assert_string_equal(text,
                        "{\"timestamp\":1700000000123,\"sensor\":\"s\",\"target\":\"/a/b\","
                        "\"groups\":{\"core\":{\"0\":{\"0\":{\"E\":18446744073709551615,"
                        "\"time_enabled\":1},\"7\":{\"E\":2,\"time_enabled\":3}},\"1\":{\"3\":"
                        "{\"E\":4,\"time_enabled\":5}}},\"rapl\":{\"1\":{\"3\":{\"E\":6}}}}}\n");
    free(text);
    cb_hwpc_batch_fini(&batch);
}

static void odd_bytes_of_a_target_break_neither_form(void **state)
{
    struct cb_hwpc_batch batch = {0};
    uint64_t *values;
    char *text = NULL;
    size_t size;
    FILE *out;

    (void)state;
    cb_hwpc_batch_reset(&batch, "s\"", 1);
    assert_int_equal(cb_hwpc_batch_add(&batch, &form, "/\xc3\xa4\\x2d,\"b\"\n\xff", &values), 0);
    memset(values, 0, 7 * sizeof(*values));
    text = json_of(&batch, 0);
    assert_non_null(
        strstr(text, "\"sensor\":\"s\\\"\",\"target\":\"/\xc3\xa4\\\\x2d,\\\"b\\\" ?\""));
    free(text);
    out = open_memstream(&text, &size);
    cb_hwpc_batch_csv(&batch, 0, 1, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "1,s_,/\xc3\xa4\\x2d__b_ ?,1,3,0\n");
    free(text);
    cb_hwpc_batch_fini(&batch);
}

static void a_batch_is_filled_again_without_mixing(void **state)
{
    struct cb_hwpc_batch batch = {0};

    (void)state;
    for (int round = 0; round < 3; round++) {
        cb_hwpc_batch_reset(&batch, "s", round);
        for (uint64_t t = 0; t < 500; t++) {
            char name[16];
            uint64_t *values;

            (void)snprintf(name, sizeof(name), "/t%" PRIu64, t);
            assert_int_equal(cb_hwpc_batch_add(&batch, &form, name, &values), 0);
            for (size_t i = 0; i < 7; i++)
                values[i] = t * 7 + i + (uint64_t)round;
        }
        assert_int_equal(batch.n, 500);
        assert_string_equal(cb_hwpc_batch_target(&batch, 499), "/t499");
        assert_int_equal(cb_hwpc_batch_values(&batch, 499)[6], 499 * 7 + 6 + round);
    }
    cb_hwpc_batch_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_is_byte_for_byte_what_the_real_sensor_writes),
        cmocka_unit_test(json_of_a_real_report_is_read_back_the_same),
        cmocka_unit_test(writes_packages_cpus_and_the_largest_counts),
        cmocka_unit_test(odd_bytes_of_a_target_break_neither_form),
        cmocka_unit_test(a_batch_is_filled_again_without_mixing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
