/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recording.h - frames kept in a file, as they came, for replay.
 *
 * Form     "CBREC1\n", then records: one letter, the payload's size (32 bits, little-endian), the
 *          payload. 'F': an encoded frame (lib/frame.h). 'S': a machine's name, a NUL, and what its
 *          model knew when the recording began (cb_engine_save()), so that a replay goes on from
 *          there. 'T': a machine's name, a sensor start id, a target's id in digits and its name,
 * each ended by a NUL, for targets whose text came before the recording began. Recordings one
 *          behind the other are a recording. Written as one or more zstd frames; each flush ends
 * one, so that after a crash everything up to the last flush can be read. Threads  one object
 * belongs to one thread.
 */
#ifndef CB_FORMULA_RECORDING_H
#define CB_FORMULA_RECORDING_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_recording_writer;
struct cb_recording_reader;

#define CB_RECORDING_FRAME 'F'
#define CB_RECORDING_SNAPSHOT 'S'
#define CB_RECORDING_TARGET 'T'

/* Makes @path, which must not be there yet. -EEXIST and any errno of open(2) */
int cb_recording_create(const char *path, struct cb_recording_writer **ret_writer,
                        struct cb_err *err) cb_must_check;
int cb_recording_frame(struct cb_recording_writer *writer, const uint8_t *bytes, size_t size,
                       struct cb_err *err) cb_must_check;
int cb_recording_snapshot(struct cb_recording_writer *writer, const char *machine,
                          const uint8_t *bytes, size_t size, struct cb_err *err) cb_must_check;
int cb_recording_target(struct cb_recording_writer *writer, const char *machine,
                        const char *start_id, uint32_t id, const char *name,
                        struct cb_err *err) cb_must_check;
/* What was written can be read by others when this returns; cb_recording_flush(): it is on disk. */
int cb_recording_write(struct cb_recording_writer *writer, struct cb_err *err) cb_must_check;
uint64_t cb_recording_size(const struct cb_recording_writer *writer); /* of the file so far */
int cb_recording_flush(struct cb_recording_writer *writer, struct cb_err *err) cb_must_check;
/* Flushes; the result is about that. Releases in any case. */
int cb_recording_close(struct cb_recording_writer *writer, struct cb_err *err);

/* @file (see infile.h) is borrowed. -EBADMSG: this is no recording */
int cb_recording_open(FILE *file, const char *name, struct cb_recording_reader **ret_reader,
                      struct cb_err *err) cb_must_check;

struct cb_recording_record {
    char kind;            /* 0: the end */
    const char *machine;  /* of a snapshot or a target */
    const char *start_id; /* of a target */
    uint32_t target;
    const char *name;
    const uint8_t *bytes; /* until the next call */
    size_t size;
};

int cb_recording_next(struct cb_recording_reader *reader, struct cb_recording_record *ret_record,
                      struct cb_err *err) cb_must_check;
struct cb_recording_reader *cb_recording_free(struct cb_recording_reader *reader);

#endif
