/* SPDX-License-Identifier: Apache-2.0 */
/* logstream.c - see logstream.h. */
#include "tester/logstream.h"

#include <endian.h>
#include <errno.h>

#include "lib/err.h"

enum { KIND_STDIN, KIND_STDOUT, KIND_STDERR, KIND_ENGINE };

void cb_logstream_init(struct cb_logstream *stream, bool raw, cb_logstream_sink *sink, void *arg)
{
    *stream = (struct cb_logstream){.raw = raw, .sink = sink, .arg = arg};
}

/* Collect the header; returns the bytes used, or -EBADMSG. */
static ssize_t take_header(struct cb_logstream *stream, const uint8_t *bytes, size_t size,
                           struct cb_err *err)
{
    size_t n = sizeof(stream->header) - stream->in_header;
    uint32_t piece;

    if (n > size)
        n = size;
    memcpy(stream->header + stream->in_header, bytes, n);
    stream->in_header += n;
    if (stream->in_header < sizeof(stream->header))
        return (ssize_t)n;
    if (stream->header[0] > KIND_ENGINE || stream->header[1] || stream->header[2] ||
        stream->header[3])
        return cb_err_set(err, EBADMSG,
                          "the container's output is not in Docker's stream format (header "
                          "%02x%02x%02x%02x)",
                          stream->header[0], stream->header[1], stream->header[2],
                          stream->header[3]);
    memcpy(&piece, stream->header + 4, sizeof(piece));
    stream->left = be32toh(piece);
    if (stream->left == 0)
        stream->in_header = 0;
    return (ssize_t)n;
}

int cb_logstream_feed(struct cb_logstream *stream, const uint8_t *bytes, size_t size,
                      struct cb_err *err)
{
    if (stream->raw) {
        if (size > 0)
            stream->sink(stream->arg, CB_LOGSTREAM_STDOUT, bytes, size);
        return 0;
    }
    while (size > 0) {
        size_t n;

        if (stream->left == 0) {
            ssize_t used = take_header(stream, bytes, size, err);

            if (used < 0)
                return (int)used;
            n = (size_t)used;
        } else {
            n = stream->left < size ? stream->left : size;
            stream->sink(stream->arg,
                         stream->header[0] >= KIND_STDERR ? CB_LOGSTREAM_STDERR
                                                          : CB_LOGSTREAM_STDOUT,
                         bytes, n);
            stream->left -= (uint32_t)n;
            if (stream->left == 0)
                stream->in_header = 0;
        }
        bytes += n;
        size -= n;
    }
    return 0;
}

bool cb_logstream_is_whole(const struct cb_logstream *stream)
{
    return stream->raw || stream->in_header == 0;
}
