/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool_record.h - the bytes of the spool (docs/link.md, Spool): pure functions, no files.
 *
 * A segment is "CBSPOOL1" and its number (u64), then records one after the other:
 *     u32 magic "CBR1", u32 crc32 of what follows, u32 size of the frame, u32 0,
 *     16 bytes start id, u64 seq, the frame
 * All numbers little-endian. The CRC tells a whole record from a torn or damaged one.
 */
#ifndef CB_SENSOR_SPOOL_RECORD_H
#define CB_SENSOR_SPOOL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

#define CB_SPOOL_SEGMENT_HEADER 16
#define CB_SPOOL_RECORD_HEADER 40

struct cb_spool_record {
    char start_id[CB_START_ID_SIZE];
    uint64_t seq;
    const uint8_t *bytes;
    size_t size;
};

void cb_spool_put_segment_header(uint8_t header[CB_SPOOL_SEGMENT_HEADER], uint64_t number);

/* @record's start_id is 32 hex digits, its size at most CB_FRAME_MAX_BYTES. */
void cb_spool_put_record_header(uint8_t header[CB_SPOOL_RECORD_HEADER],
                                const struct cb_spool_record *record);

/* The size of the frame that follows a header, or -EBADMSG. */
int cb_spool_frame_size(const uint8_t header[CB_SPOOL_RECORD_HEADER],
                        size_t *ret_size) cb_must_check;

/* The record at @bytes; ret_record->bytes points into it. -EBADMSG: not a whole record. */
int cb_spool_take_record(const uint8_t *bytes, size_t size,
                         struct cb_spool_record *ret_record) cb_must_check;

/* Offset of the first whole record at or after @offset; @size: none. */
size_t cb_spool_find_record(const uint8_t *bytes, size_t size, size_t offset);

#endif
