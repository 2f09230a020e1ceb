/* SPDX-License-Identifier: Apache-2.0 */
/* test_state.c - sensor/state.c: the sensor's own directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/state.h"

#define NOBODY 65534

static char path[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/cb-state-XXXXXX");
    return mkdtemp(path) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const files[] = {"/lock", "/spool", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char name[96];

        (void)snprintf(name, sizeof(name), "%s%s", path, files[i]);
        if (remove(name) < 0)
            return -1;
    }
    return 0;
}

static void open_locked(struct cb_state *ret)
{
    struct cb_err err = {0};

    if (cb_state_open(ret, path, &err) < 0 || cb_state_lock(ret, path, &err) < 0)
        fail_msg("%s", err.text);
}

static void a_second_sensor_is_refused(void **state)
{
    struct cb_state first, second;
    struct cb_err err = {0};
    char pid[16];

    (void)state;
    open_locked(&first);
    assert_int_equal(cb_state_open(&second, path, &err), 0);
    assert_int_equal(cb_state_lock(&second, path, &err), -EBUSY);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_non_null(strstr(err.text, pid));
    cb_state_close(&second);
    cb_state_close(&first);
    open_locked(&second);
    cb_state_close(&second);
}

/* Root without capabilities is a user like any other. */
static void a_spool_of_another_user_is_told_before_a_frame_is_lost(void **state)
{
    bool root = geteuid() == 0;
    struct cb_err err = {0};
    struct cb_state s;
    int r;

    (void)state;
    open_locked(&s);
    assert_int_equal(cb_state_check(&s, path, &err), 0);
    assert_int_equal(root ? seteuid(NOBODY) : fchmod(s.spool_fd, 0500), 0);
    r = cb_state_check(&s, path, &err);
    assert_int_equal(root ? seteuid(0) : 0, 0);
    assert_int_equal(r, -EACCES);
    assert_non_null(strstr(err.text, root ? "belongs to user 0" : "belongs to user"));
    assert_non_null(strstr(err.text, "chown"));
    cb_state_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_second_sensor_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_spool_of_another_user_is_told_before_a_frame_is_lost,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
