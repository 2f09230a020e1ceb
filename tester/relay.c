/* SPDX-License-Identifier: Apache-2.0 */
/* relay.c - see relay.h. */
#include "tester/relay.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tester/interrupt.h"

/* Wait until @fd takes bytes; false when a signal came first. */
static bool wait_writable(int fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLOUT},
                           {.fd = cb_interrupt_fd(), .events = POLLIN}};

    while (poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return false;
    return fds[0].revents != 0;
}

static void pass_on(struct cb_relay *relay, const uint8_t *bytes, size_t size)
{
    while (size > 0 && relay->fd >= 0) {
        /* A pipe that polls writable takes this much without blocking. */
        size_t piece = size < PIPE_BUF ? size : PIPE_BUF;
        ssize_t n = wait_writable(relay->fd) ? write(relay->fd, bytes, piece) : 0;

        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            relay->fd = -1;
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
}

static void on_bytes(void *arg, enum cb_logstream_kind kind, const uint8_t *bytes, size_t size)
{
    struct cb_relay *relay = arg;

    cb_marks_feed(&relay->marks, kind, bytes, size, relay->now_ns);
    pass_on(relay, bytes, size);
}

void cb_relay_init(struct cb_relay *relay, bool tty, int fd)
{
    *relay = (struct cb_relay){.fd = fd};
    cb_logstream_init(&relay->stream, tty, on_bytes, relay);
}

int cb_relay_feed(void *arg, const uint8_t *bytes, size_t size, struct cb_err *err)
{
    struct cb_relay *relay = arg;

    relay->now_ns = cb_clock_boot_ns();
    return cb_logstream_feed(&relay->stream, bytes, size, err);
}
