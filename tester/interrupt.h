/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupt.h - SIGINT, SIGTERM, SIGHUP and SIGQUIT become a readable descriptor, so that whatever
 * waits can stop waiting and clean up. SIGPIPE is ignored. One process has one of these.
 * A SIGHUP that is ignored at the start (nohup) stays ignored.
 */
#ifndef CB_TESTER_INTERRUPT_H
#define CB_TESTER_INTERRUPT_H

#include "lib/cleanup.h"

struct cb_err;

/* Errors: any errno of pipe2(2), sigaction(2). */
int cb_interrupt_open(struct cb_err *err) cb_must_check;

/* Readable from the first signal on; never drained. -1 before cb_interrupt_open(). */
int cb_interrupt_fd(void);

/* The first signal that came, 0 when none did. */
int cb_interrupt_signal(void);

/* Back to the default actions. */
void cb_interrupt_close(void);

#endif
