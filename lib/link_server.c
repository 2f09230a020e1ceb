/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_server.c - see link.h: the formula's end.
 *
 * ZeroMQ authenticates (CURVE) and asks the ZAP socket below, which lives in this server's own
 * context and is served in cb_link_server_poll(), so admit() runs on the caller's thread. A denial
 * has the status 300: the connection is dropped without a word.
 * Peers are remembered from their welcome on. One that falls silent is forgotten after
 * PEER_SILENT_NS; at most MAX_PEERS are remembered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/link.h"
#include "lib/link_socket.h"
#include "lib/link_wire.h"
#include "lib/utf8.h"

#define BACKLOG 1024
#define ZMTP_HEARTBEAT_MS 10000
#define ZMTP_TIMEOUT_MS 30000
#define BUCKETS 4096 /* a power of two */
#define MAX_PEERS 16384
#define PEER_SILENT_NS (300 * CB_NS_PER_S)
#define SWEEP_NS (30 * CB_NS_PER_S)
#define ZAP_PARTS 7
#define AT_ONCE 256 /* messages dealt with before newcomers have their turn */

struct peer {
    struct peer *next;
    struct cb_link_peer id;
    char key[CB_KEY_SIZE];
    bool welcomed; /* false: said hello, the caller has not answered yet */
    uint64_t heard_ns;
    uint64_t n_frames; /* taken on this connection */
    uint64_t acked_seq;
    char acked_start[CB_START_ID_SIZE];
};

struct cb_link_server {
    void *context;
    void *socket;
    void *zap; /* NULL on a plain link */
    struct cb_link_received received;
    char endpoint[256];
    char epoch[CB_LINK_EPOCH_SIZE];
    uint32_t credit;
    cb_link_admit *admit;
    void *admit_context;
    uint64_t ignored;
    uint64_t swept_ns;
    size_t n_peers;
    struct peer *buckets[BUCKETS];
};

/* ---- peers ---- */

static struct peer **find_peer(struct cb_link_server *server, const struct cb_link_peer *id)
{
    uint32_t hash = UINT32_C(2166136261); /* FNV-1a */
    struct peer **at;

    for (size_t i = 0; i < id->size; i++)
        hash = (hash ^ id->id[i]) * UINT32_C(16777619);
    at = &server->buckets[hash & (BUCKETS - 1)];
    while (*at && ((*at)->id.size != id->size || memcmp((*at)->id.id, id->id, id->size) != 0))
        at = &(*at)->next;
    return at;
}

static void forget_peer(struct cb_link_server *server, struct peer **at)
{
    struct peer *peer = *at;

    if (peer) {
        *at = peer->next;
        server->n_peers--;
        free(peer);
    }
}

/* Forget who has not been heard for @silent_ns. */
static void sweep(struct cb_link_server *server, uint64_t now, uint64_t silent_ns)
{
    server->swept_ns = now;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct peer **at = &server->buckets[i]; *at;) {
            if (now >= (*at)->heard_ns + silent_ns)
                forget_peer(server, at);
            else
                at = &(*at)->next;
        }
}

/* The peer that says hello: known again or new. NULL: no room. */
static struct peer *greet_peer(struct cb_link_server *server, const struct cb_link_peer *id,
                               const char *key, uint64_t now)
{
    struct peer **at = find_peer(server, id);
    struct peer *peer = *at;

    if (!peer) {
        if (server->n_peers >= MAX_PEERS)
            sweep(server, now, PEER_SILENT_NS / 10);
        if (server->n_peers >= MAX_PEERS)
            return NULL;
        at = find_peer(server, id);
        peer = calloc(1, sizeof(*peer));
        if (!peer)
            return NULL;
        peer->id = *id;
        *at = peer;
        server->n_peers++;
    }
    peer->welcomed = false;
    peer->heard_ns = now;
    peer->n_frames = peer->acked_seq = 0;
    memcpy(peer->key, key, CB_KEY_SIZE);
    return peer;
}

/* ---- open ---- */

static int open_zap(struct cb_link_server *server, struct cb_err *err)
{
    server->zap = zmq_socket(server->context, ZMQ_REP);
    if (!server->zap || zmq_bind(server->zap, "inproc://zeromq.zap.01") < 0)
        return cb_err_set(err, errno, "cannot open the authentication socket: %s",
                          zmq_strerror(errno));
    return cb_link_socket_set(server->zap, ZMQ_LINGER, 0, err);
}

static int setup_curve(struct cb_link_server *server, const struct cb_keys *keys,
                       struct cb_err *err)
{
    static const char domain[] = "cbwatts";
    int r = cb_link_socket_set(server->socket, ZMQ_CURVE_SERVER, 1, err);

    if (r == 0 &&
        (zmq_setsockopt(server->socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, CB_KEY_SIZE) < 0 ||
         zmq_setsockopt(server->socket, ZMQ_ZAP_DOMAIN, domain, sizeof(domain) - 1) < 0))
        r = cb_err_set(err, errno, "cannot use the CURVE keys: %s", zmq_strerror(errno));
    return r;
}

static int bind_socket(struct cb_link_server *server, const char *endpoint, struct cb_err *err)
{
    size_t size = sizeof(server->endpoint);
    const char *remedy = "";

    if (zmq_bind(server->socket, endpoint) < 0) {
        int code = errno;

        if (code == EADDRINUSE)
            remedy = ": another program has this port, end it or choose another port";
        else if (code == EADDRNOTAVAIL || code == ENODEV)
            remedy = ": this machine has no such address, choose one of its own or tcp://*:PORT";
        else if (code == EACCES)
            remedy = ": choose a port above 1023";
        return cb_err_set(err, code, "cannot listen on '%s': %s%s", endpoint, zmq_strerror(code),
                          remedy);
    }
    if (zmq_getsockopt(server->socket, ZMQ_LAST_ENDPOINT, server->endpoint, &size) < 0)
        return cb_err_set(err, errno, "cannot tell the endpoint of '%s': %s", endpoint,
                          zmq_strerror(errno));
    return 0;
}

static int open_socket(struct cb_link_server *server, const struct cb_link_server_options *options,
                       struct cb_err *err)
{
    const struct {
        int option;
        int value;
    } wanted[] = {
        {ZMQ_ROUTER_MANDATORY, 0},
        {ZMQ_BACKLOG, BACKLOG},
        {ZMQ_RCVHWM, (int)(server->credit < 1000 ? 2 * server->credit + 16 : 2000)},
        {ZMQ_SNDHWM, 4096},
        {ZMQ_HEARTBEAT_IVL, ZMTP_HEARTBEAT_MS}, /* finds dead connections and closes them */
        {ZMQ_HEARTBEAT_TIMEOUT, ZMTP_TIMEOUT_MS},
    };
    int r;

    server->socket = zmq_socket(server->context, ZMQ_ROUTER);
    if (!server->socket)
        return cb_err_set(err, errno, "cannot open a socket: %s", zmq_strerror(errno));
    r = cb_link_socket_setup(server->socket, options->endpoint, err);
    for (size_t i = 0; r == 0 && i < sizeof(wanted) / sizeof(wanted[0]); i++)
        r = cb_link_socket_set(server->socket, wanted[i].option, wanted[i].value, err);
    if (r == 0 && options->keys)
        r = open_zap(server, err);
    if (r == 0 && options->keys)
        r = setup_curve(server, options->keys, err);
    if (r == 0)
        r = bind_socket(server, options->endpoint, err);
    return r;
}

int cb_link_server_open(const struct cb_link_server_options *options,
                        struct cb_link_server **ret_server, struct cb_err *err)
{
    struct cb_link_server *server;
    int r = cb_link_wire_check_endpoint(options->endpoint, true, !options->keys, options->insecure,
                                        err);

    if (r < 0)
        return r;
    if (options->keys && !options->admit)
        return cb_err_set(err, EINVAL, "link: keys without a list of who is let in");
    server = calloc(1, sizeof(*server));
    if (!server)
        return cb_err_set(err, ENOMEM, "out of memory");
    cb_link_received_init(&server->received);
    server->credit = options->credit ? options->credit : CB_LINK_CREDIT;
    server->admit = options->admit;
    server->admit_context = options->admit_context;
    server->swept_ns = cb_clock_boot_ns();
    server->context = zmq_ctx_new();
    if (!server->context)
        r = cb_err_set(err, errno, "cannot start ZeroMQ: %s", zmq_strerror(errno));
    if (r == 0)
        r = cb_link_random_id(server->epoch, err);
    if (r == 0)
        r = open_socket(server, options, err);
    if (r < 0)
        (void)cb_link_server_close(server);
    else
        *ret_server = server;
    return r;
}

struct cb_link_server *cb_link_server_close(struct cb_link_server *server)
{
    if (server) {
        cb_link_received_clear(&server->received);
        if (server->socket)
            (void)zmq_close(server->socket);
        if (server->zap)
            (void)zmq_close(server->zap);
        if (server->context)
            while (zmq_ctx_term(server->context) < 0 && errno == EINTR)
                ;
        sweep(server, UINT64_MAX, 0);
        free(server);
    }
    return NULL;
}

const char *cb_link_server_endpoint(const struct cb_link_server *server)
{
    return server->endpoint;
}

uint64_t cb_link_server_ignored(const struct cb_link_server *server)
{
    return server->ignored;
}

/* ---- who is let in ---- */

/* ZAP 1.0 (rfc.zeromq.org/spec/27): version, request id, domain, address, identity, mechanism,
 * and for CURVE the 32 bytes of the public key. */
static bool admit_request(const struct cb_link_server *server, zmq_msg_t parts[ZAP_PARTS],
                          char key[CB_KEY_SIZE])
{
    static const char mechanism[] = "CURVE";

    if (zmq_msg_size(&parts[0]) != 3 || memcmp(zmq_msg_data(&parts[0]), "1.0", 3) != 0 ||
        zmq_msg_size(&parts[5]) != sizeof(mechanism) - 1 ||
        memcmp(zmq_msg_data(&parts[5]), mechanism, sizeof(mechanism) - 1) != 0 ||
        zmq_msg_size(&parts[6]) != 32 || !zmq_z85_encode(key, zmq_msg_data(&parts[6]), 32))
        return false;
    return server->admit(server->admit_context, key);
}

static struct cb_link_part text_part(const char *text)
{
    return (struct cb_link_part){.bytes = (const uint8_t *)text, .size = strlen(text)};
}

static void answer_zap(struct cb_link_server *server)
{
    zmq_msg_t parts[ZAP_PARTS];
    size_t n = 0;
    bool more = true;
    char key[CB_KEY_SIZE] = "";

    for (size_t i = 0; i < ZAP_PARTS; i++)
        (void)zmq_msg_init(&parts[i]);
    while (more && n < ZAP_PARTS && zmq_msg_recv(&parts[n], server->zap, ZMQ_DONTWAIT) >= 0)
        more = zmq_msg_more(&parts[n++]);
    if (n > 0) { /* ZeroMQ itself asks, always in this form */
        bool ok = n == ZAP_PARTS && !more && admit_request(server, parts, key);
        const struct cb_link_part reply[] = {
            text_part("1.0"),
            {.bytes = n > 1 ? zmq_msg_data(&parts[1]) : NULL,
             .size = n > 1 ? zmq_msg_size(&parts[1]) : 0},
            text_part(ok ? "200" : "300"),
            text_part(""),
            text_part(ok ? key : ""),
            text_part(""),
        };

        (void)cb_link_socket_send(server->zap, reply, sizeof(reply) / sizeof(reply[0]));
    }
    for (size_t i = 0; i < ZAP_PARTS; i++)
        (void)zmq_msg_close(&parts[i]);
}

/* ---- messages ---- */

static int send_to(struct cb_link_server *server, const struct cb_link_peer *peer,
                   struct cb_link_part *parts, size_t n)
{
    parts[0] = (struct cb_link_part){.bytes = peer->id, .size = peer->size};
    return cb_link_socket_send(server->socket, parts, n);
}

/* A peer that is gone is no failure: it will say hello again. */
static int answer(struct cb_link_server *server, const struct cb_link_peer *peer,
                  struct cb_link_part *parts, size_t n, struct cb_err *err)
{
    int r = send_to(server, peer, parts, n);

    if (r == 0 || r == -EHOSTUNREACH || r == -EAGAIN)
        return 0;
    return cb_err_set(err, -r, "cannot answer a sensor: %s", zmq_strerror(-r));
}

static void pong(struct cb_link_server *server, const struct peer *peer)
{
    struct cb_link_part parts[] = {{0}, text_part("CBW1P")};

    (void)send_to(server, &peer->id, parts, 2);
}

static int send_ack(struct cb_link_server *server, const struct cb_link_peer *peer,
                    const char *start_id, uint64_t seq, struct cb_err *err)
{
    uint8_t number[8];
    struct cb_link_part parts[] = {
        {0},
        text_part("CBW1A"),
        text_part(start_id),
        {.bytes = number, .size = sizeof(number)},
    };

    cb_link_wire_put_u64(number, seq);
    return answer(server, peer, parts, 4, err);
}

/* The last ack again, too: one that was lost on the way would use up its credit for ever. */
static void answer_ping(struct cb_link_server *server, const struct peer *peer)
{
    pong(server, peer);
    if (peer->acked_seq)
        (void)send_ack(server, &peer->id, peer->acked_start, peer->acked_seq, NULL);
}

/* The frame is the next one of its connection. Someone between the ends can swallow a message, and
 * CURVE does not tell: later ones still have higher numbers than earlier ones. */
static bool is_next(struct peer *peer, const struct cb_link_message *m)
{
    if (m->number != peer->n_frames + 1)
        return false;
    peer->n_frames++;
    return true;
}

/* A key that was taken off the list falls silent with its next ping. */
static bool still_admitted(const struct cb_link_server *server, const struct peer *peer)
{
    return !server->zap || server->admit(server->admit_context, peer->key);
}

/* What one message is. 1: for the caller, 0: dealt with, -EBADMSG: nothing of ours. */
static int take_request(struct cb_link_server *server, uint64_t now,
                        const struct cb_link_part *parts, size_t n, struct cb_link_message *m)
{
    struct cb_link_message parsed;
    struct peer **at = find_peer(server, &m->peer);
    int r = cb_link_wire_parse_request(parts, n, &parsed);

    if (r < 0) {
        forget_peer(server, at); /* it may have been a frame */
        return r;
    }
    parsed.peer = m->peer;
    memcpy(parsed.key, m->key, sizeof(parsed.key));
    *m = parsed;
    if (m->kind == CB_LINK_MSG_HELLO)
        return greet_peer(server, &m->peer, m->key, now) ? 1 : -EBADMSG;
    if (!*at || !(*at)->welcomed)
        return -EBADMSG;
    (*at)->heard_ns = now;
    if (m->kind == CB_LINK_MSG_FRAME && is_next(*at, m))
        return 1;
    if (m->kind != CB_LINK_MSG_FRAME && still_admitted(server, *at)) {
        answer_ping(server, *at);
        return 0;
    }
    forget_peer(server, at);
    return m->kind == CB_LINK_MSG_FRAME ? -EBADMSG : 0;
}

/* One message, if there is one. 1: for the caller, 0: dealt with, -EBADMSG: nothing of ours,
 * -EAGAIN: none, or what ZeroMQ says. */
static int take_message(struct cb_link_server *server, uint64_t now, struct cb_link_message *m)
{
    struct cb_link_received *received = &server->received;
    struct cb_link_part parts[CB_LINK_MAX_PARTS];
    const char *key;
    size_t n;
    int r = cb_link_socket_recv(server->socket, received);

    if (r < 0)
        return r;
    n = received->n - 1; /* without the peer's id, which ROUTER puts first */
    *m = (struct cb_link_message){.peer.size = (uint8_t)zmq_msg_size(&received->parts[0])};
    memcpy(m->peer.id, zmq_msg_data(&received->parts[0]), m->peer.size);
    if (n < 1 || n > CB_LINK_MAX_PARTS) {
        cb_link_server_forget(server, &m->peer);
        return -EBADMSG;
    }
    for (size_t i = 0; i < n; i++)
        parts[i] = (struct cb_link_part){.bytes = zmq_msg_data(&received->parts[i + 1]),
                                         .size = zmq_msg_size(&received->parts[i + 1])};
    if (server->zap) {
        key = zmq_msg_gets(&received->parts[1], "User-Id");
        if (!key || !cb_keys_is_z85(key))
            return -EBADMSG;
        memcpy(m->key, key, sizeof(m->key));
    }
    return take_request(server, now, parts, n, m);
}

/* Messages until one is for the caller (1), there is none (0), or enough were dealt with for the
 * newcomers to have their turn (0). */
static int next_message(struct cb_link_server *server, uint64_t now, struct cb_link_message *m,
                        struct cb_err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < AT_ONCE; i++) {
        r = take_message(server, now, m);
        if (r == -EBADMSG) {
            server->ignored++;
            r = 0;
        }
    }
    if (r == -EAGAIN || r == -EINTR)
        return 0;
    if (r < 0)
        return cb_err_set(err, -r, "cannot receive on '%s': %s", server->endpoint,
                          zmq_strerror(-r));
    return r;
}

/* 1: the caller's descriptor is readable, or a signal came. */
static int wait_for(struct cb_link_server *server, uint64_t now, uint64_t until, int wake_fd,
                    struct cb_err *err)
{
    zmq_pollitem_t items[3] = {{.socket = server->socket, .events = ZMQ_POLLIN}};
    int n = 1;
    int wake = -1;

    if (server->zap)
        items[n++] = (zmq_pollitem_t){.socket = server->zap, .events = ZMQ_POLLIN};
    if (wake_fd >= 0) {
        wake = n;
        items[n++] = (zmq_pollitem_t){.fd = wake_fd, .events = ZMQ_POLLIN};
    }
    if (zmq_poll(items, n, until > now ? cb_link_socket_ms(until - now) : 0) < 0)
        return errno == EINTR ? 1
                              : cb_err_set(err, errno, "cannot wait on '%s': %s", server->endpoint,
                                           zmq_strerror(errno));
    if (server->zap && items[1].revents)
        answer_zap(server);
    return wake >= 0 && items[wake].revents != 0;
}

int cb_link_server_poll(struct cb_link_server *server, uint64_t timeout_ns, int wake_fd,
                        struct cb_link_message *ret_message, struct cb_err *err)
{
    uint64_t now = cb_clock_boot_ns();
    uint64_t end = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
    struct cb_link_message message;
    int r = wait_for(server, now, now, wake_fd, err); /* newcomers do not wait for the frames */

    for (;;) {
        bool over = r > 0 || now >= end;

        if (r >= 0)
            r = next_message(server, now, &message, err);
        if (r < 0)
            return r;
        if (r == 1 || over)
            break;
        if (now >= server->swept_ns + SWEEP_NS)
            sweep(server, now, PEER_SILENT_NS);
        r = wait_for(server, now, end, wake_fd, err);
        now = cb_clock_boot_ns();
    }
    *ret_message = r == 1 ? message : (struct cb_link_message){.kind = CB_LINK_MSG_NONE};
    return 0;
}

int cb_link_server_welcome(struct cb_link_server *server, const struct cb_link_peer *peer,
                           struct cb_err *err)
{
    struct peer *known = *find_peer(server, peer);
    uint8_t credit[4];
    struct cb_link_part parts[] = {
        {0},
        text_part("CBW1W"),
        text_part(server->epoch),
        {.bytes = credit, .size = sizeof(credit)},
    };

    if (!known)
        return 0;
    known->welcomed = true;
    cb_link_wire_put_u32(credit, server->credit);
    return answer(server, peer, parts, 4, err);
}

int cb_link_server_ack(struct cb_link_server *server, const struct cb_link_peer *peer,
                       const char *start_id, uint64_t seq, struct cb_err *err)
{
    struct peer *known = *find_peer(server, peer);

    if (known) {
        (void)snprintf(known->acked_start, sizeof(known->acked_start), "%s", start_id);
        known->acked_seq = seq;
    }
    return send_ack(server, peer, start_id, seq, err);
}

void cb_link_server_forget(struct cb_link_server *server, const struct cb_link_peer *peer)
{
    forget_peer(server, find_peer(server, peer));
}

void cb_link_server_beat(struct cb_link_server *server)
{
    zmq_pollitem_t item = {.socket = server->zap, .events = ZMQ_POLLIN};

    for (int i = 0; server->zap && i < AT_ONCE && zmq_poll(&item, 1, 0) > 0; i++)
        answer_zap(server);
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct peer *peer = server->buckets[i]; peer; peer = peer->next)
            if (peer->welcomed && still_admitted(server, peer))
                pong(server, peer);
}

int cb_link_server_refuse(struct cb_link_server *server, const struct cb_link_peer *peer,
                          const char *start_id, uint64_t seq, const char *text, struct cb_err *err)
{
    char line[256];
    uint8_t number[8];
    struct cb_link_part parts[] = {
        {0},
        text_part("CBW1R"),
        text_part(seq ? start_id : ""),
        {.bytes = number, .size = sizeof(number)},
        {0},
    };

    (void)snprintf(line, sizeof(line), "%s", text);
    cb_utf8_clean(line);
    parts[4] = text_part(line);
    cb_link_wire_put_u64(number, seq);
    if (seq == 0)
        forget_peer(server, find_peer(server, peer));
    return answer(server, peer, parts, 5, err);
}
