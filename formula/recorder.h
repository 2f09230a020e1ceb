/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.h - what the server stores, recorded beside it (`--record DIR`): a row of files that
 * `replay --in frames:FILE` takes, each for itself or one behind the other.
 *
 * Files     DIR/cbwatts-<UTC>-<n>.cbrec (recording.h). Each says first of every machine what its
 * model knew before the machine's first frame in it, and the names of the targets that are known
 *           already: so that its replay gives the same bits as the server stored.
 *           A new one is begun when one has 1/8 of what is to be kept (at most 64 MiB) or an hour,
 * and the oldest go when all have more than that. Rules     Only what is committed is recorded. A
 * recording that fails never stops the ingest: it is told, and a new file is tried later. Written
 * out about once a second, without fsync. Threads   one object belongs to one thread.
 */
#ifndef CB_FORMULA_RECORDER_H
#define CB_FORMULA_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;
struct cb_recorder;
struct cb_store;

/* The directory is made when it is not there. */
int cb_recorder_open(const char *directory, uint64_t keep_bytes, struct cb_recorder **ret_recorder,
                     struct cb_err *err) cb_must_check;
struct cb_recorder *cb_recorder_close(struct cb_recorder *recorder);

/* Number of the present file; 0: there is none, and nothing is to be put. A machine whose model was
 * told under another number is to be told anew. */
uint64_t cb_recorder_segment(const struct cb_recorder *recorder);

/* One frame, with its model before it where @snapshot is not NULL; then the names of its targets
 * are looked up in @store, under its sensor start @start. */
void cb_recorder_put(struct cb_recorder *recorder, struct cb_store *store, const char *machine,
                     int64_t start, const uint8_t *snapshot, size_t snapshot_size,
                     const uint8_t *frame, size_t frame_size);

/* After a batch: write out, begin a new file, delete old ones, as it is due. */
void cb_recorder_settle(struct cb_recorder *recorder, uint64_t now_ns, uint64_t now_wall_ns);

#endif
