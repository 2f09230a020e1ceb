/* SPDX-License-Identifier: Apache-2.0 */
/* test_outbox.c - sensor/outbox: frames reach the server once it is there, in order, whatever dies
 * meanwhile. The outbox runs its own thread; the test plays the server. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/outbox.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"
#include "tests/support/random_frame.h"

#define MS UINT64_C(1000000)
#define BOOT "0b0b0b0b-1111-2222-3333-444444444444"
#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct cb_link_server *server_at(const char *endpoint, uint32_t credit)
{
    struct cb_link_server_options options = {.endpoint = endpoint, .credit = credit};
    struct cb_link_server *server = NULL;
    struct cb_err err = {0};

    if (cb_link_server_open(&options, &server, &err) != 0)
        fail_msg("%s", err.text);
    return server;
}

static struct cb_outbox *outbox_to(const char *endpoint, const struct fake_root *root,
                                   const char *start_id)
{
    struct cb_outbox_options options = {
        .spool_dir_fd = root ? root->fd : -1,
        .spool_max_bytes = 1 << 20,
        .sync_ns = 20 * MS,
        .link =
            {
                .endpoint = endpoint,
                .sensor = "node-1",
                .boot_id = BOOT,
                .start_id = start_id,
                .version = "0.1.0",
                .heartbeat_ns = 1000 * MS,
            },
    };
    struct cb_outbox *outbox = NULL;
    struct cb_err err = {0};

    if (cb_outbox_open(&options, &outbox, &err) != 0)
        fail_msg("%s", err.text);
    return outbox;
}

static int frame_text(char text[64], const char *start_id, uint64_t seq)
{
    return snprintf(text, 64, "frame %u of %s", (unsigned)seq, start_id);
}

static void push(struct cb_outbox *outbox, const char *start_id, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        char text[64];
        int n = frame_text(text, start_id, seq);

        assert_int_equal(cb_outbox_push(outbox, seq, (uint8_t *)text, (size_t)n, NULL), 0);
    }
}

/* The next frame within @ms; hellos are welcomed. False: none came. */
static bool next_frame(struct cb_link_server *server, uint64_t ms, struct cb_link_message *m)
{
    uint64_t end = cb_clock_boot_ns() + ms * MS;

    do {
        assert_int_equal(cb_link_server_poll(server, 5 * MS, -1, m, NULL), 0);
        if (m->kind == CB_LINK_MSG_HELLO) {
            assert_string_equal(m->sensor, "node-1");
            assert_int_equal(cb_link_server_welcome(server, &m->peer, NULL), 0);
        }
    } while (m->kind != CB_LINK_MSG_FRAME && cb_clock_boot_ns() < end);
    return m->kind == CB_LINK_MSG_FRAME;
}

static struct cb_link_message expect(struct cb_link_server *server, const char *start_id,
                                     uint64_t seq)
{
    struct cb_link_message m;
    char text[64];
    int n = frame_text(text, start_id, seq);

    assert_true(next_frame(server, 15000, &m));
    assert_string_equal(m.start_id, start_id);
    assert_int_equal(m.seq, seq);
    assert_int_equal(m.size, n);
    assert_memory_equal(m.bytes, text, n);
    return m;
}

static void ack(struct cb_link_server *server, const struct cb_link_message *m)
{
    assert_int_equal(cb_link_server_ack(server, &m->peer, m->start_id, m->seq, NULL), 0);
}

/* Serve until the outbox has nothing left. */
static struct cb_outbox_stats wait_empty(struct cb_link_server *server, struct cb_outbox *outbox)
{
    uint64_t end = cb_clock_boot_ns() + 15000 * MS;
    struct cb_outbox_stats stats;

    do {
        struct cb_link_message m;

        if (next_frame(server, 5, &m))
            ack(server, &m);
        cb_outbox_stats(outbox, &stats);
    } while (stats.held_frames > 0 && cb_clock_boot_ns() < end);
    assert_int_equal(stats.held_frames, 0);
    return stats;
}

static struct cb_outbox_stats wait_held(struct cb_outbox *outbox, uint64_t held)
{
    uint64_t end = cb_clock_boot_ns() + 15000 * MS;
    struct cb_outbox_stats stats;

    do {
        (void)usleep(1000);
        cb_outbox_stats(outbox, &stats);
    } while (stats.held_frames != held && cb_clock_boot_ns() < end);
    assert_int_equal(stats.held_frames, held);
    return stats;
}

static void frames_are_sent_in_order_and_acked_away(void **state)
{
    const struct fake_root *roots[] = {*state, NULL};

    for (size_t i = 0; i < 2; i++) {
        struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 64);
        struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), roots[i], A);
        struct cb_outbox_stats stats;

        push(outbox, A, 1, 10);
        for (uint64_t seq = 1; seq <= 10; seq++) {
            struct cb_link_message m = expect(server, A, seq);

            ack(server, &m);
        }
        assert_true(cb_outbox_take_dictionary_wanted(outbox)); /* a server start it has not seen */
        assert_false(cb_outbox_take_dictionary_wanted(outbox));
        stats = wait_empty(server, outbox);
        assert_true(stats.connected);
        assert_false(stats.refused);
        assert_int_equal(stats.sent_frames, 10);
        assert_int_equal(stats.acked_frames, 10);
        assert_int_equal(stats.lost_frames, 0);
        assert_int_equal(stats.held_bytes, 0);
        outbox = cb_outbox_close(outbox, 1000 * MS);
        server = cb_link_server_close(server);
    }
}

static void no_more_is_sent_than_the_server_gave_credit_for(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 3);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    struct cb_link_message m;

    push(outbox, A, 1, 10);
    for (uint64_t seq = 1; seq <= 3; seq++)
        m = expect(server, A, seq);
    assert_false(next_frame(server, 200, &m));
    (void)wait_held(outbox, 10);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void an_ack_of_a_later_frame_covers_the_earlier_ones(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 3);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    struct cb_link_message m;

    push(outbox, A, 1, 5);
    (void)expect(server, A, 1);
    (void)expect(server, A, 2);
    m = expect(server, A, 3);
    ack(server, &m);
    (void)expect(server, A, 4);
    m = expect(server, A, 5);
    ack(server, &m);
    assert_int_equal(wait_empty(server, outbox).sent_frames, 5);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void frames_wait_for_a_server_that_is_away(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 64);
    char endpoint[64];
    struct cb_outbox *outbox;
    struct cb_outbox_stats stats;

    int syncs = fault_fdatasyncs();
    uint64_t begin = cb_clock_boot_ns();

    (void)snprintf(endpoint, sizeof(endpoint), "%s", cb_link_server_endpoint(server));
    server = cb_link_server_close(server);
    outbox = outbox_to(endpoint, *state, A);
    push(outbox, A, 1, 5);
    stats = wait_held(outbox, 5);
    assert_false(stats.connected);
    while (fault_fdatasyncs() == syncs) { /* within the 20 ms of sync_ns, on an idle machine */
        assert_true(cb_clock_boot_ns() - begin < 10000 * MS);
        (void)usleep(1000);
    }
    begin = cb_clock_boot_ns();
    outbox = cb_outbox_close(outbox, 20000 * MS); /* all on disk, no link: no reason to wait */
    assert_true(cb_clock_boot_ns() - begin < 10000 * MS);

    outbox = outbox_to(endpoint, *state, B); /* the next start of the sensor */
    push(outbox, B, 1, 2);
    server = server_at(endpoint, 64);
    for (uint64_t seq = 1; seq <= 5; seq++)
        (void)expect(server, A, seq);
    (void)expect(server, B, 1);
    (void)expect(server, B, 2);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void what_a_restarted_server_has_not_acked_is_sent_again(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 64);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    char endpoint[64];
    struct cb_link_message m;

    (void)snprintf(endpoint, sizeof(endpoint), "%s", cb_link_server_endpoint(server));
    push(outbox, A, 1, 6);
    for (uint64_t seq = 1; seq <= 6; seq++) {
        m = expect(server, A, seq);
        if (seq == 2)
            ack(server, &m);
    }
    (void)wait_held(outbox, 4);
    (void)cb_outbox_take_dictionary_wanted(outbox);
    server = cb_link_server_close(server);
    push(outbox, A, 7, 8);
    server = server_at(endpoint, 64);
    for (uint64_t seq = 3; seq <= 8; seq++) {
        m = expect(server, A, seq);
        ack(server, &m);
    }
    assert_true(cb_outbox_take_dictionary_wanted(outbox));
    assert_int_equal(wait_empty(server, outbox).acked_frames, 8);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void a_refused_frame_does_not_hold_up_the_others(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 2);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    struct cb_outbox_stats stats;
    struct cb_link_message m;

    push(outbox, A, 1, 4);
    m = expect(server, A, 1);
    assert_int_equal(cb_link_server_refuse(server, &m.peer, A, 1, "malformed", NULL), 0);
    for (uint64_t seq = 2; seq <= 4; seq++) {
        m = expect(server, A, seq);
        ack(server, &m);
    }
    stats = wait_empty(server, outbox);
    assert_int_equal(stats.refused_frames, 1);
    assert_int_equal(stats.lost_frames, 0); /* it may be there already, by another sensor */
    assert_int_equal(stats.acked_frames, 3);
    assert_false(stats.refused);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void a_refused_sensor_keeps_its_frames(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 64);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    struct cb_outbox_stats stats;
    struct cb_link_message m;

    push(outbox, A, 1, 3);
    do
        assert_int_equal(cb_link_server_poll(server, 100 * MS, -1, &m, NULL), 0);
    while (m.kind != CB_LINK_MSG_HELLO);
    assert_int_equal(cb_link_server_refuse(server, &m.peer, "", 0, "another key", NULL), 0);
    do {
        (void)usleep(1000);
        cb_outbox_stats(outbox, &stats);
    } while (!stats.refused);
    assert_false(stats.connected);
    assert_int_equal(stats.held_frames, 3);
    for (uint64_t seq = 1; seq <= 3; seq++) /* it asks again, and is welcomed this time */
        m = expect(server, A, seq);
    ack(server, &m);
    stats = wait_empty(server, outbox);
    assert_false(stats.refused);
    assert_int_equal(stats.lost_frames, 0);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void a_full_spool_counts_its_losses_and_wants_a_dictionary(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 64);
    char endpoint[64];
    struct cb_outbox *outbox;
    struct cb_outbox_stats stats;
    uint8_t bytes[10000] = {1};
    uint64_t next = 0;
    uint64_t got = 0;
    struct cb_link_message m;

    (void)snprintf(endpoint, sizeof(endpoint), "%s", cb_link_server_endpoint(server));
    server = cb_link_server_close(server);
    outbox = outbox_to(endpoint, *state, A);
    for (uint64_t seq = 1; seq <= 300; seq++)
        assert_int_equal(cb_outbox_push(outbox, seq, bytes, sizeof(bytes), NULL), 0);
    do
        cb_outbox_stats(outbox, &stats);
    while (stats.held_frames + stats.lost_frames < 300);
    assert_true(stats.held_bytes <= 1 << 20);
    assert_true(stats.held_frames >= 90);
    assert_true(cb_outbox_take_dictionary_wanted(outbox));
    server = server_at(endpoint, 64);
    next = 301 - stats.held_frames;
    while (got < stats.held_frames) {
        assert_true(next_frame(server, 15000, &m));
        assert_int_equal(m.seq, next + got);
        got++;
        ack(server, &m);
    }
    stats = wait_empty(server, outbox);
    assert_int_equal(stats.acked_frames + stats.lost_frames, 300);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

static void a_push_never_waits_and_says_when_there_is_no_room(void **state)
{
    struct cb_outbox *outbox = outbox_to("tcp://127.0.0.1:9", NULL, A);
    uint8_t *bytes = calloc(1, CB_FRAME_MAX_BYTES + 1);
    struct cb_outbox_stats stats;
    struct cb_err err = {0};
    uint64_t full = 0;
    uint64_t seq = 0;

    (void)state;
    assert_int_equal(cb_outbox_push(outbox, 1, bytes, CB_FRAME_MAX_BYTES + 1, NULL), -EMSGSIZE);
    while (full == 0 && seq < 1000000) { /* a copy is quicker than a copy with a checksum */
        int r = cb_outbox_push(outbox, ++seq, bytes, 60000, &err);

        assert_true(r == 0 || r == -ENOBUFS);
        full += r < 0;
    }
    assert_int_equal(full, 1);
    do
        cb_outbox_stats(outbox, &stats);
    while (stats.lost_frames + stats.held_frames < seq);
    assert_int_equal(stats.lost_frames + stats.held_frames, seq);
    assert_int_equal(stats.held_frames, (1 << 20) / (60000 + 40));
    free(bytes);
    outbox = cb_outbox_close(outbox, 0);
}

static void closing_waits_for_the_last_acks_as_long_as_it_may(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 64);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    struct cb_link_message m;

    push(outbox, A, 1, 1);
    m = expect(server, A, 1);
    ack(server, &m);
    (void)wait_empty(server, outbox);
    push(outbox, A, 2, 3);
    /* The link is up, but nobody acks: close waits its time for it, and no longer. */
    uint64_t begin = cb_clock_boot_ns();

    outbox = cb_outbox_close(outbox, 300 * MS);
    assert_true(cb_clock_boot_ns() - begin >= 300 * MS);
    assert_true(cb_clock_boot_ns() - begin < 10000 * MS);
    outbox = outbox_to(cb_link_server_endpoint(server), *state, B);
    for (uint64_t seq = 2; seq <= 3; seq++) /* sent by the first, and again by the second */
        (void)expect(server, A, seq);
    for (uint64_t seq = 2; seq <= 3; seq++) {
        m = expect(server, A, seq);
        ack(server, &m);
    }
    (void)wait_empty(server, outbox);
    outbox = cb_outbox_close(outbox, 10000 * MS);
    server = cb_link_server_close(server);
}

static void a_second_sensor_on_the_same_spool_is_refused(void **state)
{
    struct cb_outbox *outbox = outbox_to("tcp://127.0.0.1:9", *state, A);
    struct cb_outbox_options options = {
        .spool_dir_fd = ((struct fake_root *)*state)->fd,
        .link = {.endpoint = "tcp://127.0.0.1:9",
                 .sensor = "n",
                 .boot_id = BOOT,
                 .start_id = B,
                 .version = ""},
    };
    struct cb_outbox *second = NULL;
    struct cb_err err = {0};
    int fds;

    assert_int_equal(cb_outbox_open(&options, &second, &err), -EBUSY);
    assert_null(second);
    outbox = cb_outbox_close(outbox, 0);
    fds = count_open_fds();
    options.link.endpoint = "nonsense";
    assert_int_equal(cb_outbox_open(&options, &second, &err), -EINVAL);
    assert_null(second);
    assert_int_equal(count_open_fds(), fds);
    assert_null(cb_outbox_close(NULL, 0));
}

/* The server dies at random, acks some frames, loses others; new frames come all the time. In the
 * end every frame was seen, and each first time in order. */
static void random_deaths_of_the_server_lose_nothing(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", 8);
    struct cb_outbox *outbox = outbox_to(cb_link_server_endpoint(server), *state, A);
    uint64_t random = 4711;
    uint64_t pushed = 0;
    uint64_t stored = 0; /* the highest that the server has: what it drops is what it has seen */
    char endpoint[64];
    struct cb_outbox_stats stats;

    (void)snprintf(endpoint, sizeof(endpoint), "%s", cb_link_server_endpoint(server));
    for (int i = 0; i < 12; i++) {
        uint64_t n = random_below(&random, 40);
        uint64_t life = random_below(&random, 60);

        push(outbox, A, pushed + 1, pushed + n);
        pushed += n;
        for (uint64_t k = 0; k < life; k++) {
            struct cb_link_message m;

            if (!next_frame(server, k ? 20 : 2000, &m))
                break;
            assert_true(m.seq <= stored + 1);
            if (m.seq == stored + 1 && random_below(&random, 8) == 0)
                break; /* dies before it is stored */
            if (m.seq == stored + 1)
                stored = m.seq;
            if (random_below(&random, 2))
                ack(server, &m);
        }
        server = cb_link_server_close(server);
        server = server_at(endpoint, 8);
    }
    while (stored < pushed) {
        struct cb_link_message m;

        assert_true(next_frame(server, 15000, &m));
        assert_true(m.seq <= stored + 1);
        if (m.seq == stored + 1)
            stored = m.seq;
        ack(server, &m);
    }
    stats = wait_empty(server, outbox);
    assert_int_equal(stats.lost_frames, 0);
    assert_int_equal(stats.acked_frames, pushed);
    outbox = cb_outbox_close(outbox, 0);
    server = cb_link_server_close(server);
}

/* The child tells which frames the spool has; then it is killed. */
static void child(const struct fake_root *root, int fd)
{
    struct cb_outbox *outbox = outbox_to("tcp://127.0.0.1:9", root, A);
    uint64_t random = (uint64_t)getpid();

    for (uint64_t seq = 1;; seq++) {
        struct cb_outbox_stats stats;

        push(outbox, A, seq, seq);
        if (random_below(&random, 4))
            continue;
        cb_outbox_stats(outbox, &stats);
        if (write(fd, &stats.held_frames, sizeof(stats.held_frames)) < 0)
            _exit(1);
        (void)usleep(100);
    }
}

static void a_sensor_killed_at_any_moment_loses_nothing_that_was_spooled(void **state)
{
    for (int i = 0; i < 5; i++) {
        struct fake_root *root = *state;
        struct cb_link_server *server;
        struct cb_outbox *outbox;
        struct cb_link_message m;
        uint64_t spooled = 0;
        uint64_t told;
        uint64_t last = 0;
        int fds[2];
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0)
            child(root, fds[1]);
        assert_true(pid > 0);
        (void)close(fds[1]);
        for (int k = 0; k < 20 + 37 * i && read(fds[0], &told, sizeof(told)) == sizeof(told); k++)
            spooled = told;
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (read(fds[0], &told, sizeof(told)) == sizeof(told))
            spooled = told;
        (void)close(fds[0]);
        assert_true(spooled > 0);

        server = server_at("tcp://127.0.0.1:0", 64);
        outbox = outbox_to(cb_link_server_endpoint(server), root, B);
        push(outbox, B, 1, 1);
        for (;;) {
            assert_true(next_frame(server, 15000, &m));
            ack(server, &m);
            if (strcmp(m.start_id, B) == 0)
                break;
            assert_int_equal(m.seq, last + 1);
            last = m.seq;
        }
        assert_true(last >= spooled);
        (void)wait_empty(server, outbox);
        outbox = cb_outbox_close(outbox, 0);
        server = cb_link_server_close(server);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_sensor_killed_at_any_moment_loses_nothing_that_was_spooled),
        TEST(frames_are_sent_in_order_and_acked_away),
        TEST(no_more_is_sent_than_the_server_gave_credit_for),
        TEST(an_ack_of_a_later_frame_covers_the_earlier_ones),
        TEST(frames_wait_for_a_server_that_is_away),
        TEST(what_a_restarted_server_has_not_acked_is_sent_again),
        TEST(a_refused_frame_does_not_hold_up_the_others),
        TEST(a_refused_sensor_keeps_its_frames),
        TEST(a_full_spool_counts_its_losses_and_wants_a_dictionary),
        TEST(a_push_never_waits_and_says_when_there_is_no_room),
        TEST(closing_waits_for_the_last_acks_as_long_as_it_may),
        TEST(a_second_sensor_on_the_same_spool_is_refused),
        TEST(random_deaths_of_the_server_lose_nothing),
    };

    cb_log_init("test_outbox", CB_LOG_ERR, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
