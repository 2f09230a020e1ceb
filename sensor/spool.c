/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.c - see spool.h.
 *
 * A list of segments, oldest first, each a file or a block of memory. The cursor stands before the
 * next record to hand out; records between the oldest unacknowledged one and the cursor are the
 * "flights". Per segment three numbers go up to `records`: taken (before the cursor) and done
 * (delivered or put aside).
 */
#include "sensor/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/spool_files.h"

#define SEGMENT_MIN (UINT64_C(64) << 10)
#define SEGMENT_MAX (UINT64_C(16) << 20)
#define REFUSED_NAME "refused"
#define REFUSED_MIN (UINT64_C(1) << 20)
#define RETRY_NS (5 * CB_NS_PER_S) /* how often a disk that failed is tried again */

struct segment {
    struct segment *next;
    uint64_t number;
    uint64_t begin, end; /* of its records */
    uint64_t records, taken, done;
    uint8_t *memory; /* instead of a file; offsets are the same */
    size_t memory_size;
};

struct flight {
    struct segment *segment; /* NULL: dropped meanwhile */
    uint64_t offset;
    size_t size;
    char start_id[CB_START_ID_SIZE];
    uint64_t seq;
    bool done;
};

struct cb_spool {
    int dir_fd; /* -1: memory only */
    uint64_t max_bytes, memory_max, segment_bytes;

    struct segment *head, *tail;
    uint64_t next_number;
    bool tail_open; /* the tail may be appended to */
    int write_fd;   /* of the tail, when it is a file and open */
    int read_fd;    /* of another segment */
    uint64_t read_number;

    struct segment *cursor; /* NULL: before the first segment that will be */
    uint64_t offset;

    struct flight *flights; /* oldest first */
    size_t n_flights, flights_size;

    uint64_t bytes, memory_bytes, held, lost, refused;
    uint64_t flight_bytes;
    bool dirty, dir_dirty;
    int trouble;
    uint64_t retry_ns;
    struct cb_spool_buffer buffer;
};

static bool is_file(const struct segment *segment)
{
    return segment && !segment->memory;
}

/* ---- segments ---- */

static void set_trouble(struct cb_spool *spool, int code)
{
    spool->trouble = code;
    spool->retry_ns = cb_clock_boot_ns() + RETRY_NS;
}

/* No more is appended to the tail. */
static void close_tail(struct cb_spool *spool)
{
    if (spool->write_fd >= 0) {
        if (spool->dirty && cb_spool_sync(spool, NULL) < 0)
            spool->dirty = false;
        (void)close(spool->write_fd);
    }
    spool->write_fd = -1;
    spool->tail_open = false;
}

static void add_segment(struct cb_spool *spool, struct segment *segment)
{
    if (spool->tail)
        spool->tail->next = segment;
    else
        spool->head = segment;
    spool->tail = segment;
    if (!spool->cursor) {
        spool->cursor = segment;
        spool->offset = segment->begin;
    }
}

/* A new tail: a file, or memory when @file is false. */
static int open_tail(struct cb_spool *spool, bool file)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    char name[CB_SPOOL_NAME_SIZE];
    int r = 0;

    close_tail(spool);
    if (!segment)
        return -ENOMEM;
    *segment = (struct segment){
        .number = spool->next_number,
        .begin = CB_SPOOL_SEGMENT_HEADER,
        .end = CB_SPOOL_SEGMENT_HEADER,
    };
    if (file) {
        cb_spool_file_name(segment->number, name);
        r = cb_spool_create(spool->dir_fd, name, segment->number);
        spool->write_fd = r >= 0 ? r : -1;
        spool->dir_dirty = true;
    } else {
        segment->memory = calloc(1, SEGMENT_MIN);
        segment->memory_size = SEGMENT_MIN;
        r = segment->memory ? 0 : -ENOMEM;
    }
    if (r < 0) {
        free(segment);
        return r;
    }
    spool->next_number++;
    spool->tail_open = true;
    add_segment(spool, segment);
    return 0;
}

static uint64_t size_of(const struct segment *segment)
{
    return segment->end - CB_SPOOL_SEGMENT_HEADER;
}

static void close_read(struct cb_spool *spool)
{
    if (spool->read_fd >= 0)
        (void)close(spool->read_fd);
    spool->read_fd = -1;
}

/* Forget the oldest segment and delete its file. The caller has counted its frames. */
static void remove_head(struct cb_spool *spool)
{
    struct segment *segment = spool->head;
    char name[CB_SPOOL_NAME_SIZE];

    if (segment == spool->tail)
        close_tail(spool);
    if (spool->cursor == segment) {
        spool->cursor = segment->next;
        spool->offset = segment->next ? segment->next->begin : 0;
    }
    if (is_file(segment)) {
        cb_spool_file_name(segment->number, name);
        (void)unlinkat(spool->dir_fd, name, 0);
        if (spool->read_number == segment->number)
            close_read(spool);
    } else {
        spool->memory_bytes -= size_of(segment);
    }
    spool->bytes -= size_of(segment);
    spool->head = segment->next;
    if (!spool->head)
        spool->tail = NULL;
    free(segment->memory);
    free(segment);
}

/* The last resort: the oldest segment goes. Its frames in flight may still be acked; they count as
 * lost when they are not (cb_spool_rewind()). */
static void drop_head(struct cb_spool *spool)
{
    struct segment *segment = spool->head;

    if (is_file(segment))
        spool->retry_ns = 0; /* there is room on the disk again */
    for (size_t i = 0; i < spool->n_flights; i++)
        if (spool->flights[i].segment == segment)
            spool->flights[i].segment = NULL;
    spool->lost += segment->records - segment->taken;
    spool->held -= segment->records - segment->done;
    remove_head(spool);
}

/* All of the tail is delivered: begin it anew instead of growing it for ever. */
static void cut_tail(struct cb_spool *spool)
{
    struct segment *tail = spool->tail;

    if (is_file(tail) && ftruncate(spool->write_fd, CB_SPOOL_SEGMENT_HEADER) < 0)
        return;
    spool->bytes -= size_of(tail);
    if (!is_file(tail))
        spool->memory_bytes -= size_of(tail);
    tail->begin = tail->end = spool->offset = CB_SPOOL_SEGMENT_HEADER;
    tail->records = tail->taken = tail->done = 0;
    spool->dirty = false;
}

/* Segments that are delivered to their end go. */
static void collect(struct cb_spool *spool)
{
    while (spool->head && spool->head->done == spool->head->records &&
           !(spool->head == spool->tail && spool->tail_open))
        remove_head(spool);
    if (spool->head && spool->head == spool->tail && spool->tail_open &&
        spool->tail->done == spool->tail->records && spool->tail->end > CB_SPOOL_SEGMENT_HEADER)
        cut_tail(spool);
}

/* ---- open and close ---- */

static int recover_segment(struct cb_spool *spool, struct cb_spool_scan *scan, uint64_t number)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    struct cb_spool_found found = {0};
    char name[CB_SPOOL_NAME_SIZE];
    cb_auto_close int fd = -1;
    int r;

    if (!segment)
        return -ENOMEM;
    cb_spool_file_name(number, name);
    fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    r = fd < 0 ? -errno : cb_spool_scan_file(scan, fd, number, &spool->buffer, &found);
    if (r < 0 || found.records == 0) {
        free(segment);
        if (r == 0)
            (void)unlinkat(spool->dir_fd, name, 0);
        return r;
    }
    *segment = (struct segment){
        .number = number, .begin = found.begin, .end = found.end, .records = found.records};
    if (ftruncate(fd, (off_t)found.end) < 0) {
        /* the torn tail will be counted again at the next start */
    }
    spool->bytes += size_of(segment);
    spool->held += found.records;
    add_segment(spool, segment);
    return 0;
}

static int recover(struct cb_spool *spool, struct cb_err *err)
{
    cb_auto_free uint64_t *numbers = NULL;
    struct cb_spool_scan scan = {0};
    size_t n;
    int r = cb_spool_list(spool->dir_fd, &numbers, &n, err);

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = recover_segment(spool, &scan, numbers[i]);
        if (r == -ENOMEM)
            return cb_err_set(err, ENOMEM, "out of memory");
        if (r < 0) { /* this one cannot be read: go on with the others, it stays where it is */
            scan.damage = true;
            r = 0;
        }
        spool->next_number = numbers[i] + 1;
    }
    cb_spool_scan_end(&scan);
    spool->lost += scan.lost;
    while (r == 0 && spool->bytes > spool->max_bytes)
        drop_head(spool);
    return r;
}

static int open_dir(struct cb_spool *spool, int dir_fd, struct cb_err *err)
{
    spool->dir_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0)
        return cb_err_set(err, errno, "cannot open the spool: %s", strerror(errno));
    if (flock(spool->dir_fd, LOCK_EX | LOCK_NB) < 0)
        return cb_err_set(err, errno == EWOULDBLOCK ? EBUSY : errno,
                          errno == EWOULDBLOCK ? "the spool is in use by another cbsensor: end it, "
                                                 "or give this one a state directory of its own"
                                               : "cannot lock the spool: %s",
                          strerror(errno));
    return recover(spool, err);
}

int cb_spool_open(const struct cb_spool_options *options, struct cb_spool **ret_spool,
                  struct cb_err *err)
{
    struct cb_spool *spool = calloc(1, sizeof(*spool));
    int r = 0;

    if (!spool)
        return cb_err_set(err, ENOMEM, "out of memory");
    spool->dir_fd = spool->write_fd = spool->read_fd = -1;
    spool->next_number = 1;
    spool->max_bytes = options->max_bytes;
    spool->memory_max = options->dir_fd >= 0 && options->max_bytes > CB_SPOOL_MEMORY_BYTES
                            ? CB_SPOOL_MEMORY_BYTES
                            : options->max_bytes;
    spool->segment_bytes = options->segment_bytes;
    if (!spool->segment_bytes) {
        spool->segment_bytes = spool->max_bytes / 16;
        if (spool->segment_bytes < SEGMENT_MIN)
            spool->segment_bytes = SEGMENT_MIN;
        if (spool->segment_bytes > SEGMENT_MAX)
            spool->segment_bytes = SEGMENT_MAX;
    }
    if (options->dir_fd >= 0)
        r = open_dir(spool, options->dir_fd, err);
    if (r < 0)
        (void)cb_spool_close(spool);
    else
        *ret_spool = spool;
    return r;
}

struct cb_spool *cb_spool_close(struct cb_spool *spool)
{
    if (spool) {
        if (spool->tail_open && is_file(spool->tail) && spool->tail->done == spool->tail->records) {
            char name[CB_SPOOL_NAME_SIZE];

            cb_spool_file_name(spool->tail->number, name);
            (void)unlinkat(spool->dir_fd, name, 0);
        }
        while (spool->head) {
            struct segment *segment = spool->head;

            spool->head = segment->next;
            free(segment->memory);
            free(segment);
        }
        if (spool->write_fd >= 0)
            (void)close(spool->write_fd);
        close_read(spool);
        if (spool->dir_fd >= 0)
            (void)close(spool->dir_fd);
        free(spool->flights);
        free(spool->buffer.bytes);
        free(spool);
    }
    return NULL;
}

/* ---- append ---- */

static int append_memory(struct segment *segment, const struct cb_spool_record *record)
{
    size_t need = (size_t)segment->end + CB_SPOOL_RECORD_HEADER + record->size;

    if (need > segment->memory_size) {
        size_t size = 2 * segment->memory_size > need ? 2 * segment->memory_size : need;
        uint8_t *more = realloc(segment->memory, size);

        if (!more)
            return -ENOMEM;
        segment->memory = more;
        segment->memory_size = size;
    }
    cb_spool_put_record_header(segment->memory + segment->end, record);
    memcpy(segment->memory + segment->end + CB_SPOOL_RECORD_HEADER, record->bytes, record->size);
    return 0;
}

/* A tail with room for @need bytes: a file as long as the disk works. */
static int ready_tail(struct cb_spool *spool, uint64_t need)
{
    bool try_disk =
        spool->dir_fd >= 0 && (!spool->trouble || cb_clock_boot_ns() >= spool->retry_ns);
    int r;

    if (spool->tail_open && (is_file(spool->tail) || !try_disk) &&
        (spool->tail->records == 0 || size_of(spool->tail) + need <= spool->segment_bytes))
        return 0;
    if (try_disk) {
        r = open_tail(spool, true);
        if (r >= 0 || r == -ENOMEM)
            return r;
        set_trouble(spool, -r);
    }
    return open_tail(spool, false);
}

/* Room for @need more bytes, of memory too if the tail is memory. */
static void make_room(struct cb_spool *spool, uint64_t need)
{
    while (spool->head && spool->bytes + need > spool->max_bytes)
        drop_head(spool);
}

static int append_once(struct cb_spool *spool, const struct cb_spool_record *record, uint64_t need)
{
    int r;

    make_room(spool, need);
    r = ready_tail(spool, need);
    if (r < 0)
        return r;
    if (is_file(spool->tail)) {
        r = cb_spool_write(spool->write_fd, spool->tail->end, record);
        if (r < 0) {
            set_trouble(spool, -r);
            close_tail(spool);
            return -EAGAIN;
        }
        spool->trouble = 0;
        spool->dirty = true;
        return 0;
    }
    if (spool->memory_bytes + need > spool->memory_max && spool->held > 0) {
        drop_head(spool);
        return -EAGAIN;
    }
    r = append_memory(spool->tail, record);
    if (r == 0)
        spool->memory_bytes += need;
    return r;
}

int cb_spool_append(struct cb_spool *spool, const char *start_id, uint64_t seq,
                    const uint8_t *bytes, size_t size, struct cb_err *err)
{
    struct cb_spool_record record = {.seq = seq, .bytes = bytes, .size = size};
    uint64_t need = CB_SPOOL_RECORD_HEADER + size;
    int r;

    if (strlen(start_id) != CB_START_ID_SIZE - 1 ||
        strspn(start_id, "0123456789abcdef") != CB_START_ID_SIZE - 1 || size == 0 ||
        size > CB_FRAME_MAX_BYTES || need > spool->max_bytes) {
        spool->lost++;
        return cb_err_set(err, EINVAL, "a frame of %zu bytes does not fit into the spool", size);
    }
    memcpy(record.start_id, start_id, CB_START_ID_SIZE);
    do /* each turn drops a segment or gives the disk up for a while */
        r = append_once(spool, &record, need);
    while (r == -EAGAIN);
    if (r < 0) {
        spool->lost++;
        return cb_err_set(err, -r, "cannot keep a frame: %s", strerror(-r));
    }
    spool->tail->end += need;
    spool->tail->records++;
    spool->bytes += need;
    spool->held++;
    return 0;
}

int cb_spool_sync(struct cb_spool *spool, struct cb_err *err)
{
    int code = 0;

    if (!spool->dirty || spool->write_fd < 0)
        return 0;
    spool->dirty = false;
    if (fdatasync(spool->write_fd) < 0 || (spool->dir_dirty && fsync(spool->dir_fd) < 0))
        code = errno;
    if (code) {
        set_trouble(spool, code);
        return cb_err_set(err, code, "cannot sync the spool: %s", strerror(code));
    }
    spool->dir_dirty = false;
    return 0;
}

bool cb_spool_is_dirty(const struct cb_spool *spool)
{
    return spool->dirty;
}

/* ---- hand out ---- */

/* A descriptor to read @segment with; -errno. */
static int reader_of(struct cb_spool *spool, const struct segment *segment)
{
    char name[CB_SPOOL_NAME_SIZE];

    if (segment == spool->tail && spool->write_fd >= 0)
        return spool->write_fd;
    if (spool->read_fd < 0 || spool->read_number != segment->number) {
        close_read(spool);
        cb_spool_file_name(segment->number, name);
        spool->read_fd = openat(spool->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        spool->read_number = segment->number;
    }
    return spool->read_fd < 0 ? -errno : spool->read_fd;
}

/* The whole record at @offset of a file, or -errno (-EBADMSG: it is damaged). */
static int read_record(struct cb_spool *spool, int fd, uint64_t offset, uint64_t end,
                       struct cb_spool_record *ret_record)
{
    size_t size;
    ssize_t n = cb_spool_read(fd, offset, CB_SPOOL_RECORD_HEADER, &spool->buffer);

    if (n < 0)
        return (int)n;
    if (n < CB_SPOOL_RECORD_HEADER || cb_spool_frame_size(spool->buffer.bytes, &size) < 0 ||
        size + CB_SPOOL_RECORD_HEADER > end - offset)
        return -EBADMSG;
    n = cb_spool_read(fd, offset, CB_SPOOL_RECORD_HEADER + size, &spool->buffer);
    if (n < 0)
        return (int)n;
    return cb_spool_take_record(spool->buffer.bytes, (size_t)n, ret_record);
}

/* The first whole record at or behind *offset, which moves there. 0, -EBADMSG: there is none, or
 * what keeps the file from being opened now. */
static int find_record(struct cb_spool *spool, const struct segment *segment, uint64_t *offset,
                       struct cb_spool_record *ret_record)
{
    int fd;
    int r;
    ssize_t n;
    size_t at;

    if (segment->memory)
        return cb_spool_take_record(segment->memory + *offset, (size_t)(segment->end - *offset),
                                    ret_record);
    fd = reader_of(spool, segment);
    if (fd < 0)
        return fd == -ENOENT ? -EBADMSG : fd;
    r = read_record(spool, fd, *offset, segment->end, ret_record);
    if (r == 0 || r == -ENOMEM)
        return r;
    n = cb_spool_read(fd, *offset, (size_t)(segment->end - *offset), &spool->buffer);
    if (n < 0)
        return n == -ENOMEM ? -ENOMEM : -EBADMSG;
    at = cb_spool_find_record(spool->buffer.bytes, (size_t)n, 0);
    if (at == (size_t)n)
        return -EBADMSG;
    *offset += at;
    return cb_spool_take_record(spool->buffer.bytes + at, (size_t)n - at, ret_record);
}

/* The cursor is at the end of its segment: what the segment has not given is lost. */
static void leave_segment(struct cb_spool *spool)
{
    struct segment *segment = spool->cursor;
    uint64_t missing = segment->records - segment->taken;

    spool->lost += missing;
    spool->held -= missing;
    segment->done += missing;
    segment->taken = segment->records;
    spool->offset = segment->end;
    if (segment->next) {
        spool->cursor = segment->next;
        spool->offset = segment->next->begin;
    }
    if (missing)
        collect(spool);
}

static int add_flight(struct cb_spool *spool, const struct cb_spool_record *record)
{
    if (spool->n_flights == spool->flights_size) {
        size_t size = spool->flights_size ? 2 * spool->flights_size : 64;
        struct flight *more = reallocarray(spool->flights, size, sizeof(*more));

        if (!more)
            return -ENOMEM;
        spool->flights = more;
        spool->flights_size = size;
    }
    spool->flights[spool->n_flights] = (struct flight){
        .segment = spool->cursor,
        .offset = spool->offset,
        .size = record->size,
        .seq = record->seq,
    };
    memcpy(spool->flights[spool->n_flights++].start_id, record->start_id, CB_START_ID_SIZE);
    spool->flight_bytes += record->size;
    return 0;
}

int cb_spool_next(struct cb_spool *spool, struct cb_spool_record *ret_record, struct cb_err *err)
{
    for (;;) {
        struct segment *segment = spool->cursor;
        int r;

        if (!segment ||
            (spool->offset >= segment->end && !segment->next && segment->taken == segment->records))
            return 0;
        r = spool->offset < segment->end ? find_record(spool, segment, &spool->offset, ret_record)
                                         : -EBADMSG;
        if (r == 0)
            r = add_flight(spool, ret_record);
        if (r < 0 && r != -EBADMSG)
            return cb_err_set(err, -r, "cannot read the spool: %s", strerror(-r));
        if (r == 0) {
            spool->offset += CB_SPOOL_RECORD_HEADER + ret_record->size;
            segment->taken++;
            return 1;
        }
        leave_segment(spool);
    }
}

void cb_spool_unget(struct cb_spool *spool)
{
    const struct flight *flight = &spool->flights[spool->n_flights - 1];

    spool->cursor = flight->segment;
    spool->offset = flight->offset;
    flight->segment->taken--;
    spool->flight_bytes -= flight->size;
    spool->n_flights--;
}

void cb_spool_rewind(struct cb_spool *spool)
{
    bool first = true;

    for (size_t i = 0; i < spool->n_flights; i++) {
        struct flight *flight = &spool->flights[i];

        if (!flight->segment) {
            spool->lost += !flight->done;
            continue;
        }
        flight->segment->taken--;
        if (first) {
            spool->cursor = flight->segment;
            spool->offset = flight->offset;
            first = false;
        }
    }
    spool->n_flights = 0;
    spool->flight_bytes = 0;
}

/* ---- delivered ---- */

/* Flights that are done leave from the front, in their order. */
static void land(struct cb_spool *spool)
{
    size_t n = 0;

    for (; n < spool->n_flights && spool->flights[n].done; n++) {
        struct flight *flight = &spool->flights[n];

        spool->flight_bytes -= flight->size;
        if (flight->segment) {
            flight->segment->done++;
            spool->held--;
        }
    }
    if (n == 0)
        return;
    spool->n_flights -= n;
    memmove(spool->flights, spool->flights + n, spool->n_flights * sizeof(*spool->flights));
    collect(spool);
}

size_t cb_spool_ack(struct cb_spool *spool, const char *start_id, uint64_t seq)
{
    size_t n = 0;

    for (size_t i = 0; i < spool->n_flights; i++) {
        struct flight *flight = &spool->flights[i];

        if (!flight->done && flight->seq <= seq && strcmp(flight->start_id, start_id) == 0) {
            flight->done = true;
            n++;
        }
    }
    land(spool);
    return n;
}

/* Best effort: what does not fit or cannot be written is only counted. */
static void put_aside(struct cb_spool *spool, const struct flight *flight)
{
    struct cb_spool_record record;
    uint64_t offset = flight->offset;
    uint64_t max = spool->max_bytes / 16 > REFUSED_MIN ? spool->max_bytes / 16 : REFUSED_MIN;
    cb_auto_close int fd = -1;
    struct stat st;

    if (spool->dir_fd < 0 || !flight->segment ||
        find_record(spool, flight->segment, &offset, &record) < 0 || offset != flight->offset)
        return;
    fd = openat(spool->dir_fd, REFUSED_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        fd = cb_spool_create(spool->dir_fd, REFUSED_NAME, 0);
    if (fd < 0 || fstat(fd, &st) < 0 ||
        (uint64_t)st.st_size + CB_SPOOL_RECORD_HEADER + record.size > max)
        return;
    if (cb_spool_write(fd, (uint64_t)st.st_size, &record) == 0)
        (void)fdatasync(fd);
}

bool cb_spool_refuse(struct cb_spool *spool, const char *start_id, uint64_t seq)
{
    for (size_t i = 0; i < spool->n_flights; i++) {
        struct flight *flight = &spool->flights[i];

        if (flight->done || flight->seq != seq || strcmp(flight->start_id, start_id) != 0)
            continue;
        put_aside(spool, flight);
        spool->refused++;
        flight->done = true;
        land(spool);
        return true;
    }
    return false;
}

/* ---- figures ---- */

size_t cb_spool_in_flight(const struct cb_spool *spool)
{
    return spool->n_flights;
}

uint64_t cb_spool_in_flight_bytes(const struct cb_spool *spool)
{
    return spool->flight_bytes;
}

uint64_t cb_spool_held_frames(const struct cb_spool *spool)
{
    return spool->held;
}

uint64_t cb_spool_held_bytes(const struct cb_spool *spool)
{
    return spool->bytes;
}

uint64_t cb_spool_memory_frames(const struct cb_spool *spool)
{
    uint64_t n = 0;

    for (const struct segment *s = spool->memory_bytes ? spool->head : NULL; s; s = s->next)
        n += s->memory ? s->records - s->done : 0;
    return n;
}

uint64_t cb_spool_lost_frames(const struct cb_spool *spool)
{
    return spool->lost;
}

uint64_t cb_spool_refused_frames(const struct cb_spool *spool)
{
    return spool->refused;
}

int cb_spool_trouble(const struct cb_spool *spool)
{
    return spool->trouble;
}
