/* SPDX-License-Identifier: Apache-2.0 */
/*
 * infile.h - a file or standard input ("-") to read from, plain, gzip or zstd by its first bytes.
 *
 * Several gzip members or zstd frames one behind the other are one file. What is damaged or cut off
 * ends the stream with an error (ferror(), errno EBADMSG).
 */
#ifndef CB_FORMULA_INFILE_H
#define CB_FORMULA_INFILE_H

#include <stdio.h>

#include "lib/cleanup.h"

struct cb_err;

/* The caller closes *@ret_file with fclose(); standard input itself stays open. */
int cb_infile_open(const char *path, FILE **ret_file, struct cb_err *err) cb_must_check;

#endif
