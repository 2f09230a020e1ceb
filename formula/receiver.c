/* SPDX-License-Identifier: Apache-2.0 */
/* receiver.c - see receiver.h. */
#include "formula/receiver.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "formula/inbox.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define INBOX_AT_ONCE 64 /* then the link has its turn */
#define IDLE_NS CB_NS_PER_S
#define RETRY_MS 1000
#define LOG_EVERY_NS (30 * CB_NS_PER_S)
#define STRANGER_LOG_NS (60 * CB_NS_PER_S)

struct cb_receiver {
    struct cb_link_server *server;
    struct cb_ingest *ingest;
    struct cb_ingest_stats *stats;
    struct cb_known *known;
    struct cb_inbox *inbox;
    int stop_fd;
    int wake_fd; /* readable when stop_fd or the inbox is */
    pthread_t thread;
    uint64_t link_ignored;
    struct cb_log_limit store_log, link_log;
};

bool cb_receiver_admit(void *context, const char *key)
{
    struct cb_known *known = context;
    uint64_t now = cb_clock_boot_ns();
    struct cb_err err = {0};

    if (cb_known_refresh(known, &err) < 0)
        cb_log_limited(cb_known_stranger(known, "", now), STRANGER_LOG_NS, CB_LOG_ERR,
                       "%s: the old list of known sensors stays in force", err.text);
    if (cb_known_by_key(known, key))
        return true;
    cb_log_limited(cb_known_stranger(known, key, now), STRANGER_LOG_NS, CB_LOG_WARN,
                   "a sensor with an unknown key asks to be let in; if it is yours: "
                   "cbformula keys add NAME '%s'",
                   key);
    return false;
}

/* ---- answers ---- */

static void answer_failed(struct cb_receiver *receiver, int r, const struct cb_err *err)
{
    if (r < 0)
        cb_log_limited(&receiver->link_log, LOG_EVERY_NS, CB_LOG_DEBUG, "link: %s", err->text);
}

static void welcome(void *context, const struct cb_link_peer *peer)
{
    struct cb_receiver *receiver = context;
    struct cb_err err = {0};

    answer_failed(receiver, cb_link_server_welcome(receiver->server, peer, &err), &err);
}

static void ack(void *context, const struct cb_link_peer *peer, const char *start_id, uint64_t seq)
{
    struct cb_receiver *receiver = context;
    struct cb_err err = {0};

    answer_failed(receiver, cb_link_server_ack(receiver->server, peer, start_id, seq, &err), &err);
}

static void refuse(void *context, const struct cb_link_peer *peer, const char *start_id,
                   uint64_t seq, const char *text)
{
    struct cb_receiver *receiver = context;
    struct cb_err err = {0};

    answer_failed(receiver,
                  cb_link_server_refuse(receiver->server, peer, start_id, seq, text, &err), &err);
}

static void forget(void *context, const struct cb_link_peer *peer)
{
    struct cb_receiver *receiver = context;

    cb_link_server_forget(receiver->server, peer);
}

/* ---- the thread ---- */

static bool is_stopped(const struct cb_receiver *receiver, int wait_ms)
{
    struct pollfd fd = {.fd = receiver->stop_fd, .events = POLLIN};

    return poll(&fd, 1, wait_ms) > 0;
}

/* The store failed: wait a little; false: the process is to stop. Nothing is read from the link, so
 * that the sensors keep their frames; they still hear that somebody is there. */
static bool wait_for_store(struct cb_receiver *receiver, const struct cb_err *err)
{
    cb_log_limited(&receiver->store_log, LOG_EVERY_NS, CB_LOG_ERR,
                   "%s; the sensors keep their frames, trying again every second", err->text);
    cb_link_server_beat(receiver->server);
    return !is_stopped(receiver, RETRY_MS);
}

/* False: the process is to stop. */
static bool take(struct cb_receiver *receiver, const struct cb_link_message *message)
{
    struct cb_err err = {0};

    while (cb_ingest_message(receiver->ingest, message, cb_clock_boot_ns(), cb_clock_wall_ns(),
                             &err) < 0)
        if (!wait_for_store(receiver, &err))
            return false;
    return true;
}

/* @n frames of the inbox, if there are so many. */
static void take_inbox(struct cb_receiver *receiver, size_t n)
{
    struct cb_inbox_item *item;
    bool taken = true;

    for (size_t i = 0; i < n && taken && (item = cb_inbox_take(receiver->inbox)); i++) {
        struct cb_link_message message = {.kind = CB_LINK_MSG_FRAME,
                                          .key = CB_INGEST_LOCAL_KEY,
                                          .seq = item->seq,
                                          .bytes = item->bytes,
                                          .size = item->size};

        memcpy(message.start_id, item->start_id, sizeof(message.start_id));
        taken = take(receiver, &message);
        free(item);
    }
}

static void commit(struct cb_receiver *receiver)
{
    struct cb_err err = {0};

    while (cb_ingest_commit(receiver->ingest, cb_clock_boot_ns(), cb_clock_wall_ns(), &err) < 0)
        if (!wait_for_store(receiver, &err))
            return;
}

static void poll_link(struct cb_receiver *receiver, struct cb_link_message *message)
{
    uint64_t due_ns = cb_ingest_due_ns(receiver->ingest);
    uint64_t now_ns = cb_clock_boot_ns();
    uint64_t wait_ns = due_ns <= now_ns ? 0 : due_ns - now_ns;
    uint64_t ignored;
    struct cb_err err = {0};

    if (wait_ns > IDLE_NS)
        wait_ns = IDLE_NS;
    if (cb_link_server_poll(receiver->server, wait_ns, receiver->wake_fd, message, &err) < 0) {
        message->kind = CB_LINK_MSG_NONE;
        cb_log_limited(&receiver->link_log, LOG_EVERY_NS, CB_LOG_ERR, "%s", err.text);
        (void)is_stopped(receiver, 10);
    }
    ignored = cb_link_server_ignored(receiver->server);
    atomic_fetch_add(&receiver->stats->ignored_total, ignored - receiver->link_ignored);
    receiver->link_ignored = ignored;
}

static void *run(void *context)
{
    struct cb_receiver *receiver = context;
    struct cb_err err = {0};

    while (!is_stopped(receiver, 0)) {
        struct cb_link_message message;

        poll_link(receiver, &message);
        if (message.kind != CB_LINK_MSG_NONE)
            (void)take(receiver, &message);
        if (receiver->inbox)
            take_inbox(receiver, INBOX_AT_ONCE);
        if (cb_clock_boot_ns() >= cb_ingest_due_ns(receiver->ingest))
            commit(receiver);
    }
    if (receiver->inbox)
        take_inbox(receiver, SIZE_MAX);
    if (cb_ingest_close(receiver->ingest, cb_clock_boot_ns(), cb_clock_wall_ns(), &err) < 0)
        cb_log_err("%s; the last frames were not stored, their sensors send them again", err.text);
    return NULL;
}

static int watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_descriptors(struct cb_receiver *receiver, struct cb_err *err)
{
    receiver->stop_fd = eventfd(0, EFD_CLOEXEC);
    receiver->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    if (receiver->stop_fd < 0 || receiver->wake_fd < 0 ||
        watch(receiver->wake_fd, receiver->stop_fd) < 0 ||
        (receiver->inbox && watch(receiver->wake_fd, cb_inbox_fd(receiver->inbox)) < 0))
        return cb_err_set(err, errno, "cannot make an eventfd: %s", strerror(errno));
    return 0;
}

static void *release(struct cb_receiver *receiver)
{
    cb_close_at(&receiver->wake_fd);
    cb_close_at(&receiver->stop_fd);
    free(receiver);
    return NULL;
}

int cb_receiver_start(struct cb_link_server *server, struct cb_inbox *inbox,
                      const struct cb_ingest_options *options, struct cb_receiver **ret_receiver,
                      struct cb_err *err)
{
    struct cb_receiver *receiver = calloc(1, sizeof(*receiver));
    struct cb_ingest_options o = *options;
    int r;

    if (!receiver)
        return cb_err_set(err, ENOMEM, "out of memory");
    receiver->server = server;
    receiver->inbox = inbox;
    receiver->stats = options->stats;
    receiver->known = options->known;
    o.answers = (struct cb_ingest_answers){
        .context = receiver, .welcome = welcome, .ack = ack, .refuse = refuse, .forget = forget};
    r = open_descriptors(receiver, err);
    if (r == 0)
        r = cb_ingest_open(&o, &receiver->ingest, err);
    if (r == 0) {
        r = -pthread_create(&receiver->thread, NULL, run, receiver);
        if (r < 0) {
            cb_ingest_abandon(receiver->ingest);
            r = cb_err_set(err, -r, "cannot start a thread");
        }
    }
    if (r < 0) {
        receiver = release(receiver);
        return r;
    }
    *ret_receiver = receiver;
    return 0;
}

struct cb_receiver *cb_receiver_stop(struct cb_receiver *receiver)
{
    if (!receiver)
        return NULL;
    (void)eventfd_write(receiver->stop_fd, 1);
    (void)pthread_join(receiver->thread, NULL);
    return release(receiver);
}
