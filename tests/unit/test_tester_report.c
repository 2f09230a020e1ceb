/* SPDX-License-Identifier: Apache-2.0 */
/* test_tester_report.c - tester/report.c, table.c and render.c: from the recap's JSON to a page. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "tester/render.h"
#include "tester/report.h"
#include "tester/table.h"

#define DOMAIN(socket, domain, source, energy, dynamic, others, system, idle, rest, pm, share)     \
    "{\"socket\":" #socket ",\"domain\":\"" domain "\",\"source\":\"" source                       \
    "\",\"energy_uj\":" #energy ",\"dynamic_uj\":" #dynamic ",\"others_uj\":" #others              \
    ",\"system_uj\":" #system ",\"idle_uj\":" #idle ",\"unattributed_uj\":" #rest                  \
    ",\"uncertainty_uj\":" #pm ",\"idle_share_uj\":" #share "}"
#define PACKAGE                                                                                    \
    DOMAIN(0, "package", "perf", 50000000, 30000000, 1000000, 2000000, 16999999, 1, 400000, 8000000)
#define DRAM DOMAIN(0, "dram", "perf", 5000000, 1000000, 0, 0, 4000000, 0, 100000, 2000000)
#define PHASE(name, seconds, domains)                                                              \
    "{\"phase\":\"" name "\",\"seconds\":" #seconds ",\"covered_seconds\":" #seconds               \
    ",\"cpu_seconds\":4.5,\"machine_cpu_seconds\":null,\"domains\":[" domains "]}"
#define RECAP(name, source, idle, phases, others)                                                  \
    "{\"name\":\"" name "\",\"id\":\"0123456789abcdef\",\"image\":\"cb/" name                      \
    "\",\"machine\":\"m1\",\"exit_code\":0,\"begin\":\"2026-11-22T15:10:01.123Z\",\"source\":"     \
    "\"" source "\",\"idle_policy\":\"" idle "\",\"phases\":[" phases "],\"others\":[" others      \
    "],\"new\":1}"

static const char busy[] =
    RECAP("busy", "perf", "proportional",
          PHASE("warmup", 1.0, PACKAGE) "," PHASE("execution", 5.0, PACKAGE "," DRAM),
          "{\"name\":\"web\",\"id\":\"x\",\"dynamic_uj\":600000},"
          "{\"name\":\"db\",\"id\":\"y\",\"dynamic_uj\":400000}");
static const char sleeper[] = RECAP(
    "sleep", "estimate", "none",
    PHASE("execution", 5.0,
          DOMAIN(0, "package", "estimate", 20000000, 250000, 0, 250000, 19500000, 0, 125000, 0)),
    "");

static int parse(const char *text, struct cb_report *report, struct cb_err *err)
{
    return cb_report_parse(text, strlen(text), report, err);
}

static void reads_a_recap(void **state)
{
    struct cb_report report;
    const struct cb_report_domain *d;

    (void)state;
    assert_int_equal(parse(busy, &report, NULL), 0);
    assert_string_equal(report.name, "busy");
    assert_string_equal(report.idle_policy, "proportional");
    assert_int_equal(report.n_phases, 2);
    assert_string_equal(report.phases[1].phase, "execution");
    assert_true(report.phases[1].cpu_seconds > 4.49 && report.phases[1].cpu_seconds < 4.51);
    assert_true(isnan(report.phases[1].machine_cpu_seconds));
    assert_int_equal(report.phases[1].n_domains, 2);
    d = &report.phases[1].domains[0];
    assert_int_equal(d->energy_uj, 50000000);
    assert_int_equal(d->idle_share_uj, 8000000);
    assert_true(d->is_top);
    assert_false(d->is_estimate);
    assert_int_equal(report.n_others, 2);
    assert_int_equal(report.others[1].dynamic_uj, 400000);
    cb_report_clear(&report);
}

static void refuses_what_does_not_sum_or_is_no_recap(void **state)
{
    static const struct {
        const char *find, *put, *names;
    } table[] = {
        {"\"dynamic_uj\":30000000", "\"dynamic_uj\":30000001", "parts sum to 50000001 uJ"},
        {"\"dynamic_uj\":30000000", "\"dynamic_uj\":-1", "dynamic_uj"},
        {"\"dynamic_uj\":30000000", "\"dynamic_uj\":3e7", "dynamic_uj"},
        {"\"energy_uj\":50000000", "\"energy_uj\":9223372036854775807", "energy_uj"},
        {"\"idle_share_uj\":8000000", "\"idle_share_uj\":17000000", "idle_share_uj"},
        {"\"uncertainty_uj\":400000", "\"uncertainty_uj\":null", "uncertainty_uj"},
        {"\"socket\":0", "\"socket\":-1", "socket"},
        {"\"source\":\"perf\",\"energy", "\"source\":7,\"energy", "source"},
        {"\"name\":\"busy\"", "\"name\":7", "name"},
        {"\"name\":\"web\"", "\"nome\":\"web\"", "others: name"},
        {"\"exit_code\":0", "\"exit_code\":256", "exit_code"},
        {"\"exit_code\":0", "\"exit_code\":\"0\"", "exit_code"},
        {"\"phases\":[", "\"phrases\":[", "phases"},
        {"\"domains\":[", "\"domain\":[", "domains"},
        {"\"seconds\":1.0", "\"seconds\":-1.0", "seconds"},
        {"\"covered_seconds\":1.0", "\"covered_seconds\":null", "covered_seconds"},
        {"\"cpu_seconds\":4.5", "\"cpu_seconds\":\"4.5\"", "cpu_seconds"},
        {"\"phase\":\"warmup\"", "\"phase\":null", "phase"},
        {"\"new\":1}", "\"error\":\"no such test\"}", "cbformula says: no such test"},
        {"\"new\":1}", "\"new\":1", "not JSON"},
        {"\"new\":1}", "\"name\":1}", "not JSON"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *at = strstr(busy, table[i].find);
        struct cb_report report = {.exit_code = 77};
        struct cb_err err = {0};
        char text[4096];

        assert_non_null(at);
        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - busy), busy, table[i].put,
                       at + strlen(table[i].find));
        assert_int_equal(parse(text, &report, &err), -EBADMSG);
        assert_non_null(strstr(err.text, table[i].names));
        assert_int_equal(report.exit_code, 77);
    }
}

static void texts_that_are_not_known_may_be_null(void **state)
{
    struct cb_report report;

    (void)state;
    assert_int_equal(
        parse("{\"name\":\"x\",\"exit_code\":3,\"source\":null,\"phases\":[]}", &report, NULL), 0);
    assert_string_equal(report.source, "");
    assert_string_equal(report.image, "");
    cb_report_clear(&report);
    assert_int_equal(parse("{\"name\":\"x\",\"exit_code\":null,\"phases\":[]}", &report, NULL), 0);
    assert_int_equal(report.exit_code, CB_REPORT_NO_EXIT);
    cb_report_clear(&report);
}

static void reads_one_recap_or_many(void **state)
{
    struct cb_report_list list = {0};
    char text[8192];

    (void)state;
    assert_int_equal(cb_report_list_parse(&list, busy, strlen(busy), NULL), 0);
    (void)snprintf(text, sizeof(text), "[%s,%s]", busy, sleeper);
    assert_int_equal(cb_report_list_parse(&list, text, strlen(text), NULL), 0);
    (void)snprintf(text, sizeof(text), "{\"recaps\":[%s]}", sleeper);
    assert_int_equal(cb_report_list_parse(&list, text, strlen(text), NULL), 0);
    assert_int_equal(list.n, 4);
    assert_string_equal(list.reports[3].name, "sleep");
    (void)snprintf(text, sizeof(text), "[%s,7]", busy);
    assert_int_equal(cb_report_list_parse(&list, text, strlen(text), NULL), -EBADMSG);
    assert_int_equal(cb_report_list_parse(&list, "", 0, NULL), -EBADMSG);
    cb_report_list_clear(&list);
}

/* The page of @texts; free() it. */
static char *render(const char *const *texts, size_t n)
{
    struct cb_report_list list = {0};
    char *page = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&page, &size);

    for (size_t i = 0; i < n; i++)
        assert_int_equal(cb_report_list_parse(&list, texts[i], strlen(texts[i]), NULL), 0);
    assert_int_equal(cb_render_reports(list.reports, list.n, out, NULL), 0);
    (void)fclose(out);
    cb_report_list_clear(&list);
    return page;
}

static const char busy_page[] = "test                                                   busy\n"
                                "image                                               cb/busy\n"
                                "container                                      0123456789ab\n"
                                "machine                                                  m1\n"
                                "begin                              2026-11-22T15:10:01.123Z\n"
                                "exit code                                                 0\n"
                                "energy source                                          perf\n"
                                "idle energy shared out                         proportional\n"
                                "\n"
                                "warmup\n"
                                "  seconds                                             1.000\n"
                                "  CPU seconds                                         4.500\n"
                                "  CPU seconds of the machine                              -\n"
                                "  package of socket 0                                  perf\n"
                                "    dynamic J                                        30.000\n"
                                "    +/- J (95 %)                                      0.400\n"
                                "    idle share J                                      8.000\n"
                                "    mean W (dynamic + idle share)                    38.000\n"
                                "    other containers J                                1.000\n"
                                "    system J                                          2.000\n"
                                "    idle J                                           17.000\n"
                                "    unattributed J                                    0.000\n"
                                "    everything J                                     50.000\n"
                                "    mean W of everything                             50.000\n"
                                "\n"
                                "execution\n"
                                "  seconds                                             5.000\n"
                                "  CPU seconds                                         4.500\n"
                                "  CPU seconds of the machine                              -\n"
                                "  package of socket 0                                  perf\n"
                                "    dynamic J                                        30.000\n"
                                "    +/- J (95 %)                                      0.400\n"
                                "    idle share J                                      8.000\n"
                                "    mean W (dynamic + idle share)                     7.600\n"
                                "    other containers J                                1.000\n"
                                "    system J                                          2.000\n"
                                "    idle J                                           17.000\n"
                                "    unattributed J                                    0.000\n"
                                "    everything J                                     50.000\n"
                                "    mean W of everything                             10.000\n"
                                "  dram of socket 0                                     perf\n"
                                "    dynamic J                                         1.000\n"
                                "    +/- J (95 %)                                      0.100\n"
                                "    idle share J                                      2.000\n"
                                "    mean W (dynamic + idle share)                     0.600\n"
                                "    other containers J                                0.000\n"
                                "    system J                                          0.000\n"
                                "    idle J                                            4.000\n"
                                "    unattributed J                                    0.000\n"
                                "    everything J                                      5.000\n"
                                "    mean W of everything                              1.000\n"
                                "  package + dram, all sockets\n"
                                "    dynamic J                                        31.000\n"
                                "    +/- J (95 %)                                      0.500\n"
                                "    idle share J                                     10.000\n"
                                "    mean W (dynamic + idle share)                     8.200\n"
                                "other containers during busy: web 0.600 J, db 0.400 J\n";

static void shows_one_recap(void **state)
{
    const char *const texts[] = {busy};
    char *page = render(texts, 1);

    (void)state;
    assert_string_equal(page, busy_page);
    free(page);
}

static void shows_recaps_side_by_side(void **state)
{
    const char *const texts[] = {sleeper, busy};
    char *page = render(texts, 2);

    (void)state;
    /* the warm-up that only the second one has comes first all the same */
    assert_true(strstr(page, "\nwarmup\n") < strstr(page, "\nexecution\n"));
    assert_non_null(strstr(page, "\n    dynamic J                                             -"
                                 "                    30.000\n"));
    assert_non_null(strstr(page, "\n    dynamic J                              0.250 (estimate)"
                                 "                    30.000\n"));
    assert_non_null(strstr(page, "\n    mean W (dynamic + idle share)          0.050 (estimate)"
                                 "                     7.600\n"));
    assert_non_null(strstr(page, "\n    idle share J                             not shared out"));
    assert_non_null(strstr(page, "\nenergy source                        ESTIMATE, not measured"));
    free(page);
}

/* Every line with a joule or a watt in it must say what it is. */
static void no_line_hides_an_estimate(void **state)
{
    const char *const texts[] = {sleeper};
    char *page = render(texts, 1);
    size_t marked = 0;

    (void)state;
    for (char *rest = page, *line; (line = strsep(&rest, "\n"));) {
        bool has_unit = strstr(line, " J") || strstr(line, " W");

        if (has_unit && !strstr(line, "not shared out")) {
            assert_non_null(strstr(line, "(estimate)"));
            marked++;
        }
        if (strncmp(line, "(estimate):", 11) == 0)
            assert_non_null(strstr(line, "NOT measured"));
    }
    assert_int_equal(marked, 9);
    free(page);
}

static void says_what_is_not_covered(void **state)
{
    static const char none[] = RECAP("a", "none", "none", PHASE("execution", 5.0, ""), "");
    static const char part[] =
        "{\"name\":\"b\",\"exit_code\":0,\"phases\":[{\"phase\":\"execution\","
        "\"seconds\":5,\"covered_seconds\":3,\"domains\":[" DRAM "]}]}";
    const char *const texts[] = {none, part};
    char *page = render(texts, 2);

    (void)state;
    assert_non_null(strstr(page, "a, execution: no energy is known"));
    assert_non_null(strstr(page, "b, execution: frames cover only 3.000 of 5.000 s"));
    assert_non_null(strstr(page, "1.000\n")); /* 1 J dynamic + 2 J of idle by the 3 s covered */
    assert_null(strstr(page, "estimate"));
    free(page);
}

static void never_adds_nested_domains(void **state)
{
    static const char nested[] =
        RECAP("n", "powercap", "none",
              PHASE("execution", 1.0,
                    PACKAGE "," DOMAIN(0, "core", "powercap", 9000000, 9000000, 0, 0, 0, 0, 0,
                                       0) "," DRAM "," DOMAIN(1, "package", "powercap", 7000000,
                                                              7000000, 0, 0, 0, 0, 0, 0)),
              "");
    const char *const texts[] = {nested};
    char *page = render(texts, 1);
    const char *total;

    (void)state;
    total = strstr(page, "package + dram, all sockets");
    assert_non_null(total);
    assert_non_null(strstr(total, "38.000")); /* 30 + 1 + 7, without the 9 of core */
    assert_non_null(strstr(page, "core of socket 0"));
    assert_non_null(strstr(page, "package of socket 1"));
    free(page);
}

static void names_the_greatest_others_and_sums_the_rest(void **state)
{
    char others[1024] = "";
    char text[4096];
    char *page;
    size_t n = 0;

    (void)state;
    for (int i = 1; i <= 7; i++)
        n += (size_t)snprintf(others + n, sizeof(others) - n,
                              "%s{\"name\":\"c%d\",\"dynamic_uj\":%d000000}", i > 1 ? "," : "", i,
                              i);
    (void)snprintf(text, sizeof(text),
                   "{\"name\":\"x\",\"exit_code\":0,\"phases\":[],\"others\":[%s]}", others);

    const char *const texts[] = {text};

    page = render(texts, 1);
    assert_non_null(strstr(page, "other containers during x: c7 7.000 J, c6 6.000 J, c5 5.000 J, "
                                 "c4 4.000 J, c3 3.000 J, 2 more 3.000 J\n"));
    free(page);
}

static void other_containers_without_a_name_go_by_their_id(void **state)
{
    static const char *const texts[] = {
        "{\"name\":\"x\",\"exit_code\":0,\"phases\":[],\"others\":[{\"name\":\"\","
        "\"id\":\"0123456789abcdef\",\"dynamic_uj\":1000000}]}"};
    char *page = render(texts, 1);

    (void)state;
    assert_non_null(strstr(page, "other containers during x: 0123456789ab 1.000 J\n"));
    free(page);
}

static void no_text_steers_the_terminal(void **state)
{
    static const char text[] =
        "{\"name\":\"a\\u001b[2Jb\",\"exit_code\":0,\"image\":\"c\\u007f\\n\",\"phases\":[{"
        "\"phase\":"
        "\"\\u001b]0\",\"seconds\":1,\"domains\":[]}],\"others\":[{\"name\":\"\\u001bx\","
        "\"dynamic_uj\":1}]}";
    const char *const texts[] = {text};
    char *page = render(texts, 1);

    (void)state;
    assert_null(strchr(page, '\033'));
    assert_null(strchr(page, '\177'));
    assert_non_null(strstr(page, "a?[2Jb"));
    free(page);
}

static void aligns_by_characters(void **state)
{
    struct cb_table *table = cb_table_new(2);
    char *page = NULL;
    size_t size;
    FILE *out = open_memstream(&page, &size);

    (void)state;
    cb_table_row(table, "a");
    cb_table_set(table, 0, "%s", "\xc3\xa9\xc3\xa9");
    cb_table_set(table, 1, "x");
    cb_table_row(table, "long");
    cb_table_set(table, 1, "%d", 100);
    cb_table_row(table, "%s", "");
    assert_int_equal(cb_table_print(table, out), 0);
    (void)fclose(out);
    assert_string_equal(page, "a     \xc3\xa9\xc3\xa9    x\nlong      100\n\n");
    free(page);
    table = cb_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_recap),
        cmocka_unit_test(refuses_what_does_not_sum_or_is_no_recap),
        cmocka_unit_test(texts_that_are_not_known_may_be_null),
        cmocka_unit_test(reads_one_recap_or_many),
        cmocka_unit_test(shows_one_recap),
        cmocka_unit_test(shows_recaps_side_by_side),
        cmocka_unit_test(no_line_hides_an_estimate),
        cmocka_unit_test(says_what_is_not_covered),
        cmocka_unit_test(never_adds_nested_domains),
        cmocka_unit_test(names_the_greatest_others_and_sums_the_rest),
        cmocka_unit_test(other_containers_without_a_name_go_by_their_id),
        cmocka_unit_test(no_text_steers_the_terminal),
        cmocka_unit_test(aligns_by_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
