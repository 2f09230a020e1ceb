/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powerapi_tcp.h - the socket that PowerAPI's sensor connects to (`-r socket`): JSON lines over
 * plain TCP, without keys. Loopback unless asked otherwise.
 *
 * What is no report is counted and skipped. A document that is too long ends its connection.
 * Limits   CB_POWERAPI_CONNECTIONS at once; 256 MiB for what they have begun.
 * Threads  one of its own.
 */
#ifndef CB_FORMULA_POWERAPI_TCP_H
#define CB_FORMULA_POWERAPI_TCP_H

#include "formula/powerapi.h"

#define CB_POWERAPI_CONNECTIONS 2048
#define CB_POWERAPI_PORT "9080"

struct cb_powerapi_tcp;

/* @address: [ADDR:]PORT; without ADDR 127.0.0.1. Everything that can be refused is refused here. */
int cb_powerapi_tcp_listen(const char *address, struct cb_powerapi *powerapi,
                           struct cb_powerapi_tcp **ret_tcp, struct cb_err *err) cb_must_check;
const char *cb_powerapi_tcp_address(const struct cb_powerapi_tcp *tcp); /* "127.0.0.1:9080" */
bool cb_powerapi_tcp_is_loopback(const struct cb_powerapi_tcp *tcp);

int cb_powerapi_tcp_start(struct cb_powerapi_tcp *tcp, struct cb_err *err) cb_must_check;
/* Read what has come, give out every tick (nothing more will come of them), end the thread.
 * Returns NULL. */
struct cb_powerapi_tcp *cb_powerapi_tcp_stop(struct cb_powerapi_tcp *tcp);

#endif
