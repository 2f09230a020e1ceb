/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - a first-in first-out queue of frames that survives the process: a directory of
 * append-only segments (spool_record.h), or memory.
 *
 * Use      append at one end; next() hands out the oldest frame that has not been handed out; what
 *          was handed out is in flight until acked, refused, or handed out again after rewind().
 * Disk     Segments are named by a number that only grows ("0000000000000007.spool"). One that is
 *          acked to its end is deleted; the one being written is cut back when all is acked, so
 *          that a healthy link costs next to no disk. Appended frames are safe after sync().
 * Restart  What an earlier process left is found at open and comes first. A torn or damaged record
 *          is skipped, the frames missing there are counted as lost. What was acked, but stands in
 *          a segment with frames that are not, comes again: the receiver knows it by its number.
 * Bounds   Above max_bytes the oldest segment goes and its frames are counted as lost. When the
 *          disk fails (full, broken, read-only), frames are kept in memory up to
 *          CB_SPOOL_MEMORY_BYTES, and the disk is tried again every few seconds.
 * Refused  A frame the receiver will never take is appended to "refused", a file of the same form
 *          and bounded size, and counted on its own: it is not among the lost ones.
 * Threads  one object belongs to one thread; two processes cannot open the same directory.
 */
#ifndef CB_SENSOR_SPOOL_H
#define CB_SENSOR_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/spool_record.h"

struct cb_err;
struct cb_spool;

#define CB_SPOOL_MEMORY_BYTES (64u << 20)

struct cb_spool_options {
    int dir_fd; /* borrowed for the call; -1: memory only */
    uint64_t max_bytes;
    uint64_t segment_bytes; /* 0: a sixteenth of max_bytes, 64 KiB to 16 MiB */
};

/* Errors: -EBUSY another process has this directory, -ENOMEM, any errno of the file calls. */
int cb_spool_open(const struct cb_spool_options *options, struct cb_spool **ret_spool,
                  struct cb_err *err) cb_must_check;

/* Does not sync. Returns NULL. */
struct cb_spool *cb_spool_close(struct cb_spool *spool);

/* Append a frame. Disk trouble is no failure (see Bounds and cb_spool_trouble()).
 * Errors: -EINVAL start_id or size; -ENOMEM, the frame is counted as lost. */
int cb_spool_append(struct cb_spool *spool, const char *start_id, uint64_t seq,
                    const uint8_t *bytes, size_t size, struct cb_err *err) cb_must_check;

/* Make what was appended safe (fdatasync). Nothing to do is done quickly. */
int cb_spool_sync(struct cb_spool *spool, struct cb_err *err) cb_must_check;

/* True when frames that are held were appended since the last sync. */
bool cb_spool_is_dirty(const struct cb_spool *spool);

/* The next frame: 1 and *@ret_record (its bytes are valid until the next call), 0 none. It is in
 * flight from now on. -ENOMEM, -EMFILE, ...: not now, nothing is changed. */
int cb_spool_next(struct cb_spool *spool, struct cb_spool_record *ret_record,
                  struct cb_err *err) cb_must_check;

/* Take the last frame that next() gave back: it was not sent. */
void cb_spool_unget(struct cb_spool *spool);

/* Everything in flight comes again, oldest first. */
void cb_spool_rewind(struct cb_spool *spool);

/* Frames in flight of @start_id with a seq of at most @seq are delivered. Returns how many. */
size_t cb_spool_ack(struct cb_spool *spool, const char *start_id, uint64_t seq);

/* The frame in flight will never be taken: put it aside. False: no such frame is in flight. */
bool cb_spool_refuse(struct cb_spool *spool, const char *start_id, uint64_t seq);

size_t cb_spool_in_flight(const struct cb_spool *spool);
uint64_t cb_spool_in_flight_bytes(const struct cb_spool *spool);
uint64_t cb_spool_held_frames(const struct cb_spool *spool);
uint64_t cb_spool_held_bytes(const struct cb_spool *spool);
/* Of those held: not on a disk, so that they end with the process. */
uint64_t cb_spool_memory_frames(const struct cb_spool *spool);
uint64_t cb_spool_lost_frames(const struct cb_spool *spool);
uint64_t cb_spool_refused_frames(const struct cb_spool *spool);

/* The errno of the disk trouble that keeps new frames in memory; 0: all is well. */
int cb_spool_trouble(const struct cb_spool *spool);

#endif
