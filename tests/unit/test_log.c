/* SPDX-License-Identifier: Apache-2.0 */
/* test_log.c - lib/log: one line per event, as text or as JSON, through one write. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/log.h"

static int log_fd = -1;
static int stderr_fd = -1;

/* stderr goes to a file meanwhile; cmocka's own output must not. */
static int setup(void **state)
{
    char name[] = "/tmp/cb-test-log-XXXXXX";

    (void)state;
    log_fd = mkostemp(name, O_CLOEXEC);
    stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    (void)unlink(name);
    return log_fd < 0 || stderr_fd < 0 || dup2(log_fd, STDERR_FILENO) < 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)dup2(stderr_fd, STDERR_FILENO);
    (void)close(stderr_fd);
    (void)close(log_fd);
    cb_log_init("cbwatts", CB_LOG_INFO, false);
    return 0;
}

/* What was logged since the last call. */
static const char *logged(void)
{
    static char text[1 << 20];
    ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);

    assert_true(n >= 0);
    text[n] = '\0';
    assert_int_equal(ftruncate(log_fd, 0), 0);
    assert_int_equal(lseek(log_fd, 0, SEEK_SET), 0);
    return text;
}

static void a_line_has_time_program_level_and_text(void **state)
{
    const char *line;

    (void)state;
    cb_log_init("cbtest", CB_LOG_DEBUG, false);
    cb_log_info("started %d", 7);
    line = logged();
    assert_int_equal(strspn(line, "0123456789-T:.Z"), 24);
    assert_string_equal(line + 24, " cbtest: started 7\n");
    cb_log_err("bad");
    assert_string_equal(logged() + 24, " cbtest: error: bad\n");
    cb_log_warn("odd");
    assert_string_equal(logged() + 24, " cbtest: warning: odd\n");
    cb_log_debug("fine");
    assert_string_equal(logged() + 24, " cbtest: fine\n");
}

static void levels_above_the_one_in_force_are_silent(void **state)
{
    struct cb_log_limit limit = {0};

    (void)state;
    cb_log_init("cbtest", CB_LOG_WARN, false);
    cb_log_info("no");
    cb_log_debug("no");
    cb_log_limited(&limit, 0, CB_LOG_INFO, "no");
    assert_string_equal(logged(), "");
    cb_log_warn("yes");
    assert_string_not_equal(logged(), "");
}

static void errno_is_kept(void **state)
{
    (void)state;
    errno = ENOTTY;
    cb_log_err("text");
    assert_int_equal(errno, ENOTTY);
    assert_string_not_equal(logged(), "");
}

static void an_event_is_one_line_whatever_it_quotes(void **state)
{
    (void)state;
    cb_log_init("cbtest", CB_LOG_INFO, false);
    cb_log_info("a\nb\r\x1b[0m %s", "c\xff");
    assert_string_equal(logged() + 24, " cbtest: a b  [0m c?\n");
}

static void json_lines_are_json_whatever_they_quote(void **state)
{
    static const char *const texts[] = {
        "plain", "\"quoted\" \\back\\", "a\nb\tc", "\xff\xfe", "\xe2\x82\xac", "%s %n", "\\", "\""};

    (void)state;
    cb_log_init("cbtest", CB_LOG_INFO, true);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *line;
        json_t *json;
        json_error_t error;

        cb_log_warn("%s", texts[i]);
        line = logged();
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        json = json_loads(line, JSON_REJECT_DUPLICATES, &error);
        assert_non_null(json);
        assert_int_equal(json_object_size(json), 4);
        assert_string_equal(json_string_value(json_object_get(json, "program")), "cbtest");
        assert_string_equal(json_string_value(json_object_get(json, "level")), "warn");
        if (i < 2)
            assert_string_equal(json_string_value(json_object_get(json, "text")), texts[i]);
        json_decref(json);
    }
}

static void a_long_event_is_cut_and_still_a_line(void **state)
{
    static const char *const fills[] = {"x", "\"", "\xe2\x82\xac"};
    const bool forms[] = {false, true};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        const char *fill = fills[i / 2];
        char text[6000] = "";
        const char *line;

        for (size_t n = 0; n + strlen(fill) < sizeof(text); n += strlen(fill))
            memcpy(text + n, fill, strlen(fill));
        cb_log_init("cbtest", CB_LOG_INFO, forms[i % 2]);
        cb_log_info("%s", text);
        line = logged();
        assert_true(strlen(line) > 500 && strlen(line) < 2100);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        if (forms[i % 2]) {
            json_t *json = json_loads(line, 0, NULL);

            assert_non_null(json);
            json_decref(json);
        }
    }
}

static void repeats_are_held_back_and_counted(void **state)
{
    struct cb_log_limit limit = {0};

    (void)state;
    cb_log_init("cbtest", CB_LOG_INFO, false);
    for (int i = 0; i < 5; i++)
        cb_log_limited(&limit, UINT64_C(60000000000), CB_LOG_ERR, "disk %d", i);
    assert_string_equal(logged() + 24, " cbtest: error: disk 0\n");
    limit.next_ns = 0; /* the minute is over */
    cb_log_limited(&limit, 0, CB_LOG_ERR, "disk again");
    assert_string_equal(logged() + 24, " cbtest: error: disk again (4 more like it)\n");
    cb_log_limited(&limit, 0, CB_LOG_ERR, "disk again");
    assert_string_equal(logged() + 24, " cbtest: error: disk again\n");
}

static void *shout(void *context)
{
    for (int i = 0; i < 200; i++)
        cb_log_info("%s", (const char *)context);
    return NULL;
}

static void lines_of_two_threads_do_not_mix(void **state)
{
    pthread_t threads[2];
    char texts[2][200];
    const char *line;
    int n = 0;

    (void)state;
    cb_log_init("cbtest", CB_LOG_INFO, false);
    /* O_APPEND makes each write go to the end */
    assert_int_equal(fcntl(log_fd, F_SETFL, O_APPEND), 0);
    for (int i = 0; i < 2; i++) {
        memset(texts[i], 'a' + i, sizeof(texts[i]) - 1);
        texts[i][sizeof(texts[i]) - 1] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, shout, texts[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (line = logged(); *line; line = strchr(line, '\n') + 1, n++) {
        assert_int_equal(strncmp(line + 24, " cbtest: ", 9), 0);
        assert_true(strspn(line + 33, "a") == 199 || strspn(line + 33, "b") == 199);
    }
    assert_int_equal(n, 400);
}

static void levels_have_names(void **state)
{
    enum cb_log_level level = CB_LOG_DEBUG;

    (void)state;
    assert_int_equal(cb_log_level_parse("warn", &level), 0);
    assert_int_equal(level, CB_LOG_WARN);
    assert_int_equal(cb_log_level_parse("warning", &level), -EINVAL);
    assert_int_equal(cb_log_level_parse("", &level), -EINVAL);
    assert_int_equal(level, CB_LOG_WARN);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_program_level_and_text),
        TEST(levels_above_the_one_in_force_are_silent),
        TEST(errno_is_kept),
        TEST(an_event_is_one_line_whatever_it_quotes),
        TEST(json_lines_are_json_whatever_they_quote),
        TEST(a_long_event_is_cut_and_still_a_line),
        TEST(repeats_are_held_back_and_counted),
        TEST(lines_of_two_threads_do_not_mix),
        cmocka_unit_test(levels_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
