/* SPDX-License-Identifier: Apache-2.0 */
/* test_tester_show.c - cbtester show: recaps from files and from the input, as a page or as JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tester/commands.h"
#include "tests/support/fake_root.h"

#define RECAP(name)                                                                                \
    "{\"name\":\"" name "\",\"exit_code\":0,\"idle_policy\":\"none\",\"phases\":[{\"phase\":"      \
    "\"execution\",\"seconds\":0.1,\"domains\":[]}],\"others\":[]}"

static char out[65536], err[4096];

static void redirect(const struct fake_root *root, const char *name, int flags, int to)
{
    int fd = openat(root->fd, name, flags | O_CLOEXEC, 0600);

    if (fd < 0 || dup2(fd, to) < 0)
        abort();
    (void)close(fd);
}

static void read_back(const struct fake_root *root, const char *name, char *text, size_t size)
{
    int fd = openat(root->fd, name, O_RDONLY);
    ssize_t n = read(fd, text, size - 1);

    assert_true(n >= 0);
    text[n] = '\0';
    (void)close(fd);
}

/* Run it in the folder of @root with the file "in" as its input; returns its exit code. */
static int show(const struct fake_root *root, const char *a, const char *b, const char *c)
{
    char words[4][64] = {"show"};
    char *argv[5] = {words[0]};
    const char *const given[] = {a, b, c};
    int argc = 1;
    int status;
    pid_t pid;

    for (size_t i = 0; i < 3; i++)
        if (given[i]) {
            (void)snprintf(words[argc], sizeof(words[argc]), "%s", given[i]);
            argv[argc] = words[argc];
            argc++;
        }
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        if (fchdir(root->fd) < 0)
            abort();
        redirect(root, "in", O_RDONLY | O_CREAT, STDIN_FILENO);
        redirect(root, "out", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
        redirect(root, "err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
        exit(cb_tester_show(argc, argv));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    read_back(root, "out", out, sizeof(out));
    read_back(root, "err", err, sizeof(err));
    return WEXITSTATUS(status);
}

static void puts_files_and_the_input_side_by_side(void **state)
{
    fake_root_put(*state, "a.json", "%s\n", RECAP("one"));
    fake_root_put(*state, "b.json", "{\"recaps\":[%s,%s]}", RECAP("two"), RECAP("three"));
    fake_root_put(*state, "in", "%s", RECAP("four"));
    assert_int_equal(show(*state, "a.json", "b.json", "-"), 0);
    assert_int_equal(strncmp(out, "test ", 5), 0);
    assert_non_null(strstr(out, "    one    two  three   four\nimage "));
    assert_string_equal(err, "");
}

static void writes_one_array(void **state)
{
    fake_root_put(*state, "a.json", "%s", RECAP("one"));
    assert_int_equal(show(*state, "--json", "a.json", "a.json"), 0);
    assert_string_equal(out, "[" RECAP("one") "," RECAP("one") "]\n");
}

static void says_which_file_is_wrong(void **state)
{
    fake_root_put(*state, "a.json", "%s", RECAP("one"));
    fake_root_put(*state, "bad.json", "{\"name\":7}");
    assert_int_equal(show(*state, "a.json", "none.json", NULL), 125);
    assert_string_equal(err, "cbtester: cannot open none.json: No such file or directory\n");
    assert_string_equal(out, "");
    assert_int_equal(show(*state, "a.json", "bad.json", NULL), 125);
    assert_string_equal(err, "cbtester: bad.json: not a recap: name is not a text\n");
    assert_int_equal(show(*state, "-", NULL, NULL), 125);
    assert_int_equal(strncmp(err, "cbtester: -: not JSON", 21), 0);
    assert_int_equal(show(*state, ".", NULL, NULL), 125);
    assert_string_equal(err, "cbtester: .: cannot read: Is a directory\n");
}

static void asks_for_files_and_knows_its_options(void **state)
{
    assert_int_equal(show(*state, NULL, NULL, NULL), 2);
    assert_int_equal(strncmp(err, "usage: cbtester show", 20), 0);
    assert_int_equal(show(*state, "--nope", NULL, NULL), 2);
    assert_non_null(strstr(err, "unknown option '--nope'"));
    assert_int_equal(show(*state, "--help", NULL, NULL), 0);
    assert_non_null(strstr(out, "--json"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(puts_files_and_the_input_side_by_side),
        TEST(writes_one_array),
        TEST(says_which_file_is_wrong),
        TEST(asks_for_files_and_knows_its_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
