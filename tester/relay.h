/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - the container's output on its way: out of Docker's stream, past the marks, unchanged to
 * a descriptor.
 *
 * A reader that is slow holds the container up, as with docker run; one that is gone is not missed.
 * A signal (interrupt.h) ends the waiting for a slow one; what is left is dropped.
 */
#ifndef CB_TESTER_RELAY_H
#define CB_TESTER_RELAY_H

#include <stdbool.h>

#include "tester/logstream.h"
#include "tester/marks.h"

struct cb_relay {
    struct cb_logstream stream;
    struct cb_marks marks;
    int fd;          /* -1: nowhere (any more) */
    uint64_t now_ns; /* when the bytes being fed arrived */
};

void cb_relay_init(struct cb_relay *relay, bool tty, int fd);

/* A cb_docker_client_output; @arg is the struct cb_relay. -EBADMSG: not Docker's stream format. */
int cb_relay_feed(void *arg, const uint8_t *bytes, size_t size, struct cb_err *err);

#endif
