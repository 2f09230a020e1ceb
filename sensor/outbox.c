/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox.c - see outbox.h.
 *
 * Two threads share a box: the tick thread copies frames into it, the outbox thread takes the whole
 * box and leaves an empty one, so each holds the mutex for no longer than a copy or a swap of two
 * pointers. Everything else (spool, link) belongs to the outbox thread.
 *
 * A frame that the server refuses for good is put aside (spool.h) and the next one follows. A
 * sensor that is refused as a whole (another key, a format the server does not know) keeps its
 * frames and asks again with the link's back-off.
 */
#include "sensor/outbox.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/spool.h"

#define BOX_BYTES (size_t)(3 * CB_FRAME_MAX_BYTES) /* of address space; memory as it is used */
#define FLIGHT_MAX_BYTES (16u << 20)               /* sent, not acked */
#define CREDIT_MAX 1024 /* below the link's queue, so that a send fails only without a link */
#define SYNC_NS (CB_NS_PER_S / 10)
#define DEFAULT_MAX_BYTES (UINT64_C(64) << 20)
#define IDLE_NS CB_NS_PER_S
#define LOG_NS (60 * CB_NS_PER_S)

/* Frames one after the other: header, bytes, and padding to 8. */
struct box {
    uint8_t *bytes;
    size_t used;
};
struct box_frame {
    uint64_t seq;
    uint64_t size;
};

struct cb_outbox {
    pthread_t thread;
    int wake_fd;
    char start_id[CB_START_ID_SIZE];
    char endpoint[128];
    uint64_t sync_ns;
    bool on_disk;
    atomic_bool dictionary_wanted;

    pthread_mutex_t mutex; /* guards what follows */
    struct box *filling;
    uint64_t overflowed; /* frames that found the box full */
    bool stop;
    uint64_t stop_ns; /* give up draining then */
    struct cb_outbox_stats stats;

    /* the outbox thread's own */
    struct box boxes[2];
    struct box *emptying;
    struct cb_spool *spool;
    struct cb_link_client *link;
    bool welcomed, connected, refused, was_down;
    uint32_t credit;
    uint64_t dirty_ns; /* since when there is something to sync */
    uint64_t sent, acked, lost_before, refused_before;
    int trouble;
    struct cb_log_limit trouble_log, lost_log, refused_log, error_log;
};

/* ---- tick thread ---- */

int cb_outbox_push(struct cb_outbox *outbox, uint64_t seq, const uint8_t *bytes, size_t size,
                   struct cb_err *err)
{
    const struct box_frame header = {.seq = seq, .size = size};
    size_t need = sizeof(header) + ((size + 7) & ~(size_t)7);
    uint64_t one = 1;
    bool full;

    if (size > CB_FRAME_MAX_BYTES)
        return cb_err_set(err, EMSGSIZE, "a frame of %zu bytes is above the limit", size);
    (void)pthread_mutex_lock(&outbox->mutex);
    struct box *box = outbox->filling;

    full = need > BOX_BYTES - box->used;
    if (full) {
        outbox->overflowed++;
    } else {
        memcpy(box->bytes + box->used, &header, sizeof(header));
        memcpy(box->bytes + box->used + sizeof(header), bytes, size);
        box->used += need;
    }
    (void)pthread_mutex_unlock(&outbox->mutex);
    if (full)
        return cb_err_set(err, ENOBUFS, "the spool is too slow for this tick");
    if (write(outbox->wake_fd, &one, sizeof(one)) < 0) {
        /* only when it is at its highest, and then it is readable */
    }
    return 0;
}

bool cb_outbox_take_dictionary_wanted(struct cb_outbox *outbox)
{
    return atomic_exchange(&outbox->dictionary_wanted, false);
}

void cb_outbox_stats(struct cb_outbox *outbox, struct cb_outbox_stats *ret_stats)
{
    (void)pthread_mutex_lock(&outbox->mutex);
    *ret_stats = outbox->stats;
    ret_stats->lost_frames += outbox->overflowed;
    (void)pthread_mutex_unlock(&outbox->mutex);
}

/* ---- outbox thread ---- */

/* Take what was pushed; true when the outbox is to stop. */
static bool swap_boxes(struct cb_outbox *outbox, uint64_t *ret_stop_ns)
{
    bool stop;
    uint64_t count;

    if (read(outbox->wake_fd, &count, sizeof(count)) < 0) {
        /* nothing was pushed since */
    }
    (void)pthread_mutex_lock(&outbox->mutex);
    struct box *full = outbox->filling;

    outbox->filling = outbox->emptying;
    outbox->emptying = full;
    stop = outbox->stop;
    *ret_stop_ns = outbox->stop_ns;
    (void)pthread_mutex_unlock(&outbox->mutex);
    return stop;
}

static void spool_frames(struct cb_outbox *outbox, uint64_t now)
{
    struct box *box = outbox->emptying;
    bool was_dirty = cb_spool_is_dirty(outbox->spool);

    for (size_t at = 0; at < box->used;) {
        struct box_frame header;
        struct cb_err err = {0};

        memcpy(&header, box->bytes + at, sizeof(header));
        if (cb_spool_append(outbox->spool, outbox->start_id, header.seq,
                            box->bytes + at + sizeof(header), header.size, &err) < 0)
            cb_log_limited(&outbox->error_log, LOG_NS, CB_LOG_ERR, "frame %" PRIu64 " is lost: %s",
                           header.seq, err.text);
        at += sizeof(header) + ((header.size + 7) & ~(size_t)7);
    }
    box->used = 0;
    if (!was_dirty)
        outbox->dirty_ns = now;
}

/* Group commit. What was acked within the time needs none. */
static void sync_spool(struct cb_outbox *outbox, uint64_t now, bool at_once)
{
    struct cb_err err = {0};

    if (!cb_spool_is_dirty(outbox->spool) || (!at_once && now < outbox->dirty_ns + outbox->sync_ns))
        return;
    if (cb_spool_sync(outbox->spool, &err) < 0)
        cb_log_limited(&outbox->error_log, LOG_NS, CB_LOG_ERR,
                       "%s; frames go on, but a power cut may cost some", err.text);
    outbox->dirty_ns = now;
}

static void send_frames(struct cb_outbox *outbox)
{
    while (outbox->welcomed && cb_spool_in_flight(outbox->spool) < outbox->credit &&
           cb_spool_in_flight_bytes(outbox->spool) < FLIGHT_MAX_BYTES) {
        struct cb_spool_record record;
        struct cb_err err = {0};
        int r = cb_spool_next(outbox->spool, &record, &err);

        if (r == 0)
            return;
        if (r == 1) {
            r = cb_link_client_send(outbox->link, record.start_id, record.seq, record.bytes,
                                    record.size, &err);
            if (r < 0)
                cb_spool_unget(outbox->spool);
        }
        if (r == -EAGAIN) {
            outbox->connected = false; /* a welcome follows when the link is up again */
            return;
        }
        if (r < 0) {
            cb_log_limited(&outbox->error_log, LOG_NS, CB_LOG_WARN, "cannot send a frame now: %s",
                           err.text);
            return;
        }
        outbox->sent++;
    }
}

static void on_welcome(struct cb_outbox *outbox, const struct cb_link_event *event)
{
    cb_spool_rewind(outbox->spool);
    outbox->credit = event->credit < CREDIT_MAX ? event->credit : CREDIT_MAX;
    if (event->new_epoch)
        atomic_store(&outbox->dictionary_wanted, true);
    cb_log_info("connected to cbformula at %s, %" PRIu64 " frames to send", outbox->endpoint,
                cb_spool_held_frames(outbox->spool));
    outbox->welcomed = outbox->connected = true;
    outbox->refused = outbox->was_down = false;
}

static void on_refused(struct cb_outbox *outbox, const struct cb_link_event *event)
{
    if (event->seq == 0) {
        if (!outbox->refused)
            cb_log_err("cbformula at %s refuses this sensor: %s; frames are kept, asking again "
                       "every few seconds",
                       outbox->endpoint, event->text);
        outbox->refused = true;
        outbox->welcomed = outbox->connected = false;
        return;
    }
    if (cb_spool_refuse(outbox->spool, event->start_id, event->seq))
        cb_log_limited(&outbox->refused_log, LOG_NS, CB_LOG_ERR,
                       "cbformula refuses frame %" PRIu64
                       ": %s; it is put aside in the spool's file "
                       "'refused'",
                       event->seq, event->text);
}

static void on_event(struct cb_outbox *outbox, const struct cb_link_event *event)
{
    switch (event->kind) {
    case CB_LINK_NONE:
        break;
    case CB_LINK_WELCOME:
        on_welcome(outbox, event);
        break;
    case CB_LINK_ACK:
        outbox->acked += cb_spool_ack(outbox->spool, event->start_id, event->seq);
        outbox->connected = true;
        break;
    case CB_LINK_REFUSED:
        on_refused(outbox, event);
        break;
    case CB_LINK_DOWN:
        if (!outbox->was_down)
            cb_log_warn("%s; frames are kept, trying again", event->text);
        outbox->was_down = true;
        outbox->welcomed = outbox->connected = false;
        break;
    }
}

/* Say what changed, once; a frame that is missing there makes the next one carry its dictionary. */
static void report(struct cb_outbox *outbox)
{
    int trouble = cb_spool_trouble(outbox->spool);
    uint64_t lost = cb_spool_lost_frames(outbox->spool);
    uint64_t refused = cb_spool_refused_frames(outbox->spool);

    if (trouble && trouble != outbox->trouble)
        cb_log_limited(&outbox->trouble_log, LOG_NS, CB_LOG_ERR,
                       "cannot write the spool: %s; frames are kept in memory meanwhile",
                       strerror(trouble));
    outbox->trouble = trouble;
    if (lost > outbox->lost_before)
        cb_log_limited(&outbox->lost_log, LOG_NS, CB_LOG_ERR,
                       "%" PRIu64 " frames are lost so far: the spool is full or damaged", lost);
    if (lost > outbox->lost_before || refused > outbox->refused_before)
        atomic_store(&outbox->dictionary_wanted, true);
    outbox->lost_before = lost;
    outbox->refused_before = refused;

    (void)pthread_mutex_lock(&outbox->mutex);
    outbox->stats = (struct cb_outbox_stats){
        .connected = outbox->connected,
        .refused = outbox->refused,
        .lost_frames = lost,
        .refused_frames = refused,
        .held_frames = cb_spool_held_frames(outbox->spool),
        .held_bytes = cb_spool_held_bytes(outbox->spool),
        .memory_frames = outbox->on_disk ? cb_spool_memory_frames(outbox->spool) : 0,
        .sent_frames = outbox->sent,
        .acked_frames = outbox->acked,
    };
    (void)pthread_mutex_unlock(&outbox->mutex);
}

/* One event, after waiting for it until something is due. */
static void wait_for_event(struct cb_outbox *outbox, uint64_t now, uint64_t until)
{
    uint64_t due = now + IDLE_NS;
    struct cb_link_event event;
    struct cb_err err = {0};

    if (cb_spool_is_dirty(outbox->spool) && due > outbox->dirty_ns + outbox->sync_ns)
        due = outbox->dirty_ns + outbox->sync_ns;
    if (due > until)
        due = until;
    if (cb_link_client_poll(outbox->link, due > now ? due - now : 0, outbox->wake_fd, &event,
                            &err) < 0) {
        cb_log_limited(&outbox->error_log, LOG_NS, CB_LOG_ERR, "link: %s", err.text);
        (void)usleep(10000); /* whatever it is, do not spin on it */
        return;
    }
    on_event(outbox, &event);
}

/* Nothing is left, or waiting longer helps no one: no link, and what is left is on the disk. */
static bool is_drained(const struct cb_outbox *outbox)
{
    return cb_spool_held_frames(outbox->spool) == 0 ||
           (!outbox->connected && outbox->on_disk && !outbox->trouble);
}

static void *run(void *context)
{
    struct cb_outbox *outbox = context;

    for (;;) {
        uint64_t stop_ns;
        bool stop = swap_boxes(outbox, &stop_ns);
        uint64_t now = cb_clock_boot_ns();

        spool_frames(outbox, now);
        send_frames(outbox);
        sync_spool(outbox, now, false);
        report(outbox);
        if (stop && (now >= stop_ns || is_drained(outbox)))
            break;
        wait_for_event(outbox, now, stop ? stop_ns : UINT64_MAX);
    }
    sync_spool(outbox, cb_clock_boot_ns(), true);
    return NULL;
}

/* ---- open and close ---- */

static int open_boxes(struct cb_outbox *outbox, struct cb_err *err)
{
    for (size_t i = 0; i < 2; i++) {
        void *bytes = mmap(NULL, BOX_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (bytes == MAP_FAILED)
            return cb_err_set(err, errno, "no memory for the outbox: %s", strerror(errno));
        outbox->boxes[i].bytes = bytes;
    }
    outbox->filling = &outbox->boxes[0];
    outbox->emptying = &outbox->boxes[1];
    outbox->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (outbox->wake_fd < 0)
        return cb_err_set(err, errno, "cannot make an event descriptor: %s", strerror(errno));
    return 0;
}

/* Signals are for the main thread. */
static int start_thread(struct cb_outbox *outbox, struct cb_err *err)
{
    sigset_t all;
    sigset_t old;
    int code;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    code = pthread_create(&outbox->thread, NULL, run, outbox);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code)
        return cb_err_set(err, code, "cannot start the outbox: %s", strerror(code));
    (void)pthread_setname_np(outbox->thread, "outbox");
    return 0;
}

static struct cb_outbox *release(struct cb_outbox *outbox)
{
    outbox->link = cb_link_client_close(outbox->link);
    outbox->spool = cb_spool_close(outbox->spool);
    for (size_t i = 0; i < 2; i++)
        if (outbox->boxes[i].bytes)
            (void)munmap(outbox->boxes[i].bytes, BOX_BYTES);
    if (outbox->wake_fd >= 0)
        (void)close(outbox->wake_fd);
    (void)pthread_mutex_destroy(&outbox->mutex);
    free(outbox);
    return NULL;
}

int cb_outbox_open(const struct cb_outbox_options *options, struct cb_outbox **ret_outbox,
                   struct cb_err *err)
{
    const struct cb_spool_options spool = {
        .dir_fd = options->spool_dir_fd,
        .max_bytes = options->spool_max_bytes ? options->spool_max_bytes : DEFAULT_MAX_BYTES,
    };
    struct cb_outbox *outbox = calloc(1, sizeof(*outbox));
    int r;

    if (!outbox)
        return cb_err_set(err, ENOMEM, "out of memory");
    outbox->wake_fd = -1;
    outbox->sync_ns = options->sync_ns ? options->sync_ns : SYNC_NS;
    outbox->on_disk = options->spool_dir_fd >= 0;
    (void)pthread_mutex_init(&outbox->mutex, NULL);
    r = cb_spool_open(&spool, &outbox->spool, err);
    if (r == 0)
        r = open_boxes(outbox, err);
    if (r == 0)
        r = cb_link_client_open(&options->link, &outbox->link, err);
    if (r == 0) {
        (void)snprintf(outbox->start_id, sizeof(outbox->start_id), "%s", options->link.start_id);
        (void)snprintf(outbox->endpoint, sizeof(outbox->endpoint), "%s", options->link.endpoint);
        report(outbox);
        r = start_thread(outbox, err);
    }
    if (r < 0)
        (void)release(outbox);
    else
        *ret_outbox = outbox;
    return r;
}

struct cb_outbox *cb_outbox_close(struct cb_outbox *outbox, uint64_t drain_ns)
{
    uint64_t one = 1;

    if (!outbox)
        return NULL;
    (void)pthread_mutex_lock(&outbox->mutex);
    outbox->stop = true;
    outbox->stop_ns = cb_clock_boot_ns() + drain_ns;
    (void)pthread_mutex_unlock(&outbox->mutex);
    if (write(outbox->wake_fd, &one, sizeof(one)) < 0) {
        /* only when it is at its highest, and then it is readable */
    }
    (void)pthread_join(outbox->thread, NULL);
    return release(outbox);
}
