/* SPDX-License-Identifier: Apache-2.0 */
/* banned.h - calls that are a compile error here (the Makefile includes it into every file). */
#ifndef CB_LIB_BANNED_H
#define CB_LIB_BANNED_H

/* The system headers that declare them come first, so that only our own calls are caught. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atof gmtime localtime

#endif
