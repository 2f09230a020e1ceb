/* SPDX-License-Identifier: Apache-2.0 */
/* store_gate.c - see store_gate.h. */
#include "formula/store_gate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/err.h"

struct cb_gate {
    struct cb_gate *next; /* under `gates_mutex`, as */
    unsigned users;
    dev_t device;
    ino_t inode;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool passed;      /* somebody is in */
    unsigned n_first; /* that wait and go first */
};

static pthread_mutex_t gates_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct cb_gate *gates;

static struct cb_gate *new_gate(const struct stat *st)
{
    struct cb_gate *gate = calloc(1, sizeof(*gate));
    pthread_condattr_t attr;

    if (!gate)
        return NULL;
    gate->device = st->st_dev;
    gate->inode = st->st_ino;
    (void)pthread_mutex_init(&gate->mutex, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&gate->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    gate->next = gates;
    gates = gate;
    return gate;
}

int cb_gate_open(const char *path, struct cb_gate **ret_gate, struct cb_err *err)
{
    struct cb_gate *gate;
    struct stat st;

    if (stat(path, &st) < 0)
        return cb_err_set(err, errno, "store: cannot look at it: %s", strerror(errno));
    (void)pthread_mutex_lock(&gates_mutex);
    for (gate = gates; gate; gate = gate->next)
        if (gate->device == st.st_dev && gate->inode == st.st_ino)
            break;
    if (!gate)
        gate = new_gate(&st);
    if (gate)
        gate->users++;
    (void)pthread_mutex_unlock(&gates_mutex);
    if (!gate)
        return cb_err_set(err, ENOMEM, "out of memory");
    *ret_gate = gate;
    return 0;
}

struct cb_gate *cb_gate_close(struct cb_gate *gate)
{
    bool last;

    if (!gate)
        return NULL;
    (void)pthread_mutex_lock(&gates_mutex);
    last = --gate->users == 0;
    for (struct cb_gate **at = &gates; last && *at; at = &(*at)->next)
        if (*at == gate) {
            *at = gate->next;
            break;
        }
    (void)pthread_mutex_unlock(&gates_mutex);
    if (last) {
        (void)pthread_cond_destroy(&gate->cond);
        (void)pthread_mutex_destroy(&gate->mutex);
        free(gate);
    }
    return NULL;
}

int cb_gate_pass(struct cb_gate *gate, bool first, uint64_t timeout_ns, struct cb_err *err)
{
    struct timespec until;
    uint64_t ns;
    int r = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    ns = (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec += (time_t)(ns / CB_NS_PER_S);
    until.tv_nsec = (long)(ns % CB_NS_PER_S);
    (void)pthread_mutex_lock(&gate->mutex);
    gate->n_first += first;
    while (r == 0 && (gate->passed || (!first && gate->n_first)))
        r = pthread_cond_timedwait(&gate->cond, &gate->mutex, &until);
    gate->n_first -= first;
    if (r == 0)
        gate->passed = true;
    else
        (void)pthread_cond_broadcast(&gate->cond); /* it need not go first any more */
    (void)pthread_mutex_unlock(&gate->mutex);
    return r ? cb_err_set(err, EBUSY, "store: others in this process write to it") : 0;
}

void cb_gate_leave(struct cb_gate *gate)
{
    (void)pthread_mutex_lock(&gate->mutex);
    gate->passed = false;
    (void)pthread_cond_broadcast(&gate->cond);
    (void)pthread_mutex_unlock(&gate->mutex);
}
