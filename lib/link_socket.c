/* SPDX-License-Identifier: Apache-2.0 */
/* link_socket.c - see link_socket.h. */
#include "lib/link_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "lib/err.h"

#define HANDSHAKE_MS 10000

int cb_link_socket_set(void *socket, int option, int value, struct cb_err *err)
{
    if (zmq_setsockopt(socket, option, &value, sizeof(value)) < 0)
        return cb_err_set(err, errno, "ZeroMQ option %d: %s", option, zmq_strerror(errno));
    return 0;
}

int cb_link_socket_setup(void *socket, const char *endpoint, struct cb_err *err)
{
    const struct {
        int option;
        int value;
    } options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_IPV6, strchr(endpoint, '[') != NULL},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, 60},
        {ZMQ_TCP_KEEPALIVE_INTVL, 20},
        {ZMQ_TCP_KEEPALIVE_CNT, 3},
    };
    const int64_t max = CB_LINK_MAX_BYTES;

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int r = cb_link_socket_set(socket, options[i].option, options[i].value, err);

        if (r < 0)
            return r;
    }
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max, sizeof(max)) < 0)
        return cb_err_set(err, errno, "ZeroMQ message size: %s", zmq_strerror(errno));
    return 0;
}

void cb_link_received_init(struct cb_link_received *received)
{
    received->n = 0;
    for (size_t i = 0; i < CB_LINK_MAX_PARTS + 1; i++)
        (void)zmq_msg_init(&received->parts[i]);
}

void cb_link_received_clear(struct cb_link_received *received)
{
    for (size_t i = 0; i < CB_LINK_MAX_PARTS + 1; i++)
        (void)zmq_msg_close(&received->parts[i]);
    received->n = 0;
}

int cb_link_socket_recv(void *socket, struct cb_link_received *received)
{
    zmq_msg_t rest;
    int r = 0;
    bool more = true;

    cb_link_received_clear(received);
    cb_link_received_init(received);
    (void)zmq_msg_init(&rest);
    while (r == 0 && more) {
        zmq_msg_t *part =
            received->n < CB_LINK_MAX_PARTS + 1 ? &received->parts[received->n] : &rest;

        /* The parts of one message arrive together: only the first can be missing. */
        if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
            r = errno == EINTR ? 0 : -errno;
        } else {
            more = zmq_msg_more(part);
            received->n++;
        }
    }
    (void)zmq_msg_close(&rest);
    return r;
}

int cb_link_socket_send(void *socket, const struct cb_link_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        zmq_msg_t msg;

        if (zmq_msg_init_size(&msg, parts[i].size) < 0)
            return -errno;
        if (parts[i].size)
            memcpy(zmq_msg_data(&msg), parts[i].bytes, parts[i].size);
        while (zmq_msg_send(&msg, socket, ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0)) < 0) {
            int code = errno;

            if (code == EINTR)
                continue;
            (void)zmq_msg_close(&msg);
            return -code;
        }
    }
    return 0;
}

long cb_link_socket_ms(uint64_t ns)
{
    uint64_t ms = ns / 1000000 + (ns % 1000000 != 0);

    return ms < 3600000 ? (long)ms : 3600000;
}

int cb_link_random_id(char ret_id[33], struct cb_err *err)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[16];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return cb_err_set(err, errno, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        ret_id[2 * i] = digits[bytes[i] >> 4];
        ret_id[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_id[32] = '\0';
    return 0;
}
