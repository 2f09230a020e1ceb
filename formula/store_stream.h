/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_stream.h - the part of the embedded store that streams (stream.h) use: how far each has
 * come, the batch that is under way, and what another store refused. Rules and errors of store.h.
 */
#ifndef CB_FORMULA_STORE_STREAM_H
#define CB_FORMULA_STORE_STREAM_H

#include "formula/store.h"
#include "formula/stream.h"
#include "formula/stream_fold.h"

struct cb_store_stream {
    int64_t frame; /* frames up to it are in bins that are sent or under way */
    char place[CB_STREAM_PLACE_SIZE];
    uint64_t lost_frames;    /* deleted before they were taken */
    uint64_t set_aside_rows; /* of all time, kept or not */
};

/* Find or make it, and make it count for the retention. */
int cb_store_stream_open(struct cb_store *store, const char *sink, struct cb_store_stream *ret,
                         struct cb_err *err) cb_must_check;
int cb_store_stream(struct cb_store *store, const char *sink, struct cb_store_stream *ret,
                    struct cb_err *err) cb_must_check;
/* No stream counts for the retention until it is opened again. */
int cb_store_streams_rest(struct cb_store *store, struct cb_err *err) cb_must_check;

/* How far a machine has come in it; -ENOENT. */
int cb_store_stream_mark(struct cb_store *store, const char *sink, int64_t machine,
                         struct cb_fold_mark *ret_mark, struct cb_err *err) cb_must_check;
int cb_store_put_stream_mark(struct cb_store *store, const char *sink, int64_t machine,
                             const struct cb_fold_mark *mark, struct cb_err *err) cb_must_check;
int cb_store_put_stream_frame(struct cb_store *store, const char *sink, int64_t frame,
                              struct cb_err *err) cb_must_check;

/* The batch under way: -ENOENT when there is none. */
int cb_store_put_stream_batch(struct cb_store *store, const char *sink,
                              const struct cb_batch *batch, struct cb_err *err) cb_must_check;
int cb_store_stream_batch(struct cb_store *store, const char *sink, struct cb_batch *ret_batch,
                          struct cb_err *err) cb_must_check;
/* It was taken: delete it, keep what was refused, remember @answer's place; one transaction. */
int cb_store_stream_taken(struct cb_store *store, const char *sink, uint64_t now_wall_ns,
                          const struct cb_stream_answer *answer, struct cb_err *err) cb_must_check;

int cb_store_put_stream_place(struct cb_store *store, const char *sink, const char *place,
                              struct cb_err *err) cb_must_check;

/* Of a stream: how many stored frames wait, and REALTIME of the oldest one's end (0: none waits).
 */
int cb_store_stream_waiting(struct cb_store *store, const char *sink, uint64_t *ret_frames,
                            uint64_t *ret_oldest_wall_ns, struct cb_err *err) cb_must_check;

/* Frames with an id above *@ret_frame are not yet taken by every stream; INT64_MAX: no stream. */
int cb_store_stream_floor(struct cb_store *store, int64_t *ret_frame,
                          struct cb_err *err) cb_must_check;

/* Frames of every machine as they came (not what they were merged into), with an id above @after,
 * by id, at most @limit. As cb_store_each_frame. */
typedef int cb_store_each_stream_frame(void *context, int64_t machine,
                                       const struct cb_store_frame *frame, struct cb_err *err);
int cb_store_stream_frames(struct cb_store *store, int64_t after, unsigned limit,
                           cb_store_each_stream_frame *each, void *context,
                           struct cb_err *err) cb_must_check;
/* How often the text of a target that had one became another, on the machine of @boot; -ENOENT. */
int cb_store_texts(struct cb_store *store, int64_t boot, uint64_t *ret_changes,
                   struct cb_err *err) cb_must_check;
/* A machine's name, and a boot's id. */
int cb_store_machine_name(struct cb_store *store, int64_t machine, char ret_name[CB_NAME_SIZE],
                          struct cb_err *err) cb_must_check;
int cb_store_boot_id(struct cb_store *store, int64_t boot, char ret_id[CB_BOOT_ID_SIZE],
                     struct cb_err *err) cb_must_check;

#endif
