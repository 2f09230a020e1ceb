/* SPDX-License-Identifier: Apache-2.0 */
/* test_stream.c - the thread: from the store to a sink that can be away, refuse, and be killed at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_stream.h"
#include "formula/stream.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)
#define ROWS_MAX 40000

/* Another store: a row a key. */
static struct {
    pthread_mutex_t mutex;
    int answer;       /* of send */
    bool takes_first; /* ... after it has taken the rows: the answer is lost */
    unsigned sends;
    char places[64]; /* that came, one letter each */
    size_t n;
    struct {
        char machine[32];
        int64_t wall_ns;
        unsigned again;
        uint64_t uj;
    } rows[ROWS_MAX];
    unsigned changed;           /* a key came with another figure */
    struct store_fixture *busy; /* whenever a row of "two" is made, its next frames are there */
    uint64_t next;
} other = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int other_open(const void *config, void **ret_state, struct cb_err *err)
{
    if (config)
        return cb_err_set(err, EINVAL, "bad option");
    *ret_state = &other;
    return 0;
}

static uint64_t put_frames(struct store_fixture *f, const char *machine, uint64_t first,
                           uint64_t last);

static void other_pack(void *state, const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    uint64_t uj = 0;

    (void)state;
    (void)pthread_mutex_lock(&other.mutex);
    if (other.busy && strcmp(bin->machine, "two") == 0) {
        (void)put_frames(other.busy, "two", other.next, other.next + 10);
        other.next += 10;
    }
    (void)pthread_mutex_unlock(&other.mutex);
    for (size_t d = 0; d < bin->n_domains; d++)
        uj += bin->domains[d].energy_uj;
    cb_batch_printf(batch, "%s %" PRId64 " %u %" PRIu64 "\n", bin->machine, bin->wall_ns,
                    bin->again, uj);
    batch->rows++;
}

static void take_row(const char *machine, int64_t wall_ns, unsigned again, uint64_t uj)
{
    size_t i = 0;

    while (i < other.n && !(strcmp(other.rows[i].machine, machine) == 0 &&
                            other.rows[i].wall_ns == wall_ns && other.rows[i].again == again))
        i++;
    if (i == other.n) {
        assert_true(other.n < ROWS_MAX);
        other.n++;
        (void)snprintf(other.rows[i].machine, sizeof(other.rows[i].machine), "%s", machine);
        other.rows[i].wall_ns = wall_ns;
        other.rows[i].again = again;
    } else {
        other.changed += other.rows[i].uj != uj;
    }
    other.rows[i].uj = uj;
}

static void take_rows(const char *bytes, size_t size)
{
    char *text = strndup(bytes, size);
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char machine[32];
        int64_t wall_ns;
        unsigned again;
        uint64_t uj;

        assert_int_equal(
            sscanf(line, "%31s %" SCNd64 " %u %" SCNu64, machine, &wall_ns, &again, &uj), 4);
        take_row(machine, wall_ns, again, uj);
    }
    free(text);
}

static int other_send(void *state, const struct cb_stream_delivery *delivery,
                      struct cb_stream_answer *answer, struct cb_err *err)
{
    int r;

    (void)state;
    (void)pthread_mutex_lock(&other.mutex);
    other.sends++;
    if (strlen(other.places) + 1 < sizeof(other.places))
        other.places[strlen(other.places)] = delivery->place[0] ? delivery->place[0] : '-';
    r = other.answer;
    if (r == 0 || other.takes_first)
        take_rows(delivery->bytes, delivery->size);
    (void)snprintf(answer->place, sizeof(answer->place), "%c",
                   delivery->place[0] ? delivery->place[0] + 1 : 'a');
    (void)pthread_mutex_unlock(&other.mutex);
    return r < 0 ? cb_err_set(err, -r, "no wonder") : 0;
}

static void other_close(void *state)
{
    (void)state;
}

static const struct cb_stream_ops other_ops = {.name = "other",
                                               .open = other_open,
                                               .pack = other_pack,
                                               .send = other_send,
                                               .close = other_close};

static void answer_with(int r, bool takes_first)
{
    (void)pthread_mutex_lock(&other.mutex);
    other.answer = r;
    other.takes_first = takes_first;
    (void)pthread_mutex_unlock(&other.mutex);
}

static unsigned sends(void)
{
    unsigned n;

    (void)pthread_mutex_lock(&other.mutex);
    n = other.sends;
    (void)pthread_mutex_unlock(&other.mutex);
    return n;
}

static uint64_t taken_uj(const char *machine)
{
    uint64_t uj = 0;

    (void)pthread_mutex_lock(&other.mutex);
    for (size_t i = 0; i < other.n; i++)
        if (strcmp(other.rows[i].machine, machine) == 0)
            uj += other.rows[i].uj;
    (void)pthread_mutex_unlock(&other.mutex);
    return uj;
}

/* ---- frames ---- */

static struct cb_store_start start_of(struct store_fixture *f, const char *machine)
{
    struct cb_store_machine row;
    struct cb_store_start start;

    assert_int_equal(cb_store_machine(f->store, machine, &row, NULL), 0);
    assert_int_equal(cb_store_start(f->store, row.id, FIXTURE_BOOT, FIXTURE_START, 1, &start, NULL),
                     0);
    return start;
}

/* Frames [first, last) of 100 ms each; what they sum to. */
static uint64_t put_frames(struct store_fixture *f, const char *machine, uint64_t first,
                           uint64_t last)
{
    struct cb_store_start start = start_of(f, machine);
    struct cb_result result = {0};
    uint64_t seed = first + 1;
    uint64_t uj = 0;

    for (uint64_t i = first; i < last; i++) {
        fixture_result(&result, &seed, 50 * SECOND + 37 + i * SECOND / 10,
                       50 * SECOND + 37 + (i + 1) * SECOND / 10, 2, 2);
        fixture_put(f->store, &start, i + 1, &result);
        for (size_t d = 0; d < result.n_domains; d++)
            uj += result.domains[d].energy_uj;
    }
    cb_result_clear(&result);
    return uj;
}

static struct cb_stream *start_stream(struct store_fixture *f, struct cb_notify *notify)
{
    struct cb_stream_options options = {.ops = &other_ops,
                                        .database = f->path,
                                        .notify = notify,
                                        .linger_ns = 1, /* a second and no more */
                                        .gather_ns = SECOND / 100,
                                        .retry_min_ns = SECOND / 100,
                                        .retry_max_ns = SECOND / 50};
    struct cb_stream *stream = NULL;

    cb_notify_init(notify);
    assert_int_equal(cb_stream_start(&options, &stream, NULL), 0);
    return stream;
}

static void stop_stream(struct cb_stream *stream, struct cb_notify *notify)
{
    cb_notify_stop(notify);
    (void)cb_stream_stop(stream);
    cb_notify_fini(notify);
}

static void until_taken(const char *machine, uint64_t uj)
{
    for (int i = 0; i < 1000 && taken_uj(machine) != uj; i++)
        (void)usleep(10000);
    assert_int_equal(taken_uj(machine), uj);
}

static void until_sends(unsigned n)
{
    for (int i = 0; i < 1000 && sends() < n; i++)
        (void)usleep(10000);
    assert_true(sends() >= n);
}

static int setup(void **state)
{
    cb_log_init("test", CB_LOG_ERR, false);
    answer_with(0, false);
    other.sends = other.changed = 0;
    other.n = 0;
    memset(other.places, 0, sizeof(other.places));
    return store_fixture_setup(state);
}

/* ---- tests ---- */

static void two_machines_come_whole_and_the_last_row_when_it_is_silent(void **state)
{
    struct store_fixture *f = *state;
    uint64_t one = put_frames(f, "one", 0, 55);
    uint64_t two = put_frames(f, "two", 0, 23);
    struct cb_notify notify;
    struct cb_stream *stream = start_stream(f, &notify);

    until_taken("one", one);
    until_taken("two", two);
    one += put_frames(f, "one", 55, 60); /* late, into a row that was closed */
    cb_notify_bump(&notify);
    until_taken("one", one);
    assert_int_equal(other.changed, 0);
    for (int i = 0; i < 1000 && atomic_load(&cb_stream_stats(stream)->rows_total) != other.n; i++)
        (void)usleep(10000); /* counted after it is settled */
    assert_int_equal(atomic_load(&cb_stream_stats(stream)->rows_total), other.n);
    stop_stream(stream, &notify);
}

static void be_busy(struct store_fixture *f, uint64_t next)
{
    (void)pthread_mutex_lock(&other.mutex);
    other.busy = f;
    other.next = next;
    (void)pthread_mutex_unlock(&other.mutex);
}

static void the_last_row_of_a_silent_machine_comes_while_others_are_busy(void **state)
{
    struct store_fixture *f = *state;
    uint64_t one = put_frames(f, "one", 0, 15);
    struct cb_notify notify;
    struct cb_stream *stream;

    (void)put_frames(f, "two", 0, 15);
    be_busy(f, 15); /* every reading brings something from now on */
    stream = start_stream(f, &notify);
    until_taken("one", one);
    be_busy(NULL, 0);
    stop_stream(stream, &notify);
}

static void an_outage_is_waited_for_over_restarts(void **state)
{
    struct store_fixture *f = *state;
    uint64_t uj = put_frames(f, "one", 0, 40);
    struct cb_notify notify;
    struct cb_stream *stream;

    answer_with(-EIO, false);
    stream = start_stream(f, &notify);
    until_sends(3);
    stop_stream(stream, &notify);
    uj += put_frames(f, "one", 40, 80);
    stream = start_stream(f, &notify);
    until_sends(6);
    assert_int_equal(taken_uj("one"), 0);
    answer_with(0, false);
    until_taken("one", uj);
    stop_stream(stream, &notify);
}

static void a_kill_after_the_other_store_took_the_rows_repeats_them_as_they_were(void **state)
{
    struct store_fixture *f = *state;
    uint64_t uj = 0;
    struct cb_notify notify;
    struct cb_stream *stream;

    for (unsigned round = 0; round < 12; round++) {
        unsigned before = sends();

        uj += put_frames(f, "one", round * 13, (round + 1) * 13);
        answer_with(-EIO, true); /* it took them, and the answer never came */
        stream = start_stream(f, &notify);
        until_sends(before + 1);
        stop_stream(stream, &notify);
    }
    answer_with(0, false);
    stream = start_stream(f, &notify);
    until_taken("one", uj);
    stop_stream(stream, &notify);
    assert_int_equal(other.changed, 0);
}

static void what_is_refused_for_good_is_kept_aside_with_the_reason(void **state)
{
    struct store_fixture *f = *state;
    uint64_t uj;
    struct cb_notify notify;
    struct cb_store_stream at;
    struct cb_stream *stream;

    (void)put_frames(f, "one", 0, 30);
    answer_with(-EBADMSG, false);
    stream = start_stream(f, &notify);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(cb_store_stream(f->store, "other", &at, NULL), 0);
        if (at.set_aside_rows >= 4) /* the last one when the machine is silent */
            break;
        (void)usleep(10000);
    }
    assert_int_equal(at.set_aside_rows, 4);
    answer_with(0, false);
    uj = put_frames(f, "one", 40, 60);
    cb_notify_bump(&notify);
    until_taken("one", uj);
    stop_stream(stream, &notify);
}

static void energy_comes_whole_where_the_usage_beside_it_is_damaged(void **state)
{
    struct store_fixture *f = *state;
    uint64_t uj = put_frames(f, "one", 0, 30);
    struct cb_store_start row = start_of(f, "one");
    const struct cb_store_usage damaged = {.frame = 15,
                                           .start = row.id,
                                           .boot = row.boot,
                                           .t0_ns = 51 * SECOND,
                                           .t1_ns = 52 * SECOND,
                                           .wall_ns = FIXTURE_WALL_OFFSET + 52 * SECOND,
                                           .names = "memory_bytes",
                                           .bytes = (const uint8_t *)"\xff",
                                           .size = 1};
    struct cb_notify notify;
    struct cb_stream *stream;

    assert_int_equal(cb_store_put_usage(f->store, &damaged, 1, NULL), 0);
    stream = start_stream(f, &notify);
    until_taken("one", uj);
    stop_stream(stream, &notify);
}

static void a_place_is_given_back_over_restarts(void **state)
{
    struct store_fixture *f = *state;
    struct cb_notify notify;
    struct cb_stream *stream;

    for (unsigned round = 0; round < 3; round++) {
        uint64_t before = taken_uj("one");

        stream = start_stream(f, &notify);
        until_taken("one", before + put_frames(f, "one", round * 10 + 1, round * 10 + 10));
        stop_stream(stream, &notify);
    }
    assert_int_equal(strncmp(other.places, "-abcdefghijklmnopqrstuvwxyz", strlen(other.places)), 0);
    assert_true(strlen(other.places) >= 3);
}

static void frames_that_wait_are_kept_and_counted(void **state)
{
    struct store_fixture *f = *state;
    uint64_t oldest_wall_ns;
    uint64_t waiting;
    struct cb_notify notify;
    struct cb_stream *stream;
    int64_t frame;

    assert_int_equal(cb_store_stream_floor(f->store, &frame, NULL), 0);
    assert_true(frame == INT64_MAX); /* no stream */
    (void)put_frames(f, "one", 0, 30);
    answer_with(-EIO, false);
    stream = start_stream(f, &notify);
    until_sends(1);
    stop_stream(stream, &notify);
    (void)put_frames(f, "one", 30, 50);
    assert_int_equal(cb_store_stream_floor(f->store, &frame, NULL), 0);
    assert_true(frame < 31);
    assert_int_equal(cb_store_stream_waiting(f->store, "other", &waiting, &oldest_wall_ns, NULL),
                     0);
    assert_int_equal(waiting, 50 - frame);
    assert_true(oldest_wall_ns > FIXTURE_WALL_OFFSET);
    assert_int_equal(cb_store_streams_rest(f->store, NULL), 0); /* it is configured no more */
    assert_int_equal(cb_store_stream_floor(f->store, &frame, NULL), 0);
    assert_true(frame == INT64_MAX);
}

static void a_bad_option_is_refused_before_anything_runs(void **state)
{
    struct store_fixture *f = *state;
    struct cb_stream_options options = {.ops = &other_ops, .config = f, .database = f->path};
    struct cb_stream *stream = NULL;

    assert_int_equal(cb_stream_start(&options, &stream, NULL), -EINVAL);
    assert_null(stream);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(two_machines_come_whole_and_the_last_row_when_it_is_silent),
        TEST(the_last_row_of_a_silent_machine_comes_while_others_are_busy),
        TEST(an_outage_is_waited_for_over_restarts),
        TEST(a_kill_after_the_other_store_took_the_rows_repeats_them_as_they_were),
        TEST(what_is_refused_for_good_is_kept_aside_with_the_reason),
        TEST(energy_comes_whole_where_the_usage_beside_it_is_damaged),
        TEST(a_place_is_given_back_over_restarts),
        TEST(frames_that_wait_are_kept_and_counted),
        TEST(a_bad_option_is_refused_before_anything_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
