/* SPDX-License-Identifier: Apache-2.0 */
/* test_urgency.c - sensor/urgency.c, with the rights and without. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cap-ng.h>
#include <cmocka.h>

#include "lib/err.h"
#include "sensor/urgency.h"

static int nice_of_thread(void)
{
    return getpriority(PRIO_PROCESS, (id_t)gettid());
}

static void *nice_of_new_thread(void *context)
{
    *(int *)context = nice_of_thread();
    return NULL;
}

/* In a child, for a nice value stays: 0 when all is as promised. */
static int raise_it(bool with_rights)
{
    pthread_t thread;
    struct cb_err err = {0};
    int of_new = 99;
    int r;

    if (!with_rights) {
        capng_clear(CAPNG_SELECT_CAPS);
        if (capng_apply(CAPNG_SELECT_CAPS) < 0)
            return 1;
    }
    r = cb_urgency_raise(&err);
    if (with_rights && r == -EPERM)
        return 77;
    if (r != (with_rights ? 0 : -EPERM))
        return 2;
    if (nice_of_thread() != (with_rights ? -10 : 0))
        return 3;
    if (pthread_create(&thread, NULL, nice_of_new_thread, &of_new) != 0 ||
        pthread_join(thread, NULL) != 0)
        return 4;
    return of_new == 0 ? 0 : 5;
}

static int in_a_child(bool with_rights)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(raise_it(with_rights));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_thread_goes_first_and_those_it_starts_do_not(void **state)
{
    int r = in_a_child(true);

    (void)state;
    if (r == 77) {
        print_message("no CAP_SYS_NICE here\n");
        skip();
    }
    assert_int_equal(r, 0);
}

static void without_the_right_it_says_so_and_goes_on(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_thread_goes_first_and_those_it_starts_do_not),
        cmocka_unit_test(without_the_right_it_says_so_and_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
