/* SPDX-License-Identifier: Apache-2.0 */
/* spool_record.c - see spool_record.h. */
#include "sensor/spool_record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

static const uint8_t segment_magic[8] = "CBSPOOL1";
static const uint8_t record_magic[4] = "CBR1";

#define CRC_FROM 8 /* the CRC covers the header from here on, and the frame */

static void put_u32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof(value));
}

static void put_u64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return le32toh(value);
}

static uint8_t hex_digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static uint32_t checksum(const uint8_t header[CB_SPOOL_RECORD_HEADER], const uint8_t *bytes,
                         size_t size)
{
    uLong crc = crc32(0, header + CRC_FROM, CB_SPOOL_RECORD_HEADER - CRC_FROM);

    return (uint32_t)crc32(crc, bytes, (uInt)size);
}

void cb_spool_put_segment_header(uint8_t header[CB_SPOOL_SEGMENT_HEADER], uint64_t number)
{
    memcpy(header, segment_magic, sizeof(segment_magic));
    put_u64(header + 8, number);
}

void cb_spool_put_record_header(uint8_t header[CB_SPOOL_RECORD_HEADER],
                                const struct cb_spool_record *record)
{
    memcpy(header, record_magic, sizeof(record_magic));
    put_u32(header + 8, (uint32_t)record->size);
    put_u32(header + 12, 0);
    for (size_t i = 0; i < 16; i++)
        header[16 + i] = (uint8_t)(hex_digit(record->start_id[2 * i]) << 4 |
                                   hex_digit(record->start_id[2 * i + 1]));
    put_u64(header + 32, record->seq);
    put_u32(header + 4, checksum(header, record->bytes, record->size));
}

int cb_spool_frame_size(const uint8_t header[CB_SPOOL_RECORD_HEADER], size_t *ret_size)
{
    uint32_t size = get_u32(header + 8);

    if (memcmp(header, record_magic, sizeof(record_magic)) != 0 || size == 0 ||
        size > CB_FRAME_MAX_BYTES || get_u32(header + 12) != 0)
        return -EBADMSG;
    *ret_size = size;
    return 0;
}

int cb_spool_take_record(const uint8_t *bytes, size_t size, struct cb_spool_record *ret_record)
{
    static const char digits[] = "0123456789abcdef";
    struct cb_spool_record record = {.bytes = bytes + CB_SPOOL_RECORD_HEADER};
    uint64_t seq;

    if (size < CB_SPOOL_RECORD_HEADER || cb_spool_frame_size(bytes, &record.size) < 0 ||
        record.size > size - CB_SPOOL_RECORD_HEADER ||
        checksum(bytes, record.bytes, record.size) != get_u32(bytes + 4))
        return -EBADMSG;
    for (size_t i = 0; i < 16; i++) {
        record.start_id[2 * i] = digits[bytes[16 + i] >> 4];
        record.start_id[2 * i + 1] = digits[bytes[16 + i] & 15];
    }
    memcpy(&seq, bytes + 32, sizeof(seq));
    record.seq = le64toh(seq);
    *ret_record = record;
    return 0;
}

size_t cb_spool_find_record(const uint8_t *bytes, size_t size, size_t offset)
{
    struct cb_spool_record record;

    while (offset < size) {
        const uint8_t *at = memmem(bytes + offset, size - offset, record_magic, 4);

        if (!at)
            break;
        offset = (size_t)(at - bytes);
        if (cb_spool_take_record(at, size - offset, &record) == 0)
            return offset;
        offset++;
    }
    return size;
}
