/* SPDX-License-Identifier: Apache-2.0 */
/* spool_files.h - the files of a spool directory: names, whole writes, and what an earlier process
 * left. Used by sensor/spool.c only. */
#ifndef CB_SENSOR_SPOOL_FILES_H
#define CB_SENSOR_SPOOL_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/spool_record.h"

struct cb_err;

#define CB_SPOOL_NAME_SIZE 32

void cb_spool_file_name(uint64_t number, char ret_name[CB_SPOOL_NAME_SIZE]);

/* Numbers of the segments in the directory, ascending; free() them. */
int cb_spool_list(int dir_fd, uint64_t **ret_numbers, size_t *ret_n,
                  struct cb_err *err) cb_must_check;

/* A new file with the segment's header. A descriptor or -errno. */
int cb_spool_create(int dir_fd, const char *name, uint64_t number) cb_must_check;

/* Header and frame at @offset: 0 or -errno, then the file is as long as before. */
int cb_spool_write(int fd, uint64_t offset, const struct cb_spool_record *record) cb_must_check;

/* Read [offset, offset + size) into the growing buffer. How much there was, or -errno. */
struct cb_spool_buffer {
    uint8_t *bytes;
    size_t size;
};
ssize_t cb_spool_read(int fd, uint64_t offset, size_t size,
                      struct cb_spool_buffer *buffer) cb_must_check;

/* Looks through segments in their order: counts the good records, finds where the good part ends,
 * and how many frames are missing where records are damaged. */
struct cb_spool_scan {
    char start_id[CB_START_ID_SIZE]; /* of the last good record */
    uint64_t seq;
    bool damage; /* something is missing after it */
    uint64_t lost;
};
struct cb_spool_found {
    uint64_t records;
    uint64_t begin, end; /* of the first and behind the last good record; equal: there is none */
};
int cb_spool_scan_file(struct cb_spool_scan *scan, int fd, uint64_t number,
                       struct cb_spool_buffer *buffer,
                       struct cb_spool_found *ret_found) cb_must_check;
void cb_spool_scan_end(struct cb_spool_scan *scan);

#endif
