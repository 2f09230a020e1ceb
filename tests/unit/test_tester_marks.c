/* SPDX-License-Identifier: Apache-2.0 */
/* test_tester_marks.c - tester/logstream.c and tester/marks.c: from Docker's bytes to phases. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "tester/logstream.h"
#include "tester/marks.h"

/* What came out of a stream: "o:text" and "e:text", and the marks found in it. */
struct sunk {
    char text[CB_LOGSTREAM_KINDS][256];
    size_t size[CB_LOGSTREAM_KINDS];
    struct cb_marks marks;
    uint64_t now_ns;
};

static void sink(void *arg, enum cb_logstream_kind kind, const uint8_t *bytes, size_t size)
{
    struct sunk *sunk = arg;

    assert_true(size > 0);
    assert_true(sunk->size[kind] + size < sizeof(sunk->text[kind]));
    memcpy(sunk->text[kind] + sunk->size[kind], bytes, size);
    sunk->size[kind] += size;
    cb_marks_feed(&sunk->marks, kind, bytes, size, sunk->now_ns);
}

/* Two pieces of stdout around one of stderr. */
static const uint8_t wire[] = {1, 0, 0, 0, 0, 0,   0,   5,   'a', '\n', '-', '-',  '+', 2,   0,   0,
                               0, 0, 0, 0, 7, '+', '+', '-', '-', ' ',  'x', '\n', 1,   0,   0,   0,
                               0, 0, 0, 0, 1, 0,   0,   0,   0,   0,    0,   3,    '+', 'w', '\n'};

static void takes_the_stream_apart_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t cut = 1; cut <= sizeof(wire); cut++) {
        struct sunk sunk = {0};
        struct cb_logstream stream;

        cb_logstream_init(&stream, false, sink, &sunk);
        for (size_t at = 0; at < sizeof(wire); at += cut) {
            size_t n = at + cut < sizeof(wire) ? cut : sizeof(wire) - at;

            sunk.now_ns = at + n;
            assert_int_equal(cb_logstream_feed(&stream, wire + at, n, NULL), 0);
        }
        assert_true(cb_logstream_is_whole(&stream));
        assert_string_equal(sunk.text[CB_LOGSTREAM_STDOUT], "a\n--++w\n");
        assert_string_equal(sunk.text[CB_LOGSTREAM_STDERR], "++-- x\n");
        assert_true(sunk.marks.has_warmup);
        assert_true(sunk.marks.has_execution);
        if (cut == 1) {
            assert_int_equal(sunk.marks.execution_ns, 25); /* when its 4th character came */
            assert_int_equal(sunk.marks.warmup_ns, 45);
        }
    }
}

static void knows_a_stream_that_was_broken_off(void **state)
{
    struct sunk sunk = {0};
    struct cb_logstream stream;

    (void)state;
    cb_logstream_init(&stream, false, sink, &sunk);
    assert_true(cb_logstream_is_whole(&stream));
    assert_int_equal(cb_logstream_feed(&stream, wire, 3, NULL), 0);
    assert_false(cb_logstream_is_whole(&stream));
    assert_int_equal(cb_logstream_feed(&stream, wire + 3, 7, NULL), 0);
    assert_false(cb_logstream_is_whole(&stream));
    assert_int_equal(cb_logstream_feed(&stream, wire + 10, 3, NULL), 0);
    assert_true(cb_logstream_is_whole(&stream));
}

static void refuses_another_format(void **state)
{
    static const uint8_t bad[][8] = {{4, 0, 0, 0, 0, 0, 0, 1},
                                     {1, 1, 0, 0, 0, 0, 0, 1},
                                     {1, 0, 0, 1, 0, 0, 0, 1},
                                     {'h', 'e', 'l', 'l', 'o', 0, 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sunk sunk = {0};
        struct cb_logstream stream;
        struct cb_err err = {0};

        cb_logstream_init(&stream, false, sink, &sunk);
        assert_int_equal(cb_logstream_feed(&stream, bad[i], 8, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "stream format"));
        assert_int_equal(sunk.size[0] + sunk.size[1], 0);
    }
}

static void a_message_of_the_engine_is_error_output(void **state)
{
    static const uint8_t engine[] = {3, 0, 0, 0, 0, 0, 0, 2, 'h', 'i'};
    struct sunk sunk = {0};
    struct cb_logstream stream;

    (void)state;
    cb_logstream_init(&stream, false, sink, &sunk);
    assert_int_equal(cb_logstream_feed(&stream, engine, sizeof(engine), NULL), 0);
    assert_string_equal(sunk.text[CB_LOGSTREAM_STDERR], "hi");
}

static void a_terminal_is_raw(void **state)
{
    struct sunk sunk = {.now_ns = 9};
    struct cb_logstream stream;

    (void)state;
    cb_logstream_init(&stream, true, sink, &sunk);
    assert_int_equal(cb_logstream_feed(&stream, (const uint8_t *)"x\r\n++--\r\n", 9, NULL), 0);
    assert_string_equal(sunk.text[CB_LOGSTREAM_STDOUT], "x\r\n++--\r\n");
    assert_int_equal(sunk.marks.execution_ns, 9);
    assert_true(cb_logstream_is_whole(&stream));
}

static struct cb_marks marks_of(const char *text)
{
    struct cb_marks marks = {0};

    for (size_t i = 0; text[i]; i++)
        cb_marks_feed(&marks, CB_LOGSTREAM_STDOUT, (const uint8_t *)text + i, 1, 100 + i);
    return marks;
}

static void a_mark_stands_at_the_start_of_a_line(void **state)
{
    static const char *const none[] = {"",         "a --++\n",    " ++--\n", "-\n-++\n",
                                       "--+\n+\n", "a++--\r--++", "---++",   "+++--"};

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct cb_marks marks = marks_of(none[i]);

        assert_false(marks.has_warmup);
        assert_false(marks.has_execution);
    }
    assert_true(marks_of("--++").has_warmup);
    assert_true(marks_of("--++begin of the warm-up\n").has_warmup);
    assert_true(marks_of("long line without end\n\n++--x").has_execution);
}

static void the_first_mark_of_each_kind_counts(void **state)
{
    struct cb_marks marks = marks_of("--++\n--++\n++--\n++--\n--++\n");

    (void)state;
    assert_int_equal(marks.warmup_ns, 103);
    assert_int_equal(marks.execution_ns, 113);
}

static void the_lines_of_the_two_outputs_do_not_mix(void **state)
{
    struct cb_marks marks = {0};

    (void)state;
    cb_marks_feed(&marks, CB_LOGSTREAM_STDOUT, (const uint8_t *)"--", 2, 1);
    cb_marks_feed(&marks, CB_LOGSTREAM_STDERR, (const uint8_t *)"++--", 4, 2);
    cb_marks_feed(&marks, CB_LOGSTREAM_STDOUT, (const uint8_t *)"++", 2, 3);
    assert_int_equal(marks.execution_ns, 2);
    assert_int_equal(marks.warmup_ns, 3);
}

static void marks_become_phases(void **state)
{
    static const struct {
        const char *text;
        bool has_warmup, has_execution, has_note;
        uint64_t warmup_ns, execution_ns;
    } table[] = {
        {"hello\n", false, false, false, 0, 0},      {"--++\n++--\n", true, true, false, 103, 108},
        {"++--\n", false, true, false, 0, 103},      {"--++\n", true, false, true, 103, 0},
        {"++--\n--++\n", false, true, true, 0, 103},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct cb_marks marks = marks_of(table[i].text);
        struct cb_marks_phases phases = cb_marks_phases(&marks, 90, 200);

        assert_int_equal(phases.has_warmup, table[i].has_warmup);
        assert_int_equal(phases.has_execution, table[i].has_execution);
        assert_int_equal(phases.warmup_ns, table[i].warmup_ns);
        assert_int_equal(phases.execution_ns, table[i].execution_ns);
        assert_int_equal(phases.note != NULL, table[i].has_note);
    }
}

static void phases_lie_within_begin_and_end(void **state)
{
    struct cb_marks marks = marks_of("--++\n++--\n");
    struct cb_marks_phases phases = cb_marks_phases(&marks, 90, 105);

    (void)state;
    assert_int_equal(phases.warmup_ns, 103);
    assert_int_equal(phases.execution_ns, 105);
    phases = cb_marks_phases(&marks, 106, 200);
    assert_int_equal(phases.warmup_ns, 106);
    assert_int_equal(phases.execution_ns, 108);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_stream_apart_however_it_is_cut),
        cmocka_unit_test(knows_a_stream_that_was_broken_off),
        cmocka_unit_test(refuses_another_format),
        cmocka_unit_test(a_message_of_the_engine_is_error_output),
        cmocka_unit_test(a_terminal_is_raw),
        cmocka_unit_test(a_mark_stands_at_the_start_of_a_line),
        cmocka_unit_test(the_first_mark_of_each_kind_counts),
        cmocka_unit_test(the_lines_of_the_two_outputs_do_not_mix),
        cmocka_unit_test(marks_become_phases),
        cmocka_unit_test(phases_lie_within_begin_and_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
