/* SPDX-License-Identifier: Apache-2.0 */
/* test_frame_reports.c - frames as PowerAPI's sensor would have told them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formula/dictionary.h"
#include "formula/frame_reports.h"
#include "lib/err.h"
#include "tests/support/random_frame.h"

/* What the reports are as lines, in PowerAPI's own form. */
static int write_report(void *context, struct cb_hwpc_report *report, struct cb_err *err)
{
    FILE *out = context;
    int r = cb_hwpc_write(out, report, err);

    report = cb_hwpc_report_free(report);
    return r;
}

static char *lines_of(const struct cb_frame *frame, const char *const *names)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(cb_frame_reports(frame, names, write_report, out, NULL), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Two sockets, two events and one of software, the machine and two targets. */
struct small {
    struct cb_frame_energy energies[4];
    struct cb_frame_counter counters[4];
    struct cb_frame_event events[3];
    struct cb_frame_target targets[2];
    uint64_t counts[3 * 2 * 3];
    struct cb_frame frame;
};

static void fill(struct small *small)
{
    *small = (struct small){
        .energies = {{0, CB_DOMAIN_PACKAGE, CB_SOURCE_PERF, 1000000, 0},
                     {0, CB_DOMAIN_DRAM, CB_SOURCE_ESTIMATE, 1000000, 0},
                     {1, CB_DOMAIN_PACKAGE, CB_SOURCE_PERF, 2500000, 0},
                     {1, CB_DOMAIN_DRAM, CB_SOURCE_PERF, 1, 0}},
        .counters = {{"tsc", 0, 100}, {"aperf", 1, 50}, {"pcu_c0", 1, 9}, {"mperf", 1, 60}},
        .events = {{"cycles", "cpu", 0}, {"cpu-clock", "software", 1}, {"LLC_MISSES", "cpu", 0}},
        .targets = {{.id = 1}, {.id = 2}},
        .counts = {100, 99, 10, 200, 99, 20, /**/ 30, 99, 3, 40, 99, 4, /**/ 50, 99, 8, 60, 99, 7},
    };
    small->frame = (struct cb_frame){
        .sensor = "node",
        .wall_ns = UINT64_C(1700000000123456789),
        .n_sockets = 2,
        .n_energies = 4,
        .energies = small->energies,
        .n_counters = 4,
        .counters = small->counters,
        .has_machine_row = true,
        .n_events = 3,
        .events = small->events,
        .n_targets = 2,
        .targets = small->targets,
        .counts = small->counts,
    };
}

#define HEAD(target) "{\"timestamp\":1700000000123,\"sensor\":\"node\",\"target\":\"" target "\","
#define CORE(c0, m0, c1, m1)                                                                       \
    "\"groups\":{\"core\":{"                                                                       \
    "\"0\":{\"0\":{\"CPU_CLK_THREAD_UNHALTED:THREAD_P\":" #c0 ",\"LLC_MISSES\":" #m0 "}},"         \
    "\"1\":{\"0\":{\"CPU_CLK_THREAD_UNHALTED:THREAD_P\":" #c1 ",\"LLC_MISSES\":" #m1 "}}}}}\n"
#define ALL                                                                                        \
    HEAD("all")                                                                                    \
    "\"groups\":{\"rapl\":{\"0\":{\"0\":{\"RAPL_ENERGY_PKG\":4294967296}},"                        \
    "\"1\":{\"0\":{\"RAPL_ENERGY_PKG\":10737418240,\"RAPL_ENERGY_DRAM\":4294}}},"                  \
    "\"msr\":{\"0\":{\"0\":{\"TSC\":100}},\"1\":{\"0\":{\"APERF\":50,\"MPERF\":60}}}}}\n"

static void a_frame_is_the_machine_its_targets_and_the_rest(void **state)
{
    static const char *const names[] = {"web", "db"};
    struct small small;
    char *lines;

    (void)state;
    fill(&small);
    lines = lines_of(&small.frame, names);
    assert_string_equal(lines, ALL HEAD("web") CORE(30, 3, 40, 4) HEAD("db") CORE(50, 8, 60, 7)
                                   HEAD("/rest") CORE(20, 0, 100, 9));
    free(lines);
}

/* As frames that were made of PowerAPI's reports name them. */
static void counters_that_have_their_name_already_are_told(void **state)
{
    static const char *const names[] = {"web", "db"};
    struct small small;
    char *lines;

    (void)state;
    fill(&small);
    small.counters[0].name = "TSC";
    small.counters[1].name = "APERF";
    small.counters[3].name = "MPERF";
    lines = lines_of(&small.frame, names);
    assert_int_equal(strncmp(lines, ALL, strlen(ALL)), 0);
    free(lines);
}

static void without_a_row_of_the_machine_there_is_no_rest(void **state)
{
    static const char *const names[] = {"web", "db"};
    struct small small;
    char *lines;

    (void)state;
    fill(&small);
    small.frame.has_machine_row = false;
    lines = lines_of(&small.frame, names);
    assert_string_equal(lines, ALL HEAD("web") CORE(30, 3, 40, 4) HEAD("db") CORE(50, 8, 60, 7));
    free(lines);
}

/* A container that was started again under its name: the reference would forget the first. */
static void targets_of_one_name_are_one_report(void **state)
{
    static const char *const names[] = {"web", "web"};
    struct small small;
    char *lines;

    (void)state;
    fill(&small);
    lines = lines_of(&small.frame, names);
    assert_string_equal(lines,
                        ALL HEAD("web") CORE(80, 11, 100, 11) HEAD("/rest") CORE(20, 0, 100, 9));
    free(lines);
}

static int free_report(void *context, struct cb_hwpc_report *report, struct cb_err *err)
{
    (void)context;
    (void)err;
    report = cb_hwpc_report_free(report);
    return 0;
}

static void any_frame_has_reports(void **state)
{
    const struct random_frame_size size = {8, 40, 12};
    struct cb_dictionary *dictionary = NULL;

    (void)state;
    assert_int_equal(cb_dictionary_new(&dictionary, NULL), 0);
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct cb_frame *frame = random_frame_new(seed, &size);
        const char *const *names = NULL;

        assert_int_equal(cb_dictionary_names(dictionary, frame, &names, NULL), 0);
        assert_int_equal(cb_frame_reports(frame, names, free_report, NULL, NULL), 0);
        random_frame_free(frame);
    }
    dictionary = cb_dictionary_free(dictionary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_the_machine_its_targets_and_the_rest),
        cmocka_unit_test(counters_that_have_their_name_already_are_told),
        cmocka_unit_test(without_a_row_of_the_machine_there_is_no_rest),
        cmocka_unit_test(targets_of_one_name_are_one_report),
        cmocka_unit_test(any_frame_has_reports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
