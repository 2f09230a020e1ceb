/* SPDX-License-Identifier: Apache-2.0 */
/* notify.h - "something new is in the store": one thread says so, others wait for it. */
#ifndef CB_FORMULA_NOTIFY_H
#define CB_FORMULA_NOTIFY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct cb_notify {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint64_t generation; /* grows with every cb_notify_bump() */
    bool stopped;
};

void cb_notify_init(struct cb_notify *notify);
void cb_notify_fini(struct cb_notify *notify);

void cb_notify_bump(struct cb_notify *notify);
/* Wake every waiter, now and from now on. */
void cb_notify_stop(struct cb_notify *notify);

uint64_t cb_notify_generation(struct cb_notify *notify);
/* Wait until the generation is not @seen any more or @timeout_ns have passed; false: stopped. */
bool cb_notify_wait(struct cb_notify *notify, uint64_t seen, uint64_t timeout_ns);

#endif
