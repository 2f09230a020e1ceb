/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox.h - the sensor's own thread between the tick and the link: spools frames, sends them,
 * keeps them until they are acknowledged, sends them again after a reconnect.
 *
 * The tick thread hands over encoded frames (cb_outbox_push: one copy into a ring sized at open,
 * no allocation, never blocks on disk or network). The outbox thread appends them to the spool
 * (a bounded directory of append-only segments with checksums), sends in order within the credit,
 * deletes what is acked. When the spool is full the oldest segment goes and the loss is counted.
 */
#ifndef CB_SENSOR_OUTBOX_H
#define CB_SENSOR_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/link.h"

struct cb_err;
struct cb_outbox;

struct cb_outbox_options {
    int spool_dir_fd;         /* -1: keep frames in memory only (nothing survives the process) */
    uint64_t spool_max_bytes; /* of disk, or of memory without a directory; 0: 64 MiB */
    uint64_t sync_ns;         /* group commit: fdatasync at most this late; 0: 100 ms */
    struct cb_link_client_options link;
};

/* Starts the thread. What an earlier start left in the spool is sent first. */
int cb_outbox_open(const struct cb_outbox_options *options, struct cb_outbox **ret_outbox,
                   struct cb_err *err) cb_must_check;

/* Tick thread only. -ENOBUFS: the ring is full (disk far too slow): counted as lost. */
int cb_outbox_push(struct cb_outbox *outbox, uint64_t seq, const uint8_t *bytes, size_t size,
                   struct cb_err *err) cb_must_check;

/* Any thread. Whether the next frame must carry the whole dictionary (the link came up to a server
 * start that has not seen it); reading it clears it. */
bool cb_outbox_take_dictionary_wanted(struct cb_outbox *outbox);

struct cb_outbox_stats {
    bool connected;
    bool refused;            /* the server refuses this sensor; the log says why */
    uint64_t lost_frames;    /* never acked and no longer held */
    uint64_t refused_frames; /* the server will never take them: put aside in the spool */
    uint64_t held_frames;    /* spooled, not yet acked */
    uint64_t memory_frames;  /* of these: in memory, for the disk is full or broken */
    uint64_t held_bytes;
    uint64_t sent_frames; /* repeats included */
    uint64_t acked_frames;
};
void cb_outbox_stats(struct cb_outbox *outbox, struct cb_outbox_stats *ret_stats);

/* Give the link up to @drain_ns to get the last frames acked, then stop. Returns NULL. */
struct cb_outbox *cb_outbox_close(struct cb_outbox *outbox, uint64_t drain_ns);

#endif
