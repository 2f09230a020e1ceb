/* SPDX-License-Identifier: Apache-2.0 */
/* test_keys.c - lib/keys: made once, kept private, read back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "lib/keys.h"
#include "tests/support/fake_root.h"

static struct cb_keys open_keys(const struct fake_root *root, bool expect_made)
{
    struct cb_keys keys;
    struct cb_err err = {0};
    bool made = !expect_made;

    if (cb_keys_open(root->fd, "a.key", "a.pub", &keys, &made, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(made, expect_made);
    return keys;
}

static void are_made_once_and_then_read(void **state)
{
    struct fake_root *root = *state;
    struct cb_keys first = open_keys(root, true);
    struct cb_keys second = open_keys(root, false);
    struct stat st;

    assert_true(cb_keys_is_z85(first.public_key));
    assert_true(cb_keys_is_z85(first.secret_key));
    assert_string_equal(first.public_key, second.public_key);
    assert_string_equal(first.secret_key, second.secret_key);
    assert_string_not_equal(first.public_key, first.secret_key);
    assert_int_equal(fstatat(root->fd, "a.key", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(faccessat(root->fd, "a.key.new", F_OK, 0), -1);
}

static void the_public_file_is_written_again_when_lost_or_wrong(void **state)
{
    struct fake_root *root = *state;
    struct cb_keys keys = open_keys(root, true);
    char path[128];
    char key[CB_KEY_SIZE];

    (void)snprintf(path, sizeof(path), "%s/a.pub", root->dir);
    assert_int_equal(unlink(path), 0);
    (void)open_keys(root, false);
    assert_int_equal(cb_keys_public(path, key, NULL), 0);
    assert_string_equal(key, keys.public_key);
    fake_root_put(root, "a.pub", "rubbish\n");
    (void)open_keys(root, false);
    assert_int_equal(cb_keys_public(path, key, NULL), 0);
    assert_string_equal(key, keys.public_key);
}

static void a_secret_that_others_may_read_is_refused(void **state)
{
    struct fake_root *root = *state;
    struct cb_keys keys = open_keys(root, true);
    struct cb_err err = {0};
    bool made;

    assert_int_equal(fchmodat(root->fd, "a.key", 0640, 0), 0);
    assert_int_equal(cb_keys_open(root->fd, "a.key", "a.pub", &keys, &made, &err), -EACCES);
    assert_non_null(strstr(err.text, "chmod 600"));
    assert_non_null(strstr(err.text, "0640"));
}

static void rubbish_in_the_secret_file_is_refused_and_kept(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "short\n",
        "0123456789012345678901234567890123456789 and more",
        "0123456789012345678901234567890123456789\n0123456789012345678901234567890123456789\n",
        "01234567890123456789012345678901234567 9\n",
        "#####################################\n",
        "########################################\n"};
    struct fake_root *root = *state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct cb_keys keys;
        struct cb_err err = {0};
        struct stat st;
        bool made;

        fake_root_put(root, "a.key", "%s", texts[i]);
        assert_int_equal(fchmodat(root->fd, "a.key", 0600, 0), 0);
        assert_int_equal(cb_keys_open(root->fd, "a.key", "a.pub", &keys, &made, &err), -EINVAL);
        assert_non_null(strstr(err.text, "a.key"));
        assert_int_equal(fstatat(root->fd, "a.key", &st, 0), 0);
        assert_int_equal(st.st_size, strlen(texts[i]));
    }
}

static void a_start_that_was_cut_short_leaves_no_key(void **state)
{
    struct fake_root *root = *state;

    fake_root_put(root, "a.key.new", "half a k");
    (void)open_keys(root, true);
    assert_int_equal(faccessat(root->fd, "a.key.new", F_OK, 0), -1);
}

static void a_directory_that_cannot_be_written_is_named(void **state)
{
    struct fake_root *root = *state;
    struct cb_keys keys;
    struct cb_err err = {0};
    bool made;
    int fd;

    fake_root_put(root, "gone/x", "x");
    fd = openat(root->fd, "gone", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(unlinkat(root->fd, "gone/x", 0), 0);
    assert_int_equal(unlinkat(root->fd, "gone", AT_REMOVEDIR), 0);
    assert_int_equal(cb_keys_open(fd, "a.key", "a.pub", &keys, &made, &err), -ENOENT);
    assert_non_null(strstr(err.text, "a.key"));
    (void)close(fd);
}

static void a_public_key_is_taken_as_text_or_from_a_file(void **state)
{
    struct fake_root *root = *state;
    struct cb_keys keys = open_keys(root, true);
    char key[CB_KEY_SIZE] = "untouched";
    struct cb_err err = {0};

    assert_int_equal(cb_keys_public("nowhere/to/be/found", key, &err), -EINVAL);
    assert_string_equal(key, "untouched");
    assert_non_null(strstr(err.text, "nowhere/to/be/found"));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(cb_keys_public(keys.public_key, key, NULL), 0);
    assert_string_equal(key, keys.public_key);
}

static void a_path_that_looks_like_a_key_is_a_path(void **state)
{
    struct fake_root *root = *state;
    struct cb_keys keys = open_keys(root, true);
    char path[128];
    char key[CB_KEY_SIZE];
    size_t n = strlen(root->dir);

    assert_true(n < 38);
    (void)snprintf(path, sizeof(path), "%s/%.*s", root->dir, (int)(39 - n),
                   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_true(cb_keys_is_z85(path));
    fake_root_put(root, path + n + 1, "%s", keys.public_key);
    assert_int_equal(cb_keys_public(path, key, NULL), 0);
    assert_string_equal(key, keys.public_key);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(are_made_once_and_then_read),
        TEST(the_public_file_is_written_again_when_lost_or_wrong),
        TEST(a_secret_that_others_may_read_is_refused),
        TEST(rubbish_in_the_secret_file_is_refused_and_kept),
        TEST(a_start_that_was_cut_short_leaves_no_key),
        TEST(a_directory_that_cannot_be_written_is_named),
        TEST(a_public_key_is_taken_as_text_or_from_a_file),
        TEST(a_path_that_looks_like_a_key_is_a_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
