/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup_id.c - see cgroup_id.h. */
#include "sensor/cgroup_id.h"

#include <stddef.h>
#include <string.h>

#define HEX_DIGITS (CB_CONTAINER_ID_SIZE - 1)

static const char *const prefixes[] = {
    "", "docker-", "libpod-", "libpod-payload-", "cri-containerd-", "crio-", "containerd-",
};

static bool is_known_prefix(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strlen(prefixes[i]) == n && memcmp(name, prefixes[i], n) == 0)
            return true;
    return false;
}

bool cb_cgroup_id_parse(const char *name, char ret_id[CB_CONTAINER_ID_SIZE])
{
    static const char scope[] = ".scope";
    size_t n = strlen(name);

    if (n > sizeof(scope) - 1 && strcmp(name + n - (sizeof(scope) - 1), scope) == 0)
        n -= sizeof(scope) - 1;
    if (n < HEX_DIGITS)
        return false;

    const char *id = name + n - HEX_DIGITS;
    size_t before = n - HEX_DIGITS;

    if (strspn(id, "0123456789abcdef") < HEX_DIGITS)
        return false;
    if (!(before > 0 && name[before - 1] == ':') && !is_known_prefix(name, before))
        return false;
    memcpy(ret_id, id, HEX_DIGITS);
    ret_id[HEX_DIGITS] = '\0';
    return true;
}

bool cb_cgroup_id_container(const char *path, char ret_id[CB_CONTAINER_ID_SIZE])
{
    static const char parent[] = "/libpod_parent";
    const char *last = strrchr(path, '/');
    size_t n = sizeof(parent) - 1;
    bool is_below = last && (size_t)(last - path) >= n && memcmp(last - n, parent, n) == 0;

    if (!last || (is_below && strlen(last + 1) == HEX_DIGITS))
        return false;
    return cb_cgroup_id_parse(last + 1, ret_id);
}

bool cb_cgroup_id_may_be_pod(const char *path)
{
    const char *last = strrchr(path, '/');

    return last && strlen(last + 1) == HEX_DIGITS;
}

bool cb_cgroup_id_is_in_pod(const char *name, bool *ret_container)
{
    static const char prefix[] = "libpod-";
    size_t n = sizeof(prefix) - 1;
    bool container = strncmp(name, prefix, n) == 0 && strlen(name + n) == HEX_DIGITS &&
                     strspn(name + n, "0123456789abcdef") == HEX_DIGITS;

    if (!container && strcmp(name, "conmon") != 0)
        return false;
    *ret_container = container;
    return true;
}

/* ---- guests ---- */

/* Its length is @n; the part after @prefix, when there is one: *@ret_n is its length. */
static const char *after(const char *text, size_t n, const char *prefix, size_t *ret_n)
{
    size_t k = strlen(prefix);

    if (n <= k || strncmp(text, prefix, k) != 0)
        return NULL;
    *ret_n = n - k;
    return text + k;
}

static bool strip_end(const char *text, size_t *n, const char *end)
{
    size_t k = strlen(end);

    if (*n <= k || strncmp(text + *n - k, end, k) != 0)
        return false;
    *n -= k;
    return true;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Undo systemd's escapes; false when it is empty, too long or holds a control character. */
static bool unescape(const char *text, size_t n, char ret_name[CB_GUEST_NAME_SIZE])
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (c == '\\' && i + 3 < n && text[i + 1] == 'x' && hex_digit(text[i + 2]) >= 0 &&
            hex_digit(text[i + 3]) >= 0) {
            c = (char)(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
            i += 3;
        }
        if ((unsigned char)c < 0x20 || (unsigned char)c >= 0x7f || out + 1 >= CB_GUEST_NAME_SIZE)
            return false;
        ret_name[out++] = c;
    }
    ret_name[out] = '\0';
    return out > 0;
}

/* "qemu-3-web" or "lxc-3-web": drop the driver and the number. */
static bool strip_driver(char name[CB_GUEST_NAME_SIZE])
{
    const char *rest = NULL;

    if (strncmp(name, "qemu-", 5) == 0)
        rest = name + 5;
    else if (strncmp(name, "lxc-", 4) == 0)
        rest = name + 4;
    if (!rest)
        return false;
    size_t digits = strspn(rest, "0123456789");
    if (digits > 0 && rest[digits] == '-' && rest[digits + 1])
        rest += digits + 1;
    memmove(name, rest, strlen(rest) + 1);
    return true;
}

static const char *parse_machine(const char *last, size_t n, char ret_name[CB_GUEST_NAME_SIZE])
{
    const char *text;
    size_t k = n;

    text = after(last, n, "systemd-nspawn@", &k);
    if (text && strip_end(text, &k, ".service"))
        return unescape(text, k, ret_name) ? "nspawn" : NULL;
    text = after(last, n, "machine-", &k);
    if (!text || !strip_end(text, &k, ".scope") || !unescape(text, k, ret_name))
        return NULL;
    return strip_driver(ret_name) ? "libvirt" : "nspawn";
}

const char *cb_cgroup_id_guest(const char *path, char ret_name[CB_GUEST_NAME_SIZE])
{
    const char *last = strrchr(path, '/');
    const char *parent;
    const char *text;
    size_t n;
    size_t parent_n;
    size_t k;

    if (!last || !last[1])
        return NULL;
    n = strlen(++last);
    for (parent = last - 1; parent > path && parent[-1] != '/'; parent--)
        ;
    parent_n = (size_t)(last - 1 - parent);
    text = after(last, n, "lxc.payload.", &k);
    if (text)
        return unescape(text, k, ret_name) ? "lxc" : NULL;
    if ((parent_n == 11 && memcmp(parent, "lxc.payload", 11) == 0) ||
        (parent_n == 3 && memcmp(parent, "lxc", 3) == 0))
        return unescape(last, n, ret_name) ? "lxc" : NULL;
    if (parent_n == 13 && memcmp(parent, "machine.slice", 13) == 0)
        return parse_machine(last, n, ret_name);
    k = n;
    if (parent_n == 7 && memcmp(parent, "machine", 7) == 0 &&
        (strip_end(last, &k, ".libvirt-qemu") || strip_end(last, &k, ".libvirt-lxc")) &&
        unescape(last, k, ret_name)) {
        (void)strip_driver(ret_name);
        return "libvirt";
    }
    return NULL;
}

/* ---- whose it is ---- */

bool cb_cgroup_id_pod(const char *path, char ret_uid[CB_POD_UID_SIZE])
{
    static const char allowed[] = "0123456789abcdef-_";

    if (!strstr(path, "kubepods"))
        return false;
    for (const char *p = strstr(path, "pod"); p; p = strstr(p + 1, "pod")) {
        size_t n = strspn(p + 3, allowed);

        if (p == path || (p[-1] != '/' && p[-1] != '-') || n < 32 || n >= CB_POD_UID_SIZE ||
            (p[3 + n] != '/' && p[3 + n] != '.' && p[3 + n] != ':'))
            continue;
        memcpy(ret_uid, p + 3, n);
        ret_uid[n] = '\0';
        for (char *c = ret_uid; *c; c++)
            if (*c == '_')
                *c = '-';
        return true;
    }
    return false;
}

long cb_cgroup_id_user(const char *path)
{
    static const char prefix[] = "/user-";
    const char *p = strstr(path, prefix);
    long uid = 0;
    int digits = 0;

    if (!p)
        return -1;
    for (p += sizeof(prefix) - 1; *p >= '0' && *p <= '9' && digits < 10; p++, digits++)
        uid = uid * 10 + (*p - '0');
    return digits > 0 && strncmp(p, ".slice", 6) == 0 ? uid : -1;
}
