/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - see utf8.h. */
#include "lib/utf8.h"

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that starts at @p: 0 when there is none; *ret_cut when the text ends
 * inside it. Overlong forms, surrogates and numbers above U+10FFFF are none. */
static size_t character_size(const unsigned char *p, bool *ret_cut)
{
    size_t size = p[0] < 0x80   ? 1
                  : p[0] < 0xc2 ? 0
                  : p[0] < 0xe0 ? 2
                  : p[0] < 0xf0 ? 3
                  : p[0] < 0xf5 ? 4
                                : 0;

    for (size_t i = 1; i < size; i++) {
        if (p[i] == '\0') {
            *ret_cut = true;
            return 0;
        }
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        if (i == 1 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                       (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)))
            return 0;
    }
    return size;
}

void cb_utf8_clean(char *text)
{
    unsigned char *p = (unsigned char *)text;

    while (*p) {
        bool cut = false;
        size_t size = character_size(p, &cut);

        if (cut) {
            *p = '\0';
        } else if (size == 0) {
            *p++ = '?';
        } else {
            if (*p < 0x20 || *p == 0x7f)
                *p = ' ';
            p += size;
        }
    }
}
