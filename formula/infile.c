/* SPDX-License-Identifier: Apache-2.0 */
/* infile.c - see infile.h. */
#include "formula/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "lib/err.h"

#define CHUNK 65536
#define GZIP_OR_ZLIB (15 + 32) /* inflateInit2(): any window, header found by itself */

enum form { PLAIN, GZIP, ZSTD };

struct infile {
    int fd;
    bool owns_fd;
    bool end;    /* of the file below */
    bool inside; /* a gzip member or zstd frame has begun and not ended */
    enum form form;
    z_stream gzip;
    ZSTD_DStream *zstd;
    size_t at, n; /* of what is in `in` */
    uint8_t in[CHUNK];
};

static int refill(struct infile *file)
{
    ssize_t n;

    do
        n = read(file->fd, file->in, sizeof(file->in));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    file->at = 0;
    file->n = (size_t)n;
    file->end = n == 0;
    return 0;
}

/* The first bytes tell the form, and a pipe may bring them one by one. */
static int first_bytes(struct infile *file, size_t n)
{
    while (file->n < n) {
        ssize_t more = read(file->fd, file->in + file->n, sizeof(file->in) - file->n);

        if (more < 0 && errno != EINTR)
            return -1;
        if (more == 0)
            break;
        file->n += more > 0 ? (size_t)more : 0;
    }
    return 0;
}

static ssize_t damaged(void)
{
    errno = EBADMSG;
    return -1;
}

static ssize_t read_plain(struct infile *file, char *out, size_t size)
{
    size_t n = file->n - file->at < size ? file->n - file->at : size;

    memcpy(out, file->in + file->at, n);
    file->at += n;
    return (ssize_t)n;
}

static ssize_t read_gzip(struct infile *file, char *out, size_t size)
{
    int r;

    if (!file->inside && inflateReset(&file->gzip) != Z_OK)
        return damaged();
    file->inside = true;
    file->gzip.next_in = file->in + file->at;
    file->gzip.avail_in = (uInt)(file->n - file->at);
    file->gzip.next_out = (Bytef *)out;
    file->gzip.avail_out = size < CHUNK ? (uInt)size : CHUNK;
    r = inflate(&file->gzip, Z_NO_FLUSH);
    file->at = file->n - file->gzip.avail_in;
    if (r == Z_STREAM_END)
        file->inside = false;
    else if (r != Z_OK && r != Z_BUF_ERROR)
        return damaged();
    return (char *)file->gzip.next_out - out;
}

static ssize_t read_zstd(struct infile *file, char *out, size_t size)
{
    ZSTD_inBuffer in = {file->in + file->at, file->n - file->at, 0};
    ZSTD_outBuffer to = {out, size, 0};
    size_t r = ZSTD_decompressStream(file->zstd, &to, &in);

    if (ZSTD_isError(r))
        return damaged();
    file->at += in.pos;
    file->inside = r != 0;
    return (ssize_t)to.pos;
}

static ssize_t read_some(void *cookie, char *out, size_t size)
{
    struct infile *file = cookie;
    ssize_t n = 0;

    while (n == 0) {
        if (file->at == file->n && !file->end && refill(file) < 0)
            return -1;
        if (file->end)
            return file->inside ? damaged() : 0;
        if (file->form == GZIP)
            n = read_gzip(file, out, size);
        else if (file->form == ZSTD)
            n = read_zstd(file, out, size);
        else
            n = read_plain(file, out, size);
    }
    return n;
}

static int close_file(void *cookie)
{
    struct infile *file = cookie;

    if (file->form == GZIP)
        (void)inflateEnd(&file->gzip);
    ZSTD_freeDStream(file->zstd);
    if (file->owns_fd)
        (void)close(file->fd);
    free(file);
    return 0;
}

static int begin(struct infile *file, const char *path, struct cb_err *err)
{
    static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};

    if (first_bytes(file, sizeof(zstd)) < 0)
        return cb_err_set(err, errno, "%s: %s", path, strerror(errno));
    if (file->n >= sizeof(gzip) && memcmp(file->in, gzip, sizeof(gzip)) == 0) {
        if (inflateInit2(&file->gzip, GZIP_OR_ZLIB) != Z_OK)
            return cb_err_set(err, ENOMEM, "out of memory to read '%s'", path);
        file->form = GZIP;
    } else if (file->n >= sizeof(zstd) && memcmp(file->in, zstd, sizeof(zstd)) == 0) {
        file->zstd = ZSTD_createDStream();
        if (!file->zstd)
            return cb_err_set(err, ENOMEM, "out of memory to read '%s'", path);
        file->form = ZSTD;
    }
    return 0;
}

int cb_infile_open(const char *path, FILE **ret_file, struct cb_err *err)
{
    static const cookie_io_functions_t functions = {.read = read_some, .close = close_file};
    struct infile *file = calloc(1, sizeof(*file));
    int r = 0;

    if (!file)
        return cb_err_set(err, ENOMEM, "out of memory to read '%s'", path);
    file->owns_fd = strcmp(path, "-") != 0;
    file->fd = file->owns_fd ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (file->fd < 0)
        r = cb_err_set(err, errno, "%s: %s", path, strerror(errno));
    else
        r = begin(file, path, err);
    if (r == 0) {
        *ret_file = fopencookie(file, "r", functions);
        if (!*ret_file)
            r = cb_err_set(err, ENOMEM, "out of memory to read '%s'", path);
    }
    if (r < 0) {
        file->owns_fd &= file->fd >= 0;
        (void)close_file(file);
    }
    return r;
}
