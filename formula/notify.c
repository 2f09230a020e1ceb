/* SPDX-License-Identifier: Apache-2.0 */
/* notify.c - see notify.h. */
#include "formula/notify.h"

#include <errno.h>

#include "lib/clock.h"

void cb_notify_init(struct cb_notify *notify)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&notify->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&notify->mutex, NULL);
    notify->generation = 0;
    notify->stopped = false;
}

void cb_notify_fini(struct cb_notify *notify)
{
    (void)pthread_cond_destroy(&notify->cond);
    (void)pthread_mutex_destroy(&notify->mutex);
}

void cb_notify_bump(struct cb_notify *notify)
{
    (void)pthread_mutex_lock(&notify->mutex);
    notify->generation++;
    (void)pthread_cond_broadcast(&notify->cond);
    (void)pthread_mutex_unlock(&notify->mutex);
}

void cb_notify_stop(struct cb_notify *notify)
{
    (void)pthread_mutex_lock(&notify->mutex);
    notify->stopped = true;
    (void)pthread_cond_broadcast(&notify->cond);
    (void)pthread_mutex_unlock(&notify->mutex);
}

uint64_t cb_notify_generation(struct cb_notify *notify)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&notify->mutex);
    generation = notify->generation;
    (void)pthread_mutex_unlock(&notify->mutex);
    return generation;
}

bool cb_notify_wait(struct cb_notify *notify, uint64_t seen, uint64_t timeout_ns)
{
    struct timespec until;
    uint64_t ns;
    bool running;
    int r = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    ns = (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec += (time_t)(ns / CB_NS_PER_S);
    until.tv_nsec = (long)(ns % CB_NS_PER_S);
    (void)pthread_mutex_lock(&notify->mutex);
    while (!notify->stopped && notify->generation == seen && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&notify->cond, &notify->mutex, &until);
    running = !notify->stopped;
    (void)pthread_mutex_unlock(&notify->mutex);
    return running;
}
