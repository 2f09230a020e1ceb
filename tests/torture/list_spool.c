/* SPDX-License-Identifier: Apache-2.0 */
/* list_spool.c - what a killed sensor left: "start_id seq" of every whole record of every segment
 * in a spool directory, without touching it. usage: list_spool DIR */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "sensor/spool_record.h"

static void list_bytes(const uint8_t *bytes, size_t size)
{
    struct cb_spool_record record;

    for (size_t at = CB_SPOOL_SEGMENT_HEADER; at < size;) {
        at = cb_spool_find_record(bytes, size, at);
        if (at >= size || cb_spool_take_record(bytes + at, size - at, &record) < 0)
            return;
        (void)printf("%s %" PRIu64 "\n", record.start_id, record.seq);
        at += CB_SPOOL_RECORD_HEADER + record.size;
    }
}

static int list_file(int dir_fd, const char *name)
{
    cb_auto_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *bytes;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size <= CB_SPOOL_SEGMENT_HEADER)
        return 0;
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    list_bytes(bytes, (size_t)st.st_size);
    (void)munmap(bytes, (size_t)st.st_size);
    return 0;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    int r = 0;

    if (!dir) {
        (void)fprintf(stderr, "usage: list_spool DIR (%s)\n", strerror(errno));
        return 2;
    }
    for (const struct dirent *entry = readdir(dir); entry && r == 0; entry = readdir(dir)) {
        const char *dot = strrchr(entry->d_name, '.');

        if (dot && strcmp(dot, ".spool") == 0)
            r = list_file(dirfd(dir), entry->d_name);
    }
    (void)closedir(dir);
    if (r < 0)
        (void)fprintf(stderr, "list_spool: %s\n", strerror(-r));
    return r < 0;
}
