/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_client.c - see link.h: the sensor's end.
 *
 * One socket is one attempt: ZeroMQ's own reconnection is off, because it would send what is queued
 * to a server that has not been greeted. A monitor tells when the connection is closed; then, or
 * when the server has been silent for too long, the socket is thrown away (with all that was
 * queued), and a new one says hello first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/link.h"
#include "lib/link_socket.h"
#include "lib/link_wire.h"

#define HEARTBEAT_NS (2 * CB_NS_PER_S)
#define SILENT_HEARTBEATS 3
/* Doubles up to a heartbeat, and has a jitter of +-50 %: the last of many sensors is back 3 s after
 * its server. A handshake costs the server 1.5 ms of CPU time (measured, CURVE): 1000 sensors that
 * come back are 1.5 s of one CPU within these 3 s, 1000 that it turns away are 0.75 CPUs for good. */
#define BACKOFF_FIRST_NS (CB_NS_PER_S / 5)
#define QUEUE_MESSAGES 4096
#define MONITORED                                                                                  \
    (ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |            \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct cb_link_client {
    void *context;
    void *socket;  /* NULL between two attempts */
    void *monitor; /* tells of the socket's connection */
    struct cb_link_received received;

    char endpoint[256];
    bool curve;
    struct cb_keys keys;
    char server_key[CB_KEY_SIZE];
    char sensor[CB_NAME_SIZE];
    char boot_id[CB_BOOT_ID_SIZE];
    char start_id[CB_START_ID_SIZE];
    char version[32];
    uint64_t heartbeat_ns;

    bool welcomed;
    uint64_t n_sent;  /* frames, since the welcome */
    bool outage_told; /* this outage has been reported */
    char epoch[CB_LINK_EPOCH_SIZE];
    uint64_t outage_ns; /* since when there is no welcome */
    uint64_t heard_ns;  /* last message, or when the socket was opened */
    uint64_t pinged_ns;
    uint64_t backoff_ns;
    uint64_t retry_ns; /* when to open the next socket */
    uint64_t random;
};

/* xorshift64: for jitter only. */
static uint64_t next_random(struct cb_link_client *client)
{
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return client->random;
}

static void close_socket(struct cb_link_client *client)
{
    if (client->socket) {
        (void)zmq_socket_monitor(client->socket, NULL, 0);
        (void)zmq_close(client->socket);
    }
    if (client->monitor)
        (void)zmq_close(client->monitor);
    client->socket = NULL;
    client->monitor = NULL;
}

static int setup_curve(struct cb_link_client *client, struct cb_err *err)
{
    const struct {
        int option;
        const char *key;
    } keys[] = {
        {ZMQ_CURVE_SERVERKEY, client->server_key},
        {ZMQ_CURVE_PUBLICKEY, client->keys.public_key},
        {ZMQ_CURVE_SECRETKEY, client->keys.secret_key},
    };

    for (size_t i = 0; client->curve && i < sizeof(keys) / sizeof(keys[0]); i++)
        if (zmq_setsockopt(client->socket, keys[i].option, keys[i].key, CB_KEY_SIZE) < 0)
            return cb_err_set(err, errno, "cannot use the CURVE keys: %s", zmq_strerror(errno));
    return 0;
}

static int setup_monitor(struct cb_link_client *client, struct cb_err *err)
{
    static const char address[] = "inproc://monitor";

    client->monitor = zmq_socket(client->context, ZMQ_PAIR);
    if (!client->monitor || zmq_socket_monitor(client->socket, address, MONITORED) < 0 ||
        zmq_connect(client->monitor, address) < 0)
        return cb_err_set(err, errno, "cannot watch the connection: %s", zmq_strerror(errno));
    return cb_link_socket_set(client->monitor, ZMQ_LINGER, 0, err);
}

static struct cb_link_part text_part(const char *text)
{
    return (struct cb_link_part){.bytes = (const uint8_t *)text, .size = strlen(text)};
}

static int send_hello(struct cb_link_client *client)
{
    const struct cb_link_part parts[] = {
        text_part("CBW1H"),          text_part(client->sensor),  text_part(client->boot_id),
        text_part(client->start_id), text_part(client->version),
    };

    return cb_link_socket_send(client->socket, parts, sizeof(parts) / sizeof(parts[0]));
}

/* A new attempt: a socket, its monitor, and the hello, which goes out with the connection. */
static int open_socket(struct cb_link_client *client, struct cb_err *err)
{
    int r;

    client->socket = zmq_socket(client->context, ZMQ_DEALER);
    if (!client->socket)
        return cb_err_set(err, errno, "cannot open a socket: %s", zmq_strerror(errno));
    r = cb_link_socket_setup(client->socket, client->endpoint, err);
    if (r == 0)
        r = cb_link_socket_set(client->socket, ZMQ_RECONNECT_IVL, -1, err);
    if (r == 0)
        r = cb_link_socket_set(client->socket, ZMQ_SNDHWM, QUEUE_MESSAGES, err);
    if (r == 0)
        r = setup_curve(client, err);
    if (r == 0)
        r = setup_monitor(client, err);
    if (r == 0 && zmq_connect(client->socket, client->endpoint) < 0)
        r = cb_err_set(err, errno, "cannot connect to '%s': %s", client->endpoint,
                       zmq_strerror(errno));
    if (r == 0) {
        r = send_hello(client);
        if (r < 0)
            (void)cb_err_set(err, -r, "cannot send to '%s': %s", client->endpoint,
                             zmq_strerror(-r));
    }
    if (r < 0)
        close_socket(client);
    client->heard_ns = client->pinged_ns = cb_clock_boot_ns();
    return r;
}

/* Give this connection up; the next attempt comes after the back-off. */
static void give_up(struct cb_link_client *client, uint64_t now)
{
    if (client->backoff_ns > client->heartbeat_ns)
        client->backoff_ns = client->heartbeat_ns;
    close_socket(client);
    if (client->welcomed)
        client->outage_ns = now;
    client->welcomed = false;
    client->retry_ns = now + client->backoff_ns / 2 + next_random(client) % client->backoff_ns;
    client->backoff_ns *= 2;
}

static int copy_text(char *to, size_t size, const char *text, const char *what, struct cb_err *err)
{
    if (!text || strlen(text) >= size)
        return cb_err_set(err, EINVAL, "link: the %s is missing or longer than %zu bytes", what,
                          size - 1);
    memcpy(to, text, strlen(text) + 1);
    return 0;
}

static int take_options(struct cb_link_client *client, const struct cb_link_client_options *options,
                        struct cb_err *err)
{
    int r;

    client->curve = options->keys != NULL;
    if (client->curve != (options->server_key != NULL))
        return cb_err_set(err, EINVAL, "link: %s",
                          client->curve ? "the formula's public key is missing"
                                        : "a server key without own keys");
    r = cb_link_wire_check_endpoint(options->endpoint, false, !client->curve, options->insecure,
                                    err);
    if (r == 0)
        r = copy_text(client->endpoint, sizeof(client->endpoint), options->endpoint, "endpoint",
                      err);
    if (r == 0)
        r = copy_text(client->sensor, sizeof(client->sensor), options->sensor, "sensor's name",
                      err);
    if (r == 0)
        r = copy_text(client->boot_id, sizeof(client->boot_id), options->boot_id, "boot id", err);
    if (r == 0)
        r = copy_text(client->start_id, sizeof(client->start_id), options->start_id, "start id",
                      err);
    if (r == 0)
        r = copy_text(client->version, sizeof(client->version), options->version, "version", err);
    if (r < 0)
        return r;
    if (client->curve) {
        client->keys = *options->keys;
        if (!cb_keys_is_z85(options->server_key))
            return cb_err_set(err, EINVAL, "link: '%.50s' is not a public key",
                              options->server_key);
        memcpy(client->server_key, options->server_key, CB_KEY_SIZE);
    }
    client->heartbeat_ns = options->heartbeat_ns ? options->heartbeat_ns : HEARTBEAT_NS;
    return 0;
}

int cb_link_client_open(const struct cb_link_client_options *options,
                        struct cb_link_client **ret_client, struct cb_err *err)
{
    struct cb_link_client *client = calloc(1, sizeof(*client));
    char seed[33];
    int r;

    if (!client)
        return cb_err_set(err, ENOMEM, "out of memory");
    cb_link_received_init(&client->received);
    r = take_options(client, options, err);
    if (r == 0)
        r = cb_link_random_id(seed, err);
    if (r == 0) {
        memcpy(&client->random, seed, sizeof(client->random));
        client->backoff_ns = BACKOFF_FIRST_NS;
        client->outage_ns = cb_clock_boot_ns();
        client->context = zmq_ctx_new();
        if (!client->context)
            r = cb_err_set(err, errno, "cannot start ZeroMQ: %s", zmq_strerror(errno));
    }
    if (r == 0)
        r = open_socket(client, err);
    if (r < 0)
        (void)cb_link_client_close(client);
    else
        *ret_client = client;
    return r;
}

struct cb_link_client *cb_link_client_close(struct cb_link_client *client)
{
    if (client) {
        close_socket(client);
        cb_link_received_clear(&client->received);
        if (client->context)
            while (zmq_ctx_term(client->context) < 0 && errno == EINTR)
                ;
        explicit_bzero(&client->keys, sizeof(client->keys));
        free(client);
    }
    return NULL;
}

int cb_link_client_send(struct cb_link_client *client, const char *start_id, uint64_t seq,
                        const uint8_t *bytes, size_t size, struct cb_err *err)
{
    uint8_t number[2][8];
    const struct cb_link_part parts[] = {
        text_part("CBW1F"),
        text_part(start_id),
        {.bytes = number[0], .size = sizeof(number[0])},
        {.bytes = number[1], .size = sizeof(number[1])},
        {.bytes = bytes, .size = size},
    };
    int r;

    if (size > CB_FRAME_MAX_BYTES)
        return cb_err_set(err, EMSGSIZE, "a frame of %zu bytes is above the limit of %u", size,
                          CB_FRAME_MAX_BYTES);
    if (!client->socket || !client->welcomed)
        return cb_err_set(err, EAGAIN, "not connected to '%s'", client->endpoint);
    cb_link_wire_put_u64(number[0], seq);
    cb_link_wire_put_u64(number[1], client->n_sent + 1);
    r = cb_link_socket_send(client->socket, parts, sizeof(parts) / sizeof(parts[0]));
    if (r < 0)
        return cb_err_set(err, -r, "cannot send to '%s': %s", client->endpoint, zmq_strerror(-r));
    client->n_sent++;
    return 0;
}

/* ---- poll ---- */

/* A welcome is an answer to this connection's hello; a second one is none. */
static bool take_welcome(struct cb_link_client *client, struct cb_link_event *event)
{
    if (client->welcomed)
        return false;
    client->welcomed = true;
    client->n_sent = 0;
    client->outage_told = false;
    client->backoff_ns = BACKOFF_FIRST_NS;
    event->new_epoch = strcmp(client->epoch, event->epoch) != 0;
    memcpy(client->epoch, event->epoch, sizeof(client->epoch));
    return true;
}

/* One message, if there is one: true when it is an event for the caller. */
static bool take_message(struct cb_link_client *client, uint64_t now, struct cb_link_event *event)
{
    struct cb_link_received *received = &client->received;
    struct cb_link_part parts[CB_LINK_MAX_PARTS];
    size_t n;

    if (!client->socket || cb_link_socket_recv(client->socket, received) < 0)
        return false;
    client->heard_ns = now;
    n = received->n;
    for (size_t i = 0; i < n && i < CB_LINK_MAX_PARTS; i++)
        parts[i] = (struct cb_link_part){.bytes = zmq_msg_data(&received->parts[i]),
                                         .size = zmq_msg_size(&received->parts[i])};
    if (n > CB_LINK_MAX_PARTS || cb_link_wire_parse_reply(parts, n, event) < 0)
        return false;
    switch (event->kind) {
    case CB_LINK_WELCOME:
        return take_welcome(client, event);
    case CB_LINK_REFUSED:
        if (event->seq == 0) { /* the sensor as a whole: ask again later */
            give_up(client, now);
            client->outage_told = true;
        }
        return true;
    case CB_LINK_ACK:
        return client->welcomed;
    default:
        return false;
    }
}

/* The monitor speaks only when the connection is over (MONITORED). */
static bool is_closed(struct cb_link_client *client)
{
    zmq_msg_t msg;
    bool closed = false;

    if (!client->monitor)
        return false;
    (void)zmq_msg_init(&msg);
    while (zmq_msg_recv(&msg, client->monitor, ZMQ_DONTWAIT) >= 0)
        closed = true;
    (void)zmq_msg_close(&msg);
    return closed;
}

/* What is due at @now; true when the outage is to be reported. */
static bool do_timers(struct cb_link_client *client, uint64_t now, struct cb_link_event *event)
{
    uint64_t silence_ns = SILENT_HEARTBEATS * client->heartbeat_ns;

    if (client->socket && now >= client->heard_ns + silence_ns) {
        uint64_t heard_ns = client->heard_ns;
        bool welcomed = client->welcomed;

        give_up(client, now);
        if (welcomed)
            client->outage_ns = heard_ns;
    }
    if (!client->socket && now >= client->retry_ns && open_socket(client, NULL) < 0)
        give_up(client, now);
    if (client->socket && now >= client->pinged_ns + client->heartbeat_ns) {
        const struct cb_link_part ping = text_part("CBW1P");

        client->pinged_ns = now;
        if (client->welcomed)
            (void)cb_link_socket_send(client->socket, &ping, 1); /* a full queue shows as silence */
    }
    if (client->welcomed || client->outage_told || now < client->outage_ns + silence_ns)
        return false;
    client->outage_told = true;
    *event = (struct cb_link_event){.kind = CB_LINK_DOWN};
    (void)snprintf(event->text, sizeof(event->text), "%.100s is unreachable%s", client->endpoint,
                   client->curve ? ", or a key is not known: on the server run "
                                   "'cbformula keys add NAME KEY' with this sensor's public key, "
                                   "and check the server's key here"
                                 : "");
    return true;
}

/* When do_timers() has something to do next. */
static uint64_t next_timer(const struct cb_link_client *client)
{
    uint64_t silence_ns = SILENT_HEARTBEATS * client->heartbeat_ns;
    uint64_t next = client->retry_ns;

    if (client->socket) {
        next = client->heard_ns + silence_ns;
        if (next > client->pinged_ns + client->heartbeat_ns)
            next = client->pinged_ns + client->heartbeat_ns;
    }
    if (!client->welcomed && !client->outage_told && next > client->outage_ns + silence_ns)
        next = client->outage_ns + silence_ns;
    return next;
}

/* Wait until @until. 1: the caller's descriptor is readable, or a signal came. */
static int wait_for(struct cb_link_client *client, uint64_t now, uint64_t until, int wake_fd,
                    struct cb_err *err)
{
    zmq_pollitem_t items[3];
    int n = 0;
    int wake = -1;

    if (client->socket) {
        items[n++] = (zmq_pollitem_t){.socket = client->socket, .events = ZMQ_POLLIN};
        items[n++] = (zmq_pollitem_t){.socket = client->monitor, .events = ZMQ_POLLIN};
    }
    if (wake_fd >= 0) {
        wake = n;
        items[n++] = (zmq_pollitem_t){.fd = wake_fd, .events = ZMQ_POLLIN};
    }
    if (zmq_poll(items, n, until > now ? cb_link_socket_ms(until - now) : 0) < 0)
        return errno == EINTR ? 1
                              : cb_err_set(err, errno, "cannot wait for '%s': %s", client->endpoint,
                                           zmq_strerror(errno));
    return wake >= 0 && items[wake].revents != 0;
}

int cb_link_client_poll(struct cb_link_client *client, uint64_t timeout_ns, int wake_fd,
                        struct cb_link_event *ret_event, struct cb_err *err)
{
    uint64_t now = cb_clock_boot_ns();
    uint64_t end = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
    struct cb_link_event event;
    bool over = false;

    for (;;) {
        uint64_t until;
        int r;

        event = (struct cb_link_event){.kind = CB_LINK_NONE};
        if (take_message(client, now, &event) || do_timers(client, now, &event))
            break;
        event = (struct cb_link_event){.kind = CB_LINK_NONE};
        if (over)
            break;
        until = next_timer(client);
        r = wait_for(client, now, until < end ? until : end, wake_fd, err);
        if (r < 0)
            return r;
        now = cb_clock_boot_ns();
        over = r > 0 || now >= end;
        if (is_closed(client))
            give_up(client, now);
    }
    *ret_event = event;
    return 0;
}
