/* SPDX-License-Identifier: Apache-2.0 */
/* test_err.c - lib/err: one line, always terminated, in the caller's storage. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"

static void set_fills_code_and_text_and_returns_the_negative_code(void **state)
{
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(cb_err_set(&err, ENOENT, "no file '%s'", "x"), -ENOENT);
    assert_int_equal(err.code, ENOENT);
    assert_string_equal(err.text, "no file 'x'");
}

static void the_storage_is_optional(void **state)
{
    (void)state;
    assert_int_equal(cb_err_set(NULL, EIO, "text"), -EIO);
    assert_int_equal(cb_err_prefix(NULL, -EIO, "text"), -EIO);
}

static void a_prefix_goes_before_and_keeps_the_code(void **state)
{
    struct cb_err err = {0};

    (void)state;
    (void)cb_err_set(&err, EINVAL, "not a number");
    assert_int_equal(cb_err_prefix(&err, -EINVAL, "file %d", 7), -EINVAL);
    assert_string_equal(err.text, "file 7: not a number");
    assert_int_equal(err.code, EINVAL);
}

static void control_characters_of_outside_texts_become_blanks(void **state)
{
    struct cb_err err = {0};

    (void)state;
    (void)cb_err_set(&err, EINVAL, "a\nb\tc\x1b[31m\x7f d\xc3\xa9");
    assert_string_equal(err.text, "a b c [31m  d\xc3\xa9");
    (void)cb_err_prefix(&err, -EINVAL, "x\ny");
    assert_string_equal(err.text, "x y: a b c [31m  d\xc3\xa9");
}

static void a_long_text_is_cut_and_terminated(void **state)
{
    struct cb_err err = {0};
    char text[2 * CB_ERR_TEXT];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)cb_err_set(&err, EINVAL, "%s", text);
    assert_int_equal(strlen(err.text), CB_ERR_TEXT - 1);
    (void)cb_err_prefix(&err, -EINVAL, "before");
    assert_int_equal(strlen(err.text), CB_ERR_TEXT - 1);
    assert_int_equal(strncmp(err.text, "before: xxx", 11), 0);
    (void)cb_err_prefix(&err, -EINVAL, "%s", text);
    assert_int_equal(strlen(err.text), CB_ERR_TEXT - 1);
}

/* A cut inside a UTF-8 character would make a log line, and a JSON answer, that is none. */
static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    for (size_t pad = 0; pad < 4; pad++) {
        struct cb_err err = {0};
        char text[2 * CB_ERR_TEXT] = "";
        size_t n = pad;

        memset(text, 'x', pad);
        while (n + 3 < sizeof(text)) {
            memcpy(text + n, "\xe2\x82\xac", 3);
            n += 3;
        }
        text[n] = '\0';
        (void)cb_err_set(&err, EINVAL, "%s", text);
        assert_int_equal((strlen(err.text) - pad) % 3, 0);
        (void)cb_err_prefix(&err, -EINVAL, "p");
        assert_int_equal((strlen(err.text) - pad - 3) % 3, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_code_and_text_and_returns_the_negative_code),
        cmocka_unit_test(the_storage_is_optional),
        cmocka_unit_test(a_prefix_goes_before_and_keeps_the_code),
        cmocka_unit_test(control_characters_of_outside_texts_become_blanks),
        cmocka_unit_test(a_long_text_is_cut_and_terminated),
        cmocka_unit_test(a_cut_never_splits_a_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
