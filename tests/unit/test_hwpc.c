/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc.c - lib/hwpc.c and its readers: PowerAPI's reports, old and new. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "lib/hwpc.h"
#include "lib/hwpc_metadata.h"

#define REPORT                                                                                     \
    "{\"timestamp\":1000,\"sensor\":\"s\",\"target\":\"all\",\"groups\":{\"rapl\":{\"0\":{\"7\":"  \
    "{\"RAPL_ENERGY_PKG\":123,\"time_enabled\":5}}}}}"

static int parse(const char *text, struct cb_hwpc_report **report, struct cb_err *err)
{
    size_t used;

    return cb_hwpc_parse(text, strlen(text), report, &used, err);
}

static void reads_a_report(void **state)
{
    struct cb_hwpc_report *report = NULL;

    (void)state;
    assert_int_equal(parse(REPORT, &report, NULL), 0);
    assert_int_equal(report->timestamp_ms, 1000);
    assert_string_equal(report->sensor, "s");
    assert_string_equal(report->target, "all");
    assert_int_equal(report->n_counts, 2);
    assert_string_equal(report->counts[0].group, "rapl");
    assert_string_equal(report->counts[0].socket, "0");
    assert_string_equal(report->counts[0].cpu, "7");
    assert_string_equal(report->counts[0].event, "RAPL_ENERGY_PKG");
    assert_true(report->counts[0].value == 123);
    report = cb_hwpc_report_free(report);
}

static void reads_every_form_of_time(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } times[] = {
        {"1610531482630", 1610531482630},
        {"2021-01-13T09:51:22.630", 1610531482630},
        {"2021-01-13T09:51:22.630Z", 1610531482630},
        {"2021-01-13T10:51:22.630+01:00", 1610531482630},
        {"2021-01-13 07:21:22.63-0230", 1610531482630},
        {"2021-01-13T09:51:22.6309999", 1610531482630},
        {"2021-01-13T09:51:22", 1610531482000},
        {"1970-01-01T00:00:00", 0},
        {"2000-02-29T12:00:00", 951825600000},
        {"2100-03-01T00:00:00", 4107542400000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        int64_t ms = -1;

        assert_int_equal(cb_hwpc_parse_time(times[i].text, &ms), 0);
        assert_int_equal(ms, times[i].ms);
    }
}

static void refuses_what_is_no_time(void **state)
{
    static const char *const times[] = {
        "",
        "-1",
        "yesterday",
        "2021-13-01T00:00:00",
        "2021-01-13",
        "2021-01-13T09:51",
        "2021-01-13T09:51:22.",
        "2021-01-13T09:51:22x",
        "1969-12-31T23:59:59",
        "99999999999999999999",
        "1970-01-01T00:00:00+01:00",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        int64_t ms = -1;

        assert_true(cb_hwpc_parse_time(times[i], &ms) < 0);
    }
}

static void takes_doubles_and_mongodbs_numbers(void **state)
{
    struct cb_hwpc_report *report = NULL;

    (void)state;
    assert_int_equal(
        parse("{\"_id\":\"x\",\"timestamp\":{\"$date\":\"2021-01-13T09:51:22.630Z\"},\"sensor\":"
              "\"s\",\"target\":\"t\",\"metadata\":{\"a\":1},\"groups\":{\"core\":{\"0\":{\"1\":"
              "{\"A\":8.75e+10,\"B\":{\"$numberLong\":\"18446744073709551615\"}}}}}}",
              &report, NULL),
        0);
    assert_int_equal(report->timestamp_ms, 1610531482630);
    assert_true(report->counts[0].value == 8.75e10);
    assert_true(report->counts[1].value == 18446744073709551616.0);
    report = cb_hwpc_report_free(report);
}

static char *metadata_text(const char *metadata)
{
    static const char *const without[] = {"own", "x"};
    struct cb_hwpc_report *report = NULL;
    char text[256], *members = NULL;

    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":1,\"sensor\":\"s\",\"target\":\"t\",\"groups\":{},"
                   "\"metadata\":%s}",
                   metadata);
    assert_int_equal(parse(text, &report, NULL), 0);
    if (report->metadata)
        assert_int_equal(cb_hwpc_metadata_text(report->metadata, without, 2, &members, NULL), 0);
    report = cb_hwpc_report_free(report);
    return members;
}

static void metadata_is_told_but_what_is_not_wanted(void **state)
{
    static const struct {
        const char *metadata, *text; /* NULL: there is none */
    } cases[] = {
        {"{}", ""},
        {"{\"own\":1,\"x\":{}}", ""},
        {"{\"own\":1,\"a\":12,\"b\":{\"own\":[1.5,-2,null,true,{}]}}",
         ",\"a\":12,\"b\":{\"own\":[1.5,-2,null,true,{}]}"},
        {"{\"\\\"\\u00e9\":\"\\n\"}", ",\"\\\"\u00e9\":\"\\n\""},
        {"{\"a\":-1e30,\"b\":1e30}", ",\"a\":-1e30,\"b\":1e30"},
        {"null", NULL},
        {"[1]", NULL},
        {"\"text\"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cb_auto_free char *text = metadata_text(cases[i].metadata);

        if (cases[i].text)
            assert_string_equal(text, cases[i].text);
        else
            assert_null(text);
    }
}

static void refuses_what_is_no_report(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "malformed"},
        {"{", "malformed"},
        {"[]", "JSON object"},
        {"{}", "timestamp"},
        {"{\"timestamp\":-5,\"sensor\":\"s\",\"target\":\"t\",\"groups\":{}}", "timestamp"},
        {"{\"timestamp\":5,\"sensor\":\"\",\"target\":\"t\",\"groups\":{}}", "sensor"},
        {"{\"timestamp\":5,\"sensor\":\"s\",\"target\":7,\"groups\":{}}", "target"},
        {"{\"timestamp\":5,\"sensor\":\"s\",\"target\":\"t\"}", "groups"},
        {"{\"timestamp\":5,\"sensor\":\"s\",\"target\":\"t\",\"groups\":{\"g\":1}}", "'g'"},
        {"{\"timestamp\":5,\"sensor\":\"s\",\"target\":\"t\",\"groups\":{\"g\":{\"0\":{\"1\":{"
         "\"E\":-1}}}}}",
         "negative"},
        {"{\"timestamp\":5,\"sensor\":\"s\",\"target\":\"t\",\"groups\":{\"g\":{\"0\":{\"1\":{"
         "\"E\":\"x\"}}}}}",
         "no number"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_hwpc_report *report = NULL;
        struct cb_err err = {0};

        assert_int_equal(parse(bad[i].text, &report, &err), -EBADMSG);
        assert_null(report);
        assert_non_null(strstr(err.text, bad[i].says));
    }
}

/* Read everything; returns how many reports there were before the end or the error. */
static size_t read_all(const char *text, bool skip_bad, uint64_t *skipped, struct cb_err *err)
{
    FILE *file = tmpfile();
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    size_t n = 0;

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    rewind(file);
    assert_int_equal(cb_hwpc_reader_json(file, "f", skip_bad, &reader, NULL), 0);
    while (cb_hwpc_reader_next(reader, &report, err) == 0 && report) {
        report = cb_hwpc_report_free(report);
        n++;
    }
    *skipped = cb_hwpc_reader_skipped(reader);
    reader = cb_hwpc_reader_free(reader);
    (void)fclose(file);
    return n;
}

static void reads_lines_streams_and_whole_documents(void **state)
{
    struct cb_err err = {0};
    uint64_t skipped;

    (void)state;
    assert_int_equal(read_all(REPORT "\n\n" REPORT "\r\n" REPORT, false, &skipped, &err), 3);
    assert_int_equal(read_all(REPORT REPORT " " REPORT "\n", false, &skipped, &err), 3);
    assert_int_equal(read_all("[" REPORT "," REPORT "]", false, &skipped, &err), 2);
    assert_int_equal(
        read_all("{\"reports\": [\n" REPORT ",\n" REPORT "\n]}\n", false, &skipped, &err), 2);
    assert_int_equal(read_all("", false, &skipped, &err), 0);
    assert_int_equal(err.code, 0);
}

static void says_in_which_line_it_stopped(void **state)
{
    struct cb_err err = {0};
    uint64_t skipped;

    (void)state;
    assert_int_equal(
        read_all(REPORT "\n" REPORT "\n{\"timestamp\":\n" REPORT, false, &skipped, &err), 2);
    assert_non_null(strstr(err.text, "f:3: "));
    err = (struct cb_err){0};
    assert_int_equal(read_all("nonsense\n" REPORT, false, &skipped, &err), 0);
    assert_non_null(strstr(err.text, "f:1: "));
}

static void skips_what_is_bad_when_asked(void **state)
{
    struct cb_err err = {0};
    uint64_t skipped;

    (void)state;
    assert_int_equal(
        read_all("x\n" REPORT "\n{\"timestamp\":\n{}\n" REPORT "\n", true, &skipped, &err), 2);
    assert_int_equal(skipped, 3);
}

#define PRETTY                                                                                     \
    "{\n  \"timestamp\" : 1000, \"sensor\" : \"a}]\\\"\",\n  \"target\" : \"all\",\n"              \
    "  \"groups\" :\n  {\n    \"rapl\" : { \"0\" : { \"7\" : { \"E\" : 1 } } }\n  }\n}"
#define NO_REPORT "{\"timestamp\":1000}"
#define NO_JSON "{\"timestamp\":1000,}"
#define NO_END "{\"timestamp\":1000,\"groups\":{"
#define NO_QUOTE "{\"timestamp\":1000,\"sensor\":\"s}"

/* What each form of a file gives: reports, and what is skipped or, without skipping, said. */
static void reads_every_document_with_its_line(void **state)
{
    static const struct {
        const char *text;
        size_t reports;
        uint64_t skipped;
        size_t before;    /* the first that is bad */
        const char *says; /* NULL: nothing is bad */
    } files[] = {
        {"\xef\xbb\xbf" REPORT "\n", 1, 0, 1, NULL},
        {"\xef\xbb\xbf[" REPORT "]", 1, 0, 1, NULL},
        {PRETTY "\n" PRETTY PRETTY "\n" REPORT, 4, 0, 4, NULL},
        {"[" PRETTY ",\n" PRETTY "]\n[" REPORT "]\n[ ]", 3, 0, 3, NULL},
        {"{\"version\":[1],\n\"reports\" :\n[" REPORT "],\"n\":{\"a\":[]}}\n", 1, 0, 1, NULL},
        {"{\"reports\":[]}" REPORT, 1, 0, 1, NULL},
        {"[" REPORT ",\n" REPORT ",\n" NO_REPORT ",\n" REPORT "]", 3, 1, 2, "f:3: 'sensor'"},
        {"[\n" REPORT ",\n\n" NO_JSON ",\n" REPORT "\n]", 2, 1, 1, "f:4: malformed JSON"},
        {"[\n" REPORT ",\n" NO_END ",\n" NO_QUOTE ",\n" REPORT "\n]", 2, 2, 1, "f:3: malformed"},
        {"[" REPORT ",5,\"x,\",null," REPORT "]", 2, 3, 1, "f:1: a report is a JSON object"},
        {"[" REPORT ",nonsense," REPORT "]", 2, 1, 1, "f:1: malformed JSON"},
        {"[" PRETTY ",\n" NO_END "\n,\n" PRETTY "]", 2, 1, 1, "f:10: malformed JSON"},
        {PRETTY "\n{\n  \"sensor\" : nonsense\n}\n" PRETTY, 2, 1, 1, "f:10: malformed JSON"},
        {REPORT NO_JSON REPORT "\n" REPORT, 3, 1, 1, "f:1: malformed JSON"},
        {REPORT "\n" NO_QUOTE "\n" REPORT "\n" NO_END "\n" NO_END, 2, 3, 1, "f:2: malformed"},
        {"[" REPORT "\n" REPORT "]", 2, 0, 1, "f:2: malformed JSON: no comma"},
        {"[" REPORT ",\n]", 1, 0, 1, "f:2: malformed JSON: a comma"},
        {"[" REPORT ",\n" REPORT, 2, 0, 2, "f:2: malformed JSON: the array"},
        {"{\"reports\":[" REPORT "]\n", 1, 0, 1, "f:1: malformed JSON: the object"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct cb_err err = {0};
        uint64_t skipped;

        assert_int_equal(read_all(files[i].text, true, &skipped, &err), files[i].reports);
        assert_int_equal(skipped, files[i].skipped);
        assert_int_equal(err.code, 0);
        assert_int_equal(read_all(files[i].text, false, &skipped, &err), files[i].before);
        assert_true(files[i].says ? strstr(err.text, files[i].says) != NULL : err.code == 0);
    }
}

/* The targets of the reports in @text, which are letters, as they come by time. */
static void assert_order(const char *text, const char *targets)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;

    assert_non_null(file);
    assert_int_equal(cb_hwpc_reader_json(file, "f", false, &reader, NULL), 0);
    cb_hwpc_reader_by_time(reader);
    for (; *targets; targets++) {
        assert_int_equal(cb_hwpc_reader_next(reader, &report, NULL), 0);
        assert_non_null(report);
        assert_int_equal(report->target[0], *targets);
        report = cb_hwpc_report_free(report);
    }
    assert_int_equal(cb_hwpc_reader_next(reader, &report, NULL), 0);
    assert_null(report);
    reader = cb_hwpc_reader_free(reader);
    (void)fclose(file);
}

#define AT(ms, target)                                                                             \
    "{\"timestamp\":" #ms ",\"sensor\":\"s\",\"target\":\"" target "\",\"groups\":{}}"

static void an_array_comes_by_time_and_lines_as_they_are(void **state)
{
    (void)state;
    assert_order("[" AT(3, "a") "," AT(2, "b") "," AT(3, "c") "," AT(1, "d") "," AT(2, "e") "]",
                 "dbeac");
    assert_order("{\"reports\":[" AT(3, "a") "," AT(2, "b") "]}", "ba");
    assert_order(AT(3, "a") "\n" AT(2, "b") "\n" AT(3, "c") "\n", "abc");
    assert_order("[" AT(3, "a") "]", "a");
    assert_order("[" AT(3, "a") "," AT(2, "b") "]\n[" AT(1, "c") "]", "cba");
    assert_order("[" AT(3, "a") "," AT(2, "b") "]\n" AT(1, "c") "\n" AT(0, "d"), "bacd");
    assert_order("[" AT(3, "a") "]\n" AT(2, "b") "\n[" AT(1, "c") "," AT(0, "d") "]", "abcd");
    assert_order("[]", "");
    assert_order("", "");
}

/* Lines of a pipe that began with an array come as they are written. */
static void lines_after_an_array_are_not_waited_for(void **state)
{
    static const char begin[] = "[" AT(3, "a") "," AT(2, "b") "]\n" AT(1, "c") "\n";
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    FILE *file;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0); /* waiting is an error */
    assert_int_equal(write(ends[1], begin, strlen(begin)), strlen(begin));
    file = fdopen(ends[0], "r");
    assert_non_null(file);
    assert_int_equal(cb_hwpc_reader_json(file, "f", false, &reader, NULL), 0);
    cb_hwpc_reader_by_time(reader);
    for (const char *target = "bac"; *target; target++) {
        assert_int_equal(cb_hwpc_reader_next(reader, &report, NULL), 0);
        assert_int_equal(report->target[0], *target);
        report = cb_hwpc_report_free(report);
    }
    (void)close(ends[1]);
    reader = cb_hwpc_reader_free(reader);
    (void)fclose(file);
}

static void an_array_that_is_bad_gives_nothing_by_time(void **state)
{
    static const char text[] = "[" AT(3, "a") "," AT(2, "b") "\n,nonsense]";
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    struct cb_err err = {0};

    (void)state;
    assert_non_null(file);
    assert_int_equal(cb_hwpc_reader_json(file, "f", false, &reader, NULL), 0);
    cb_hwpc_reader_by_time(reader);
    assert_int_equal(cb_hwpc_reader_next(reader, &report, &err), -EBADMSG);
    assert_null(report);
    assert_non_null(strstr(err.text, "f:2: "));
    reader = cb_hwpc_reader_free(reader);
    (void)fclose(file);
}

static void writes_what_it_read(void **state)
{
    struct cb_hwpc_report *report = NULL;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_int_equal(parse(REPORT, &report, NULL), 0);
    assert_int_equal(cb_hwpc_write(out, report, NULL), 0);
    (void)fclose(out);
    assert_string_equal(text, REPORT "\n");
    free(text);
    report = cb_hwpc_report_free(report);
}

/* --- CSV --- */

static void put(const char *directory, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    (void)fclose(file);
}

static void drop(const char *directory, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(unlink(path), 0);
}

static void joins_the_files_of_a_directory_by_time_and_target(void **state)
{
    char directory[] = "/tmp/cbw-hwpc-XXXXXX";
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *first = NULL, *second = NULL, *none = NULL;

    (void)state;
    assert_non_null(mkdtemp(directory));
    put(directory, "rapl.csv",
        "timestamp,sensor,target,socket,cpu,RAPL_ENERGY_PKG\n2000,s,all,0,1,20\n1000,s,all,0,1,"
        "10\n");
    put(directory, "core.csv",
        "timestamp,sensor,target,socket,cpu,A,B\r\n1000,s,all,0,1,1,2\r\n1000,s,all,0,2,3,4\r\n");
    assert_int_equal(cb_hwpc_reader_csv(directory, false, false, &reader, NULL), 0);
    assert_int_equal(cb_hwpc_reader_next(reader, &first, NULL), 0);
    assert_int_equal(cb_hwpc_reader_next(reader, &second, NULL), 0);
    assert_int_equal(cb_hwpc_reader_next(reader, &none, NULL), 0);
    assert_null(none);
    reader = cb_hwpc_reader_free(reader); /* the reports live on */
    assert_int_equal(first->timestamp_ms, 1000);
    assert_int_equal(first->n_counts, 5);
    assert_string_equal(first->counts[0].group, "core");
    assert_string_equal(first->counts[3].event, "B");
    assert_true(first->counts[3].value == 4);
    assert_int_equal(second->timestamp_ms, 2000);
    assert_int_equal(second->n_counts, 1);
    first = cb_hwpc_report_free(first);
    second = cb_hwpc_report_free(second);
    drop(directory, "rapl.csv");
    drop(directory, "core.csv");
    assert_int_equal(rmdir(directory), 0);
}

static void names_the_row_that_is_no_csv(void **state)
{
    char directory[] = "/tmp/cbw-hwpc-XXXXXX";
    struct cb_hwpc_reader *reader = NULL;
    struct cb_err err = {0};

    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(cb_hwpc_reader_csv(directory, false, false, &reader, &err), -ENOENT);
    put(directory, "core.csv", "timestamp,sensor,target,socket,cpu,A\n1,s,t,0,0,1\n1,s,t,0,1,\n");
    assert_int_equal(cb_hwpc_reader_csv(directory, false, false, &reader, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "core.csv:3: "));
    assert_int_equal(cb_hwpc_reader_csv(directory, true, false, &reader, &err), 0);
    assert_int_equal(cb_hwpc_reader_skipped(reader), 1);
    reader = cb_hwpc_reader_free(reader);
    put(directory, "core.csv", "timestamp,sensor,socket,cpu,A\n");
    assert_int_equal(cb_hwpc_reader_csv(directory, false, false, &reader, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "target"));
    drop(directory, "core.csv");
    assert_int_equal(rmdir(directory), 0);
}

/* The values of the reports of @directory, in order. */
static size_t values_of(const char *directory, bool last_wins, double values[8],
                        uint64_t *ret_duplicates)
{
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    size_t n = 0;

    assert_int_equal(cb_hwpc_reader_csv(directory, false, last_wins, &reader, NULL), 0);
    for (;;) {
        assert_int_equal(cb_hwpc_reader_next(reader, &report, NULL), 0);
        if (!report)
            break;
        for (size_t i = 0; i < report->n_counts && n < 8; i++)
            values[n++] = report->counts[i].value;
        report = cb_hwpc_report_free(report);
    }
    *ret_duplicates = cb_hwpc_reader_duplicates(reader);
    reader = cb_hwpc_reader_free(reader);
    return n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void a_row_that_comes_twice_counts_once(void **state)
{
    static const double kept[] = {1, 2, 3, 6}, last[] = {2, 3, 4, 6};
    char directory[] = "/tmp/cbw-hwpc-XXXXXX";
    double values[8] = {0};
    uint64_t duplicates;

    (void)state;
    assert_non_null(mkdtemp(directory));
    put(directory, "core.csv",
        "timestamp,sensor,target,socket,cpu,A\n"
        "1000,s,t,0,0,1\n1000,s,t,0,1,2\n1000,s,t,1,0,3\n" /* two CPUs, and another socket's 0 */
        "1000,s,t,0,0,4\n");
    put(directory, "more.csv", "timestamp,sensor,target,socket,cpu,A\n1000,s,t,0,0,6\n");
    assert_int_equal(values_of(directory, false, values, &duplicates), 4);
    assert_int_equal(duplicates, 1);
    assert_memory_equal(values, kept, sizeof(kept));
    assert_int_equal(values_of(directory, true, values, &duplicates), 4);
    assert_int_equal(duplicates, 1);
    qsort(values, 4, sizeof(*values), by_value);
    assert_memory_equal(values, last, sizeof(last));
    drop(directory, "core.csv");
    drop(directory, "more.csv");
    assert_int_equal(rmdir(directory), 0);
}

static void a_row_that_is_not_utf8_is_bad(void **state)
{
    char directory[] = "/tmp/cbw-hwpc-XXXXXX";
    double values[8];
    uint64_t duplicates;
    struct cb_hwpc_reader *reader = NULL;
    struct cb_err err = {0};

    (void)state;
    assert_non_null(mkdtemp(directory));
    put(directory, "core.csv", "timestamp,sensor,target,socket,cpu,A\n1000,s,\xff,0,0,1\n");
    assert_int_equal(cb_hwpc_reader_csv(directory, false, false, &reader, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "core.csv:2: "));
    put(directory, "core.csv", "");
    assert_int_equal(values_of(directory, false, values, &duplicates), 0);
    drop(directory, "core.csv");
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_report),
        cmocka_unit_test(reads_every_form_of_time),
        cmocka_unit_test(refuses_what_is_no_time),
        cmocka_unit_test(takes_doubles_and_mongodbs_numbers),
        cmocka_unit_test(metadata_is_told_but_what_is_not_wanted),
        cmocka_unit_test(refuses_what_is_no_report),
        cmocka_unit_test(reads_lines_streams_and_whole_documents),
        cmocka_unit_test(says_in_which_line_it_stopped),
        cmocka_unit_test(skips_what_is_bad_when_asked),
        cmocka_unit_test(reads_every_document_with_its_line),
        cmocka_unit_test(an_array_comes_by_time_and_lines_as_they_are),
        cmocka_unit_test(lines_after_an_array_are_not_waited_for),
        cmocka_unit_test(an_array_that_is_bad_gives_nothing_by_time),
        cmocka_unit_test(writes_what_it_read),
        cmocka_unit_test(joins_the_files_of_a_directory_by_time_and_target),
        cmocka_unit_test(names_the_row_that_is_no_csv),
        cmocka_unit_test(a_row_that_comes_twice_counts_once),
        cmocka_unit_test(a_row_that_is_not_utf8_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
