/* SPDX-License-Identifier: Apache-2.0 */
/* test_tester_owner.c - tester/owner.c and tester/testlock.c: whose container, whose turn. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/err.h"
#include "tester/owner.h"
#include "tester/testlock.h"
#include "tests/support/fake_root.h"

#define BOOT "259b3013-064c-4189-be36-baaba56f75e2"
#define OTHER_BOOT "359b3013-064c-4189-be36-baaba56f75e2"

static void knows_its_own_process(void **state)
{
    struct cb_owner self;
    struct cb_owner again;
    char text[CB_OWNER_TEXT];
    int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    assert_int_equal(cb_owner_self(root_fd, &self, NULL), 0);
    assert_int_equal(self.pid, getpid());
    assert_true(self.start_ticks > 0);
    assert_true(self.pid_namespace > 0);
    cb_owner_format(&self, text);
    assert_int_equal(cb_owner_parse(text, &again), 0);
    assert_memory_equal(&self, &again, sizeof(self));
    assert_false(cb_owner_is_dead(root_fd, &self, &self, true));
    again.start_ticks++;
    assert_true(cb_owner_is_dead(root_fd, &self, &again, true));
    (void)close(root_fd);
}

static void refuses_another_label(void **state)
{
    static const char *const bad[] = {"",
                                      BOOT,
                                      BOOT " 1 2",
                                      BOOT " 1 2 3 4",
                                      BOOT " 1 2 3 ",
                                      BOOT " 1 2 x",
                                      BOOT "  2 3",
                                      BOOT " -1 2 3",
                                      BOOT " 1 2 99999999999999999999999999",
                                      "short 1 2 3"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_owner owner = {.pid = 7};

        assert_int_equal(cb_owner_parse(bad[i], &owner), -EINVAL);
        assert_int_equal(owner.pid, 7);
    }
}

static struct cb_owner owner_of(const char *boot, uint64_t ns, uint64_t pid, uint64_t start)
{
    struct cb_owner owner = {.pid_namespace = ns, .pid = pid, .start_ticks = start};

    (void)snprintf(owner.boot_id, sizeof(owner.boot_id), "%s", boot);
    return owner;
}

static void tells_the_dead_from_the_living(void **state)
{
    struct fake_root *root = *state;
    struct cb_owner self = owner_of(BOOT, 1, 10, 100);
    const struct {
        struct cb_owner owner;
        bool running, dead;
    } table[] = {
        {owner_of(BOOT, 1, 20, 200), true, false},       /* it runs */
        {owner_of(BOOT, 1, 20, 201), true, true},        /* its pid is another's now */
        {owner_of(BOOT, 1, 21, 200), true, true},        /* no such process */
        {owner_of(BOOT, 2, 21, 200), false, false},      /* of another pid namespace */
        {owner_of(OTHER_BOOT, 1, 21, 200), true, false}, /* perhaps another machine's */
        {owner_of(OTHER_BOOT, 1, 20, 200), false, true}, /* before a reboot */
        {owner_of(BOOT, 1, 22, 5), true, false},         /* its stat cannot be read: who knows */
    };

    fake_root_put(root, "proc/20/stat",
                  "20 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 200 20\n");
    fake_root_put(root, "proc/22/stat", "22 (x) S 1\n");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(cb_owner_is_dead(root->fd, &self, &table[i].owner, table[i].running),
                         table[i].dead);
}

static void lock_path(const struct fake_root *root, char path[128])
{
    (void)snprintf(path, 128, "%s/test.lock", root->dir);
}

static void one_holds_the_lock_and_the_next_is_told_who(void **state)
{
    char path[128];
    char text[512];
    struct stat st;
    int a, b;

    lock_path(*state, path);
    a = cb_testlock_open(path, NULL);
    b = cb_testlock_open(path, NULL);
    assert_true(a >= 0 && b >= 0);
    assert_int_equal(fstat(a, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666); /* for every user, whatever the umask */
    assert_int_equal(cb_testlock_try(a, "busy", NULL), 0);
    assert_int_equal(cb_testlock_try(b, "sleep", NULL), -EWOULDBLOCK);
    cb_testlock_holder(b, text, sizeof(text));
    assert_non_null(strstr(text, "test 'busy'"));
    assert_int_equal(strtol(text + strlen("process "), NULL, 10), getpid());
    (void)close(a);
    assert_int_equal(cb_testlock_try(b, "sleep", NULL), 0);
    (void)close(b);
}

static void a_holder_that_dies_lets_go(void **state)
{
    char path[128];
    int fd, status;
    pid_t pid;

    lock_path(*state, path);
    pid = fork();
    if (pid == 0) {
        fd = cb_testlock_open(path, NULL);
        _exit(fd >= 0 && cb_testlock_try(fd, "x", NULL) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fd = cb_testlock_open(path, NULL);
    assert_int_equal(cb_testlock_try(fd, "y", NULL), 0);
    (void)close(fd);
}

static void a_trap_in_place_of_the_lock_is_refused(void **state)
{
    struct fake_root *root = *state;
    char path[128];
    char target[128];
    struct cb_err err = {0};
    struct stat st;

    lock_path(root, path);
    (void)snprintf(target, sizeof(target), "%s/precious", root->dir);
    fake_root_put(root, "precious", "precious\n");
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(cb_testlock_open(path, &err), -ELOOP);
    assert_non_null(strstr(err.text, "--no-lock"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link(target, path), 0);
    assert_int_equal(cb_testlock_open(path, &err), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(cb_testlock_open(path, &err), -EINVAL);
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_size, 9);
}

static void a_strange_text_in_the_lock_is_not_repeated(void **state)
{
    static const char *const texts[] = {"", "12", "x y", "\033[2J", "99999999999 x"};
    char path[128];
    char text[512];

    lock_path(*state, path);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int fd;

        fake_root_put(*state, "test.lock", "%s", texts[i]);
        fd = cb_testlock_open(path, NULL);
        cb_testlock_holder(fd, text, sizeof(text));
        assert_string_equal(text, "another process");
        (void)close(fd);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_its_own_process),
        cmocka_unit_test(refuses_another_label),
        TEST(tells_the_dead_from_the_living),
        TEST(one_holds_the_lock_and_the_next_is_told_who),
        TEST(a_holder_that_dies_lets_go),
        TEST(a_trap_in_place_of_the_lock_is_refused),
        TEST(a_strange_text_in_the_lock_is_not_repeated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
