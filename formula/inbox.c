/* SPDX-License-Identifier: Apache-2.0 */
/* inbox.c - see inbox.h. */
#include "formula/inbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "lib/err.h"

struct cb_inbox {
    pthread_mutex_t lock;
    pthread_cond_t room;
    int fd; /* an eventfd that is 1 while something is in */
    bool closed;
    size_t bytes;
    struct cb_inbox_item *first, **last;
};

int cb_inbox_new(struct cb_inbox **ret_inbox, struct cb_err *err)
{
    struct cb_inbox *inbox = calloc(1, sizeof(*inbox));

    if (!inbox)
        return cb_err_set(err, ENOMEM, "out of memory");
    inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (inbox->fd < 0) {
        int code = errno;

        free(inbox);
        return cb_err_set(err, code, "cannot make an eventfd: %s", strerror(code));
    }
    inbox->last = &inbox->first;
    (void)pthread_mutex_init(&inbox->lock, NULL);
    (void)pthread_cond_init(&inbox->room, NULL);
    *ret_inbox = inbox;
    return 0;
}

struct cb_inbox *cb_inbox_free(struct cb_inbox *inbox)
{
    struct cb_inbox_item *item;

    if (!inbox)
        return NULL;
    while ((item = cb_inbox_take(inbox)))
        free(item);
    (void)close(inbox->fd);
    (void)pthread_cond_destroy(&inbox->room);
    (void)pthread_mutex_destroy(&inbox->lock);
    free(inbox);
    return NULL;
}

/* An empty inbox takes a frame of any size. */
static bool is_full(const struct cb_inbox *inbox, size_t size)
{
    return inbox->first && inbox->bytes + size > CB_INBOX_BYTES;
}

int cb_inbox_put(struct cb_inbox *inbox, const char *start_id, uint64_t seq, const uint8_t *bytes,
                 size_t size, struct cb_err *err)
{
    struct cb_inbox_item *item = malloc(sizeof(*item) + size);
    bool full;

    if (!item)
        return cb_err_set(err, ENOMEM, "out of memory for a frame");
    item->next = NULL;
    item->seq = seq;
    item->size = size;
    (void)snprintf(item->start_id, sizeof(item->start_id), "%s", start_id);
    memcpy(item->bytes, bytes, size);
    (void)pthread_mutex_lock(&inbox->lock);
    while ((full = is_full(inbox, size)) && !inbox->closed)
        (void)pthread_cond_wait(&inbox->room, &inbox->lock);
    if (!full) {
        if (!inbox->first)
            (void)eventfd_write(inbox->fd, 1);
        *inbox->last = item;
        inbox->last = &item->next;
        inbox->bytes += size;
    }
    (void)pthread_mutex_unlock(&inbox->lock);
    if (!full)
        return 0;
    free(item);
    return cb_err_set(err, ECANCELED, "the server stops, and a frame is not stored");
}

void cb_inbox_close(struct cb_inbox *inbox)
{
    (void)pthread_mutex_lock(&inbox->lock);
    inbox->closed = true;
    (void)pthread_cond_broadcast(&inbox->room);
    (void)pthread_mutex_unlock(&inbox->lock);
}

struct cb_inbox_item *cb_inbox_take(struct cb_inbox *inbox)
{
    struct cb_inbox_item *item;
    eventfd_t ignored;

    (void)pthread_mutex_lock(&inbox->lock);
    item = inbox->first;
    if (item) {
        inbox->first = item->next;
        inbox->bytes -= item->size;
        if (!inbox->first) {
            inbox->last = &inbox->first;
            (void)eventfd_read(inbox->fd, &ignored);
        }
        (void)pthread_cond_broadcast(&inbox->room);
    }
    (void)pthread_mutex_unlock(&inbox->lock);
    return item;
}

int cb_inbox_fd(const struct cb_inbox *inbox)
{
    return inbox->fd;
}
