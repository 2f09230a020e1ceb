/* SPDX-License-Identifier: Apache-2.0 */
/* recording.c - see recording.h. */
#include "formula/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "lib/parse.h"

#define MAGIC "CBREC1\n"
#define LEVEL 3
#define OUT_SIZE 65536
#define HEAD_SIZE 5
#define MAX_SIZE (CB_FRAME_MAX_BYTES + 65536u)

struct cb_recording_writer {
    int fd;
    char *path;
    ZSTD_CStream *zstd;
    uint64_t size;
    uint8_t out[OUT_SIZE];
};

struct cb_recording_reader {
    FILE *file;
    char *name;
    uint64_t n;
    uint8_t *bytes;
    size_t room;
};

/* --- writing --- */

static int write_out(struct cb_recording_writer *writer, size_t n, struct cb_err *err)
{
    for (size_t at = 0; at < n;) {
        ssize_t r = write(writer->fd, writer->out + at, n - at);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return cb_err_set(err, errno, "%s: %s", writer->path, strerror(errno));
        at += (size_t)r;
        writer->size += (uint64_t)r;
    }
    return 0;
}

static int compress(struct cb_recording_writer *writer, const void *bytes, size_t size,
                    ZSTD_EndDirective how, struct cb_err *err)
{
    ZSTD_inBuffer in = {bytes, size, 0};
    size_t left;

    do {
        ZSTD_outBuffer out = {writer->out, OUT_SIZE, 0};
        int r;

        left = ZSTD_compressStream2(writer->zstd, &out, &in, how);
        if (ZSTD_isError(left))
            return cb_err_set(err, EIO, "%s: cannot compress: %s", writer->path,
                              ZSTD_getErrorName(left));
        r = write_out(writer, out.pos, err);
        if (r < 0)
            return r;
    } while (how == ZSTD_e_end ? left > 0 : in.pos < in.size);
    return 0;
}

int cb_recording_create(const char *path, struct cb_recording_writer **ret_writer,
                        struct cb_err *err)
{
    struct cb_recording_writer *writer = calloc(1, sizeof(*writer));
    int r = 0;

    if (!writer)
        return cb_err_set(err, ENOMEM, "out of memory for a recording");
    writer->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (writer->fd < 0)
        r = cb_err_set(err, errno, "%s: %s", path, strerror(errno));
    if (r == 0) {
        writer->path = strdup(path);
        writer->zstd = ZSTD_createCStream();
        if (!writer->path || !writer->zstd ||
            ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, LEVEL)))
            r = cb_err_set(err, ENOMEM, "out of memory for a recording");
    }
    if (r == 0)
        r = compress(writer, MAGIC, strlen(MAGIC), ZSTD_e_continue, err);
    if (r < 0) {
        if (writer->fd >= 0)
            (void)close(writer->fd);
        ZSTD_freeCStream(writer->zstd);
        free(writer->path);
        free(writer);
        return r;
    }
    *ret_writer = writer;
    return 0;
}

static int put_head(struct cb_recording_writer *writer, char kind, size_t size, struct cb_err *err)
{
    uint8_t head[HEAD_SIZE] = {(uint8_t)kind};

    if (size > MAX_SIZE)
        return cb_err_set(err, EMSGSIZE, "%s: a record of %zu bytes is too large", writer->path,
                          size);
    for (size_t i = 0; i < 4; i++)
        head[1 + i] = (uint8_t)(size >> (8 * i));
    return compress(writer, head, sizeof(head), ZSTD_e_continue, err);
}

int cb_recording_frame(struct cb_recording_writer *writer, const uint8_t *bytes, size_t size,
                       struct cb_err *err)
{
    int r = put_head(writer, CB_RECORDING_FRAME, size, err);

    return r < 0 ? r : compress(writer, bytes, size, ZSTD_e_continue, err);
}

int cb_recording_snapshot(struct cb_recording_writer *writer, const char *machine,
                          const uint8_t *bytes, size_t size, struct cb_err *err)
{
    size_t n = strlen(machine) + 1;
    int r = put_head(writer, CB_RECORDING_SNAPSHOT, n + size, err);

    if (r == 0)
        r = compress(writer, machine, n, ZSTD_e_continue, err);
    return r < 0 ? r : compress(writer, bytes, size, ZSTD_e_continue, err);
}

int cb_recording_target(struct cb_recording_writer *writer, const char *machine,
                        const char *start_id, uint32_t id, const char *name, struct cb_err *err)
{
    char digits[16];
    const char *const texts[] = {machine, start_id, digits, name};
    size_t size = 0;
    int r;

    (void)snprintf(digits, sizeof(digits), "%" PRIu32, id);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        size += strlen(texts[i]) + 1;
    r = put_head(writer, CB_RECORDING_TARGET, size, err);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && r == 0; i++)
        r = compress(writer, texts[i], strlen(texts[i]) + 1, ZSTD_e_continue, err);
    return r;
}

int cb_recording_write(struct cb_recording_writer *writer, struct cb_err *err)
{
    return compress(writer, NULL, 0, ZSTD_e_end, err);
}

uint64_t cb_recording_size(const struct cb_recording_writer *writer)
{
    return writer->size;
}

int cb_recording_flush(struct cb_recording_writer *writer, struct cb_err *err)
{
    int r = cb_recording_write(writer, err);

    if (r == 0 && fdatasync(writer->fd) < 0)
        r = cb_err_set(err, errno, "%s: %s", writer->path, strerror(errno));
    return r;
}

int cb_recording_close(struct cb_recording_writer *writer, struct cb_err *err)
{
    int r;

    if (!writer)
        return 0;
    r = cb_recording_flush(writer, err);
    (void)close(writer->fd);
    ZSTD_freeCStream(writer->zstd);
    free(writer->path);
    free(writer);
    return r;
}

/* --- reading --- */

static int damaged(const struct cb_recording_reader *reader, struct cb_err *err)
{
    return cb_err_set(err, EBADMSG, "%s:%" PRIu64 ": damaged or cut off", reader->name,
                      reader->n + 1);
}

int cb_recording_open(FILE *file, const char *name, struct cb_recording_reader **ret_reader,
                      struct cb_err *err)
{
    char magic[sizeof(MAGIC)] = {0};
    struct cb_recording_reader *reader;

    if (fread(magic, 1, strlen(MAGIC), file) != strlen(MAGIC) || strcmp(magic, MAGIC) != 0)
        return cb_err_set(err, EBADMSG, "%s: this is no recording of frames", name);
    reader = calloc(1, sizeof(*reader));
    if (reader)
        reader->name = strdup(name);
    if (!reader || !reader->name) {
        free(reader);
        return cb_err_set(err, ENOMEM, "out of memory to read '%s'", name);
    }
    reader->file = file;
    *ret_reader = reader;
    return 0;
}

static int reserve(struct cb_recording_reader *reader, size_t size, struct cb_err *err)
{
    uint8_t *bytes;

    if (reader->bytes && size <= reader->room)
        return 0;
    if (size == 0)
        size = 1; /* a record of no bytes has a place, too */
    bytes = realloc(reader->bytes, size);
    if (!bytes)
        return cb_err_set(err, ENOMEM, "out of memory to read '%s'", reader->name);
    reader->bytes = bytes;
    reader->room = size;
    return 0;
}

/* The next text of the payload; NULL: there is none. */
static const char *take_text(const uint8_t **at, const uint8_t *end)
{
    const char *text = (const char *)*at;
    const uint8_t *nul = memchr(*at, '\0', (size_t)(end - *at));

    if (nul)
        *at = nul + 1;
    return nul ? text : NULL;
}

static int take_texts(const struct cb_recording_reader *reader, struct cb_recording_record *record,
                      struct cb_err *err)
{
    const uint8_t *at = record->bytes, *end = record->bytes + record->size;
    const char *digits;
    uint64_t id = 0;

    record->machine = take_text(&at, end);
    if (record->machine && record->kind == CB_RECORDING_TARGET) {
        record->start_id = take_text(&at, end);
        digits = record->start_id ? take_text(&at, end) : NULL;
        record->name = digits ? take_text(&at, end) : NULL;
        if (!record->name || cb_parse_u64(digits, &id) < 0 || id == 0 || id > UINT32_MAX)
            return damaged(reader, err);
        record->target = (uint32_t)id;
    }
    if (!record->machine)
        return damaged(reader, err);
    record->bytes = at;
    record->size = (size_t)(end - at);
    return 0;
}

/* The next record's kind and size. 0: the end. Where another recording follows, its magic goes. */
static int read_head(struct cb_recording_reader *reader, char *ret_kind, size_t *ret_size,
                     struct cb_err *err)
{
    uint8_t head[HEAD_SIZE + 2];
    size_t n = fread(head, 1, HEAD_SIZE, reader->file), size = 0;

    while (n == HEAD_SIZE && memcmp(head, MAGIC, HEAD_SIZE) == 0) {
        if (fread(head + HEAD_SIZE, 1, 2, reader->file) != 2 ||
            memcmp(head, MAGIC, strlen(MAGIC)) != 0)
            return damaged(reader, err);
        n = fread(head, 1, HEAD_SIZE, reader->file);
    }
    if (n == 0 && !ferror(reader->file))
        return 0;
    for (size_t i = 0; i < 4 && n == HEAD_SIZE; i++)
        size |= (size_t)head[1 + i] << (8 * i);
    if (n != HEAD_SIZE || size > MAX_SIZE || !memchr("FST", head[0], 3))
        return damaged(reader, err);
    *ret_kind = (char)head[0];
    *ret_size = size;
    return 1;
}

int cb_recording_next(struct cb_recording_reader *reader, struct cb_recording_record *ret_record,
                      struct cb_err *err)
{
    size_t size = 0;
    char kind = 0;
    int r;

    *ret_record = (struct cb_recording_record){0};
    r = read_head(reader, &kind, &size, err);
    if (r <= 0)
        return r;
    r = reserve(reader, size, err);
    if (r < 0)
        return r;
    if (fread(reader->bytes, 1, size, reader->file) != size)
        return damaged(reader, err);
    reader->n++;
    *ret_record = (struct cb_recording_record){.kind = kind, .bytes = reader->bytes, .size = size};
    return kind == CB_RECORDING_FRAME ? 0 : take_texts(reader, ret_record, err);
}

struct cb_recording_reader *cb_recording_free(struct cb_recording_reader *reader)
{
    if (reader) {
        free(reader->bytes);
        free(reader->name);
        free(reader);
    }
    return NULL;
}
