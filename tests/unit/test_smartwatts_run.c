/* SPDX-License-Identifier: Apache-2.0 */
/* test_smartwatts_run.c - the reference algorithm against what the reference program answered. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "formula/infile.h"
#include "formula/smartwatts_run.h"
#include "lib/err.h"
#include "lib/hwpc.h"
#include "lib/hwpc_metadata.h"

#define FIXTURES "tests/fixtures/smartwatts/"

static const struct cb_smartwatts_run_options defaults = {
    .model = {{2100, 100, 400, 2, 10, 60, 60, false}, {2100, 100, 400, 2, 10, 60, 60, false}},
    .reference = {"RAPL_ENERGY_PKG", NULL},
    .period_s = 1,
};

static FILE *open_fixture(const char *name)
{
    char path[256];
    FILE *file = NULL;

    (void)snprintf(path, sizeof(path), FIXTURES "%s", name);
    assert_int_equal(cb_infile_open(path, &file, NULL), 0);
    return file;
}

static bool next_line(FILE *file, json_t **ret_line)
{
    char *line = NULL;
    size_t room = 0;
    bool any = getline(&line, &room, file) > 0;

    *ret_line = any ? json_loads(line, JSON_DECODE_INT_AS_REAL, NULL) : NULL;
    free(line);
    return any;
}

static double member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 || fabs(a - b) <= 1e-9 * fabs(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

struct check {
    FILE *powers, *fits;
    const char *socket;
    size_t n_powers, n_fits;
};

static int check_power(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    struct check *check = context;
    json_t *expected = NULL;

    (void)err;
    if (strcmp(power->socket, check->socket) != 0)
        return 0;
    assert_true(next_line(check->powers, &expected));
    assert_true((double)power->timestamp_ms == member(expected, "timestamp"));
    assert_string_equal(power->target, json_string_value(json_object_get(expected, "target")));
    assert_near(power->power_w, member(expected, "power"));
    assert_near(power->ratio, member(expected, "ratio"));
    check->n_powers++;
    json_decref(expected);
    return 0;
}

static void check_fit(void *data, double layer_mhz, const double *x, const double *y, size_t n,
                      const struct cb_smartwatts_fit *fit, bool accepted)
{
    struct check *check = data;
    json_t *expected = NULL;
    const json_t *coef;

    (void)x;
    (void)y;
    assert_true(next_line(check->fits, &expected));
    assert_true(layer_mhz == member(expected, "layer"));
    assert_true((double)n == member(expected, "n"));
    assert_int_equal(fit->iterations, (int)member(expected, "n_iter"));
    assert_int_equal(accepted, json_is_true(json_object_get(expected, "accepted")));
    assert_near(fit->intercept, member(expected, "intercept"));
    coef = json_object_get(expected, "coef");
    for (size_t i = 0; i < json_array_size(coef); i++)
        assert_true(fabs(fit->coef[i] - json_number_value(json_array_get(coef, i))) <= 1e-11);
    check->n_fits++;
    json_decref(expected);
}

static void run_file(const char *name, struct check *check, bool flush)
{
    FILE *file = open_fixture(name);
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    struct cb_smartwatts_run *run = NULL;

    assert_int_equal(cb_hwpc_reader_json(file, name, false, &reader, NULL), 0);
    assert_int_equal(cb_smartwatts_run_new(&defaults, check_power, check, &run, NULL), 0);
    if (check->fits)
        cb_smartwatts_run_observe(run, CB_SMARTWATTS_CPU, check->socket, check_fit, check);
    while (cb_hwpc_reader_next(reader, &report, NULL) == 0 && report)
        assert_int_equal(cb_smartwatts_run_add(run, report, NULL), 0);
    if (flush)
        assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
    run = cb_smartwatts_run_free(run);
    reader = cb_hwpc_reader_free(reader);
    (void)fclose(file);
}

static void no_line_is_left(FILE *file)
{
    json_t *line = NULL;

    assert_false(next_line(file, &line));
    (void)fclose(file);
}

static void check_synthetic(const char *socket, size_t n_fits)
{
    struct check check = {.socket = socket};
    char name[64];

    (void)snprintf(name, sizeof(name), "synth_cpu_socket%s.out.jsonl.gz", socket);
    check.powers = open_fixture(name);
    (void)snprintf(name, sizeof(name), "synth_cpu_socket%s.fits.jsonl.gz", socket);
    check.fits = open_fixture(name);
    run_file("synth.in.jsonl.gz", &check, false);
    assert_int_equal(check.n_fits, n_fits);
    assert_true(check.n_powers > 1000);
    no_line_is_left(check.powers);
    no_line_is_left(check.fits);
}

static void socket_0_of_the_synthetic_machine_is_as_the_reference_says(void **state)
{
    (void)state;
    check_synthetic("0", 75);
}

static void socket_1_of_the_synthetic_machine_is_as_the_reference_says(void **state)
{
    (void)state;
    check_synthetic("1", 76);
}

static void the_last_five_ticks_of_a_recording_stay_in_the_buffer(void **state)
{
    struct check check = {.socket = "0", .powers = open_fixture("timeline.out.jsonl.gz")};

    (void)state;
    run_file("timeline.jsonl.gz", &check, false);
    no_line_is_left(check.powers);
    assert_int_equal(check.n_powers, 5);
}

static int count_power(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    (void)power;
    (void)err;
    (*(size_t *)context)++;
    return 0;
}

static void give(struct cb_smartwatts_run *run, const char *text)
{
    struct cb_hwpc_report *report = NULL;
    size_t used;

    assert_int_equal(cb_hwpc_parse(text, strlen(text), &report, &used, NULL), 0);
    assert_int_equal(cb_smartwatts_run_add(run, report, NULL), 0);
}

/* One tick of a machine of one socket; @msr and @others may be empty, else end with a comma. */
static void give_tick(struct cb_smartwatts_run *run, int i, const char *msr, const char *others)
{
    int count = 1000000000 + 1000000 * (i * 7 % 5);
    char text[512];

    (void)snprintf(
        text, sizeof(text),
        "{\"timestamp\":%d,\"sensor\":\"s\",\"target\":\"all\",\"groups\":{%s\"rapl\":{\"0\":"
        "{\"0\":{\"RAPL_ENERGY_PKG\":%d}}}}}",
        1000 * i, msr, count);
    give(run, text);
    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":%d,\"sensor\":\"s\",\"target\":\"c\",\"groups\":{\"core\":"
                   "{\"0\":{\"0\":{\"CYCLES\":%d,\"INSTRUCTIONS\":%d}}}}}",
                   1000 * i, count, 2 * count);
    give(run, text);
    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":%d,\"sensor\":\"s\",\"target\":\"d\",\"groups\":{\"core\":"
                   "{\"0\":{\"0\":{%s\"INSTRUCTIONS\":%d}}}}}",
                   1000 * i, others, count / 2);
    give(run, text);
}

#define MSR(aperf, mperf) "\"msr\":{\"0\":{\"0\":{\"APERF\":" #aperf ",\"MPERF\":" #mperf "}}},"
#define CYCLES(n) "\"CYCLES\":" #n ","

/* After 20 ticks of which 10 have a model, one as given and one good one: how many power reports
 * the two make. */
static size_t reports_of(const char *msr, const char *others, uint64_t *ret_stopped)
{
    struct cb_smartwatts_run *run = NULL;
    size_t n = 0;

    assert_int_equal(cb_smartwatts_run_new(&defaults, count_power, &n, &run, NULL), 0);
    for (int i = 0; i < 20; i++)
        give_tick(run, i, MSR(2000, 2000), CYCLES(500));
    give_tick(run, 20, msr, others);
    give_tick(run, 21, MSR(2000, 2000), CYCLES(500));
    assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
    *ret_stopped = cb_smartwatts_run_counted(run)->stopped;
    run = cb_smartwatts_run_free(run);
    return n - (20 + 3 * 10);
}

static void a_container_that_lacks_an_event_stops_the_actor(void **state)
{
    uint64_t stopped;

    (void)state;
    assert_int_equal(reports_of(MSR(2000, 2000), CYCLES(500), &stopped), 2 * 4);
    assert_int_equal(stopped, 0);
    assert_int_equal(reports_of(MSR(2000, 2000), "", &stopped), 0);
    assert_int_equal(stopped, 1);
}

static void an_actor_that_stops_sends_nothing_of_that_tick(void **state)
{
    static const char *const deadly[] = {
        MSR(1, 1000000),                             /* below one base clock */
        MSR(0, 2000),                                /* the same */
        "\"msr\":{\"0\":{\"0\":{\"APERF\":2000}}},", /* half a group */
        "\"msr\":{\"0\":{\"0\":{\"MPERF\":2000}}},", /* the other half */
    };
    uint64_t stopped;

    (void)state;
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
        assert_int_equal(reports_of(deadly[i], CYCLES(500), &stopped), 0);
        assert_int_equal(stopped, 1);
    }
}

static void a_tick_with_an_mperf_of_0_has_rapl_only(void **state)
{
    uint64_t stopped;

    (void)state;
    assert_int_equal(reports_of(MSR(2000, 0), CYCLES(500), &stopped), 1 + 4);
    assert_int_equal(stopped, 0);
}

static int check_finite(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    assert_true(isfinite(power->power_w) && isfinite(power->ratio));
    return count_power(context, power, err);
}

/* Their sum over a container's two CPUs is infinite: from the first tick on, or once there is a
 * model. */
static void counts_beyond_all_measure_stop_the_actor(void **state)
{
    (void)state;
    for (int from = 0; from < 100; from += 60) {
        struct cb_smartwatts_run *run = NULL;
        size_t n = 0;

        assert_int_equal(cb_smartwatts_run_new(&defaults, check_finite, &n, &run, NULL), 0);
        for (int i = 0; i < 200; i++)
            give_tick(run, i, MSR(2000, 2000),
                      i < from ? CYCLES(500)
                               : CYCLES(1.7e308) "\"INSTRUCTIONS\":0},\"1\":{" CYCLES(1.7e308));
        assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
        assert_int_equal(n, from ? from + 3 * (from - 10) : 0);
        assert_int_equal(cb_smartwatts_run_counted(run)->stopped, 1);
        run = cb_smartwatts_run_free(run);
    }
}

/* What the powers of each kind say, of the last tick. */
struct said {
    char rapl[64], global[64], c[64], d[64];
};

static int keep_said(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    struct said *said = context;
    char *text = strcmp(power->target, "rapl") == 0     ? said->rapl
                 : strcmp(power->target, "global") == 0 ? said->global
                 : strcmp(power->target, "c") == 0      ? said->c
                                                        : said->d;

    (void)err;
    (void)snprintf(text, sizeof(said->c), "%s", power->metadata ? power->metadata : "none");
    return 0;
}

/* Replaces what give_tick() gave of @target. */
static void give_with_metadata(struct cb_smartwatts_run *run, int i, const char *target,
                               const char *groups, const char *metadata)
{
    cb_auto_free char *text = NULL;

    assert_true(asprintf(&text,
                         "{\"timestamp\":%d,\"sensor\":\"s\",\"target\":\"%s\",\"groups\":{%s},"
                         "\"metadata\":%s}",
                         1000 * i, target, groups, metadata) > 0);
    give(run, text);
}

#define RAPL "\"rapl\":{\"0\":{\"0\":{\"RAPL_ENERGY_PKG\":1000000000}}}"
#define CORE "\"core\":{\"0\":{\"0\":{\"CYCLES\":1000,\"INSTRUCTIONS\":1000}}}"

static void a_power_has_the_metadata_of_its_report(void **state)
{
    static char too_long[CB_HWPC_MAX_METADATA + 16];
    struct cb_smartwatts_run *run = NULL;
    struct said said = {0};

    (void)state;
    (void)snprintf(too_long, sizeof(too_long), "{\"k\":\"%*s\"}", CB_HWPC_MAX_METADATA, "");
    assert_int_equal(cb_smartwatts_run_new(&defaults, keep_said, &said, &run, NULL), 0);
    for (int i = 0; i < 20; i++) {
        give_tick(run, i, MSR(2000, 2000), CYCLES(500));
        give_with_metadata(run, i, "all", MSR(2000, 2000) RAPL, "{\"host\":\"h\",\"ratio\":2}");
        give_with_metadata(run, i, "c", CORE, "{\"pod\":{\"n\":1}}");
    }
    give_with_metadata(run, 19, "d", CORE, too_long);
    assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
    assert_string_equal(said.rapl, ",\"host\":\"h\"");
    assert_string_equal(said.global, ",\"host\":\"h\"");
    assert_string_equal(said.c, ",\"pod\":{\"n\":1}");
    assert_string_equal(said.d, "none");
    assert_int_equal(cb_smartwatts_run_counted(run)->long_metadata, 1);
    run = cb_smartwatts_run_free(run);
}

struct ids {
    uint64_t first, last;
};

static int keep_ids(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    struct ids *ids = context;

    (void)err;
    if (strcmp(power->target, "global") == 0) {
        ids->first = ids->first ? ids->first : power->id;
        ids->last = power->id;
    }
    return 0;
}

/* The model that is learnt anew at the end of a tick answers from the next one on. */
static void a_report_names_the_model_that_made_it(void **state)
{
    struct cb_smartwatts_run_options options = defaults;
    struct cb_smartwatts_run *run = NULL;
    struct ids ids = {0};

    (void)state;
    options.model[CB_SMARTWATTS_CPU].threshold_w = 0; /* learn in every tick */
    assert_int_equal(cb_smartwatts_run_new(&options, keep_ids, &ids, &run, NULL), 0);
    for (int i = 0; i < 20; i++)
        give_tick(run, i, MSR(2000, 2000), CYCLES(500));
    assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
    assert_int_equal(ids.first, 1);
    assert_int_equal(ids.last, 10);
    run = cb_smartwatts_run_free(run);
}

static void an_input_without_msr_is_one_layer_at_the_base_frequency(void **state)
{
    struct cb_smartwatts_run *run = NULL;
    size_t n = 0;

    (void)state;
    assert_int_equal(cb_smartwatts_run_new(&defaults, count_power, &n, &run, NULL), 0);
    for (int i = 0; i < 20; i++)
        give_tick(run, i, "", CYCLES(500));
    assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
    assert_int_equal(cb_smartwatts_run_counted(run)->no_msr, 20);
    assert_int_equal(n, 20 + 3 * 10); /* rapl, and global, c and d once ten samples are learnt */
    run = cb_smartwatts_run_free(run);
}

static void an_actor_without_its_reference_event_stops(void **state)
{
    struct cb_smartwatts_run *run = NULL;
    size_t n = 0;

    (void)state;
    assert_int_equal(cb_smartwatts_run_new(&defaults, count_power, &n, &run, NULL), 0);
    give(run, "{\"timestamp\":1,\"sensor\":\"s\",\"target\":\"all\",\"groups\":{\"rapl\":{\"0\":"
              "{\"0\":{\"OTHER\":1}}}}}");
    give(run, "{\"timestamp\":1,\"sensor\":\"s\",\"target\":\"c\",\"groups\":{\"core\":{\"0\":"
              "{\"0\":{\"CYCLES\":1}}}}}");
    assert_int_equal(cb_smartwatts_run_flush(run, NULL), 0);
    assert_int_equal(cb_smartwatts_run_counted(run)->stopped, 1);
    assert_int_equal(n, 0);
    run = cb_smartwatts_run_free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(socket_0_of_the_synthetic_machine_is_as_the_reference_says),
        cmocka_unit_test(socket_1_of_the_synthetic_machine_is_as_the_reference_says),
        cmocka_unit_test(the_last_five_ticks_of_a_recording_stay_in_the_buffer),
        cmocka_unit_test(a_container_that_lacks_an_event_stops_the_actor),
        cmocka_unit_test(an_actor_that_stops_sends_nothing_of_that_tick),
        cmocka_unit_test(a_tick_with_an_mperf_of_0_has_rapl_only),
        cmocka_unit_test(counts_beyond_all_measure_stop_the_actor),
        cmocka_unit_test(a_power_has_the_metadata_of_its_report),
        cmocka_unit_test(a_report_names_the_model_that_made_it),
        cmocka_unit_test(an_input_without_msr_is_one_layer_at_the_base_frequency),
        cmocka_unit_test(an_actor_without_its_reference_event_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
