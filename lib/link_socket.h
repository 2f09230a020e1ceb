/* SPDX-License-Identifier: Apache-2.0 */
/* link_socket.h - what the client and the server of the link do alike with ZeroMQ. */
#ifndef CB_LIB_LINK_SOCKET_H
#define CB_LIB_LINK_SOCKET_H

#include <zmq.h>

#include "lib/link_wire.h"

struct cb_err;

/* Set an option of type int. */
int cb_link_socket_set(void *socket, int option, int value, struct cb_err *err) cb_must_check;

/* Limits and manners of both sides: nothing lingers, message size, handshake time, keep-alive. */
int cb_link_socket_setup(void *socket, const char *endpoint, struct cb_err *err) cb_must_check;

/* One received message: at most CB_LINK_MAX_PARTS + 1 parts are kept (a ROUTER's come with the
 * peer's id); more are read, counted in `n` and dropped. */
struct cb_link_received {
    size_t n;
    zmq_msg_t parts[CB_LINK_MAX_PARTS + 1];
};
void cb_link_received_init(struct cb_link_received *received);
void cb_link_received_clear(struct cb_link_received *received);

/* Without waiting: 0, -EAGAIN when there is none, or what zmq_msg_recv(3) says. */
int cb_link_socket_recv(void *socket, struct cb_link_received *received) cb_must_check;

/* Without waiting: all parts or none. 0 or -errno (-EAGAIN: the queue is full). */
int cb_link_socket_send(void *socket, const struct cb_link_part *parts, size_t n);

/* Milliseconds for zmq_poll(3) until @ns is over, rounded up. */
long cb_link_socket_ms(uint64_t ns);

/* 32 hex digits from the kernel's random numbers. */
int cb_link_random_id(char ret_id[33], struct cb_err *err) cb_must_check;

#endif
