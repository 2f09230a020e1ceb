/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_socket.c - reports as JSON lines over TCP; see hwpc_sink.h. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/err.h"
#include "sensor/hwpc_sink.h"

#define SEND_TIMEOUT_MS 10000
#define END_TRIES 3

struct tcp {
    int fd;         /* -1: not connected */
    unsigned tries; /* to connect anew since the other side ended its half */
    char *host, *port;
    size_t sent; /* reports of the batch in hand that went out whole */
    char *text;  /* of one report */
    size_t text_size;
};

static int connect_one(const struct addrinfo *address)
{
    const struct timeval limit = {.tv_sec = SEND_TIMEOUT_MS / 1000};
    cb_auto_close int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return -errno;
    /* connect(2) and send(2) wait no longer than that */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0)
        return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    return cb_take_fd(fd);
}

static int tcp_connect(struct tcp *tcp, struct cb_err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int r = getaddrinfo(tcp->host, tcp->port, &hints, &found);

    if (r != 0)
        return cb_err_set(err, EAGAIN, "%s port %s: %s", tcp->host, tcp->port, gai_strerror(r));
    for (const struct addrinfo *a = found; a && tcp->fd < 0; a = a->ai_next) {
        r = connect_one(a);
        if (r >= 0)
            tcp->fd = r;
    }
    freeaddrinfo(found);
    if (tcp->fd < 0)
        return cb_err_set(err, EAGAIN, "cannot connect to %s port %s: %s", tcp->host, tcp->port,
                          strerror(-r));
    return 0;
}

static void hang_up(struct tcp *tcp)
{
    if (tcp->fd >= 0)
        (void)close(tcp->fd);
    tcp->fd = -1;
    tcp->tries = 0;
}

static int tcp_close(void *state, struct cb_err *err)
{
    struct tcp *tcp = state;

    (void)err;
    hang_up(tcp);
    free(tcp->host);
    free(tcp->port);
    free(tcp->text);
    free(tcp);
    return 0;
}

static int tcp_open(const struct cb_hwpc_sink_options *options, void **ret_state,
                    struct cb_err *err)
{
    struct tcp *tcp = calloc(1, sizeof(*tcp));
    int r = -ENOMEM;

    if (!tcp)
        return cb_err_set(err, ENOMEM, "out of memory");
    tcp->fd = -1;
    tcp->host = strdup(options->options->where);
    tcp->port = strdup(options->options->port);
    if (!tcp->host || !tcp->port)
        (void)cb_err_set(err, ENOMEM, "out of memory");
    else
        r = tcp_connect(tcp, err);
    if (r < 0) {
        (void)tcp_close(tcp, NULL);
        return r;
    }
    *ret_state = tcp;
    return 0;
}

/* The other side says nothing: what can be read is its end. It may be gone, and what we send would
 * be lost, or it only listens from now on. One that is gone can be connected to anew when it is
 * back; where that fails again and again the old connection is used. */
static int look_for_the_end(struct tcp *tcp, struct cb_err *err)
{
    struct tcp other = {.fd = -1, .host = tcp->host, .port = tcp->port};
    char byte;
    int r;

    if (tcp->fd < 0 || tcp->tries > END_TRIES ||
        recv(tcp->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 0)
        return 0;
    r = tcp_connect(&other, err);
    if (r == 0) {
        hang_up(tcp);
        tcp->fd = other.fd;
        return 0;
    }
    return ++tcp->tries > END_TRIES ? 0 : r;
}

static int send_all(struct tcp *tcp, struct cb_err *err)
{
    for (size_t done = 0; done < tcp->text_size;) {
        ssize_t n = send(tcp->fd, tcp->text + done, tcp->text_size - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cb_err_set(err, EAGAIN, "%s port %s: %s", tcp->host, tcp->port, strerror(errno));
        done += (size_t)n;
    }
    return 0;
}

static int make_text(struct tcp *tcp, const struct cb_hwpc_batch *batch, size_t i,
                     struct cb_err *err)
{
    FILE *out;

    free(tcp->text);
    tcp->text = NULL;
    out = open_memstream(&tcp->text, &tcp->text_size);
    if (!out)
        return cb_err_set(err, ENOMEM, "out of memory");
    cb_hwpc_batch_json(batch, i, out);
    if (fclose(out) != 0)
        return cb_err_set(err, ENOMEM, "out of memory");
    return 0;
}

static int tcp_write(void *state, const struct cb_hwpc_batch *batch, struct cb_err *err)
{
    struct tcp *tcp = state;
    int r = look_for_the_end(tcp, err);

    if (r < 0)
        return r; /* the old connection may still be good */
    if (tcp->fd < 0)
        r = tcp_connect(tcp, err);
    while (r == 0 && tcp->sent < batch->n) {
        r = make_text(tcp, batch, tcp->sent, err);
        if (r == 0)
            r = send_all(tcp, err);
        tcp->sent += r == 0;
    }
    if (r == -EAGAIN)
        hang_up(tcp);
    else
        tcp->sent = 0;
    return r;
}

const struct cb_hwpc_sink_driver cb_hwpc_socket = {
    .may_wait = true,
    .open = tcp_open,
    .write = tcp_write,
    .close = tcp_close,
};
