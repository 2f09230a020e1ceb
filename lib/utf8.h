/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - make a text from outside fit for a log line or a JSON answer. */
#ifndef CB_LIB_UTF8_H
#define CB_LIB_UTF8_H

/* In place: control characters become blanks, bytes that are no UTF-8 become '?', and a character
 * that was cut at the end goes. */
void cb_utf8_clean(char *text);

#endif
