/* SPDX-License-Identifier: Apache-2.0 */
/* test_tester_naming.c - tester/naming.c: the names of tests and of their containers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "tester/naming.h"

static void names_a_test_after_its_image(void **state)
{
    static const struct {
        const char *image, *name;
    } table[] = {
        {"chakibmed/sleep", "sleep"},
        {"x/container:tag", "container_tag"},
        {"busybox", "busybox"},
        {"busybox:1.35", "busybox_1.35"},
        {"registry:5000/a/b:1", "b_1"},
        {"registry:5000/b", "b"},
        {"localhost/cb/busy", "busy"},
        {"cb/busy:latest", "busy_latest"},
        {"busybox@sha256:0123456789abcdef", "busybox"},
        {"r.example:443/x/y:2@sha256:0123456789abcdef", "y_2"},
        {"sha256:0123456789abcdef", "sha256_0123456789abcdef"},
        {"0123456789ab", "0123456789ab"},
        {"A/b_c-d.e:F-g_h.i", "b_c-d.e_F-g_h.i"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char name[CB_NAMING_TEST_SIZE];

        assert_int_equal(cb_naming_test(table[i].image, name, NULL), 0);
        assert_string_equal(name, table[i].name);
    }
}

static void refuses_what_is_not_an_image(void **state)
{
    static const char *const bad[] = {"",     "/",         "a/",   ":tag",        "a:",   "a//",
                                      "a/:b", "a b",       "a\n",  "a?x=1",       "../a", "-a",
                                      "a/-b", "@sha256:1", "a%2f", "caf\xc3\xa9", "a/.."};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char name[CB_NAMING_TEST_SIZE] = "kept";
        struct cb_err err = {0};

        assert_int_equal(cb_naming_test(bad[i], name, &err), -EINVAL);
        assert_string_equal(name, "kept");
        assert_non_null(strstr(err.text, "not the name of an image"));
    }
}

static void refuses_an_image_name_without_end(void **state)
{
    char image[600];
    char name[CB_NAMING_TEST_SIZE];

    (void)state;
    memset(image, 'a', sizeof(image));
    image[599] = '\0';
    assert_int_equal(cb_naming_test(image, name, NULL), -EINVAL);
    image[300] = '\0';
    assert_int_equal(cb_naming_test(image, name, NULL), -EINVAL);
    image[255] = '\0';
    assert_int_equal(cb_naming_test(image, name, NULL), 0);
    assert_int_equal(strlen(name), 255);
}

static void checks_a_name_that_was_given(void **state)
{
    char name[300];

    (void)state;
    assert_int_equal(cb_naming_check("caf\xc3\xa9 no. 1", NULL), 0);
    assert_int_equal(cb_naming_check("", NULL), -EINVAL);
    assert_int_equal(cb_naming_check("a\nb", NULL), -EINVAL);
    assert_int_equal(cb_naming_check("a\x7f", NULL), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[256] = '\0';
    assert_int_equal(cb_naming_check(name, NULL), -EINVAL);
    name[255] = '\0';
    assert_int_equal(cb_naming_check(name, NULL), 0);
}

static void gives_every_container_another_name(void **state)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    char a[CB_NAMING_CONTAINER_SIZE];
    char b[CB_NAMING_CONTAINER_SIZE];
    char test[256];

    (void)state;
    memset(test, '\xc3', sizeof(test));
    memcpy(test, "my test/", 8);
    test[255] = '\0';
    assert_int_equal(cb_naming_container(test, a, NULL), 0);
    assert_int_equal(cb_naming_container(test, b, NULL), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(strncmp(a, "cbtest-my_test_", 15), 0);
    assert_int_equal(strspn(a, allowed), strlen(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_a_test_after_its_image),
        cmocka_unit_test(refuses_what_is_not_an_image),
        cmocka_unit_test(refuses_an_image_name_without_end),
        cmocka_unit_test(checks_a_name_that_was_given),
        cmocka_unit_test(gives_every_container_another_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
