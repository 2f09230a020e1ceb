/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "formula/line.h"

static void assert_lines(struct cb_batch *batch, const char *want, uint64_t rows)
{
    cb_batch_add(batch, "", 1);
    assert_false(batch->failed);
    assert_string_equal(batch->bytes, want);
    assert_int_equal(batch->rows, rows);
    cb_batch_clear(batch);
}

static void a_line_has_its_tags_fields_and_time(void **state)
{
    struct cb_batch batch = {0};
    struct cb_line line;

    (void)state;
    cb_line_begin(&line, &batch, "m");
    cb_line_tag(&line, "a", "x");
    cb_line_tag_number(&line, "socket", 1);
    cb_line_integer(&line, "n", 7);
    cb_line_double(&line, "w", 0.5);
    cb_line_text(&line, "t", "say \"a\\b\"");
    cb_line_end(&line, -5);
    assert_lines(&batch, "m,a=x,socket=1 n=7i,w=0.5,t=\"say \\\"a\\\\b\\\"\" -5\n", 1);
}

static void a_tag_keeps_its_text_but_for_what_cannot_be_said(void **state)
{
    struct cb_batch batch = {0};
    struct cb_line line;

    (void)state;
    cb_line_begin(&line, &batch, "m");
    cb_line_tag(&line, "a", "b c,d=e");
    cb_line_tag(&line, "b", "two\nlines\t");
    cb_line_tag(&line, "c", "a\\b\\");
    cb_line_tag(&line, "d", "");
    cb_line_tag(&line, "e", "gr\xc3\xbc\xc3\x9f");
    cb_line_integer(&line, "n", 1);
    cb_line_end(&line, 0);
    assert_lines(&batch, "m,a=b\\ c\\,d\\=e,b=two_lines_,c=a\\b_,e=gr\xc3\xbc\xc3\x9f n=1i 0\n", 1);
}

static void what_is_no_number_is_left_out_and_a_line_without_fields_too(void **state)
{
    struct cb_batch batch = {0};
    struct cb_line line;

    (void)state;
    cb_line_begin(&line, &batch, "m");
    cb_line_double(&line, "w", NAN);
    cb_line_double(&line, "v", INFINITY);
    cb_line_end(&line, 0);
    cb_line_begin(&line, &batch, "m");
    cb_line_double(&line, "w", NAN);
    cb_line_integer(&line, "n", UINT64_MAX); /* 1.x has no unsigned ones */
    cb_line_end(&line, 1);
    assert_lines(&batch, "m n=9223372036854775807i 1\n", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_its_tags_fields_and_time),
        cmocka_unit_test(a_tag_keeps_its_text_but_for_what_cannot_be_said),
        cmocka_unit_test(what_is_no_number_is_left_out_and_a_line_without_fields_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
