/* SPDX-License-Identifier: Apache-2.0 */
/* link_wire.c - see link_wire.h. */
#include "lib/link_wire.h"

#include <bson/bson.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "lib/err.h"
#include "lib/parse.h"

#define TAG "CBW1"

char cb_link_wire_tag(const struct cb_link_part *parts, size_t n)
{
    if (n == 0 || parts[0].size != CB_LINK_TAG_BYTES || memcmp(parts[0].bytes, TAG, 4) != 0)
        return '\0';
    return (char)parts[0].bytes[4];
}

/* Copy a text of @min to @size - 1 bytes: UTF-8 without control characters. */
static int take_text(const struct cb_link_part *part, size_t min, char *to, size_t size)
{
    if (part->size < min || part->size >= size)
        return -EBADMSG;
    if (!bson_utf8_validate((const char *)part->bytes, part->size, false))
        return -EBADMSG;
    for (size_t i = 0; i < part->size; i++)
        if (part->bytes[i] < 0x20 || part->bytes[i] == 0x7f)
            return -EBADMSG;
    memcpy(to, part->bytes, part->size);
    to[part->size] = '\0';
    return 0;
}

/* Copy exactly @size - 1 characters of @set. */
static int take_id(const struct cb_link_part *part, const char *set, char *to, size_t size)
{
    if (part->size != size - 1)
        return -EBADMSG;
    for (size_t i = 0; i < part->size; i++)
        if (part->bytes[i] == '\0' || !strchr(set, part->bytes[i]))
            return -EBADMSG;
    memcpy(to, part->bytes, part->size);
    to[part->size] = '\0';
    return 0;
}

static int take_hex(const struct cb_link_part *part, char *to, size_t size)
{
    return take_id(part, "0123456789abcdef", to, size);
}

static int take_u64(const struct cb_link_part *part, uint64_t *ret_value)
{
    uint64_t value;

    if (part->size != sizeof(value))
        return -EBADMSG;
    memcpy(&value, part->bytes, sizeof(value));
    *ret_value = le64toh(value);
    return 0;
}

static int take_u32(const struct cb_link_part *part, uint32_t *ret_value)
{
    uint32_t value;

    if (part->size != sizeof(value))
        return -EBADMSG;
    memcpy(&value, part->bytes, sizeof(value));
    *ret_value = le32toh(value);
    return 0;
}

void cb_link_wire_put_u32(uint8_t bytes[4], uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof(value));
}

void cb_link_wire_put_u64(uint8_t bytes[8], uint64_t value)
{
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

bool cb_link_wire_is_start_id(const char *text)
{
    return strnlen(text, CB_START_ID_SIZE) == CB_START_ID_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == CB_START_ID_SIZE - 1;
}

static int parse_hello(const struct cb_link_part *parts, size_t n, struct cb_link_message *m)
{
    if (n != 5 || take_text(&parts[1], 1, m->sensor, sizeof(m->sensor)) < 0 ||
        take_id(&parts[2], "0123456789abcdef-", m->boot_id, sizeof(m->boot_id)) < 0 ||
        take_hex(&parts[3], m->start_id, sizeof(m->start_id)) < 0 ||
        take_text(&parts[4], 0, m->version, sizeof(m->version)) < 0)
        return -EBADMSG;
    m->kind = CB_LINK_MSG_HELLO;
    return 0;
}

static int parse_frame(const struct cb_link_part *parts, size_t n, struct cb_link_message *m)
{
    if (n != 5 || take_hex(&parts[1], m->start_id, sizeof(m->start_id)) < 0 ||
        take_u64(&parts[2], &m->seq) < 0 || m->seq == 0 || take_u64(&parts[3], &m->number) < 0 ||
        m->number == 0 || parts[4].size == 0 || parts[4].size > CB_FRAME_MAX_BYTES)
        return -EBADMSG;
    m->kind = CB_LINK_MSG_FRAME;
    m->bytes = parts[4].bytes;
    m->size = parts[4].size;
    return 0;
}

int cb_link_wire_parse_request(const struct cb_link_part *parts, size_t n,
                               struct cb_link_message *ret_message)
{
    struct cb_link_message m = {.kind = CB_LINK_MSG_NONE};
    int r = -EBADMSG;

    switch (cb_link_wire_tag(parts, n)) {
    case 'H':
        r = parse_hello(parts, n, &m);
        break;
    case 'F':
        r = parse_frame(parts, n, &m);
        break;
    case 'P':
        r = n == 1 ? 0 : -EBADMSG;
        break;
    default:
        break;
    }
    if (r == 0)
        *ret_message = m;
    return r;
}

static int parse_welcome(const struct cb_link_part *parts, size_t n, struct cb_link_event *e)
{
    if (n != 3 || take_hex(&parts[1], e->epoch, sizeof(e->epoch)) < 0 ||
        take_u32(&parts[2], &e->credit) < 0 || e->credit == 0)
        return -EBADMSG;
    e->kind = CB_LINK_WELCOME;
    return 0;
}

static int parse_ack(const struct cb_link_part *parts, size_t n, struct cb_link_event *e)
{
    if (n != 3 || take_hex(&parts[1], e->start_id, sizeof(e->start_id)) < 0 ||
        take_u64(&parts[2], &e->seq) < 0 || e->seq == 0)
        return -EBADMSG;
    e->kind = CB_LINK_ACK;
    return 0;
}

/* A refusal of the whole sensor (seq 0) names no start. */
static int parse_refusal(const struct cb_link_part *parts, size_t n, struct cb_link_event *e)
{
    if (n != 4 || take_u64(&parts[2], &e->seq) < 0 ||
        take_text(&parts[3], 0, e->text, sizeof(e->text)) < 0)
        return -EBADMSG;
    if (e->seq == 0 ? parts[1].size != 0
                    : take_hex(&parts[1], e->start_id, sizeof(e->start_id)) < 0)
        return -EBADMSG;
    e->kind = CB_LINK_REFUSED;
    return 0;
}

int cb_link_wire_parse_reply(const struct cb_link_part *parts, size_t n,
                             struct cb_link_event *ret_event)
{
    struct cb_link_event e = {.kind = CB_LINK_NONE};
    int r = -EBADMSG;

    switch (cb_link_wire_tag(parts, n)) {
    case 'W':
        r = parse_welcome(parts, n, &e);
        break;
    case 'A':
        r = parse_ack(parts, n, &e);
        break;
    case 'R':
        r = parse_refusal(parts, n, &e);
        break;
    case 'P':
        r = n == 1 ? 0 : -EBADMSG;
        break;
    default:
        break;
    }
    if (r == 0)
        *ret_event = e;
    return r;
}

/* ---- endpoints ---- */

/* 127.0.0.0/8, ::1, localhost. Any other name may lead anywhere. */
static bool is_loopback(const char *host, size_t n)
{
    unsigned part[4];
    char tail;
    char text[64];

    if (n >= sizeof(text))
        return false;
    memcpy(text, host, n);
    text[n] = '\0';
    if (strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0)
        return true;
    return sscanf(text, "%3u.%3u.%3u.%3u%c", &part[0], &part[1], &part[2], &part[3], &tail) == 4 &&
           part[0] == 127;
}

static bool is_port(const char *text, bool bind)
{
    uint64_t port;

    if (bind && strcmp(text, "*") == 0)
        return true;
    return *text && !strchr(text, '\n') && cb_parse_u64(text, &port) == 0 && port <= 65535 &&
           (bind || port > 0);
}

int cb_link_wire_check_endpoint(const char *endpoint, bool bind, bool plain, bool insecure,
                                struct cb_err *err)
{
    static const char scheme[] = "tcp://";
    const char *host = endpoint + sizeof(scheme) - 1;
    const char *colon = strrchr(endpoint, ':');

    if (strncmp(endpoint, scheme, sizeof(scheme) - 1) != 0 || !colon || colon <= host ||
        !is_port(colon + 1, bind) || strlen(endpoint) > 255 || strpbrk(host, "/;,@ \t"))
        return cb_err_set(err, EINVAL, "'%.100s' is not an address such as tcp://127.0.0.1:%s",
                          endpoint, bind ? "9770 or tcp://*:9770" : "9770");
    if (plain && !insecure && !is_loopback(host, (size_t)(colon - host)))
        return cb_err_set(err, EPERM,
                          "'%.100s' is not loopback and the link has no keys: use keys, or allow "
                          "plain TCP explicitly",
                          endpoint);
    return 0;
}
