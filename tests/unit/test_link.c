/* SPDX-License-Identifier: Apache-2.0 */
/* test_link.c - lib/link: both ends over loopback, a stranger, rubbish, and restarts. One thread
 * polls both ends by turns. */
#include <arpa/inet.h>
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
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/link.h"
#include "lib/link_wire.h"
#include "tests/support/fake_root.h"

#define MS UINT64_C(1000000)
#define BOOT "0b0b0b0b-1111-2222-3333-444444444444"
#define START "0123456789abcdef0123456789abcdef"

static struct cb_keys server_keys;
static struct cb_keys client_keys;
static bool admitted = true;
static int admit_calls;
static uint64_t heartbeat_ns; /* short only where an outage is waited for: machines can be busy */

static bool admit(void *context, const char *key)
{
    assert_ptr_equal(context, &admitted);
    admit_calls++;
    return admitted && strcmp(key, client_keys.public_key) == 0;
}

static int group_setup(void **state)
{
    (void)state;
    return zmq_curve_keypair(server_keys.public_key, server_keys.secret_key) |
           zmq_curve_keypair(client_keys.public_key, client_keys.secret_key);
}

static int setup(void **state)
{
    (void)state;
    admitted = true;
    admit_calls = 0;
    heartbeat_ns = 2000 * MS;
    return 0;
}

static int setup_short(void **state)
{
    (void)setup(state);
    heartbeat_ns = 100 * MS;
    return 0;
}

static struct cb_link_server *server_at(const char *endpoint, bool curve)
{
    struct cb_link_server_options options = {
        .endpoint = endpoint,
        .keys = curve ? &server_keys : NULL,
        .admit = curve ? admit : NULL,
        .admit_context = &admitted,
        .credit = 7,
    };
    struct cb_link_server *server = NULL;
    struct cb_err err = {0};

    if (cb_link_server_open(&options, &server, &err) != 0)
        fail_msg("%s", err.text);
    return server;
}

static struct cb_link_client *client_with(const char *endpoint, const struct cb_keys *keys,
                                          const char *server_key)
{
    struct cb_link_client_options options = {
        .endpoint = endpoint,
        .keys = keys,
        .server_key = server_key,
        .sensor = "node-1",
        .boot_id = BOOT,
        .start_id = START,
        .version = "0.1.0",
        .heartbeat_ns = heartbeat_ns,
    };
    struct cb_link_client *client = NULL;
    struct cb_err err = {0};

    if (cb_link_client_open(&options, &client, &err) != 0)
        fail_msg("%s", err.text);
    return client;
}

static struct cb_link_client *client_of(const struct cb_link_server *server)
{
    return client_with(cb_link_server_endpoint(server), &client_keys, server_keys.public_key);
}

/* Poll both ends by turns until either has something, or @ms are over. A hello is welcomed. */
struct turn {
    struct cb_link_event event;
    struct cb_link_message message;
};
static bool welcome_hellos = true;

static struct turn pump(struct cb_link_server *server, struct cb_link_client *client, uint64_t ms)
{
    uint64_t end = cb_clock_boot_ns() + ms * MS;
    struct turn turn = {0};

    do {
        if (server) {
            assert_int_equal(cb_link_server_poll(server, MS, -1, &turn.message, NULL), 0);
            if (turn.message.kind == CB_LINK_MSG_HELLO && welcome_hellos) {
                assert_int_equal(cb_link_server_welcome(server, &turn.message.peer, NULL), 0);
                turn.message.kind = CB_LINK_MSG_NONE;
            }
        }
        if (client)
            assert_int_equal(cb_link_client_poll(client, MS, -1, &turn.event, NULL), 0);
    } while (!turn.event.kind && !turn.message.kind && cb_clock_boot_ns() < end);
    return turn;
}

static struct cb_link_event wait_event(struct cb_link_server *server, struct cb_link_client *client,
                                       enum cb_link_event_kind kind)
{
    struct turn turn = pump(server, client, 10000);

    /* With short heartbeats a busy machine makes outages of its own. */
    while (kind != CB_LINK_DOWN && turn.event.kind == CB_LINK_DOWN && heartbeat_ns < 1000 * MS)
        turn = pump(server, client, 10000);
    assert_int_equal(turn.message.kind, CB_LINK_MSG_NONE);
    assert_int_equal(turn.event.kind, kind);
    return turn.event;
}

static struct cb_link_message wait_message(struct cb_link_server *server,
                                           struct cb_link_client *client,
                                           enum cb_link_message_kind kind)
{
    struct turn turn = pump(server, client, 10000);

    assert_int_equal(turn.event.kind, CB_LINK_NONE);
    assert_int_equal(turn.message.kind, kind);
    return turn.message;
}

static int send_frame(struct cb_link_client *client, uint64_t seq)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "frame %u", (unsigned)seq);

    return cb_link_client_send(client, START, seq, (const uint8_t *)text, (size_t)n, NULL);
}

static void frames_go_there_and_acks_come_back(void **state)
{
    const bool curves[] = {true, false};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct cb_link_server *server = server_at("tcp://127.0.0.1:0", curves[i]);
        struct cb_link_client *client =
            curves[i] ? client_of(server)
                      : client_with(cb_link_server_endpoint(server), NULL, NULL);
        struct cb_link_message m;
        struct cb_link_event e;

        assert_int_equal(send_frame(client, 1), -EAGAIN); /* not welcomed yet */
        welcome_hellos = false;
        m = wait_message(server, client, CB_LINK_MSG_HELLO);
        welcome_hellos = true;
        assert_string_equal(m.key, curves[i] ? client_keys.public_key : "");
        assert_string_equal(m.sensor, "node-1");
        assert_string_equal(m.boot_id, BOOT);
        assert_string_equal(m.start_id, START);
        assert_string_equal(m.version, "0.1.0");
        assert_int_equal(cb_link_server_welcome(server, &m.peer, NULL), 0);
        e = wait_event(server, client, CB_LINK_WELCOME);
        assert_int_equal(e.credit, 7);
        assert_true(e.new_epoch);
        assert_int_equal(strlen(e.epoch), 32);

        for (uint64_t seq = 1; seq <= 7; seq++)
            assert_int_equal(send_frame(client, seq), 0);
        for (uint64_t seq = 1; seq <= 7; seq++) {
            char text[32];
            int n = snprintf(text, sizeof(text), "frame %u", (unsigned)seq);

            m = wait_message(server, client, CB_LINK_MSG_FRAME);
            assert_int_equal(m.seq, seq);
            assert_string_equal(m.start_id, START);
            assert_int_equal(m.size, n);
            assert_memory_equal(m.bytes, text, n);
            assert_string_equal(m.key, curves[i] ? client_keys.public_key : "");
        }
        assert_int_equal(cb_link_server_ack(server, &m.peer, START, 7, NULL), 0);
        e = wait_event(server, client, CB_LINK_ACK);
        assert_string_equal(e.start_id, START);
        assert_int_equal(e.seq, 7);
        assert_int_equal(cb_link_server_refuse(server, &m.peer, START, 9, "a\nline", NULL), 0);
        e = wait_event(server, client, CB_LINK_REFUSED);
        assert_string_equal(e.start_id, START);
        assert_int_equal(e.seq, 9);
        assert_string_equal(e.text, "a line");
        assert_int_equal(cb_link_server_ignored(server), 0);
        client = cb_link_client_close(client);
        server = cb_link_server_close(server);
    }
}

static void a_frame_of_the_largest_size_passes_and_a_larger_one_is_refused(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:*", true);
    struct cb_link_client *client = client_of(server);
    uint8_t *bytes = calloc(1, CB_FRAME_MAX_BYTES + 1);
    struct cb_link_message m;

    (void)state;
    (void)wait_event(server, client, CB_LINK_WELCOME);
    assert_int_equal(cb_link_client_send(client, START, 1, bytes, CB_FRAME_MAX_BYTES + 1, NULL),
                     -EMSGSIZE);
    assert_int_equal(cb_link_client_send(client, START, 1, bytes, CB_FRAME_MAX_BYTES, NULL), 0);
    m = wait_message(server, client, CB_LINK_MSG_FRAME);
    assert_int_equal(m.size, CB_FRAME_MAX_BYTES);
    free(bytes);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_quiet_link_stays_up_by_its_heartbeats(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client;
    struct turn turn;

    (void)state;
    heartbeat_ns = 300 * MS;
    client = client_of(server);
    (void)wait_event(server, client, CB_LINK_WELCOME);
    turn = pump(server, client, 1500); /* five heartbeats: three without an answer are an outage */
    assert_int_equal(turn.event.kind, CB_LINK_NONE);
    assert_int_equal(turn.message.kind, CB_LINK_MSG_NONE);
    assert_int_equal(send_frame(client, 1), 0);
    (void)wait_message(server, client, CB_LINK_MSG_FRAME);
    assert_int_equal(cb_link_server_ignored(server), 0);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_stranger_gets_silence_and_says_what_to_do(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    struct cb_link_event e;
    struct turn turn;

    (void)state;
    admitted = false;
    e = wait_event(server, client, CB_LINK_DOWN);
    assert_non_null(strstr(e.text, "cbformula keys add"));
    assert_true(admit_calls > 0);
    turn = pump(server, client, 1000); /* told once an outage, the server saw no message */
    assert_int_equal(turn.event.kind, CB_LINK_NONE);
    assert_int_equal(turn.message.kind, CB_LINK_MSG_NONE);
    admitted = true; /* let in later: no restart is needed */
    (void)wait_event(server, client, CB_LINK_WELCOME);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_client_with_the_wrong_server_key_gets_nowhere(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client =
        client_with(cb_link_server_endpoint(server), &client_keys, client_keys.public_key);

    (void)state;
    (void)wait_event(server, client, CB_LINK_DOWN);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_plain_client_gets_nothing_from_a_server_with_keys(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_with(cb_link_server_endpoint(server), NULL, NULL);
    struct cb_link_event e;

    (void)state;
    e = wait_event(server, client, CB_LINK_DOWN);
    assert_non_null(strstr(e.text, "unreachable"));
    assert_null(strstr(e.text, "keys"));
    assert_int_equal(admit_calls, 0);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_key_taken_off_the_list_falls_silent(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);

    (void)state;
    (void)wait_event(server, client, CB_LINK_WELCOME);
    admitted = false;
    (void)wait_event(server, client, CB_LINK_DOWN);
    assert_int_equal(send_frame(client, 1), -EAGAIN);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_restarted_server_is_greeted_again_with_a_new_epoch(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    struct cb_link_event first;
    struct cb_link_event second;
    char endpoint[64];

    (void)state;
    first = wait_event(server, client, CB_LINK_WELCOME);
    assert_int_equal(send_frame(client, 1), 0);
    (void)snprintf(endpoint, sizeof(endpoint), "%s", cb_link_server_endpoint(server));
    server = cb_link_server_close(server);
    (void)wait_event(NULL, client, CB_LINK_DOWN);
    assert_int_equal(send_frame(client, 2), -EAGAIN);
    server = server_at(endpoint, true);
    second = wait_event(server, client, CB_LINK_WELCOME);
    assert_true(second.new_epoch);
    assert_string_not_equal(first.epoch, second.epoch);
    assert_int_equal(send_frame(client, 3), 0);
    assert_int_equal(wait_message(server, client, CB_LINK_MSG_FRAME).seq, 3);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_server_that_restarts_at_once_is_no_outage(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    char endpoint[64];

    (void)state;
    (void)wait_event(server, client, CB_LINK_WELCOME);
    (void)snprintf(endpoint, sizeof(endpoint), "%s", cb_link_server_endpoint(server));
    server = cb_link_server_close(server);
    server = server_at(endpoint, true);
    assert_true(wait_event(server, client, CB_LINK_WELCOME).new_epoch);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

/* The server lives but its loop stands still: nothing answers, no connection is closed. */
/* A server that is away for long is asked about every heartbeat: doubling up to more, ten attempts
 * take longer than 20 s. */
static void however_long_an_outage_takes_the_server_is_asked_at_every_heartbeat(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    uint64_t end = cb_clock_boot_ns() + 10000 * MS;
    struct cb_link_client *client;
    char endpoint[64];
    int attempts = 0;

    (void)state;
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    heartbeat_ns = 300 * MS;
    client = client_with(endpoint, NULL, NULL);
    while (attempts < 10 && cb_clock_boot_ns() < end) {
        struct cb_link_event event;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        assert_int_equal(cb_link_client_poll(client, 10 * MS, -1, &event, NULL), 0);
        if (fd >= 0) {
            attempts++;
            (void)close(fd);
        }
    }
    assert_int_equal(attempts, 10);
    client = cb_link_client_close(client);
    (void)close(listener);
}

static void a_half_open_link_is_noticed_and_made_anew(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    struct cb_link_event e;

    (void)state;
    (void)wait_event(server, client, CB_LINK_WELCOME);
    (void)wait_event(NULL, client, CB_LINK_DOWN);
    e = wait_event(server, client, CB_LINK_WELCOME);
    assert_false(e.new_epoch); /* the same server start */
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void a_refused_sensor_asks_again_later(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    struct cb_link_message m;
    struct cb_link_event e;
    uint64_t begin;

    (void)state;
    welcome_hellos = false;
    m = wait_message(server, client, CB_LINK_MSG_HELLO);
    assert_int_equal(cb_link_server_refuse(server, &m.peer, "", 0, "node-1 has another key", NULL),
                     0);
    e = wait_event(server, client, CB_LINK_REFUSED);
    assert_int_equal(e.seq, 0);
    assert_string_equal(e.start_id, "");
    assert_string_equal(e.text, "node-1 has another key");
    assert_int_equal(send_frame(client, 1), -EAGAIN);
    begin = cb_clock_boot_ns();
    m = wait_message(server, client, CB_LINK_MSG_HELLO);
    assert_true(cb_clock_boot_ns() - begin < 3 * heartbeat_ns); /* not only as it is silent */
    welcome_hellos = true;
    assert_int_equal(cb_link_server_welcome(server, &m.peer, NULL), 0);
    (void)wait_event(server, client, CB_LINK_WELCOME);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

/* ---- a peer that speaks ZeroMQ but not our language ---- */

struct raw {
    void *context;
    void *socket;
};

static struct raw raw_open(const struct cb_link_server *server)
{
    struct raw raw = {.context = zmq_ctx_new()};
    int zero = 0;

    raw.socket = zmq_socket(raw.context, ZMQ_DEALER);
    assert_int_equal(zmq_setsockopt(raw.socket, ZMQ_LINGER, &zero, sizeof(zero)), 0);
    assert_int_equal(
        zmq_setsockopt(raw.socket, ZMQ_CURVE_SERVERKEY, server_keys.public_key, CB_KEY_SIZE), 0);
    assert_int_equal(
        zmq_setsockopt(raw.socket, ZMQ_CURVE_PUBLICKEY, client_keys.public_key, CB_KEY_SIZE), 0);
    assert_int_equal(
        zmq_setsockopt(raw.socket, ZMQ_CURVE_SECRETKEY, client_keys.secret_key, CB_KEY_SIZE), 0);
    assert_int_equal(zmq_connect(raw.socket, cb_link_server_endpoint(server)), 0);
    return raw;
}

static void raw_close(struct raw *raw)
{
    (void)zmq_close(raw->socket);
    (void)zmq_ctx_term(raw->context);
}

/* "#2" is the number 2 in its 8 bytes. */
static void raw_send(struct raw *raw, size_t n, const char *const *parts)
{
    for (size_t i = 0; i < n; i++) {
        bool is_number = parts[i][0] == '#';
        const uint8_t number[8] = {is_number ? (uint8_t)(parts[i][1] - '0') : 0};

        assert_true(zmq_send(raw->socket, is_number ? (const void *)number : parts[i],
                             is_number ? sizeof(number) : strlen(parts[i]),
                             i + 1 < n ? ZMQ_SNDMORE : 0) >= 0);
    }
}

static void wait_ignored(struct cb_link_server *server, uint64_t n)
{
    uint64_t end = cb_clock_boot_ns() + 5000 * MS;

    while (cb_link_server_ignored(server) < n && cb_clock_boot_ns() < end) {
        struct cb_link_message m;

        assert_int_equal(cb_link_server_poll(server, MS, -1, &m, NULL), 0);
        assert_int_equal(m.kind, CB_LINK_MSG_NONE);
    }
    assert_int_equal(cb_link_server_ignored(server), n);
}

static void rubbish_is_counted_and_harmless(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct raw raw = raw_open(server);
    const char *bad[][8] = {
        {""},
        {"x"},
        {"CBW1"},
        {"CBW2H", "node", BOOT, START, "1"},
        {"CBW1H"},
        {"CBW1H", "node", BOOT, START},
        {"CBW1H", "", BOOT, START, "1"},
        {"CBW1H", "no\nde", BOOT, START, "1"},
        {"CBW1H", "\xff", BOOT, START, "1"},
        {"CBW1H", "node", "boot", START, "1"},
        {"CBW1H", "node", BOOT, "start", "1"},
        {"CBW1H", "node", BOOT, START, "1", "more"},
        {"CBW1P", "more"},
        {"CBW1P"},                                /* no hello before */
        {"CBW1F", START, "#1", "#1", "frame"},    /* no hello before */
        {"CBW1W", START, "1234"},                 /* a server's message */
        {"a", "b", "c", "d", "e", "f", "g", "h"}, /* more parts than any message has */
    };
    size_t n = sizeof(bad) / sizeof(bad[0]);
    char reply[8];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        size_t parts = 1;

        while (parts < 8 && bad[i][parts])
            parts++;
        raw_send(&raw, parts, bad[i]);
    }
    wait_ignored(server, n);
    assert_int_equal(zmq_recv(raw.socket, reply, sizeof(reply), ZMQ_DONTWAIT), -1);

    struct cb_link_client *client = client_of(server); /* and others are served as ever */

    (void)wait_event(server, client, CB_LINK_WELCOME);
    client = cb_link_client_close(client);
    raw_close(&raw);
    server = cb_link_server_close(server);
}

static void a_bad_frame_after_a_hello_is_counted_too(void **state)
{
    static const char *const hello[] = {"CBW1H", "node", BOOT, START, ""};
    static const char *const bad[][5] = {
        {"CBW1F", START, "short", "#1", "frame"},   {"CBW1F", START, "#1", "short", "frame"},
        {"CBW1F", START, "#1", "#0", "frame"},      {"CBW1F", START, "#1", "#1", ""},
        {"CBW1F", "no start", "#1", "#1", "frame"}, {"CBW1X", START, "#1", "#1", "frame"},
    };
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct raw raw = raw_open(server);

    (void)state;
    raw_send(&raw, 5, hello);
    assert_int_equal(pump(server, NULL, 1000).message.kind, CB_LINK_MSG_NONE); /* welcomed */
    for (size_t i = 0; i < 6; i++)
        raw_send(&raw, 5, bad[i]);
    wait_ignored(server, 6);
    raw_close(&raw);
    server = cb_link_server_close(server);
}

static void a_frame_before_the_welcome_is_nobodys(void **state)
{
    static const char *const hello[] = {"CBW1H", "node", BOOT, START, ""};
    static const char *const frame[] = {"CBW1F", START, "#1", "#1", "frame"};
    static const char *const ping[] = {"CBW1P"};
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct raw raw = raw_open(server);
    struct cb_link_message m;

    (void)state;
    raw_send(&raw, 5, hello);
    raw_send(&raw, 5, frame);
    raw_send(&raw, 1, ping);
    do
        assert_int_equal(cb_link_server_poll(server, 100 * MS, -1, &m, NULL), 0);
    while (m.kind == CB_LINK_MSG_NONE);
    assert_int_equal(m.kind, CB_LINK_MSG_HELLO);
    wait_ignored(server, 2);
    assert_int_equal(cb_link_server_welcome(server, &m.peer, NULL), 0);
    raw_send(&raw, 5, frame);
    m = wait_message(server, NULL, CB_LINK_MSG_FRAME);
    assert_int_equal(cb_link_server_refuse(server, &m.peer, "", 0, "out", NULL), 0);
    raw_send(&raw, 5, frame); /* refused as a whole: as if it had never said hello */
    wait_ignored(server, 3);
    raw_close(&raw);
    server = cb_link_server_close(server);
}

/* Nothing may be taken after a frame that was not: an ack covers every lower one. */
static void after_a_frame_that_is_missing_or_malformed_nothing_is_taken(void **state)
{
    static const char *const hello[] = {"CBW1H", "node", BOOT, START, ""};
    static const char *const first[] = {"CBW1F", START, "#1", "#1", "frame"};
    static const char *const later[] = {"CBW1F", START, "#3", "#3", "frame"};
    static const char *const second[] = {"CBW1F", START, "#2", "#2", "frame"};
    static const char *const torn[] = {"CBW1F", START, "#2", "#2"};
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t before = cb_link_server_ignored(server);
        struct raw raw = raw_open(server);

        raw_send(&raw, 5, hello);
        raw_send(&raw, 5, first);
        (void)wait_message(server, NULL, CB_LINK_MSG_FRAME);
        if (i == 0)
            raw_send(&raw, 5, later);
        else
            raw_send(&raw, 4, torn);
        raw_send(&raw, 5, second);
        raw_send(&raw, 5, later);
        wait_ignored(server, before + 3);
        raw_send(&raw, 5, hello); /* from the beginning */
        raw_send(&raw, 5, first);
        (void)wait_message(server, NULL, CB_LINK_MSG_FRAME);
        raw_close(&raw);
    }
    server = cb_link_server_close(server);
}

static void a_peer_that_is_forgotten_connects_anew(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    struct cb_link_message m;

    (void)state;
    (void)wait_event(server, client, CB_LINK_WELCOME);
    assert_int_equal(send_frame(client, 1), 0);
    m = wait_message(server, client, CB_LINK_MSG_FRAME);
    cb_link_server_forget(server, &m.peer);
    assert_int_equal(send_frame(client, 2), 0);
    (void)wait_event(server, client, CB_LINK_WELCOME);
    assert_true(cb_link_server_ignored(server) > 0);
    assert_int_equal(send_frame(client, 1), 0);
    m = wait_message(server, client, CB_LINK_MSG_FRAME);
    assert_int_equal(m.number, 1);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void an_ack_that_was_lost_comes_again_with_the_heartbeat(void **state)
{
    static const char *const hello[] = {"CBW1H", "node", BOOT, START, ""};
    static const char *const frame[] = {"CBW1F", START, "#1", "#1", "frame"};
    static const char *const ping[] = {"CBW1P"};
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct raw raw = raw_open(server);
    struct cb_link_message m;
    unsigned acks = 0;

    (void)state;
    raw_send(&raw, 5, hello);
    raw_send(&raw, 5, frame);
    m = wait_message(server, NULL, CB_LINK_MSG_FRAME);
    assert_int_equal(cb_link_server_ack(server, &m.peer, START, 1, NULL), 0);
    raw_send(&raw, 1, ping);
    for (int i = 0; acks < 2 && i < 500; i++) {
        char part[64];
        int n;

        assert_int_equal(cb_link_server_poll(server, 10 * MS, -1, &m, NULL), 0);
        while ((n = zmq_recv(raw.socket, part, sizeof(part), ZMQ_DONTWAIT)) >= 0)
            acks += n == 5 && memcmp(part, "CBW1A", 5) == 0;
    }
    assert_int_equal(acks, 2);
    raw_close(&raw);
    server = cb_link_server_close(server);
}

/* While its store fails the server reads nothing; the sensors hear from it all the same. */
static void a_server_that_only_beats_is_no_outage(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client;
    uint64_t end;

    (void)state;
    heartbeat_ns = 300 * MS;
    client = client_of(server);
    (void)wait_event(server, client, CB_LINK_WELCOME);
    end = cb_clock_boot_ns() + 5 * heartbeat_ns;
    while (cb_clock_boot_ns() < end) {
        struct cb_link_event e;

        cb_link_server_beat(server);
        assert_int_equal(cb_link_client_poll(client, heartbeat_ns / 4, -1, &e, NULL), 0);
        assert_int_equal(e.kind, CB_LINK_NONE);
    }
    assert_int_equal(send_frame(client, 1), 0);
    (void)wait_message(server, client, CB_LINK_MSG_FRAME);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

/* A stranger's handshake never ends, and no error tells why. */
static void a_stranger_learns_nothing_from_the_handshake(void **state)
{
    const bool known[] = {true, false};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
        struct raw raw = raw_open(server);
        void *monitor = zmq_socket(raw.context, ZMQ_PAIR);
        uint64_t end = cb_clock_boot_ns() + (known[i] ? 10000 : 500) * MS;
        bool succeeded = false;
        bool told = false;

        admitted = known[i];
        admit_calls = 0;
        assert_int_equal(zmq_socket_monitor(raw.socket, "inproc://watch", ZMQ_EVENT_ALL), 0);
        assert_int_equal(zmq_connect(monitor, "inproc://watch"), 0);
        while (!succeeded && cb_clock_boot_ns() < end) {
            struct cb_link_message m;
            uint8_t event[6];
            char address[256];

            assert_int_equal(cb_link_server_poll(server, MS, -1, &m, NULL), 0);
            if (zmq_recv(monitor, event, sizeof(event), ZMQ_DONTWAIT) != sizeof(event))
                continue;
            assert_true(zmq_recv(monitor, address, sizeof(address), 0) >= 0);
            uint16_t kind = (uint16_t)(event[0] | event[1] << 8);

            succeeded = kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
            told = told || kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
        }
        assert_int_equal(succeeded, known[i]);
        assert_false(told);
        assert_true(admit_calls > 0);
        assert_int_equal(zmq_socket_monitor(raw.socket, NULL, 0), 0);
        (void)zmq_close(monitor);
        raw_close(&raw);
        server = cb_link_server_close(server);
    }
}

static void numbers_that_mean_nothing_are_refused(void **state)
{
    static const uint8_t zero[8];
    static const uint8_t one[8] = {1};
    const struct {
        struct cb_link_part parts[5];
        size_t n;
        bool request, good;
    } cases[] = {
#define PART(b, z) {.bytes = (const uint8_t *)(b), .size = (z)}
#define FRAME(seq, number) PART("CBW1F", 5), PART(START, 32), PART(seq, 8), PART(number, 8)
        {{FRAME(one, one), PART("x", 1)}, 5, true, true},
        {{FRAME(zero, one), PART("x", 1)}, 5, true, false},
        {{FRAME(one, zero), PART("x", 1)}, 5, true, false},
        {{FRAME(one, one)}, 4, true, false},
        {{PART("CBW1W", 5), PART(START, 32), PART(one, 4)}, 3, false, true},
        {{PART("CBW1W", 5), PART(START, 32), PART(zero, 4)}, 3, false, false},
        {{PART("CBW1A", 5), PART(START, 32), PART(one, 8)}, 3, false, true},
        {{PART("CBW1A", 5), PART(START, 32), PART(zero, 8)}, 3, false, false},
        {{PART("CBW1R", 5), PART(START, 32), PART(one, 8), PART("", 0)}, 4, false, true},
        {{PART("CBW1R", 5), PART(START, 32), PART(zero, 8), PART("", 0)}, 4, false, false},
        {{PART("CBW1R", 5), PART("", 0), PART(zero, 8), PART("", 0)}, 4, false, true},
        {{PART("CBW1R", 5), PART("", 0), PART(one, 8), PART("", 0)}, 4, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cb_link_message m;
        struct cb_link_event e;
        int r = cases[i].request ? cb_link_wire_parse_request(cases[i].parts, cases[i].n, &m)
                                 : cb_link_wire_parse_reply(cases[i].parts, cases[i].n, &e);

        if ((r == 0) != cases[i].good)
            fail_msg("case %zu: %d", i, r);
    }
}

static void a_connection_that_speaks_no_zmtp_is_dropped(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client;
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof(command),
                   "exec 3<>/dev/tcp/127.0.0.1/%s && head -c 10000 /dev/urandom >&3",
                   strrchr(cb_link_server_endpoint(server), ':') + 1);
    char *const argv[] = {(char *)(uintptr_t) "bash", (char *)(uintptr_t) "-c", command, NULL};
    pid_t pid = fork();

    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)dup2(null, STDERR_FILENO);
        (void)execvp("bash", argv);
        _exit(127);
    }
    assert_true(pid > 0);
    client = client_of(server);
    (void)wait_event(server, client, CB_LINK_WELCOME);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

/* ---- opening ---- */

static void a_port_in_use_and_a_foreign_address_are_named(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_server_options options = {
        .endpoint = cb_link_server_endpoint(server),
        .keys = &server_keys,
        .admit = admit,
        .admit_context = &admitted,
    };
    struct cb_link_server *second = NULL;
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(cb_link_server_open(&options, &second, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, options.endpoint));
    assert_non_null(strstr(err.text, "another port"));
    options.endpoint = "tcp://203.0.113.7:0";
    assert_int_not_equal(cb_link_server_open(&options, &second, &err), 0);
    assert_non_null(strstr(err.text, options.endpoint));
    assert_non_null(strstr(err.text, "no such address"));
    assert_null(second);
    server = cb_link_server_close(server);
}

static void plain_tcp_beyond_loopback_needs_a_word(void **state)
{
    static const struct {
        const char *endpoint;
        bool bind, plain, insecure;
        int r;
    } cases[] = {
        {"tcp://127.0.0.1:9770", true, true, false, 0},
        {"tcp://127.1.2.3:9770", true, true, false, 0},
        {"tcp://[::1]:9770", true, true, false, 0},
        {"tcp://localhost:9770", false, true, false, 0},
        {"tcp://10.0.0.1:9770", false, true, false, -EPERM},
        {"tcp://383.0.0.1:9770", false, true, false, -EPERM},
        {"tcp://127.evil.example:9770", false, true, false, -EPERM},
        {"tcp://127.0.0.1.evil.example:9770", false, true, false, -EPERM},
        {"tcp://*:9770", true, true, false, -EPERM},
        {"tcp://0.0.0.0:9770", true, true, false, -EPERM},
        {"tcp://*:9770", true, true, true, 0},
        {"tcp://*:9770", true, false, false, 0},
        {"tcp://node:9770", false, false, false, 0},
        {"tcp://node:0", false, false, false, -EINVAL},
        {"tcp://node:*", false, false, false, -EINVAL},
        {"tcp://node:*", true, false, false, 0},
        {"tcp://node:65536", true, false, false, -EINVAL},
        {"tcp://node:", true, false, false, -EINVAL},
        {"tcp://:9770", true, false, false, -EINVAL},
        {"tcp://node", true, false, false, -EINVAL},
        {"node:9770", true, false, false, -EINVAL},
        {"ipc:///tmp/x:1", true, false, false, -EINVAL},
        {"tcp://10.0.0.1:1;127.0.0.1:2", true, false, false, -EINVAL},
        {"", true, false, false, -EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cb_err err = {0};
        int r = cb_link_wire_check_endpoint(cases[i].endpoint, cases[i].bind, cases[i].plain,
                                            cases[i].insecure, &err);

        if (r != cases[i].r || (r < 0 && !strstr(err.text, cases[i].endpoint)))
            fail_msg("%s: %d, %s", cases[i].endpoint, r, err.text);
    }

    struct cb_link_server_options plain = {.endpoint = "tcp://*:0"};
    struct cb_link_server *server = NULL;

    assert_int_equal(cb_link_server_open(&plain, &server, NULL), -EPERM);
    plain.insecure = true;
    assert_int_equal(cb_link_server_open(&plain, &server, NULL), 0);
    server = cb_link_server_close(server);
}

static void a_client_without_all_it_needs_is_refused(void **state)
{
    struct cb_link_client_options good = {
        .endpoint = "tcp://127.0.0.1:9",
        .keys = &client_keys,
        .server_key = server_keys.public_key,
        .sensor = "node-1",
        .boot_id = BOOT,
        .start_id = START,
        .version = "0.1.0",
    };
    struct cb_link_client_options bad;
    struct cb_link_client *client = NULL;
    struct cb_err err = {0};

    (void)state;
    bad = good;
    bad.server_key = NULL;
    assert_int_equal(cb_link_client_open(&bad, &client, &err), -EINVAL);
    assert_non_null(strstr(err.text, "public key"));
    bad.server_key = "too short";
    assert_int_equal(cb_link_client_open(&bad, &client, &err), -EINVAL);
    bad = good;
    bad.keys = NULL;
    assert_int_equal(cb_link_client_open(&bad, &client, &err), -EINVAL);
    bad = good;
    bad.sensor = NULL;
    assert_int_equal(cb_link_client_open(&bad, &client, &err), -EINVAL);
    assert_non_null(strstr(err.text, "name"));
    bad = good;
    bad.version = "a version that is longer than what a hello can carry";
    assert_int_equal(cb_link_client_open(&bad, &client, &err), -EINVAL);
    bad = good;
    bad.endpoint = "127.0.0.1:9770";
    assert_int_equal(cb_link_client_open(&bad, &client, &err), -EINVAL);
    assert_null(client);
}

/* ---- waiting ---- */

static void a_readable_descriptor_ends_the_wait(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    int fd = eventfd(1, EFD_CLOEXEC);
    uint64_t begin = cb_clock_boot_ns();
    struct cb_link_message m;
    struct cb_link_event e;

    (void)state;
    assert_int_equal(cb_link_server_poll(server, 10000 * MS, fd, &m, NULL), 0);
    assert_int_equal(cb_link_client_poll(client, 10000 * MS, fd, &e, NULL), 0);
    assert_true(cb_clock_boot_ns() - begin < 5000 * MS);
    (void)close(fd);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void a_signal_ends_the_wait(void **state)
{
    struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
    struct cb_link_client *client = client_of(server);
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {.it_value = {.tv_usec = 30000}, .it_interval = {.tv_usec = 30000}};
    struct itimerval never = {0};
    uint64_t begin = cb_clock_boot_ns();
    struct cb_link_message m;
    struct cb_link_event e;

    (void)state;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    assert_int_equal(cb_link_server_poll(server, 10000 * MS, -1, &m, NULL), 0);
    assert_int_equal(cb_link_client_poll(client, 10000 * MS, -1, &e, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_true(cb_clock_boot_ns() - begin < 5000 * MS);
    client = cb_link_client_close(client);
    server = cb_link_server_close(server);
}

static void nothing_is_left_open(void **state)
{
    int before;

    (void)state;
    before = count_open_fds();
    for (int i = 0; i < 3; i++) {
        struct cb_link_server *server = server_at("tcp://127.0.0.1:0", true);
        struct cb_link_client *client = client_of(server);

        (void)wait_event(server, client, CB_LINK_WELCOME);
        client = cb_link_client_close(client);
        server = cb_link_server_close(server);
    }
    assert_int_equal(count_open_fds(), before);
    assert_null(cb_link_client_close(NULL));
    assert_null(cb_link_server_close(NULL));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
#define TEST_SHORT(f) cmocka_unit_test_setup(f, setup_short)
    const struct CMUnitTest tests[] = {
        TEST(frames_go_there_and_acks_come_back),
        TEST(a_frame_of_the_largest_size_passes_and_a_larger_one_is_refused),
        TEST(a_quiet_link_stays_up_by_its_heartbeats),
        TEST_SHORT(a_stranger_gets_silence_and_says_what_to_do),
        TEST_SHORT(a_client_with_the_wrong_server_key_gets_nowhere),
        TEST_SHORT(a_plain_client_gets_nothing_from_a_server_with_keys),
        TEST_SHORT(a_key_taken_off_the_list_falls_silent),
        TEST_SHORT(a_restarted_server_is_greeted_again_with_a_new_epoch),
        TEST(a_server_that_restarts_at_once_is_no_outage),
        TEST(however_long_an_outage_takes_the_server_is_asked_at_every_heartbeat),
        TEST_SHORT(a_half_open_link_is_noticed_and_made_anew),
        TEST(a_refused_sensor_asks_again_later),
        TEST(rubbish_is_counted_and_harmless),
        TEST(a_bad_frame_after_a_hello_is_counted_too),
        TEST(a_frame_before_the_welcome_is_nobodys),
        TEST(after_a_frame_that_is_missing_or_malformed_nothing_is_taken),
        TEST_SHORT(a_peer_that_is_forgotten_connects_anew),
        TEST(an_ack_that_was_lost_comes_again_with_the_heartbeat),
        TEST(a_server_that_only_beats_is_no_outage),
        TEST(a_stranger_learns_nothing_from_the_handshake),
        TEST(numbers_that_mean_nothing_are_refused),
        TEST(a_connection_that_speaks_no_zmtp_is_dropped),
        TEST(a_port_in_use_and_a_foreign_address_are_named),
        TEST(plain_tcp_beyond_loopback_needs_a_word),
        TEST(a_client_without_all_it_needs_is_refused),
        TEST(a_readable_descriptor_ends_the_wait),
        TEST(a_signal_ends_the_wait),
        TEST(nothing_is_left_open),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
