/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/receiver.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/sensor_fixture.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)

/* A whole receiving end, with a real link, and keys for two sensors. */
struct end {
    struct store_fixture *f;
    struct cb_store *store; /* the receiver's own */
    struct cb_known *known;
    struct cb_totals *totals;
    struct cb_notify notify;
    struct cb_ingest_stats stats;
    struct cb_link_server *server;
    struct cb_receiver *receiver;
    struct cb_keys server_keys, sensor_keys[2];
    struct sensor_fixture sensor;
    uint64_t heartbeat_ns; /* 0: the usual; less where an outage is waited for */
};

static void must(int r, const struct cb_err *err)
{
    if (r < 0)
        fail_msg("%s", err->text);
}

static void start(struct end *e)
{
    struct cb_err err = {0};
    struct cb_link_server_options link = {.endpoint = "tcp://127.0.0.1:*",
                                          .keys = &e->server_keys,
                                          .admit = cb_receiver_admit,
                                          .credit = 8};
    struct cb_ingest_options options = {
        .notify = &e->notify, .stats = &e->stats, .commit_ns = SECOND / 20};

    must(cb_store_open(e->f->path, CB_STORE_OWNER, &e->store, &err), &err);
    must(cb_known_open(e->f->root->fd, &e->known, &err), &err);
    e->totals = cb_totals_new();
    assert_non_null(e->totals);
    link.admit_context = e->known;
    must(cb_link_server_open(&link, &e->server, &err), &err);
    options.store = e->store;
    options.known = e->known;
    options.totals = e->totals;
    must(cb_receiver_start(e->server, NULL, &options, &e->receiver, &err), &err);
}

static void stop(struct end *e)
{
    e->receiver = cb_receiver_stop(e->receiver);
    e->server = cb_link_server_close(e->server);
    e->totals = cb_totals_free(e->totals);
    e->known = cb_known_close(e->known);
    e->store = cb_store_close(e->store);
}

static void make_keys(const struct end *e, const char *name, struct cb_keys *ret_keys)
{
    struct cb_err err = {0};
    char public_name[32];
    bool made;

    (void)snprintf(public_name, sizeof(public_name), "%s.pub", name);
    must(cb_keys_open(e->f->root->fd, name, public_name, ret_keys, &made, &err), &err);
}

static int setup(void **state)
{
    struct end *e = calloc(1, sizeof(*e));
    void *f = NULL;

    assert_non_null(e);
    cb_log_init("test", CB_LOG_ERR, false);
    assert_int_equal(store_fixture_setup(&f), 0);
    e->f = f;
    e->sensor = (struct sensor_fixture){.name = "node1",
                                        .boot_id = FIXTURE_BOOT,
                                        .start_id = FIXTURE_START,
                                        .seed = 5,
                                        .length_ns = SECOND / 10,
                                        .t0_ns = SECOND,
                                        .dictionary = true};
    make_keys(e, "server", &e->server_keys);
    make_keys(e, "one", &e->sensor_keys[0]);
    make_keys(e, "two", &e->sensor_keys[1]);
    must(cb_known_add(e->f->root->fd, "node1", e->sensor_keys[0].public_key, NULL), NULL);
    cb_notify_init(&e->notify);
    start(e);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    struct end *e = *state;
    void *f = e->f;

    stop(e);
    cb_notify_fini(&e->notify);
    e->sensor.encoder = cb_frame_encoder_free(e->sensor.encoder);
    free(e);
    return store_fixture_teardown(&f);
}

static struct cb_link_client *connect_as(struct end *e, const struct cb_keys *keys)
{
    struct cb_link_client_options options = {.endpoint = cb_link_server_endpoint(e->server),
                                             .keys = keys,
                                             .server_key = e->server_keys.public_key,
                                             .sensor = e->sensor.name,
                                             .boot_id = e->sensor.boot_id,
                                             .start_id = e->sensor.start_id,
                                             .version = "test",
                                             .heartbeat_ns = e->heartbeat_ns};
    struct cb_link_client *client = NULL;
    struct cb_err err = {0};

    must(cb_link_client_open(&options, &client, &err), &err);
    return client;
}

/* Wait for the next event other than "nothing". */
static enum cb_link_event_kind next(struct cb_link_client *client, struct cb_link_event *event)
{
    struct cb_err err = {0};

    for (int i = 0; i < 100; i++) {
        must(cb_link_client_poll(client, SECOND / 10, -1, event, &err), &err);
        if (event->kind != CB_LINK_NONE)
            return event->kind;
    }
    return CB_LINK_NONE;
}

static void send_frame(struct end *e, struct cb_link_client *client, uint64_t seq)
{
    struct cb_err err = {0};
    const uint8_t *bytes;
    size_t size;

    sensor_fixture_frame(&e->sensor, seq, &bytes, &size);
    must(cb_link_client_send(client, e->sensor.start_id, seq, bytes, size, &err), &err);
}

/* Until everything up to @seq is acknowledged. */
static void until_acked(struct cb_link_client *client, uint64_t seq)
{
    struct cb_link_event event = {.seq = 0};

    while (event.seq < seq)
        assert_int_equal(next(client, &event), CB_LINK_ACK);
}

static uint64_t frames_stored(const struct end *e, const char *name)
{
    struct cb_store_machine machine;

    assert_int_equal(cb_store_machine(e->f->store, name, &machine, NULL), 0);
    return machine.frames;
}

static void frames_go_over_the_link_into_the_store_and_are_acknowledged(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client = connect_as(e, &e->sensor_keys[0]);
    struct cb_link_event event;

    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    assert_int_equal(event.credit, 8);
    for (uint64_t seq = 1; seq <= 8; seq++)
        send_frame(e, client, seq);
    until_acked(client, 8);
    assert_int_equal(frames_stored(e, "node1"), 8); /* durable before the ack */
    client = cb_link_client_close(client);
}

static void what_was_acknowledged_is_there_after_a_restart_and_not_twice(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client = connect_as(e, &e->sensor_keys[0]);
    struct cb_link_event event;

    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    for (uint64_t seq = 1; seq <= 5; seq++)
        send_frame(e, client, seq);
    until_acked(client, 5);
    client = cb_link_client_close(client);
    stop(e);
    start(e);
    client = connect_as(e, &e->sensor_keys[0]);
    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    for (uint64_t seq = 4; seq <= 9; seq++)
        send_frame(e, client, seq);
    until_acked(client, 9);
    assert_int_equal(frames_stored(e, "node1"), 9);
    client = cb_link_client_close(client);
}

static void a_stranger_gets_silence_until_its_key_is_added(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client;
    struct cb_link_event event = {.seq = 0};

    e->heartbeat_ns = SECOND;
    e->sensor.name = "node2";
    client = connect_as(e, &e->sensor_keys[1]);
    assert_int_equal(next(client, &event), CB_LINK_DOWN);
    must(cb_known_add(e->f->root->fd, "node2", e->sensor_keys[1].public_key, NULL), NULL);
    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    send_frame(e, client, 1);
    until_acked(client, 1);
    assert_int_equal(frames_stored(e, "node2"), 1);
    client = cb_link_client_close(client);
}

static size_t count_lines(FILE *file)
{
    size_t n = 0;

    rewind(file);
    for (int c = fgetc(file); c != EOF; c = fgetc(file))
        n += c == '\n';
    return n;
}

static void strangers_that_ask_again_and_again_do_not_fill_the_log(void **state)
{
    struct end *e = *state;
    FILE *log = tmpfile();
    int saved = dup(STDERR_FILENO);
    char key[CB_KEY_SIZE];

    stop(e); /* the list has one reader */
    must(cb_known_open(e->f->root->fd, &e->known, NULL), NULL);
    assert_true(log && saved >= 0);
    (void)dup2(fileno(log), STDERR_FILENO);
    cb_log_init("test", CB_LOG_WARN, false);
    for (int i = 0; i < 50; i++)
        (void)cb_receiver_admit(e->known, e->sensor_keys[1].public_key);
    assert_int_equal(count_lines(log), 1);
    for (int i = 0; i < 1000; i++) { /* each with a key of its own */
        (void)snprintf(key, sizeof(key), "%040d", i);
        (void)cb_receiver_admit(e->known, key);
    }
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    cb_log_init("test", CB_LOG_ERR, false);
    assert_in_range(count_lines(log), 2, 70);
    (void)fclose(log);
    e->known = cb_known_close(e->known);
    start(e);
}

/* seq 0: the sensor keeps it and all that follow (test_outbox), until the server is renewed. */
static void a_frame_of_an_unknown_format_is_kept_by_its_sensor(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client = connect_as(e, &e->sensor_keys[0]);
    struct cb_link_event event;
    const uint8_t *bytes;
    uint8_t *newer;
    size_t size;

    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    sensor_fixture_frame(&e->sensor, 1, &bytes, &size);
    newer = malloc(size);
    assert_non_null(newer);
    memcpy(newer, bytes, size);
    newer[4 + 1 + sizeof("format")] = CB_FRAME_VERSION + 1;
    must(cb_link_client_send(client, e->sensor.start_id, 1, newer, size, NULL), NULL);
    assert_int_equal(next(client, &event), CB_LINK_REFUSED);
    assert_int_equal(event.seq, 0);
    assert_non_null(strstr(event.text, "format 2"));
    assert_int_equal(next(client, &event), CB_LINK_WELCOME); /* asks again later */
    send_frame(e, client, 1);
    until_acked(client, 1);
    free(newer);
    client = cb_link_client_close(client);
}

static void a_key_that_was_revoked_for_a_moment_leaves_no_hole(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client;
    struct cb_link_event event;

    e->heartbeat_ns = SECOND;
    client = connect_as(e, &e->sensor_keys[0]);
    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    send_frame(e, client, 1);
    until_acked(client, 1);
    must(cb_known_revoke(e->f->root->fd, "node1", NULL), NULL);
    send_frame(e, client, 2);
    while (atomic_load(&e->stats.ignored_total) == 0)
        assert_int_equal(cb_link_client_poll(client, 0, -1, &event, NULL), 0);
    must(cb_known_add(e->f->root->fd, "node1", e->sensor_keys[0].public_key, NULL), NULL);
    if (cb_link_client_send(client, FIXTURE_START, 3, (const uint8_t *)"later", 5, NULL) == 0)
        while (next(client, &event) != CB_LINK_WELCOME) /* on this connection nothing is acked */
            assert_int_equal(event.kind, CB_LINK_DOWN);
    for (uint64_t seq = 2; seq <= 3; seq++)
        send_frame(e, client, seq);
    until_acked(client, 3);
    assert_int_equal(frames_stored(e, "node1"), 3);
    client = cb_link_client_close(client);
}

static void a_bad_frame_is_refused_and_the_next_is_taken(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client = connect_as(e, &e->sensor_keys[0]);
    struct cb_link_event event;
    struct cb_err err = {0};

    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    must(cb_link_client_send(client, e->sensor.start_id, 1, (const uint8_t *)"abc", 3, &err), &err);
    assert_int_equal(next(client, &event), CB_LINK_REFUSED);
    assert_int_equal(event.seq, 1);
    assert_true(event.text[0] != '\0');
    send_frame(e, client, 2);
    until_acked(client, 2);
    client = cb_link_client_close(client);
}

static void stopping_commits_what_came(void **state)
{
    struct end *e = *state;
    struct cb_link_client *client = connect_as(e, &e->sensor_keys[0]);
    struct cb_link_event event;

    assert_int_equal(next(client, &event), CB_LINK_WELCOME);
    send_frame(e, client, 1);
    until_acked(client, 1);
    stop(e);
    start(e);
    client = cb_link_client_close(client);
    assert_int_equal(frames_stored(e, "node1"), 1);

    uint8_t *bytes = NULL;
    size_t size = 0;

    assert_int_equal(cb_store_snapshot(e->f->store, 1, &bytes, &size, NULL), 0);
    assert_true(size > 0);
    free(bytes);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(frames_go_over_the_link_into_the_store_and_are_acknowledged),
        TEST(what_was_acknowledged_is_there_after_a_restart_and_not_twice),
        TEST(a_stranger_gets_silence_until_its_key_is_added),
        TEST(strangers_that_ask_again_and_again_do_not_fill_the_log),
        TEST(a_frame_of_an_unknown_format_is_kept_by_its_sensor),
        TEST(a_key_that_was_revoked_for_a_moment_leaves_no_hole),
        TEST(a_bad_frame_is_refused_and_the_next_is_taken),
        TEST(stopping_commits_what_came),
    };

    cb_log_init("test", CB_LOG_ERR, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
