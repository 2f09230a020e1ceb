/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formula/store_gate.h"
#include "lib/err.h"
#include "tests/support/store_fixture.h"

#define WRITERS 2
#define ROUNDS 20
#define SECOND UINT64_C(1000000000)

struct writer {
    pthread_t thread;
    const char *path;
    atomic_bool *stop;
    atomic_uint *transactions;
};

/* One transaction after the other, each of some milliseconds. */
static void *write_on(void *context)
{
    struct writer *writer = context;
    struct cb_store *store = NULL;
    struct cb_store_machine machine;

    if (cb_store_open(writer->path, CB_STORE_WRITE, &store, NULL) < 0)
        return NULL;
    while (!atomic_load(writer->stop)) {
        bool good = cb_store_begin(store, NULL) == 0 &&
                    cb_store_machine(store, "node1", &machine, NULL) == 0;

        (void)usleep(3000);
        if (good && cb_store_commit(store, NULL) == 0)
            atomic_fetch_add(writer->transactions, 1);
        else
            cb_store_rollback(store);
    }
    (void)cb_store_close(store);
    return NULL;
}

static void the_owner_waits_for_one_transaction_at_most(void **state)
{
    struct store_fixture *f = *state;
    struct writer writers[WRITERS];
    atomic_uint transactions = 0;
    atomic_bool stop = false;
    unsigned most = 0;

    for (size_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.path = f->path, .stop = &stop, .transactions = &transactions};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_on, &writers[i]), 0);
    }
    while (atomic_load(&transactions) < 3)
        (void)usleep(1000);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned before = atomic_load(&transactions);
        unsigned waited;

        assert_int_equal(cb_store_begin(f->store, NULL), 0);
        waited = atomic_load(&transactions) - before;
        most = waited > most ? waited : most;
        assert_int_equal(cb_store_commit(f->store, NULL), 0);
        (void)usleep(5000);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    /* the one under way, and one of each that was over but not counted yet */
    assert_in_range(most, 0, 1 + WRITERS);
}

static void who_does_not_leave_is_not_waited_for_for_ever(void **state)
{
    struct store_fixture *f = *state;
    struct cb_gate *one = NULL;
    struct cb_gate *two = NULL;
    struct cb_err err = {0};

    assert_int_equal(cb_gate_open(f->path, &one, NULL), 0);
    assert_int_equal(cb_gate_open(f->path, &two, NULL), 0);
    assert_ptr_equal(one, two);
    assert_int_equal(cb_gate_pass(one, false, SECOND, NULL), 0);
    assert_int_equal(cb_gate_pass(two, true, SECOND / 100, &err), -EBUSY);
    assert_int_equal(cb_gate_pass(two, false, SECOND / 100, &err), -EBUSY);
    cb_gate_leave(one);
    assert_int_equal(cb_gate_pass(two, false, SECOND, NULL), 0); /* nobody goes first any more */
    cb_gate_leave(two);
    (void)cb_gate_close(one);
    (void)cb_gate_close(two);
    assert_int_equal(cb_gate_open("/nonexistent/x", &one, &err), -ENOENT);
}

static void the_write_ahead_log_is_bounded(void **state)
{
    struct store_fixture *f = *state;
    const char bytes[40000] = {1};
    char wal[160];
    struct stat st;

    (void)snprintf(wal, sizeof(wal), "%s-wal", f->path);
    for (int64_t i = 0; i < 1000; i++) /* 11 pages each, of 4 KiB */
        assert_int_equal(cb_store_put_snapshot(f->store, 1, bytes, sizeof(bytes), NULL), 0);
    assert_int_equal(stat(wal, &st), 0);
    assert_in_range(st.st_size, 1, 20 << 20);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_owner_waits_for_one_transaction_at_most),
        TEST(who_does_not_leave_is_not_waited_for_for_ever),
        TEST(the_write_ahead_log_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
