/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_spool.c - sensor/spool: whatever stands in a segment, it is opened, gives exactly the frames
 * it says it holds, and takes new ones. The input is the first segment behind its header; a record
 * magic "CBR1" with a wrong checksum gets the right one, so that the records behind are reached. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "sensor/spool.h"

#define START "0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/cb-fuzz-spool-XXXXXX";
static int dir_fd = -1;

static void must(int ok)
{
    if (!ok)
        abort();
}

static void clean(void)
{
    DIR *list = opendir(dir);
    const struct dirent *entry;

    while (list && (entry = readdir(list)))
        if (entry->d_name[0] != '.')
            (void)unlinkat(dir_fd, entry->d_name, 0);
    if (list)
        (void)closedir(list);
}

static void remove_dir(void)
{
    clean();
    (void)rmdir(dir);
}

/* Every second record whose size fits gets its checksum. */
static void mend(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + CB_SPOOL_RECORD_HEADER <= size; at++) {
        size_t frame;
        uint32_t crc;

        if (cb_spool_frame_size(bytes + at, &frame) < 0 ||
            frame > size - at - CB_SPOOL_RECORD_HEADER || bytes[at + 39] % 2)
            continue;
        crc = (uint32_t)crc32(0, bytes + at + 8, (uInt)(CB_SPOOL_RECORD_HEADER - 8 + frame));
        memcpy(bytes + at + 4, &crc, 4);
        at += CB_SPOOL_RECORD_HEADER + frame - 1;
    }
}

static void write_segment(const uint8_t *data, size_t size)
{
    uint8_t header[CB_SPOOL_SEGMENT_HEADER];
    uint8_t *bytes = malloc(size + 1);
    int fd =
        openat(dir_fd, "0000000000000001.spool", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    must(bytes && fd >= 0);
    if (size)
        memcpy(bytes, data, size);
    mend(bytes, size);
    cb_spool_put_segment_header(header, 1);
    must(write(fd, header, sizeof(header)) == sizeof(header));
    must(write(fd, bytes, size) == (ssize_t)size);
    (void)close(fd);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cb_spool_options options = {.max_bytes = 1 << 20, .segment_bytes = 4096};
    struct cb_spool_record record;
    struct cb_spool *spool;
    uint64_t held;
    uint64_t n = 0;

    if (dir_fd < 0) {
        must(mkdtemp(dir) != NULL);
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)atexit(remove_dir);
    }
    clean();
    write_segment(data, size);
    options.dir_fd = dir_fd;
    must(cb_spool_open(&options, &spool, NULL) == 0);
    held = cb_spool_held_frames(spool);
    must(cb_spool_append(spool, START, 1, (const uint8_t *)"new", 3, NULL) == 0);
    while (cb_spool_next(spool, &record, NULL) == 1)
        n++;
    must(n == held + 1 && record.size == 3 && cb_spool_in_flight(spool) == n);
    cb_spool_rewind(spool);
    for (; n > 0; n--) {
        must(cb_spool_next(spool, &record, NULL) == 1);
        must(cb_spool_ack(spool, record.start_id, record.seq) == 1);
    }
    must(cb_spool_held_frames(spool) == 0 && cb_spool_held_bytes(spool) == 0);
    spool = cb_spool_close(spool);
    must(faccessat(dir_fd, "0000000000000001.spool", F_OK, 0) < 0);
    return 0;
}
