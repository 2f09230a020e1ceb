/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/fnv.h"

/* Names of collections in MongoDB hold it: it must stay what it is. */
static void a_text_has_the_hash_that_is_published(void **state)
{
    (void)state;
    assert_int_equal(cb_fnv_text(CB_FNV_BEGIN, ""), UINT64_C(0xcbf29ce484222325));
    assert_int_equal(cb_fnv_text(CB_FNV_BEGIN, "a"), UINT64_C(0xaf63dc4c8601ec8c));
    assert_int_equal(cb_fnv_text(CB_FNV_BEGIN, "foobar"), UINT64_C(0x85944171f73967e8));
    assert_int_equal(cb_fnv_text(cb_fnv_text(CB_FNV_BEGIN, "foo"), "bar"),
                     UINT64_C(0x85944171f73967e8));
    assert_int_equal(cb_fnv_byte(CB_FNV_BEGIN, 0xff), UINT64_C(0xaf64724c8602eb6e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_has_the_hash_that_is_published),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
