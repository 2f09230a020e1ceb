/* SPDX-License-Identifier: Apache-2.0 */
/* spool_files.c - see spool_files.h. */
#include "sensor/spool_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "lib/err.h"

#define SUFFIX ".spool"
#define SCAN_MAX_BYTES (UINT64_C(64) << 20) /* no segment of ours is larger */
#define GAP_MAX 1000000                     /* a larger gap between two numbers is no gap */

void cb_spool_file_name(uint64_t number, char ret_name[CB_SPOOL_NAME_SIZE])
{
    (void)snprintf(ret_name, CB_SPOOL_NAME_SIZE, "%016" PRIx64 SUFFIX, number);
}

static bool take_number(const char *name, uint64_t *ret_number)
{
    char again[CB_SPOOL_NAME_SIZE];

    if (strspn(name, "0123456789abcdef") != 16)
        return false;
    *ret_number = strtoull(name, NULL, 16);
    cb_spool_file_name(*ret_number, again);
    return strcmp(name, again) == 0;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int cb_spool_list(int dir_fd, uint64_t **ret_numbers, size_t *ret_n, struct cb_err *err)
{
    cb_auto_free uint64_t *numbers = NULL;
    cb_auto_close int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    size_t n = 0;
    size_t room = 0;
    int r = 0;

    if (!dir)
        return cb_err_set(err, errno, "cannot list the spool: %s", strerror(errno));
    (void)cb_take_fd(fd); /* closedir() has it now */
    while (r == 0 && (entry = readdir(dir))) {
        uint64_t number;

        if (!take_number(entry->d_name, &number))
            continue;
        if (n == room) {
            uint64_t *more = reallocarray(numbers, room = room ? 2 * room : 64, sizeof(*more));

            if (!more) {
                r = cb_err_set(err, ENOMEM, "out of memory");
                break;
            }
            numbers = more;
        }
        numbers[n++] = number;
    }
    (void)closedir(dir);
    if (r < 0)
        return r;
    if (n)
        qsort(numbers, n, sizeof(*numbers), compare_u64);
    *ret_numbers = cb_take(numbers);
    *ret_n = n;
    return 0;
}

/* All of it or nothing: a short write is cut off again. */
static int write_all(int fd, uint64_t offset, struct iovec *parts, int n, uint64_t size)
{
    ssize_t done = pwritev(fd, parts, n, (off_t)offset);
    int code = done < 0 ? errno : ENOSPC;

    if (done >= 0 && (uint64_t)done == size)
        return 0;
    if (done > 0)
        (void)!ftruncate(fd, (off_t)offset); /* else the damage is skipped when it is read */
    return -code;
}

int cb_spool_create(int dir_fd, const char *name, uint64_t number)
{
    uint8_t header[CB_SPOOL_SEGMENT_HEADER];
    struct iovec part = {.iov_base = header, .iov_len = sizeof(header)};
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r;

    if (fd < 0)
        return -errno;
    cb_spool_put_segment_header(header, number);
    r = write_all(fd, 0, &part, 1, sizeof(header));
    if (r < 0) {
        (void)close(fd);
        (void)unlinkat(dir_fd, name, 0);
        return r;
    }
    return fd;
}

int cb_spool_write(int fd, uint64_t offset, const struct cb_spool_record *record)
{
    uint8_t header[CB_SPOOL_RECORD_HEADER];
    struct iovec parts[2] = {
        {.iov_base = header, .iov_len = sizeof(header)},
        {.iov_len = record->size},
    };

    memcpy(&parts[1].iov_base, &record->bytes, sizeof(void *)); /* writing does not change it */
    cb_spool_put_record_header(header, record);
    return write_all(fd, offset, parts, 2, sizeof(header) + record->size);
}

ssize_t cb_spool_read(int fd, uint64_t offset, size_t size, struct cb_spool_buffer *buffer)
{
    size_t done = 0;

    if (size > buffer->size) {
        uint8_t *more = realloc(buffer->bytes, size);

        if (!more)
            return -ENOMEM;
        buffer->bytes = more;
        buffer->size = size;
    }
    while (done < size) {
        ssize_t n = pread(fd, buffer->bytes + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
    }
    return (ssize_t)done;
}

/* ---- scan ---- */

static void scan_record(struct cb_spool_scan *scan, const struct cb_spool_record *record)
{
    bool same = strcmp(scan->start_id, record->start_id) == 0;

    if (scan->damage && !same)
        scan->lost++;
    else if (scan->damage && record->seq > scan->seq && record->seq - scan->seq <= GAP_MAX)
        scan->lost += record->seq - scan->seq - 1;
    scan->damage = false;
    memcpy(scan->start_id, record->start_id, sizeof(scan->start_id));
    scan->seq = record->seq;
}

void cb_spool_scan_end(struct cb_spool_scan *scan)
{
    scan->lost += scan->damage;
    scan->damage = false;
}

int cb_spool_scan_file(struct cb_spool_scan *scan, int fd, uint64_t number,
                       struct cb_spool_buffer *buffer, struct cb_spool_found *ret_found)
{
    uint8_t header[CB_SPOOL_SEGMENT_HEADER];
    struct cb_spool_found found = {.begin = sizeof(header), .end = sizeof(header)};
    struct stat st;
    size_t offset = sizeof(header);
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return -errno;
    n = cb_spool_read(
        fd, 0, (uint64_t)st.st_size < SCAN_MAX_BYTES ? (size_t)st.st_size : SCAN_MAX_BYTES, buffer);
    if (n < 0)
        return (int)n;
    cb_spool_put_segment_header(header, number);
    if ((size_t)n < sizeof(header) || memcmp(buffer->bytes, header, sizeof(header)) != 0) {
        scan->damage = scan->damage || n > 0;
        offset = 0;
    }
    while (offset < (size_t)n) {
        struct cb_spool_record record;

        if (cb_spool_take_record(buffer->bytes + offset, (size_t)n - offset, &record) < 0) {
            scan->damage = true;
            offset = cb_spool_find_record(buffer->bytes, (size_t)n, offset + 1);
            continue;
        }
        scan_record(scan, &record);
        if (found.records == 0)
            found.begin = offset;
        offset += CB_SPOOL_RECORD_HEADER + record.size;
        found.records++;
        found.end = offset;
    }
    *ret_found = found;
    return 0;
}
