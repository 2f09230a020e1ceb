/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - the way of the frames: a sensor's DEALER to the formula's ROUTER, CURVE by default.
 *
 * Rules     At least once on the wire; the receiver makes it exactly once by (start_id, seq). A
 *           client says hello after every (re)connection and before any frame; the server answers
 *           welcome with its epoch (random for each server start) and how many frames may be
 *           unacknowledged (credit). An ack for (start_id, seq) covers every lower seq of that
 *           start. A refusal of a frame (seq > 0) says that it will never be accepted, and why: the
 *           sensor puts it aside, counts it as lost and goes on. A refusal of the sensor (seq 0:
 *           another key, an unknown format version, a limit) loses nothing: the sensor keeps its
 *           frames and says hello again later. An ack covers what was sent before on the same
 *           connection, so a server must not go on after a frame that it did not take: the frames
 *           of a connection are numbered, and where one is missing or anything is malformed the
 *           peer is forgotten; its sensor finds silence, connects anew and sends again all that is
 *           not acked.
 * Messages  Multipart, the first part "CBW1" and one letter: H hello, F frame, P ping (client); W
 *           welcome, A ack, R refusal, P pong (server). docs/link.md gives every part. Anything
 *           else is counted and ignored: a stranger learns nothing.
 * Security  With keys: CURVE; the server admits the public keys of its list (ZAP) and nobody else,
 *           silently. Without keys: plain TCP, which cb_link_*_open refuses unless the address is
 *           loopback or `insecure` is set.
 * Identity  A sensor's identity is its key. cb_link_message.key is the client's authenticated
 *           public key ("" on a plain link); binding name to key is the caller's business.
 * Threads   One object belongs to one thread. Objects of one process share no state.
 * Transport This header does not show ZeroMQ: a second transport (NATS JetStream) can stand behind
 *           the same calls.
 */
#ifndef CB_LIB_LINK_H
#define CB_LIB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "lib/keys.h"

struct cb_err;

#define CB_LINK_EPOCH_SIZE 33
#define CB_LINK_CREDIT 64 /* frames in flight for each client, unless a server says otherwise */

/* ---- client (cbsensor) ---- */

struct cb_link_client;

struct cb_link_client_options {
    const char *endpoint;       /* "tcp://host:port" */
    const struct cb_keys *keys; /* NULL: plain */
    const char *server_key;     /* Z85 public key of the formula; NULL: plain */
    bool insecure;              /* plain TCP beyond loopback was asked for */
    const char *sensor;         /* name */
    const char *boot_id;
    const char *start_id;
    const char *version;
    uint64_t heartbeat_ns; /* 0: 2 s. A link silent for three of them is made anew, with
                              back-off (0.2 s doubling to one of them) and jitter */
};

int cb_link_client_open(const struct cb_link_client_options *options,
                        struct cb_link_client **ret_client, struct cb_err *err) cb_must_check;
struct cb_link_client *cb_link_client_close(struct cb_link_client *client);

enum cb_link_event_kind {
    CB_LINK_NONE,    /* the time was up */
    CB_LINK_WELCOME, /* (re)connected: nothing is in flight; `credit` frames may be sent */
    CB_LINK_ACK,     /* start_id, seq */
    CB_LINK_REFUSED, /* start_id, seq, text; seq 0: this sensor as a whole is refused */
    CB_LINK_DOWN,    /* silent for three heartbeats (or never answered); reported once an outage */
};

struct cb_link_event {
    enum cb_link_event_kind kind;
    char epoch[CB_LINK_EPOCH_SIZE];  /* welcome */
    bool new_epoch;                  /* welcome: another server start than last time */
    uint32_t credit;                 /* welcome */
    char start_id[CB_START_ID_SIZE]; /* ack, refused */
    uint64_t seq;                    /* ack, refused */
    char text[256];                  /* refused, down: one line */
};

/* Send one encoded frame: 0, -EAGAIN (not welcomed yet, or the queue is full), -EMSGSIZE. Copies.
 */
int cb_link_client_send(struct cb_link_client *client, const char *start_id, uint64_t seq,
                        const uint8_t *bytes, size_t size, struct cb_err *err) cb_must_check;

/* Wait up to @timeout_ns for one event; also returns (CB_LINK_NONE) when @wake_fd (-1: none) is
 * readable. Does heartbeats and reconnection. */
int cb_link_client_poll(struct cb_link_client *client, uint64_t timeout_ns, int wake_fd,
                        struct cb_link_event *ret_event, struct cb_err *err) cb_must_check;

/* ---- server (cbformula) ---- */

struct cb_link_server;

/* Is this client public key (Z85) let in? Called on the server's thread for every handshake and
 * again for every ping, so that a key that was taken off the list falls silent. */
typedef bool cb_link_admit(void *context, const char *key);

struct cb_link_server_options {
    const char *endpoint;       /* "tcp://127.0.0.1:9770"; port 0 or "*" picks a free one */
    const struct cb_keys *keys; /* NULL: plain */
    bool insecure;              /* plain TCP beyond loopback was asked for */
    cb_link_admit *admit;       /* needed with keys */
    void *admit_context;
    uint32_t credit; /* frames in flight for each client; 0: CB_LINK_CREDIT */
};

int cb_link_server_open(const struct cb_link_server_options *options,
                        struct cb_link_server **ret_server, struct cb_err *err) cb_must_check;
struct cb_link_server *cb_link_server_close(struct cb_link_server *server);

/* The endpoint really bound, with the port ("tcp://127.0.0.1:43211"). Valid until close. */
const char *cb_link_server_endpoint(const struct cb_link_server *server);

/* Who to answer: a copyable value, valid while the peer's connection lives (an answer to one that
 * is gone is dropped). */
struct cb_link_peer {
    uint8_t size;
    uint8_t id[255];
};

enum cb_link_message_kind { CB_LINK_MSG_NONE, CB_LINK_MSG_HELLO, CB_LINK_MSG_FRAME };

struct cb_link_message {
    enum cb_link_message_kind kind;
    struct cb_link_peer peer;
    char key[CB_KEY_SIZE];           /* authenticated public key, "" on a plain link */
    char sensor[CB_NAME_SIZE];       /* hello */
    char boot_id[CB_BOOT_ID_SIZE];   /* hello */
    char version[32];                /* hello */
    char start_id[CB_START_ID_SIZE]; /* hello, frame */
    uint64_t seq;                    /* frame */
    uint64_t number;                 /* frame: 1, 2, ... on this connection */
    const uint8_t *bytes;            /* frame: valid until the next cb_link_server_poll */
    size_t size;
};

/* Wait up to @timeout_ns for one message (CB_LINK_MSG_NONE: none came, or @wake_fd is readable).
 * Pings are answered inside. A hello is answered by the caller: welcome or refuse. */
int cb_link_server_poll(struct cb_link_server *server, uint64_t timeout_ns, int wake_fd,
                        struct cb_link_message *ret_message, struct cb_err *err) cb_must_check;

int cb_link_server_welcome(struct cb_link_server *server, const struct cb_link_peer *peer,
                           struct cb_err *err) cb_must_check;
int cb_link_server_ack(struct cb_link_server *server, const struct cb_link_peer *peer,
                       const char *start_id, uint64_t seq, struct cb_err *err) cb_must_check;
int cb_link_server_refuse(struct cb_link_server *server, const struct cb_link_peer *peer,
                          const char *start_id, uint64_t seq, const char *text,
                          struct cb_err *err) cb_must_check;

/* A message of this peer was not taken, and no refusal tells it: nothing more is taken of it before
 * its next hello. */
void cb_link_server_forget(struct cb_link_server *server, const struct cb_link_peer *peer);

/* While the caller cannot take messages and so does not poll: tell every sensor that its server
 * lives. To be called more often than every three heartbeats. */
void cb_link_server_beat(struct cb_link_server *server);

/* Messages that were malformed, of unknown kind, or from a peer that said no hello. */
uint64_t cb_link_server_ignored(const struct cb_link_server *server);

#endif
