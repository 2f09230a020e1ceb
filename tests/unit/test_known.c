/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "formula/known.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "tests/support/fake_root.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"

static struct cb_known *open_known(const struct fake_root *root)
{
    struct cb_known *known = NULL;
    struct cb_err err = {0};

    if (cb_known_open(root->fd, &known, &err) < 0)
        fail_msg("%s", err.text);
    return known;
}

static void no_file_is_an_empty_list(void **state)
{
    struct cb_known *known = open_known(*state);

    assert_int_equal(cb_known_count(known), 0);
    assert_null(cb_known_by_key(known, KEY_A));
    known = cb_known_close(known);
}

static void follows_what_is_added_and_revoked(void **state)
{
    const struct fake_root *root = *state;
    struct cb_known *known = open_known(root);
    struct stat st;

    assert_int_equal(cb_known_add(root->fd, "node1", KEY_A, NULL), 0);
    assert_int_equal(cb_known_refresh(known, NULL), 0);
    assert_string_equal(cb_known_by_key(known, KEY_A)->name, "node1");
    assert_int_equal(cb_known_add(root->fd, "node2", KEY_B, NULL), 0);
    assert_int_equal(cb_known_refresh(known, NULL), 0);
    assert_string_equal(cb_known_by_name(known, "node2")->key, KEY_B);
    assert_int_equal(fstatat(root->fd, CB_FILE_KNOWN_SENSORS, &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(cb_known_revoke(root->fd, "node1", NULL), 0);
    assert_int_equal(cb_known_refresh(known, NULL), 0);
    assert_null(cb_known_by_key(known, KEY_A));
    assert_int_equal(cb_known_count(known), 1);
    known = cb_known_close(known);
}

static void one_name_has_one_key_and_one_key_one_name(void **state)
{
    const struct fake_root *root = *state;
    struct cb_err err = {0};

    assert_int_equal(cb_known_add(root->fd, "node1", KEY_A, NULL), 0);
    assert_int_equal(cb_known_add(root->fd, "node1", KEY_A, NULL), 0);
    assert_int_equal(cb_known_add(root->fd, "node1", KEY_B, &err), -EEXIST);
    assert_non_null(strstr(err.text, "revoke"));
    assert_int_equal(cb_known_add(root->fd, "node2", KEY_A, &err), -EEXIST);
    assert_non_null(strstr(err.text, "node1"));
    assert_int_equal(cb_known_revoke(root->fd, "node2", &err), -ENOENT);

    struct cb_known *known = open_known(root);

    assert_int_equal(cb_known_count(known), 1);
    known = cb_known_close(known);
}

static void a_name_is_printable_and_without_blanks(void **state)
{
    static const char *const bad[] = {"", " ", "a b", "#a", "a\n", "a\tb", "\x7f"};
    const struct fake_root *root = *state;
    char name[CB_NAME_SIZE + 1];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cb_known_add(root->fd, bad[i], KEY_A, NULL), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[CB_NAME_SIZE] = '\0';
    assert_false(cb_known_is_name(name));
    name[CB_NAME_SIZE - 1] = '\0';
    assert_true(cb_known_is_name(name));
    assert_true(cb_known_is_name("n\xc3\xb6rd.example"));
}

static void a_damaged_list_is_refused_with_its_line_and_the_old_one_stays(void **state)
{
    static const char *const bad[] = {"node1\n", "node1 short\n", "node1 " KEY_A " more\n",
                                      "#x\nnode1 " KEY_A "A\n"};
    const struct fake_root *root = *state;
    struct cb_known *known;
    struct cb_known *other = NULL;
    struct cb_err err = {0};

    assert_int_equal(cb_known_add(root->fd, "node1", KEY_A, NULL), 0);
    known = open_known(root);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fake_root_put(root, CB_FILE_KNOWN_SENSORS, "%s", bad[i]);
        assert_int_equal(cb_known_refresh(known, &err), -EINVAL);
        assert_non_null(strstr(err.text, i == 3 ? "line 2" : "line 1"));
        assert_non_null(cb_known_by_key(known, KEY_A));
        assert_int_equal(cb_known_open(root->fd, &other, &err), -EINVAL);
        assert_null(other);
        assert_int_equal(cb_known_add(root->fd, "node2", KEY_B, &err), -EINVAL);
    }
    fake_root_put(root, CB_FILE_KNOWN_SENSORS, "\n# c\n  node3\t" KEY_B "  \n");
    assert_int_equal(cb_known_refresh(known, NULL), 0);
    assert_string_equal(cb_known_by_key(known, KEY_B)->name, "node3");
    known = cb_known_close(known);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(no_file_is_an_empty_list),
        TEST(follows_what_is_added_and_revoked),
        TEST(one_name_has_one_key_and_one_key_one_name),
        TEST(a_name_is_printable_and_without_blanks),
        TEST(a_damaged_list_is_refused_with_its_line_and_the_old_one_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
