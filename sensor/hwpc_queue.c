/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_queue.c - see hwpc_queue.h. */
#include "sensor/hwpc_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define FIRST_PAUSE_NS CB_NS_PER_S
#define LAST_PAUSE_NS (30 * CB_NS_PER_S)
#define LOG_NS (60 * CB_NS_PER_S)
#define MAX_SPARE 2 /* written batches that are kept to be filled again */

struct item {
    struct cb_hwpc_batch batch; /* first: a batch is its item */
    struct item *next;
    size_t bytes;
};

struct cb_hwpc_queue {
    struct cb_hwpc_sink *sink;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct item *first, **last; /* to write */
    bool tried;                 /* the first one: the sink may hold a part of it */
    size_t bytes;
    struct item *spare;
    size_t n_spare;
    bool end;            /* write what is there, then end */
    uint64_t give_up_ns; /* then end all the same */
    uint64_t lost;
    struct cb_log_limit away_limit, lost_limit;
};

static struct item *free_item(struct item *item)
{
    if (item)
        cb_hwpc_batch_fini(&item->batch);
    free(item);
    return NULL;
}

/* Under the lock. */
static void give_back(struct cb_hwpc_queue *q, struct item *item)
{
    if (q->n_spare >= MAX_SPARE) {
        (void)free_item(item);
        return;
    }
    item->next = q->spare;
    q->spare = item;
    q->n_spare++;
}

/* Under the lock: the first batch is done with. */
static void drop_first(struct cb_hwpc_queue *q)
{
    struct item *item = q->first;

    q->first = item->next;
    if (!q->first)
        q->last = &q->first;
    q->bytes -= item->bytes;
    q->tried = false;
    give_back(q, item);
}

/* Under the lock: wait, but not for an end that comes meanwhile. */
static void pause_for(struct cb_hwpc_queue *q, uint64_t ns)
{
    struct timespec until;
    uint64_t at;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    at = (uint64_t)until.tv_sec * CB_NS_PER_S + (uint64_t)until.tv_nsec + ns;
    until = (struct timespec){.tv_sec = (time_t)(at / CB_NS_PER_S),
                              .tv_nsec = (long)(at % CB_NS_PER_S)};
    while (!q->end && pthread_cond_timedwait(&q->changed, &q->lock, &until) != ETIMEDOUT)
        ;
}

/* Under the lock, which is free during the write. */
static int write_first(struct cb_hwpc_queue *q, struct cb_err *err)
{
    struct item *item = q->first;
    int r;

    q->tried = true;
    (void)pthread_mutex_unlock(&q->lock);
    r = cb_hwpc_sink_write(q->sink, &item->batch, err);
    (void)pthread_mutex_lock(&q->lock);
    if (r != -EAGAIN && r < 0) {
        q->lost += item->batch.n;
        cb_log_limited(&q->lost_limit, LOG_NS, CB_LOG_ERR, "%zu reports are lost: %s",
                       item->batch.n, err->text);
    }
    if (r != -EAGAIN)
        drop_first(q);
    return r;
}

static void *work(void *context)
{
    struct cb_hwpc_queue *q = context;
    uint64_t pause_ns = FIRST_PAUSE_NS;

    (void)pthread_mutex_lock(&q->lock);
    for (;;) {
        struct cb_err err = {0};

        while (!q->first && !q->end)
            (void)pthread_cond_wait(&q->changed, &q->lock);
        if (!q->first || (q->end && cb_clock_boot_ns() >= q->give_up_ns))
            break;
        if (write_first(q, &err) != -EAGAIN) {
            pause_ns = FIRST_PAUSE_NS;
            continue;
        }
        if (q->end)
            break;
        cb_log_limited(&q->away_limit, LOG_NS, CB_LOG_WARN,
                       "reports wait, trying again in %llu s: %s",
                       (unsigned long long)(pause_ns / CB_NS_PER_S), err.text);
        pause_for(q, pause_ns);
        pause_ns = pause_ns * 2 < LAST_PAUSE_NS ? pause_ns * 2 : LAST_PAUSE_NS;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return NULL;
}

int cb_hwpc_queue_open(struct cb_hwpc_sink *sink, struct cb_hwpc_queue **ret_queue,
                       struct cb_err *err)
{
    cb_auto_free struct cb_hwpc_queue *q = calloc(1, sizeof(*q));
    pthread_condattr_t attr;
    int r;

    if (!q)
        return cb_err_set(err, ENOMEM, "out of memory");
    q->sink = sink;
    q->last = &q->first;
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&q->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    r = pthread_create(&q->thread, NULL, work, q);
    if (r != 0)
        return cb_err_set(err, r, "no thread: %s", strerror(r));
    *ret_queue = cb_take(q);
    return 0;
}

struct cb_hwpc_batch *cb_hwpc_queue_take(struct cb_hwpc_queue *q)
{
    struct item *item;

    (void)pthread_mutex_lock(&q->lock);
    item = q->spare;
    if (item) {
        q->spare = item->next;
        q->n_spare--;
    }
    (void)pthread_mutex_unlock(&q->lock);
    if (!item)
        item = calloc(1, sizeof(*item));
    return item ? &item->batch : NULL;
}

/* Under the lock: room for @more by the oldest that no write was tried of. */
static void make_room(struct cb_hwpc_queue *q, size_t more)
{
    struct item **oldest = q->tried ? &q->first->next : &q->first;

    while (*oldest && q->bytes + more > CB_HWPC_QUEUE_BYTES) {
        struct item *item = *oldest;

        *oldest = item->next;
        if (!item->next)
            q->last = oldest;
        q->bytes -= item->bytes;
        q->lost += item->batch.n;
        cb_log_limited(&q->lost_limit, LOG_NS, CB_LOG_ERR,
                       "%zu reports are lost: too many wait for their server", item->batch.n);
        give_back(q, item);
    }
}

void cb_hwpc_queue_push(struct cb_hwpc_queue *q, struct cb_hwpc_batch *batch)
{
    struct item *item = (struct item *)(void *)batch;

    item->next = NULL;
    item->bytes = sizeof(*item) + batch->lines_room * sizeof(*batch->lines) + batch->text_room +
                  batch->values_room * sizeof(*batch->values);
    (void)pthread_mutex_lock(&q->lock);
    make_room(q, item->bytes);
    *q->last = item;
    q->last = &item->next;
    q->bytes += item->bytes;
    (void)pthread_cond_signal(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
}

uint64_t cb_hwpc_queue_close(struct cb_hwpc_queue *q, uint64_t wait_ns)
{
    uint64_t lost;

    if (!q)
        return 0;
    (void)pthread_mutex_lock(&q->lock);
    q->end = true;
    q->give_up_ns = cb_clock_boot_ns() + wait_ns;
    (void)pthread_cond_signal(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
    (void)pthread_join(q->thread, NULL);
    for (struct item *item = q->first; item; item = item->next)
        q->lost += item->batch.n;
    lost = q->lost;
    while (q->first)
        drop_first(q);
    while (q->spare) {
        struct item *next = q->spare->next;

        q->spare = free_item(q->spare);
        q->spare = next;
    }
    (void)pthread_cond_destroy(&q->changed);
    (void)pthread_mutex_destroy(&q->lock);
    free(q);
    return lost;
}
